// A server of a Corefile beside an upstream of the test: what users write, and what they see.

import Addresses
import ClusterView
import Diagnostics
import Testing

@testable import DNS

/// Serves a block with these lines and the fixture's cluster; `UPSTREAM` in them is the address of a `TinyUpstream`.
func withLines<Result>(
  _ lines: String, files: [String: String] = [:], log: QueryLogger = QueryLogger(), threads: Int = 1,
  _ body: (UInt16, TinyUpstream, Metrics) throws -> Result
) throws -> Result {
  let upstream = try TinyUpstream()
  defer { upstream.stop() }
  let text =
    ".:53 {\n kubernetes cluster.local in-addr.arpa {\n  fallthrough in-addr.arpa\n }\n\(lines)\n}"
    .replacing("UPSTREAM", with: "127.0.0.1:\(upstream.port)")
  var corefile = try Corefile.read(text) { files[$0] }
  corefile.server.threads = threads
  let zone = planZone(view: ClusterView(objects: Fixture.objects), settings: try #require(corefile.zone))
  let metrics = Metrics()
  let server = DNSServer(settings: corefile.server, zone: zone, metrics: metrics, queryLogger: log)
  try server.start(listen: [freeEndpoint()])
  defer { server.stop() }
  return try body(server.endpoints[0].port, upstream, metrics)
}

extension Metrics {
  /// The number of a series as a page has it, labels in their order; nil when there is none.
  func series(_ name: String) -> Double? {
    text().split(separator: "\n").first { $0.hasPrefix(name + " ") }.flatMap { line in
      line.split(separator: " ").last.flatMap { Double($0) }
    }
  }
}

/// Seconds of each record of a section, which the arguments name.
func ttls(_ port: UInt16, _ arguments: String) -> [Int] {
  dig(port, "+noall \(arguments)").split(separator: "\n").compactMap {
    $0.split(whereSeparator: \.isWhitespace).dropFirst().first.flatMap { Int($0) }
  }
}

/// Seconds of the first record of an answer.
func firstTTL(_ port: UInt16, _ name: String) -> Int? {
  ttls(port, "+answer \(name)").first
}
