// The few file operations of the plugin, each with an error that names the file.
import Glibc

enum Files {
  /// The whole file, at most `bytesMax`; nil when there is none.
  static func read(_ path: String, bytesMax: Int = 1 << 20) throws(CNIError) -> [UInt8]? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else {
      if errno == ENOENT || errno == ENOTDIR { return nil }
      throw failure("read", path)
    }
    defer { close(descriptor) }
    return try readAll(descriptor, bytesMax: bytesMax, name: path)
  }

  /// Which file stood in a place: another one there, or the same written again, is another.
  struct Identity: Hashable {
    var inode: UInt64
    var changed: UInt64

    init(_ status: stat) {
      inode = UInt64(status.st_ino)
      changed = Files.changed(status)
    }

    /// Nil when there is none.
    init?(_ path: String) throws(CNIError) {
      var status = stat()
      guard stat(path, &status) == 0 else {
        if errno == ENOENT || errno == ENOTDIR { return nil }
        throw Files.failure("read", path)
      }
      self.init(status)
    }
  }

  /// The whole of a file that is written once, and which it was; nil when there is none.
  static func readWritten(_ path: String, bytesMax: Int = 1 << 20) throws(CNIError) -> (
    bytes: [UInt8], identity: Identity
  )? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else {
      if errno == ENOENT || errno == ENOTDIR { return nil }
      throw failure("read", path)
    }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw failure("read", path) }
    guard status.st_size <= bytesMax else {
      throw CNIError(.undecodable, "\(path) is longer than \(bytesMax) bytes")
    }
    let size = Int(status.st_size)
    var code: Int32 = 0
    let bytes = [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
      while count < size {
        let got = Glibc.read(descriptor, buffer.baseAddress! + count, size - count)
        if got < 0, errno == EINTR { continue }
        if got < 0 { code = errno }
        guard got > 0 else { return }
        count += got
      }
    }
    guard code == 0 else {
      errno = code
      throw failure("read", path)
    }
    return (bytes, Identity(status))
  }

  /// Everything until the end of `descriptor`.
  static func readAll(_ descriptor: Int32, bytesMax: Int, name: String) throws(CNIError) -> [UInt8] {
    var all: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 8192)
    while true {
      let count = Glibc.read(descriptor, &buffer, buffer.count)
      if count == 0 { return all }
      if count < 0 {
        if errno == EINTR { continue }
        throw failure("read", name)
      }
      all.append(contentsOf: buffer[0..<count])
      guard all.count <= bytesMax else {
        throw CNIError(.undecodable, "\(name) is longer than \(bytesMax) bytes")
      }
    }
  }

  static func writeAll(_ descriptor: Int32, _ bytes: [UInt8], name: String) throws(CNIError) {
    var done = 0
    while done < bytes.count {
      let count = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress! + done, $0.count - done) }
      if count < 0 {
        if errno == EINTR { continue }
        throw failure("write", name)
      }
      done += count
    }
  }

  /// Writes a new file so that whoever reads sees all of it or none, also when the writer is killed: beside its place, then
  /// renamed. Returns it open and not synced. A power cut before its sync may leave it short.
  static func place(_ path: String, temporary: String, with bytes: [UInt8], mode: mode_t = 0o600)
    throws(CNIError) -> Int32
  {
    let descriptor = try create(temporary, with: bytes, mode: mode)
    guard rename(temporary, path) == 0 else {
      let error = failure("rename", path)
      close(descriptor)
      unlink(temporary)
      throw error
    }
    return descriptor
  }

  /// Writes a file that may replace another, or that others start as a program: beside its place, synced, closed, renamed. A
  /// power cut leaves the one or the other.
  static func replace(_ path: String, temporary: String, with bytes: [UInt8], mode: mode_t = 0o600)
    throws(CNIError)
  {
    let descriptor = try create(temporary, with: bytes, mode: mode)
    let isSynced = fsync(descriptor) == 0
    let cause = errno
    close(descriptor)
    errno = cause
    guard isSynced, rename(temporary, path) == 0 else {
      let error = failure(isSynced ? "rename" : "sync", path)
      unlink(temporary)
      throw error
    }
  }

  /// A new file, open for writing, with everything in it.
  private static func create(_ path: String, with bytes: [UInt8], mode: mode_t) throws(CNIError) -> Int32 {
    let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode)
    guard descriptor >= 0 else { throw failure("create", path) }
    do throws(CNIError) { try writeAll(descriptor, bytes, name: path) } catch {
      close(descriptor)
      unlink(path)
      throw error
    }
    return descriptor
  }

  /// When something in the folder was added, renamed or removed last, in nanoseconds; 0 when it cannot be said.
  static func changed(_ folder: String) -> UInt64 {
    var status = stat()
    return stat(folder, &status) == 0 ? changed(status) : 0
  }

  private static func changed(_ status: stat) -> UInt64 {
    UInt64(truncatingIfNeeded: status.st_mtim.tv_sec) &* 1_000_000_000
      &+ UInt64(truncatingIfNeeded: status.st_mtim.tv_nsec)
  }

  /// Makes a folder and those above it.
  static func makeFolder(_ path: String, mode: mode_t = 0o700) throws(CNIError) {
    if mkdir(path, mode) == 0 || errno == EEXIST { return }
    guard errno == ENOENT, let slash = path.lastIndex(of: "/"), slash != path.startIndex else {
      throw failure("create", path)
    }
    try makeFolder(String(path[..<slash]), mode: mode)
    if mkdir(path, mode) != 0, errno != EEXIST { throw failure("create", path) }
  }

  /// The names in a folder, without `.` and `..`; none when there is no folder.
  static func names(in path: String) throws(CNIError) -> [String] {
    guard let folder = opendir(path) else {
      if errno == ENOENT { return [] }
      throw failure("list", path)
    }
    defer { closedir(folder) }
    var names: [String] = []
    while let entry = readdir(folder) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name != ".", name != ".." { names.append(name) }
    }
    return names
  }

  static func failure(_ action: String, _ path: String) -> CNIError {
    let number = errno
    return CNIError(
      number == ENOSPC || number == EMFILE || number == ENFILE ? .tryAgainLater : .inputOutput,
      "cannot \(action) \(path)", details: String(cString: strerror(number)))
  }
}

/// An exclusive lock on a file, held until the value ends or the process dies.
struct FileLock: ~Copyable {
  private let descriptor: Int32

  /// Waiting for others ends after this long.
  static let waitMillisecondsMax = 10_000

  init(_ path: String) throws(CNIError) {
    let opened = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
    guard opened >= 0 else { throw Files.failure("open", path) }
    // Short waits first: the holder needs a tenth of a millisecond.
    var (waited, pause) = (0, 50)
    while flock(opened, LOCK_EX | LOCK_NB) != 0 {
      guard errno == EWOULDBLOCK || errno == EINTR else {
        let error = Files.failure("lock", path)
        close(opened)
        throw error
      }
      guard waited < Self.waitMillisecondsMax * 1000 else {
        close(opened)
        throw CNIError(
          .tryAgainLater, "\(path) is locked by another call",
          details: "`fuser -v \(path)` shows by which process")
      }
      usleep(UInt32(pause))
      waited += pause
      pause = min(pause * 2, 1000)
    }
    descriptor = opened
  }

  /// Gives the lock up before the value ends; to be used with `defer`, which keeps the value alive that long.
  func release() { flock(descriptor, LOCK_UN) }

  deinit { close(descriptor) }
}
