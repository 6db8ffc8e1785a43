// What only etcd has: certificates, members that go away, keys of other people, claims, leases.

import ClusterStore
import ClusterStoreEtcd
import Diagnostics
import SoakLab
import StoreLab
import Testing

@Suite(.serialized, .timeLimit(.minutes(5))) struct EtcdStoreTests {
  @Test(arguments: [
    ("https://a:2379", "https://a:2379"), ("http://127.0.0.1", "http://127.0.0.1:2379"),
    ("https://[::1]:99/", "https://[::1]:99"), ("https://", ""), ("ftp://a", ""), ("https://a:0", ""),
    ("https://a:x", ""), ("a:2379", ""), ("https://a/b", ""), ("https://[::1", ""), ("https://a:1:2", ""),
  ])
  func `addresses of members are read`(text: String, shown: String) {
    #expect(EtcdEndpoint(text).map(\.description) ?? "" == shown)
  }

  @Test func `random text is an address or none`() {
    var random = SeededGenerator(seed: 3)
    let pieces = ["https://", "http://", "[", "]", ":", "/", "a", "1", "::1", ",", "é", "\u{0}", "65536"]
    for _ in 0..<2000 {
      let text = (0..<Int.random(in: 0..<6, using: &random)).map { _ in
        pieces.randomElement(using: &random) ?? ""
      }.joined()
      if let found = EtcdEndpoint(text) { #expect(EtcdEndpoint(found.description) == found) }
      _ = try? EtcdStoreSettings(store: "etcd:" + text)
    }
  }

  @Test func `an etcd that is not there is named with the command that helps`() async throws {
    var settings = try EtcdStoreSettings(store: "etcd:http://127.0.0.1:\(freePort())")
    settings.patience = .milliseconds(300)
    settings.callTimeout = .milliseconds(200)
    let error = await #expect(throws: WeftError.self) {
      try await EtcdStore(settings: settings, metrics: Metrics())
    }
    #expect(error?.code == "STO0010")
    #expect(error?.next.contains("etcdctl --endpoints") == true)
  }

  @Test(arguments: EtcdServer.Version.allCases)
  func `certificates open the door, and their lack is told`(version: EtcdServer.Version) async throws {
    try await withScratch { folder in
      try Certificates.make(in: folder)
      let server = try EtcdServer(version, secure: true, certificates: folder)
      for host in ["127.0.0.1", "localhost"] {
        var settings = try EtcdStoreSettings(store: "etcd:https://\(host):\(server.clientPort)")
        settings.authorityFile = folder + "/ca.crt"
        settings.certificateFile = folder + "/client.crt"
        settings.keyFile = folder + "/client.key"
        let store = try await EtcdStore(settings: settings, metrics: Metrics())
        let revision = try await store.create("/registry/\(host)", [1])
        #expect(try await store.get("/registry/\(host)")?.revision == revision)
        await store.shutdown()
        settings.certificateFile = nil
        settings.keyFile = nil
        settings.patience = .milliseconds(300)
        settings.callTimeout = .milliseconds(300)
        let error = await #expect(throws: WeftError.self) {
          try await EtcdStore(settings: settings, metrics: Metrics())
        }
        #expect(["STO0010", "STO0012"].contains(error?.code))
      }
      server.remove()
    }
  }

  @Test func `a member that does not answer is passed over`() async throws {
    let server = try EtcdServer.shared(.newer)
    try await withScratch { folder in
      var settings = try server.settings(prefix: folder)
      settings.endpoints.insert(try #require(EtcdEndpoint("http://127.0.0.1:\(try freePort())")), at: 0)
      // For the member that answers too, which may wait for its disk.
      settings.callTimeout = .seconds(3)
      let store = try await EtcdStore(settings: settings, metrics: Metrics())
      let revision = try await store.create("/a", [1])
      #expect(try await store.get("/a")?.revision == revision)
      await store.shutdown()
    }
  }

  @Test(arguments: EtcdServer.Version.allCases)
  func `other people's keys do not hold up who reads the latest`(version: EtcdServer.Version) async throws {
    try await withScratch { folder in
      let server = try EtcdServer.shared(version)
      let ours = try await server.open(prefix: folder + "/ours")
      let theirs = try await server.open(prefix: folder + "/theirs")
      let watch = try await ours.watch(prefix: "", after: try await ours.latestRevision(), queueMax: 1000)
      for index in 0..<5 {
        _ = try await theirs.create("/\(index)", [1])
        let latest = try await ours.latestRevision()
        var seen: Revision = 0
        let waiting = Waiting("revision \(latest) beside other people's keys")
        while seen < latest, let events = try await waiting.next(watch) {
          seen = events.last?.revision ?? seen
        }
        #expect(seen >= latest)
      }
      watch.cancel()
      await ours.shutdown()
      await theirs.shutdown()
    }
  }

  @Test(arguments: EtcdServer.Version.allCases)
  func `a claim has one holder, and comes and goes with it`(version: EtcdServer.Version) async throws {
    try await withScratch { folder in
      let store = try await EtcdServer.shared(version).open(prefix: folder)
      let one = try await store.create("/one", [1], claims: StoreClaims(claiming: ["ip/1", "port/1"]))
      let refused = await #expect(throws: StoreError.self) {
        try await store.create("/two", [1], claims: StoreClaims(claiming: ["ip/2", "ip/1"]))
      }
      guard case .claimed("ip/1", "/one") = refused else {
        Issue.record("\(String(describing: refused))")
        return
      }
      #expect(try await store.get("/two") == nil)
      let two = try await store.create("/two", [1], claims: StoreClaims(claiming: ["ip/2"]))
      await #expect(throws: StoreError.self) {
        try await store.update(
          "/two", [2], expecting: two, claims: StoreClaims(claiming: ["port/1"], releasing: ["ip/2"]))
      }
      let next = try await store.update(
        "/one", [2], expecting: one, claims: StoreClaims(claiming: ["ip/3"], releasing: ["ip/1"]))
      _ = try await store.update(
        "/two", [2], expecting: two, claims: StoreClaims(claiming: ["ip/1"], releasing: ["ip/2"]))
      _ = try await store.delete("/one", expecting: next, claims: StoreClaims(releasing: ["ip/3", "port/1"]))
      _ = try await store.create("/three", [1], claims: StoreClaims(claiming: ["ip/2", "ip/3", "port/1"]))
      await store.shutdown()
    }
  }

  @Test(arguments: EtcdServer.Version.allCases)
  func `what stands on a term is refused by the store once another has begun`(version: EtcdServer.Version)
    async throws
  {
    try await withScratch { folder in
      let server = try EtcdServer.shared(version)
      let (one, other) = (try await server.open(prefix: folder), try await server.open(prefix: folder))
      let first = StoreTerm(name: "leases/x", value: "0 one")
      let second = StoreTerm(name: "leases/x", value: "1 other")
      func refuses(_ body: () async throws -> Revision) async throws {
        let error = await #expect(throws: StoreError.self) { try await body() }
        guard case .ended(first) = error else {
          Issue.record("\(String(describing: error))")
          return
        }
      }
      // One that never began is over too.
      try await refuses { try await one.create("/a", [1], claims: StoreClaims(during: first)) }
      let lease = try await one.create("/lease", [1], claims: StoreClaims(beginning: first))
      let made = try await one.create("/a", [1], claims: StoreClaims(claiming: ["ip/1"], during: first))
      let changed = try await one.update("/a", [2], expecting: made, claims: StoreClaims(during: first))
      // A renewal is no end.
      let renewed = try await one.update(
        "/lease", [2], expecting: lease, claims: StoreClaims(beginning: first))
      let last = try await one.update("/a", [3], expecting: changed, claims: StoreClaims(during: first))
      let taken = try await other.update(
        "/lease", [3], expecting: renewed, claims: StoreClaims(beginning: second))
      try await refuses { try await one.create("/b", [1], claims: StoreClaims(during: first)) }
      try await refuses {
        try await one.create("/b", [1], claims: StoreClaims(claiming: ["ip/1"], during: first))
      }
      try await refuses { try await one.create("/a", [1], claims: StoreClaims(during: first)) }
      try await refuses {
        try await one.update("/a", [4], expecting: last, claims: StoreClaims(during: first))
      }
      try await refuses {
        try await one.update("/a", [4], expecting: made, claims: StoreClaims(during: first))
      }
      try await refuses { try await one.delete("/a", expecting: last, claims: StoreClaims(during: first)) }
      #expect(try await other.get("/b") == nil)
      #expect(try await other.get("/a")?.value == [3])
      // Who stands on no term, or on the present one, writes.
      let free = try await one.update("/a", [5], expecting: last)
      let led = try await other.update("/a", [6], expecting: free, claims: StoreClaims(during: second))
      _ = try await other.delete("/lease", expecting: taken, claims: StoreClaims(ending: "leases/x"))
      await #expect(throws: StoreError.self) {
        try await other.delete("/a", expecting: led, claims: StoreClaims(during: second))
      }
      #expect(try await one.get("/a")?.value == [6])
      await one.shutdown()
      await other.shutdown()
    }
  }

  @Test func `keys with a lifetime go by themselves, and watchers are told`() async throws {
    let server = try EtcdServer(.newer)
    var settings = try server.settings(prefix: "/t")
    settings.ephemeral = [EphemeralRule(prefix: "/events/", entriesMax: 0, lifetimeSeconds: 1)]
    settings.leaseSlackSeconds = 0
    let store = try await EtcdStore(settings: settings, metrics: Metrics())
    let made = try await store.create("/events/a", [1])
    _ = try await store.create("/kept/a", [1])
    let watch = try await store.watch(prefix: "", after: made, queueMax: 100)
    var gone: StoreEvent?
    let waiting = Waiting("the end of a key with a lifetime of a second")
    while gone == nil, let events = try await waiting.next(watch) {
      gone = events.first { $0.kind == .delete }
    }
    #expect(gone?.key == "/events/a")
    #expect(try await store.get("/kept/a") != nil)
    await store.shutdown()
    server.remove()
  }
}
