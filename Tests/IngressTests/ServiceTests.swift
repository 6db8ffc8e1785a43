// The ingress as a service that drops nothing: routes change under load, and one data plane takes over from another. `make soak` runs
// the long form: 1,000 edits under 2,000 requests a second and 200 WebSockets, and a million connections over many upgrades.

import Addresses
import CLinux
import Diagnostics
import Glibc
import Reactor
import SoakLab
import Synchronization
import Testing

@testable import Ingress

/// A route for everything, and those of edit number `edit`: one comes, one goes, endpoints change places.
private func routes(_ edit: Int, _ endpoints: [SocketEndpoint]) -> RouteTable {
  let turned = endpoints.indices.map { endpoints[($0 + edit) % endpoints.count] }
  var backends = [
    RouteBackend(namespace: "demo", ingress: "web", service: "web", servicePort: "80", endpoints: turned)
  ]
  var paths = [RoutePath(path: "/", isExact: false, backend: 0)]
  for index in 0..<20 {
    let number = edit + index
    backends.append(
      RouteBackend(
        namespace: "demo", ingress: "edit-\(number)", service: "web", servicePort: "80",
        endpoints: [turned[index % 2]]))
    paths.append(RoutePath(path: "/edit/\(number)", isExact: false, backend: index + 1))
  }
  return RouteTable(backends: backends, hosts: [RouteHost(name: "", paths: paths)])
}

@Suite(.serialized) struct ServiceTests {
  @Test func `route edits under load fail no request and close no socket`() throws {
    let backends = try (0..<3).map { try Backend("b\($0)") }
    // The last one comes and goes.
    let endpoints = backends.map(\.endpoint)
    let port = try SharedPort()
    let plane = try port.start(routes(0, endpoints))
    let sockets = try OpenSockets(port.endpoint, count: Soak.rounds(40, long: 200))
    let edits = Soak.rounds(60, long: 1000)
    let load = try PacedLoad(
      port.endpoint, threads: 4, perSecond: Soak.rounds(400, long: 2000)
    ) { $0 % 3 == 0 ? "/edit/\(edits + 5)" : "/large/1024" }
    let pause: UInt32 = Soak.isLong ? 20_000 : 5_000
    // Quiet for as long as the edits last.
    #expect(eventually { load.count > Soak.rounds(100, long: 20_000) })
    let quiet = load.take()
    for edit in 1...edits {
      try plane.feeder.send(routes(edit, Array(endpoints.prefix(edit % 4 == 0 ? 2 : 3))))
      if edit % 20 == 0 { #expect(sockets.broken(edit) == 0) }
      usleep(pause)
    }
    let busy = load.stop()
    #expect(sockets.broken(edits + 1) == 0)
    #expect(busy.bad.isEmpty, "\(busy.bad)")
    #expect(quiet.bad.isEmpty, "\(quiet.bad)")
    #expect(busy.good > 0)
    // Nothing older than the last edit is in force.
    #expect(Client(port.endpoint).get("/edit/\(edits)")?.status == 200)
    Soak.report(
      "\(edits) route edits: \(busy.good) requests, none failed; p99 \(busy.quantile(0.99)) us, quiet \(quiet.quantile(0.99)) us"
    )
    plane.stop()
    for backend in backends { backend.kill() }
  }

  @Test func `a data plane takes over without a refused connection, a failed request or a closed socket`()
    throws
  {
    let backend = try Backend("b")
    let port = try SharedPort()
    let table = everything(to: [backend.endpoint])
    // The first one keeps its sockets until the end.
    var plane = try port.start(table, leave: .seconds(7200))
    let sockets = try OpenSockets(port.endpoint, count: 20)
    // Half on new connections, half on ones that are kept.
    let new = try PacedLoad(
      port.endpoint, threads: 2, perSecond: Soak.rounds(200, long: 4000), reconnects: true)
    let kept = try PacedLoad(port.endpoint, threads: 2, perSecond: Soak.rounds(100, long: 1000))
    var left: [RunningPlane] = []
    for round in 0..<Soak.rounds(3, long: 200) {
      let before = new.count
      #expect(eventually { new.count > before + Soak.rounds(20, long: 5000) })
      let next = try port.start(table)
      plane.feeder.leave()
      left.append(plane)
      plane = next
      #expect(sockets.broken(round) == 0)
    }
    let before = new.count
    #expect(eventually { new.count > before + 20 })
    let (fresh, old) = (new.stop(), kept.stop())
    #expect(fresh.bad.isEmpty && old.bad.isEmpty, "\(fresh.bad) \(old.bad)")
    // Whoever has no socket left has gone; the first one, which has, has not.
    for each in left.dropFirst() { #expect(each.wait() == "ended") }
    #expect(sockets.broken(1000) == 0)
    Soak.report(
      "\(left.count) upgrades: \(fresh.good) connections, none refused; \(old.good) requests on kept ones")
    plane.stop()
    withExtendedLifetime(left) {}
    backend.kill()
    #expect(left.first?.wait() == "ended")
  }

  @Test
  func `connections of HTTP 2 are told before they end, and streams that were on their way are answered`()
    throws
  {
    let backend = try Backend("b")
    let port = try SharedPort()
    let table = everything(to: [backend.endpoint])
    let first = try port.start(table, workers: 1)
    let client = FrameClient(port.endpoint)
    client.get(1)
    #expect(client.answer(1)?.status == 200)
    let second = try port.start(table, workers: 1)
    first.feeder.leave()
    let notice = try #require(client.next(7))
    // All streams that may come, no error.
    #expect(notice.payload.prefix(4) == big(UInt32(Int32.max))[...] && notice.error == HTTP2Error.none)
    client.get(3)
    #expect(client.answer(3)?.status == 200)
    let last = try #require(client.next(7))
    #expect(last.payload.prefix(4) == big(3)[...] && last.error == HTTP2Error.none)
    #expect(first.wait() == "ended")
    second.stop()
    backend.kill()
  }

  @Test func `words that are none end the plane with a code`() throws {
    for frame in [DataPlaneWord.magic + Array("nonsense".utf8), DataPlaneWord.magic, [1, 2, 3]] {
      #expect(throws: RouteTableUnreadable.self) { try DataPlaneWord(frame: frame) }
    }
    for word in DataPlaneWord.allCases { #expect(try DataPlaneWord(frame: word.frame) == word) }
  }
}
