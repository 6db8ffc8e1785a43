// Which addresses of this machine other nodes and outside hosts know it by, and what it is called.

import Addresses
import Diagnostics
import Glibc
import KernelNetlink

enum NodeAddress {
  /// Every address of this machine, without loopback, link-local ones and those of our own bridge.
  static func all(besides bridge: String) throws(WeftError) -> [IPAddress] {
    do {
      var session = try RouteSession()
      let own = try session.links().first { $0.name == bridge }?.index
      return try session.addresses().filter { $0.index != own }.map(\.value.address).filter { address in
        switch address {
        case .v4(let four): !four.isLoopback && !four.isLinkLocal
        case .v6(let six): !six.isLoopback && !six.isLinkLocal
        }
      }
    } catch {
      throw WeftError(
        "NET0004", object: "this machine's addresses", cause: "cannot be read (\(error))",
        next: "look at: ip addr",
        exit: .unreachable, underlying: error)
    }
  }

  /// The machine's name as a node name: lower case, as RFC 1123 allows.
  static var hostName: String {
    var buffer = [CChar](repeating: 0, count: 256)
    gethostname(&buffer, 255)
    let name = String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
      .lowercased()
    let kept = name.filter { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "-" || $0 == ".") }
    return kept.isEmpty ? "node" : String(kept.prefix(63))
  }
}
