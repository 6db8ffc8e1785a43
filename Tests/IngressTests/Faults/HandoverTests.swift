// What one program leaves another: the line of text, and descriptors that are duplicates of the same streams.

import Addresses
import FuzzLab
import Glibc
import Reactor
import Testing

@testable import Ingress

@Suite struct HandoverTests {
  private func sample() throws -> ListenerHandover {
    var handed = ListenerHandover()
    handed.http[try #require(SocketEndpoint("0.0.0.0:80"))] = 7
    handed.https[try #require(SocketEndpoint("[::]:443"))] = 8
    for (raw, transport) in [(9, TransportProtocol.tcp), (10, .udp)] as [(Int32, TransportProtocol)] {
      let endpoint = try #require(SocketEndpoint("192.0.2.1:5\(raw)"))
      handed.opened[IngressListener(endpoint, transport: transport, serves: .streams)] = raw
    }
    handed.planes = [
      ListenerHandover.Plane(pid: 4711, feeder: 11, metrics: 12),
      ListenerHandover.Plane(pid: 4712, feeder: nil, metrics: 13),
      ListenerHandover.Plane(pid: 4713, feeder: nil, metrics: nil),
    ]
    handed.replacements = 5
    return handed
  }

  @Test func `a line says all and is read as it was written`() throws {
    let handed = try sample()
    #expect(ListenerHandover(handed.text) == handed)
    #expect(Set(handed.descriptors) == Set(7...13))
    #expect(ListenerHandover(ListenerHandover().text) == ListenerHandover())
  }

  @Test(arguments: [
    "", "2", "1 ", "1 http", "1 http=", "1 http=7", "1 http=7,nowhere", "1 http=-7,0.0.0.0:80",
    "1 http=2,0.0.0.0:80", "1 http=99999999999,0.0.0.0:80", "1 http=7,0.0.0.0:80 https=7,0.0.0.0:443",
    "1 open=7,99,1,0.0.0.0:80", "1 open=7,6,99,0.0.0.0:80", "1 open=7,6,1", "1 plane=1,2",
    "1 plane=0,11,12", "1 plane=5,-2,12", "1 plane=5,1,12", "1 replaced=x", "1 other=7",
  ])
  func `a line that another version or somebody else wrote is refused`(line: String) {
    #expect(ListenerHandover(line) == nil)
  }

  @Test func `damaged lines are refused or name descriptors that are nobody's streams`() throws {
    let bytes = Array(try sample().text.utf8)
    for damaged in mutations(of: bytes, count: 4000, seed: 3) {
      guard let handed = ListenerHandover(String(decoding: damaged, as: UTF8.self)) else { continue }
      #expect(handed.descriptors.allSatisfy { $0 > 2 })
      #expect(ListenerHandover(handed.text) == handed)
    }
    #expect(ListenerHandover("1 " + String(repeating: "x", count: 200_000)) == nil)
  }

  @Test func `a data plane serves on over a duplicate of its stream, and leaves when told over that`() throws
  {
    let backend = try Backend("b")
    let port = try SharedPort()
    let plane = try port.start(everything(to: [backend.endpoint]))
    let copy = try #require(plane.feeder.duplicate())
    // The program before is gone with all of its descriptors.
    plane.feeder.close()
    #expect(plane.feeder.duplicate() == nil)
    #expect(Client(port.endpoint).get("/")?.status == 200)
    IngressFeeder(Descriptor(owning: copy)).leave()
    #expect(plane.wait() == "ended")
    backend.kill()
  }
}
