// Services that come, change and go while the server answers: each change is in the very next answer, beside a plain list of what
// should be there.

import Addresses
import ClusterObjects
import ClusterView
import Diagnostics
import SoakLab
import Testing

@testable import DNS

@Suite(.serialized, .timeLimit(.minutes(20))) struct NameChangesTests {
  /// What the cluster should answer, kept without any of the zone's code.
  private struct Expected {
    var addresses: Set<String> = []
    var isThere = false
  }

  /// Twenty changes a second for an hour are 72,000; the short form has 2,000.
  @Test func `an hour of changes, one after the other, is answered as a plain list has it`() throws {
    var random = SeededGenerator(seed: Soak.seed)
    var view = ClusterView()
    view.apply(["kind": "Namespace", "metadata": ["name": "demo"]])
    var planner = ZonePlanner(settings: Fixture.settings)
    var expected: [String: Expected] = [:]
    let count = Soak.rounds(2000, long: 72_000)
    var wrong: [String] = []
    try withServer(zone: planner.plan(view.takeChanges())) { server, port in
      let client = try QueryClient(port)
      for step in 0..<count where wrong.count < 10 {
        let name = "s\(Int.random(in: 0..<300, using: &random))"
        let key = ObjectKey("demo", name)
        var now = Expected()
        view.remove(kind: "EndpointSlice", ObjectKey("demo", "\(name)-ipv4"))
        switch Int.random(in: 0..<4, using: &random) {
        case 0: view.remove(kind: "Service", key)
        case 1:
          let address = "10.43.\(step / 250 % 250).\(step % 250)"
          view.apply(Fixture.service(name, ["clusterIP": JSON(address), "ports": Fixture.http]))
          now = Expected(addresses: [address], isThere: true)
        default:
          view.apply(Fixture.service(name, ["clusterIP": "None", "ports": Fixture.http]))
          let last = (1...6).filter { _ in Bool.random(using: &random) }
          view.apply(
            Fixture.slice(
              name, "IPv4", last.map { Fixture.endpoint("10.42.\(step % 250).\($0)", ready: $0 != 6) }))
          let ready = last.filter { $0 != 6 }
          now = Expected(
            addresses: Set(ready.map { "10.42.\(step % 250).\($0)" }), isThere: !ready.isEmpty)
        }
        expected[name] = now
        server.swapZone(planner.plan(view.takeChanges()))
        // The one that changed, and another that did not.
        for asked in [name, expected.keys.randomElement(using: &random) ?? name] {
          let question = DomainName("\(asked).demo.svc.cluster.local") ?? .root
          let reply = client.ask(Message(query: question, .a, id: UInt16(truncatingIfNeeded: step)))
          let found = Set((reply?.answer ?? []).map { ResourceText.data($0) })
          let should = expected[asked] ?? Expected()
          let isRight =
            found == should.addresses && reply?.code == (should.isThere ? .noError : .nameError)
          if !isRight { wrong.append("step \(step), \(asked): \(found) \(String(describing: reply?.code))") }
        }
      }
    }
    #expect(wrong.isEmpty, "seed \(Soak.seed): \(wrong)")
    Soak.report("names: \(count) changes of Services, each asked for at once, \(wrong.count) wrong answers")
  }
}
