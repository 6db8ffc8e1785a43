// Where the data plane of this network namespace has its files, for commands that are started beside it.

import Addresses
import DataPlane
import Diagnostics
import Glibc

/// One small file for each network namespace that is a node: written at start, removed at the end, gone with a reboot.
struct NodeNote: Sendable, Hashable {
  var dataFolder: String
  var nodeName: String
  /// Where its sockets and the runtime's files are.
  var runFolder: String
  /// How its pods reach those of other nodes, and the blocks that pods of the cluster have.
  var network: NetworkMode
  var clusterBlocks: [IPPrefix]

  static let folder = "/run/weft-nodes"
  static let bytesMax = 8192

  /// Named after the namespace's inode; nil where there is no /proc.
  private static var path: String? {
    var status = stat()
    guard stat("/proc/thread-self/ns/net", &status) == 0 else { return nil }
    return "\(folder)/\(status.st_ino)"
  }

  /// Without it those commands have to be told: nothing else depends on it.
  func write() {
    guard let path = Self.path, let file = absolute(dataFolder), let run = absolute(runFolder) else {
      return
    }
    mkdir(Self.folder, 0o755)
    let blocks = clusterBlocks.map(\.description).joined(separator: ",")
    var text = "\(file)\n\(nodeName)\n\(run)\n\(network.rawValue)\n\(blocks)\n"
    let descriptor = open("\(path).new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0o644)
    guard descriptor >= 0 else { return }
    let count = text.withUTF8 { Glibc.write(descriptor, $0.baseAddress, $0.count) }
    close(descriptor)
    if count == text.utf8.count { rename("\(path).new", path) } else { unlink("\(path).new") }
  }

  static func remove() {
    guard let path else { return }
    unlink(path)
    rmdir(folder)
  }

  /// Of the namespace that this process is in; nil when none is there or it is not root's.
  static func read() -> NodeNote? {
    guard let path else { return nil }
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0, status.st_uid == 0 else { return nil }
    var bytes = [UInt8](repeating: 0, count: bytesMax)
    let count = Glibc.read(descriptor, &bytes, bytes.count)
    guard count > 0 else { return nil }
    let lines = String(decoding: bytes.prefix(count), as: UTF8.self).split(separator: "\n")
    guard lines.count == 5, lines[0].hasPrefix("/"), lines[2].hasPrefix("/"),
      let network = NetworkMode(rawValue: String(lines[3]))
    else { return nil }
    return NodeNote(
      dataFolder: String(lines[0]), nodeName: String(lines[1]), runFolder: String(lines[2]),
      network: network, clusterBlocks: lines[4].split(separator: ",").compactMap { IPPrefix(String($0)) })
  }

  /// Where the sockets of the node process are: as was said, else as who runs in this network namespace has noted, else where they are
  /// by default.
  static func runFolder(_ given: String?) -> String { given ?? read()?.runFolder ?? "/run/weft" }

  private func absolute(_ path: String) -> String? {
    guard let resolved = realpath(path, nil) else { return nil }
    defer { free(resolved) }
    return String(cString: resolved)
  }
}
