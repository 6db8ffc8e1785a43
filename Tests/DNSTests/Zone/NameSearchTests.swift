// What `weft dns query` shows: the names that a resolver asks for, in its order, and the first that is an answer.

import Testing

@testable import DNS

@Suite struct NameSearchTests {
  private let zone = Fixture.zone

  private func search() throws -> NameSearch {
    NameSearch(namespace: "demo", zone: try #require(DomainName("cluster.local")))
  }

  private func cells(_ name: String, _ type: RecordType = .a) throws -> [[String]] {
    try search().steps(name, type, in: zone).map(\.cells)
  }

  @Test func `a short name is found at the first ending`() throws {
    #expect(
      try cells("web") == [
        ["web.demo.svc.cluster.local.", "records", "service demo/web has 1 A record"]
      ])
  }

  @Test func `each denial is a row, and the last name is someone else's`() throws {
    #expect(
      try cells("wbe.demo") == [
        [
          "wbe.demo.demo.svc.cluster.local.", "NXDOMAIN",
          "service demo/demo has no such name: it does not exist, or it is headless and no endpoint is ready",
        ],
        [
          "wbe.demo.svc.cluster.local.", "NXDOMAIN",
          "service demo/wbe has no such name: it does not exist, or it is headless and no endpoint is ready",
        ],
        [
          "wbe.demo.cluster.local.", "NXDOMAIN",
          "name wbe.demo.cluster.local. does not exist in cluster.local.",
        ],
        [
          "wbe.demo.", "forwarded", "wbe.demo. is not in cluster.local.: it is asked of the upstream servers",
        ],
      ])
    #expect(
      try cells("web.demo.svc.cluster.local.", .aaaa) == [
        ["web.demo.svc.cluster.local.", "no data", "service demo/web has no AAAA records"]
      ])
  }

  @Test func `a name of many dots is asked for first as it stands, a closed one alone`() throws {
    #expect(try search().candidates("a.b.c.d.e.f").first == DomainName("a.b.c.d.e.f"))
    #expect(try search().candidates("a.b.c.d.e").last == DomainName("a.b.c.d.e"))
    #expect(try search().candidates("a.b").count == 4)
    #expect(try search().candidates("a.b.") == [DomainName("a.b")])
    let own = NameSearch(endings: [DomainName("example.org")].compactMap(\.self), dots: 1)
    #expect(own.candidates("www") == [DomainName("www.example.org"), DomainName("www")])
    #expect(own.candidates("www.a").first == DomainName("www.a"))
    // Where an ending makes a name too long, that one is left out.
    let long = Array(repeating: "abcdefghi", count: 25).joined(separator: ".")
    #expect(try search().candidates(long) == [DomainName(long)])
  }
}
