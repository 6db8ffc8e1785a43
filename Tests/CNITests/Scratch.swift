// A temporary folder.
import Glibc
import Testing

@testable import CNI

/// A folder of one test; removed with everything in it when the test ends.
final class Scratch {
  let path: String
  init() throws {
    var template = Array("/tmp/weft-cni-XXXXXX".utf8CString)
    let made = template.withUnsafeMutableBufferPointer { mkdtemp($0.baseAddress!) != nil }
    try #require(made)
    path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
  deinit { Self.remove(path) }
  private static func remove(_ path: String) {
    for name in (try? Files.names(in: path)) ?? [] {
      let child = "\(path)/\(name)"
      if unlink(child) != 0 { remove(child) }
    }
    rmdir(path)
  }

  static func names(in path: String) -> [String] { (try? Files.names(in: path)) ?? [] }
  static func read(_ path: String) -> [UInt8] { (try? Files.read(path)) ?? [] }
}
