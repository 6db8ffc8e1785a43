// T-I7: many certificates beside each other: everybody gets their own, and a handshake does not wait for the number of them.

import Addresses
import Foundation
import Glibc
import Reactor
import SoakLab
import Testing

@testable import Ingress

@Suite(.serialized) struct CertificateCrowdTests {
  /// Handshakes with these names: who answered, and how long each took, in microseconds.
  private func shake(_ ingress: TestIngress, _ names: [String], root: String) throws -> [(
    name: String, time: Int
  )] {
    let output = ingress.python(Self.script, root, names.joined(separator: ","))
    guard output.status == 0 else { throw ToolFailed(text: "\(output)") }
    return output.text.split(separator: "\n").compactMap { line in
      let words = line.split(separator: " ")
      return words.count == 2 ? Int(words[1]).map { (String(words[0]), $0) } : nil
    }
  }

  @Test func `each of many names is served with its own certificate, as fast as one alone`() throws {
    let authority = try Authority()
    // Making one takes openssl some milliseconds; names are many more than certificates.
    let made = try (0..<Soak.rounds(20, long: 1000)).map {
      try authority.issue("n\($0).test", "*.w\($0).test")
    }
    let count = Soak.rounds(2_000, long: 10_000)
    var names: [TLSName] = []
    for index in 0..<count {
      let owner = index % made.count
      names.append(
        TLSName(index < made.count ? "n\(index).test" : "x\(index).w\(owner).test", .certificate(owner)))
    }
    let one = TLSTable(certificates: [made[0]], names: [names[0]])
    let ingress = try TestIngress(RouteTable(), tls: one)
    defer { ingress.stop() }
    let asked = Soak.rounds(60, long: 1000)
    let alone = try shake(ingress, Array(repeating: "n0.test", count: asked), root: authority.root)
    try ingress.install(TLSTable(certificates: made, names: names))
    ingress.settle()
    let wanted = (0..<asked).map { index -> String in
      let at = index * 37 % count
      return at < made.count ? "n\(at).test" : "x\(at).w\(at % made.count).test"
    }
    let crowd = try shake(ingress, wanted, root: authority.root)
    // The client has verified name and chain.
    #expect(crowd.map(\.name) == wanted)
    func quantile(_ all: [(name: String, time: Int)]) -> Int {
      let sorted = all.map(\.time).sorted()
      return sorted.isEmpty ? 0 : sorted[sorted.count * 99 / 100]
    }
    if Soak.isLong { #expect(quantile(crowd) <= 2 * quantile(alone)) }
    Soak.report(
      "\(count) names, \(made.count) certificates: handshake p99 \(quantile(crowd)) us, alone \(quantile(alone)) us"
    )
  }

  private static let script = """
    import socket, ssl, sys, time
    context = ssl.create_default_context(cafile=sys.argv[2])
    for name in sys.argv[3].split(","):
        raw = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=20)
        begin = time.monotonic()
        with context.wrap_socket(raw, server_hostname=name):
            print(name, int((time.monotonic() - begin) * 1e6))
    """
}
