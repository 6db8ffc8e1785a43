// The file of a snapshot: written whole beside the old one and put in its place, read with a bound.

import ClusterView
import Diagnostics
import Glibc

/// Where the last known names lie.
public struct SnapshotFile: Sendable {
  /// A file that is larger is not written, and not read.
  public static let bytesMax = 256 << 20
  public let path: String

  public init(_ path: String) { self.path = path }

  /// Puts a snapshot in the file's place: whoever reads sees the old one or the new one, whole. Makes the folder when it is missing.
  /// - Throws: `DNS0030` when it cannot be written; the old one stays.
  public func write(_ snapshot: NameSnapshot) throws(WeftError) {
    makeFolder()
    let temporary = "\(path).\(getpid()).new"
    unlink(temporary)
    let file = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard file >= 0 else { throw unwritable(reason) }
    defer { close(file) }
    do throws(WeftError) {
      var total = 0
      try snapshot.write { piece throws(WeftError) in
        total += piece.count
        guard total <= Self.bytesMax else { throw unwritable("larger than \(Self.bytesMax) octets") }
        var written = 0
        while written < piece.count {
          let count = piece[written...].withUnsafeBytes { Glibc.write(file, $0.baseAddress, $0.count) }
          if count < 0, errno == EINTR { continue }
          guard count > 0 else { throw unwritable(reason) }
          written += count
        }
      }
      guard fsync(file) == 0, rename(temporary, path) == 0 else { throw unwritable(reason) }
    } catch {
      unlink(temporary)
      throw error
    }
  }

  /// The snapshot of this cluster; nil when there is no file.
  /// - Parameters:
  ///   - cluster: the API server whose names are asked for; another's are refused.
  ///   - wants: what the book must have been kept with.
  /// - Throws: `DNS0031` when the file is damaged, cut, of another cluster or cannot be read.
  public func read(cluster: String, wants: NameBook.Wants) throws(WeftError) -> NameSnapshot? {
    let file = open(path, O_RDONLY | O_CLOEXEC)
    if file < 0, errno == ENOENT { return nil }
    guard file >= 0 else { throw unusable(reason) }
    defer { close(file) }
    var reader = NameSnapshotReader(wants: wants)
    var chunk = [UInt8](repeating: 0, count: 128 << 10)
    var total = 0
    do throws(SnapshotError) {
      while true {
        let count = Glibc.read(file, &chunk, chunk.count)
        if count < 0, errno == EINTR { continue }
        guard count >= 0 else { throw SnapshotError(description: reason) }
        if count == 0 { break }
        total += count
        guard total <= Self.bytesMax else {
          throw SnapshotError(description: "larger than \(Self.bytesMax) octets")
        }
        var failure: SnapshotError?
        chunk.withUnsafeBufferPointer { bytes in
          do throws(SnapshotError) {
            try reader.feed(UnsafeBufferPointer(rebasing: bytes[..<count]))
          } catch { failure = error }
        }
        if let failure { throw failure }
      }
      let snapshot = try reader.end()
      guard snapshot.cluster == cluster else {
        throw SnapshotError(description: "it is of another cluster, \(snapshot.cluster)")
      }
      return snapshot
    } catch {
      throw unusable(error.description)
    }
  }

  private func makeFolder() {
    var at = path.startIndex
    while let slash = path[at...].firstIndex(of: "/") {
      at = path.index(after: slash)
      if slash > path.startIndex { mkdir(String(path[..<slash]), 0o700) }
    }
  }

  private var reason: String { String(cString: strerror(errno)) }

  private func unwritable(_ cause: String) -> WeftError {
    WeftError(
      "DNS0030", object: path, cause: "the last known names cannot be kept: \(cause)",
      next: "choose another file with --snapshot, or none")
  }

  private func unusable(_ cause: String) -> WeftError {
    WeftError(
      "DNS0031", object: path, cause: "the last known names are passed over: \(cause)",
      next: "nothing needs to be done: the file is written anew once the API server has answered")
  }
}
