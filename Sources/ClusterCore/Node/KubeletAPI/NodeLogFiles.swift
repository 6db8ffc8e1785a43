// `/logs/PATH`: the files below the node's log folder. Each step of a path is opened from the one before and never
// through a link, so nothing outside can be named.

import CLinux
import ClusterStreams
import Glibc
import NIOCore

enum NodeLogFiles {
  static let depthMax = 16
  static let entriesMax = 10_000

  static func answer(_ root: String, _ path: [String]) -> NodeAnswer {
    guard path.count <= depthMax,
      !path.contains(where: { $0 == ".." || $0 == "." || $0.contains("/") || $0.utf8.contains(0) })
    else { return .text(404, "404 page not found") }
    var descriptor = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    for name in path {
      guard descriptor >= 0 else { break }
      let next = openat(descriptor, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
      close(descriptor)
      descriptor = next
    }
    guard descriptor >= 0 else { return .text(404, "404 page not found") }
    var info = stat()
    guard fstat(descriptor, &info) == 0 else {
      close(descriptor)
      return .text(404, "404 page not found")
    }
    switch info.st_mode & S_IFMT {
    case S_IFDIR: return list(descriptor)
    case S_IFREG:
      let file = OpenFile(descriptor)
      return .body(contentType: "text/plain; charset=utf-8") { body in
        while let bytes = file.next() { try await body.write(bytes) }
      }
    default:
      close(descriptor)
      return .text(404, "404 page not found")
    }
  }

  private static func list(_ descriptor: Int32) -> NodeAnswer {
    guard let folder = fdopendir(descriptor) else {
      close(descriptor)
      return .text(404, "404 page not found")
    }
    defer { closedir(folder) }
    var names: [String] = []
    while let entry = readdir(folder), names.count < entriesMax {
      let isFolder = entry.pointee.d_type == UInt8(DT_DIR)
      let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
        String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      if name != ".", name != ".." { names.append(isFolder ? name + "/" : name) }
    }
    var text = "<pre>\n"
    for name in names.sorted() {
      let shown = name.replacing("&", with: "&amp;").replacing("<", with: "&lt;").replacing(
        "\"", with: "&quot;")
      text += "<a href=\"\(shown)\">\(shown)</a>\n"
    }
    return .bytes(200, contentType: "text/html; charset=utf-8", ByteBuffer(string: text + "</pre>\n"))
  }
}

/// A descriptor read piece by piece, closed with its last owner. Read by one task.
private final class OpenFile: Sendable {
  private let descriptor: Int32
  init(_ descriptor: Int32) { self.descriptor = descriptor }
  deinit { close(descriptor) }

  func next() -> [UInt8]? {
    let piece = [UInt8](unsafeUninitializedCapacity: 64 << 10) { buffer, count in
      count = max(Glibc.read(descriptor, buffer.baseAddress, buffer.count), 0)
    }
    return piece.isEmpty ? nil : piece
  }
}
