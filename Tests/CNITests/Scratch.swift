// A temporary folder.
import SoakLab

@testable import CNI

/// A folder of one test; removed with everything in it when the test ends.
final class Scratch {
  let path: String
  init() throws {
    path = try ScratchFolder.make("cni")
  }
  deinit { ScratchFolder.remove(path) }

  static func names(in path: String) -> [String] { (try? Files.names(in: path)) ?? [] }
  static func read(_ path: String) -> [UInt8] { (try? Files.read(path)) ?? [] }
}
