// Whose certificate a name gets, and what a broken one harms: planning alone, with real certificates.

import Addresses
import ClusterObjects
import ClusterView
import FuzzLab
import Testing

@testable import Ingress

@Suite struct TLSPlanTests {
  private let authority: Authority
  init() throws { authority = try Authority() }

  private func ingress(
    _ namespace: String, _ name: String, age: Int, hosts: [String], tls: [([String], String)],
    annotations: [String: String] = [:]
  ) -> JSON {
    let entries = tls.map { hosts, secret -> JSON in
      ["hosts": .array(hosts.map { JSON($0) }), "secretName": JSON(secret)]
    }
    let rules = hosts.map { host -> JSON in
      [
        "host": JSON(host),
        "http": [
          "paths": [
            [
              "path": "/", "pathType": "Prefix",
              "backend": ["service": ["name": "web", "port": ["number": 80]]],
            ]
          ]
        ],
      ]
    }
    var marks: JSON = [:]
    for (key, value) in annotations { marks["nginx.ingress.kubernetes.io/\(key)"] = JSON(value) }
    return [
      "kind": "Ingress",
      "metadata": [
        "name": JSON(name), "namespace": JSON(namespace), "annotations": marks,
        "creationTimestamp": JSON("20\(50 - age)-01-01T00:00:00Z"),
      ],
      "spec": ["ingressClassName": "weft", "rules": .array(rules), "tls": .array(entries)],
    ]
  }

  private func plan(
    _ objects: [JSON], _ secrets: [ObjectKey: TLSSecret], defaultSecret: ObjectKey? = nil
  ) -> RoutePlan {
    let view = ClusterView(
      objects: [
        ["kind": "IngressClass", "metadata": ["name": "weft"], "spec": ["controller": "weft.dev/ingress"]]
      ] + objects)
    return planRoutesExplained(
      view: view, tls: TLSInput(secrets: secrets, defaultSecret: defaultSecret))
  }

  /// The Secret whose certificate a name is served with.
  private func secret(_ plan: RoutePlan, _ secrets: [ObjectKey: TLSSecret], _ name: String) -> String? {
    var fallback: Int? = plan.tls.defaultCertificate
    let index = HostIndex(plan.tls.names.map(\.name))
    let found = Array(name.utf8).withUnsafeBytes { index.find(host: $0) }
    if let found, case .certificate(let at) = plan.tls.names[found].action { fallback = at }
    return fallback.flatMap { at in
      secrets.first { $0.value.certificate == plan.tls.certificates[at] }?.key.description
    }
  }

  private func redirects(_ plan: RoutePlan, _ host: String) -> Bool? {
    plan.table.match(host: host, path: "/").map {
      $0.host >= 0 && plan.table.hosts[$0.host].paths[$0.path].redirectsToHTTPS
    }
  }

  private func problems(_ plan: RoutePlan) -> [String] {
    plan.problems.filter { $0.topic == .certificate }.map(\.description)
  }

  @Test func `hosts get the certificates of their Ingress, by entry or by rule, and redirect`() throws {
    let secrets = [
      ObjectKey("a", "one"): TLSSecret(try authority.issue("one.test", "two.test")),
      ObjectKey("a", "default"): TLSSecret(try authority.issue("default.test")),
    ]
    let plan = plan(
      [
        ingress("a", "named", age: 9, hosts: ["one.test", "plain.test"], tls: [(["ONE.test"], "one")]),
        ingress("a", "by-rules", age: 8, hosts: ["two.test", "three.test"], tls: [([], "one")]),
        ingress(
          "a", "stays", age: 7, hosts: ["four.test"], tls: [(["four.test"], "")],
          annotations: ["ssl-redirect": "false"]),
        ingress(
          "a", "forced", age: 6, hosts: ["five.test"], tls: [], annotations: ["force-ssl-redirect": "true"]),
      ], secrets, defaultSecret: ObjectKey("a", "default"))
    #expect(problems(plan).isEmpty, "\(problems(plan))")
    for (host, name, redirect) in [
      ("one.test", "a/one", true), ("plain.test", "a/default", false), ("two.test", "a/one", true),
      ("three.test", "a/default", false), ("four.test", "a/default", false), ("five.test", "a/default", true),
      ("nobody.test", "a/default", nil),
    ] as [(String, String, Bool?)] {
      #expect(secret(plan, secrets, host) == name, "\(host)")
      #expect(redirects(plan, host) == redirect, "\(host)")
    }
    #expect(plan.certificates.map(\.hosts) == [["one.test", "two.test"], ["_"]])
  }

