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

  /// Writes a file so that it is there whole or not at all: beside it, synced, renamed.
  static func replace(_ path: String, temporary: String, with bytes: [UInt8], mode: mode_t = 0o600)
    throws(CNIError)
  {
    let descriptor = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode)
    guard descriptor >= 0 else { throw failure("create", temporary) }
    do throws(CNIError) {
      defer { close(descriptor) }
      try writeAll(descriptor, bytes, name: temporary)
      guard fsync(descriptor) == 0 else { throw failure("sync", temporary) }
    } catch {
      unlink(temporary)
      throw error
    }
    guard rename(temporary, path) == 0 else {
      let error = failure("rename", path)
      unlink(temporary)
      throw error
    }
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

  /// Waiting for others ends after this long; the holder needs well under a millisecond.
  static let waitMillisecondsMax = 10_000

  init(_ path: String) throws(CNIError) {
    let opened = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
    guard opened >= 0 else { throw Files.failure("open", path) }
    var waited = 0
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
      usleep(200)
      waited += 200
    }
    descriptor = opened
  }

  /// Gives the lock up before the value ends; to be used with `defer`, which keeps the value alive that long.
  func release() { flock(descriptor, LOCK_UN) }

  deinit { close(descriptor) }
}
