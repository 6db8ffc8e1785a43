// T-I4 with endpoints that people have: nginx, HAProxy, Go's server, Node's parser and Python's. Each is sent all streams through the
// ingress, and each has to count as many requests as the client gets answers: then they agree with each other too.

import Addresses
import Foundation
import Testing

@testable import Ingress

@Suite(.serialized) struct DesyncPeerTests {
  @Test(arguments: ["nginx", "haproxy", "go", "llhttp", "aiohttp", "python"])
  func `an endpoint that people have counts as many requests as the client gets answers`(name: String) throws
  {
    let streams = DesyncStreams.all
    let server = try CountingServer.named(name)
    let ingress = try TestIngress(everything(to: [server.endpoint]), limits: DesyncStreams.limits)
    defer {
      ingress.stop()
      server.stop()
    }
    let clients = streams.enumerated().map { number, stream in
      DesyncStreams.send(stream, number + 1000, to: ingress.endpoint)
    }
    let answers = clients.map(DesyncStreams.statuses)
    // Programs write their lines when they come to it.
    let wanted = answers.reduce(0) { $0 + $1.count { $0 == "200" } }
    #expect(wanted > 100, "\(wanted)")
    _ = eventually { server.seen().filter { $0.key >= 1000 }.values.reduce(0, +) >= wanted }
    let seen = server.seen()
    for (number, statuses) in answers.enumerated() {
      let stream = streams[number].debugDescription
      let count = seen[number + 1000] ?? 0
      // Each request that was seen has its own answer; besides there is at most a refusal of ours, the last one. (An endpoint may
      // refuse too: nginx does not like an empty Host.)
      let isAgreed = count == statuses.count || (count == statuses.count - 1 && statuses.last != "200")
      #expect(isAgreed && !statuses.isEmpty, "\(name) \(count) \(statuses): \(stream)")
    }
  }
}