  @Test func `a certificate of one namespace is never served for a host that another claimed first`() throws {
    let secrets = [
      ObjectKey("thief", "own"): TLSSecret(try authority.issue("bank.test", "*.bank.test")),
      ObjectKey("bank", "own"): TLSSecret(try authority.issue("late.bank.test")),
      ObjectKey("old", "wild"): TLSSecret(try authority.issue("*.shared.test")),
    ]
    let plan = plan(
      [
        ingress("bank", "web", age: 9, hosts: ["bank.test", "pay.bank.test"], tls: []),
        ingress(
          "thief", "web", age: 8, hosts: ["bank.test", "*.bank.test"],
          tls: [(["bank.test", "*.bank.test", "pay.bank.test"], "own")]),
        // After the wildcard: what it covers may be served with it, an own certificate comes before it.
        ingress("bank", "later", age: 7, hosts: ["new.bank.test"], tls: []),
        ingress("bank", "secured", age: 6, hosts: ["late.bank.test"], tls: [(["late.bank.test"], "own")]),
      ], secrets)
    #expect(secret(plan, secrets, "bank.test") == nil)
    #expect(secret(plan, secrets, "pay.bank.test") == nil)
    #expect(secret(plan, secrets, "other.bank.test") == "thief/own")
    #expect(secret(plan, secrets, "new.bank.test") == "thief/own")
    #expect(secret(plan, secrets, "late.bank.test") == "bank/own")
    #expect(redirects(plan, "bank.test") == false && redirects(plan, "pay.bank.test") == false)
    #expect(
      problems(plan)
        == ["bank.test", "pay.bank.test"].map {
          "ingress thief/web: tls: \($0) was claimed first by ingress bank/web of another namespace"
        })
  }

  @Test func `a broken certificate harms its own Ingress alone`() throws {
    let good = try authority.issue("good.test")
    let other = try authority.issue("other.test")
    func broken(_ change: (inout TLSCertificate) -> Void) -> TLSSecret {
      var copy = good
      change(&copy)
      return TLSSecret(copy)
    }
    let secrets: [ObjectKey: TLSSecret] = [
      ObjectKey("n", "good"): TLSSecret(good),
      ObjectKey("n", "text"): broken { $0.chain = Array("no certificate".utf8) },
      ObjectKey("n", "cut"): broken { $0.chain.removeLast(200) },
      ObjectKey("n", "key"): broken { $0.key = other.key },
      ObjectKey("n", "no-key"): broken { $0.key = [] },
      ObjectKey("n", "name"): TLSSecret(other),
      ObjectKey("n", "empty"): TLSSecret(secret: ["data": ["tls.crt": "", "tls.key": "eA=="]]),
      ObjectKey("n", "base64"): TLSSecret(secret: ["data": ["tls.crt": "***", "tls.key": "eA=="]]),
    ]
    let names = ["text", "cut", "key", "no-key", "name", "empty", "base64", "missing"]
    let plan = plan(
      [ingress("n", "good", age: 9, hosts: ["good.test"], tls: [(["good.test"], "good")])]
        + names.map { ingress("n", $0, age: 8, hosts: ["\($0).test"], tls: [(["\($0).test"], $0)]) }, secrets)
    #expect(secret(plan, secrets, "good.test") == "n/good" && redirects(plan, "good.test") == true)
    for name in names {
      #expect(secret(plan, secrets, "\(name).test") == nil && redirects(plan, "\(name).test") == false)
    }
    let told = Dictionary(
      uniqueKeysWithValues: plan.problems.filter { $0.topic == .certificate }.map {
        ($0.ingress.name, $0.reason)
      })
    #expect(told.count == names.count)
    for (name, words) in [
      ("text", "tls.crt is no PEM certificate"), ("cut", "tls.crt is no PEM certificate"),
      ("key", "is not the key of the first certificate"), ("no-key", "tls.key is no PEM private key"),
      ("name", "the certificate of secret n/name is not for name.test"), ("empty", "it has no tls.crt"),
      ("base64", "its tls.crt is not base64"), ("missing", "secret n/missing does not exist"),
    ] { #expect(told[name]?.contains(words) == true, "\(name): \(told[name] ?? "-")") }
  }

  @Test func `only Secrets that our Ingresses name are to be read`() {
    let other: JSON = [
      "kind": "Ingress", "metadata": ["name": "theirs", "namespace": "x"],
      "spec": ["ingressClassName": "other", "tls": [["hosts": ["x.test"], "secretName": "theirs"]]],
    ]
    let view = ClusterView(objects: [
      ["kind": "IngressClass", "metadata": ["name": "weft"], "spec": ["controller": "weft.dev/ingress"]],
      other,
      ingress("a", "web", age: 1, hosts: ["a.test"], tls: [(["a.test"], "one"), (["b.test"], "")]),
    ])
    #expect(
      planSecretReferences(view: view, defaultSecret: ObjectKey("d", "s")) == [
        ObjectKey("a", "one"), ObjectKey("d", "s"),
      ])
  }

  @Test func `what is left of a certificate is told in days`() throws {
    let loaded = try LoadedCertificate(try authority.issue("a.test", days: 20))
    let served = ServedCertificate(
      ingress: nil, secret: ObjectKey("a", "b"), hosts: [], notAfter: loaded.notAfter)
    let now = loaded.notBefore
    #expect(served.expires(withinDays: 30, of: now) && !served.expires(withinDays: 20, of: now))
    #expect(served.expires(withinDays: 20, of: now + 1))
    #expect(served.expires(withinDays: 0, of: loaded.notAfter + 1))
  }

  @Test func `redirects are planned only where somebody listens for https`() throws {
    let view = ClusterView(objects: [
      ["kind": "IngressClass", "metadata": ["name": "weft"], "spec": ["controller": "weft.dev/ingress"]],
      ingress(
        "a", "web", age: 1, hosts: ["a.test"], tls: [(["a.test"], "")],
        annotations: ["force-ssl-redirect": "true"]),
    ])
    let plan = planRoutesExplained(view: view)
    #expect(redirects(plan, "a.test") == false && plan.tls == TLSTable())
  }

  // MARK: - Frames

  @Test(arguments: [1, 2, 3] as [UInt64])
  func `damaged frames of certificates are refused or read, never trapped on`(seed: UInt64) throws {
    let certificate = try authority.issue("a.test")
    let table = TLSTable(
      certificates: [certificate], names: [TLSName("a.test", .certificate(0)), TLSName("*.b", .fallback)],
      defaultCertificate: 0,
      ports: [
        TLSPort(443, names: [TLSName("c", .fallback)], defaultCertificate: 0, shares: true),
        TLSPort(8443, names: [TLSName("*.d", .certificate(0))]),
        TLSPort(8443, addresses: [IPAddress("192.0.2.1")!], names: [TLSName("e", .certificate(0))]),
      ])
    let frames = [TLSTable.frame(id: 7, certificate), table.frame(ids: [7])]
    var receiver = TLSReceiver()
    #expect(try receiver.take(frames[0]) == nil)
    #expect(try receiver.take(frames[1]) != nil && receiver.unreadable == 0)
    for (index, frame) in frames.enumerated() {
      for length in 4..<min(frame.count, 64) {
        #expect(throws: RouteTableUnreadable.self) {
          var copy = receiver
          _ = try copy.take(Array(frame[..<length]))
        }
      }
      var refused = 0
      for bytes in mutations(of: frame, count: index == 0 ? 200 : 2000, seed: seed) {
        var copy = receiver
        do {
          let loaded = try copy.take(bytes)
          _ = Array("a.test".utf8).withUnsafeBytes { loaded?.certificate(for: $0, at: ListenerPlace(443)) }
        } catch { refused += 1 }
      }
      #expect(refused > 10)
    }
    // A table that names what never came is refused.
    #expect(throws: RouteTableUnreadable.self) { _ = try receiver.take(table.frame(ids: [8])) }
  }

  @Test func `names of a port go before those of every port, for any number of labels`() throws {
    let authority = authority
    let certificates = try ["one.test", "two.test", "three.test"].map { try authority.issue($0) }
    let table = TLSTable(
      certificates: certificates,
      names: [TLSName("shared.test", .certificate(0)), TLSName("*.test", .certificate(0))],
      defaultCertificate: 0,
      ports: [
        TLSPort(
          443, names: [TLSName("a.test", .certificate(1)), TLSName("*.deep.test", .certificate(1))],
          shares: true),
        TLSPort(8443, names: [TLSName("a.test", .certificate(2))], defaultCertificate: 1),
        TLSPort(8443, addresses: [IPAddress("192.0.2.1")!], names: [TLSName("a.test", .certificate(0))]),
      ])
    let loaded = try loaded(table)
    func found(_ name: String, _ port: UInt16, at address: String = "192.0.2.9") throws -> Int? {
      let place = ListenerPlace(port, IPAddress(address))
      let certificate = try #require(
        Array(name.utf8).withUnsafeBytes { loaded.certificate(for: $0, at: place) })
      return ["one.test", "two.test", "three.test"].firstIndex { certificate.isFor(host: $0) }
    }
    #expect(try found("a.test", 443) == 1)
    #expect(try found("x.y.deep.test", 443) == 1)
    #expect(try found("shared.test", 443) == 0)
    #expect(try found("nobody.org", 443) == 0)
    #expect(try found("a.test", 8443) == 2)
    #expect(try found("shared.test", 8443) == 1, "this port shares nothing")
    #expect(try found("a.test", 80) == 0, "a port without names of its own")
    #expect(try found("a.test", 8443, at: "192.0.2.1") == 0, "an address with names of its own")
    let place = ListenerPlace(8443, IPAddress("192.0.2.1"))
    #expect(loaded.distinct(place) == place)
    #expect(loaded.distinct(ListenerPlace(443, IPAddress("192.0.2.1"))) == ListenerPlace(443))
    #expect(loaded.distinct(ListenerPlace(8443, IPAddress("192.0.2.9"))) == ListenerPlace(8443))
  }
}
