// Routes: the API's own table of paths, precedence, planning from objects, and the codec under mutation.

import Addresses
import ClusterObjects
import ClusterView
import Testing

@testable import Ingress

@Suite struct RouteTests {
  /// The examples of the Ingress documentation, one line each: kind, rule, request, whether it matches.
  @Test(arguments: [
    ("Prefix", "/", "/any/path", true), ("Exact", "/foo", "/foo", true), ("Exact", "/foo", "/bar", false),
    ("Exact", "/foo", "/foo/", false), ("Exact", "/foo/", "/foo", false), ("Prefix", "/foo", "/foo", true),
    ("Prefix", "/foo", "/foo/", true), ("Prefix", "/foo/", "/foo", true), ("Prefix", "/foo/", "/foo/", true),
    ("Prefix", "/aaa/bb", "/aaa/bbb", false), ("Prefix", "/aaa/bbb", "/aaa/bbb", true),
    ("Prefix", "/aaa/bbb/", "/aaa/bbb", true), ("Prefix", "/aaa/bbb", "/aaa/bbb/", true),
    ("Prefix", "/aaa/bbb", "/aaa/bbb/ccc", true), ("Prefix", "/aaa/bbb", "/aaa/bbbxyz", false),
    ("Exact", "/Foo", "/foo", false), ("Prefix", "/Foo", "/foo", false), ("Prefix", "/foo", "/", false),
  ])
  func `a path matches as the API says`(kind: String, rule: String, request: String, matches: Bool) {
    let table = RouteTable(
      backends: [backend("a")],
      hosts: [RouteHost(name: "", paths: [RoutePath(path: rule, isExact: kind == "Exact", backend: 0)])])
    #expect((table.match(host: "x", path: request) != nil) == matches)
  }

  private func backend(_ service: String) -> RouteBackend {
    RouteBackend(namespace: "n", ingress: "i", service: service, servicePort: "80", endpoints: [])
  }

  @Test func `the longest path wins, and exact before prefix of one length`() {
    let paths = [
      RoutePath(path: "/", isExact: false, backend: 0), RoutePath(path: "/aaa", isExact: false, backend: 1),
      RoutePath(path: "/aaa/bbb", isExact: false, backend: 2),
      RoutePath(path: "/aaa/bbb", isExact: true, backend: 3),
    ]
    let table = RouteTable(
      backends: (0..<4).map { backend("\($0)") }, hosts: [RouteHost(name: "h", paths: paths)])
    for (path, expected) in [("/ccc", 0), ("/aaa/ccc", 1), ("/aaa/bbb/", 2), ("/aaa/bbb", 3)] {
      #expect(table.match(host: "h", path: path)?.backend == expected)
    }
  }

  @Test
  func `exact hosts come before wildcards, wildcards cover one label, the rest goes to rules without host`() {
    let hosts = ["a.foo.com", "*.foo.com", ""].enumerated().map {
      RouteHost(name: $1, paths: [RoutePath(path: "/", isExact: false, backend: $0)])
    }
    let table = RouteTable(backends: (0..<3).map { backend("\($0)") }, hosts: hosts)
    for (host, expected) in [
      ("a.foo.com", 0), ("A.FOO.com:8080", 0), ("a.foo.com.", 0), ("b.foo.com", 1), ("B.Foo.Com:1", 1),
      ("c.b.foo.com", 2), ("foo.com", 2), (".foo.com", 2), ("", 2), ("[::1]:80", 2), ("[::1]", 2),
    ] { #expect(table.match(host: host, path: "/")?.backend == expected, "\(host)") }
  }

  @Test func `five thousand hosts are all found`() {
    let names = (0..<5000).map { "host-\($0).example" }
    let table = RouteTable(
      backends: names.map(backend),
      hosts: names.enumerated().map {
        RouteHost(name: $1, paths: [RoutePath(path: "/", isExact: false, backend: $0)])
      })
    for (index, name) in names.enumerated() { #expect(table.match(host: name, path: "/")?.backend == index) }
    #expect(table.match(host: "host-5000.example", path: "/") == nil)
  }

  // MARK: - Planning

  private func ingress(
    _ name: String, created: String = "2026-01-01T00:00:00Z", className: String? = "weft", _ spec: JSON
  ) -> JSON {
    var spec = spec
    if let className { spec["ingressClassName"] = JSON(className) }
    return [
      "kind": "Ingress", "spec": spec,
      "metadata": ["name": JSON(name), "namespace": "demo", "creationTimestamp": JSON(created)],
    ]
  }

  private func rule(_ host: String, _ path: String, _ service: String, port: JSON = ["number": 80]) -> JSON {
    [
      "host": JSON(host),
      "http": [
        "paths": [
          [
            "path": JSON(path), "pathType": "Prefix",
            "backend": ["service": ["name": JSON(service), "port": port]],
          ]
        ]
      ],
    ]
  }

  private let basics: [JSON] = [
    ["kind": "IngressClass", "metadata": ["name": "weft"], "spec": ["controller": "weft.dev/ingress"]],
    ["kind": "IngressClass", "metadata": ["name": "other"], "spec": ["controller": "example.com/other"]],
    [
      "kind": "Service", "metadata": ["name": "web", "namespace": "demo"],
      "spec": [
        "clusterIP": "10.43.0.9",
        "ports": [["name": "http", "port": 80, "targetPort": 8080], ["name": "admin", "port": 81]],
      ],
    ],
    [
      "kind": "EndpointSlice", "addressType": "IPv4",
      "metadata": [
        "name": "web-1", "namespace": "demo", "labels": ["kubernetes.io/service-name": "web"],
      ],
      "ports": [
        ["name": "http", "port": 8080, "protocol": "TCP"],
        ["name": "admin", "port": 9090, "protocol": "TCP"],
      ],
      "endpoints": [
        ["addresses": ["10.42.0.2"], "conditions": ["ready": true]],
        ["addresses": ["10.42.0.3"], "conditions": ["ready": false]],
      ],
    ],
  ]

  private func endpoints(_ table: RouteTable, _ host: String, _ path: String = "/") -> [String]? {
    table.match(host: host, path: path).map { table.backends[$0.backend].endpoints.map(\.description) }
  }

  @Test func `rules lead to the ready endpoints of a Service port, by number or name`() {
    let view = ClusterView(
      objects: basics + [
        ingress(
          "web",
          [
            "rules": [
              rule("web.demo", "/", "web"), rule("web.demo", "/admin", "web", port: ["name": "admin"]),
              rule("lost.demo", "/", "missing"), rule("port.demo", "/", "web", port: ["number": 99]),
            ],
            "defaultBackend": ["service": ["name": "web", "port": ["number": 81]]],
          ])
      ])
    let plan = planRoutesExplained(view: view)
    #expect(endpoints(plan.table, "web.demo") == ["10.42.0.2:8080"])
    #expect(endpoints(plan.table, "web.demo", "/admin/x") == ["10.42.0.2:9090"])
    #expect(endpoints(plan.table, "nobody") == ["10.42.0.2:9090"])
    #expect(endpoints(plan.table, "lost.demo") == [])
    #expect(
      plan.problems.map(\.description) == [
        "ingress demo/web: service demo/missing does not exist",
        "ingress demo/web: service demo/web has no TCP port 99",
      ])
    #expect(planRoutes(view: view) == plan.table)
  }

  @Test func `only Ingresses of our classes are served, and those without one if ours is the default`() {
    let spec: (String) -> JSON = { ["rules": [rule($0, "/", "web")]] }
    var view = ClusterView(
      objects: basics + [
        ingress("ours", spec("ours.x")), ingress("theirs", className: "other", spec("theirs.x")),
        ingress("unknown", className: "nothing", spec("unknown.x")),
        ingress("none", className: nil, spec("none.x")),
      ])
    func served(_ unclassed: Bool = false) -> [String] {
      planRoutesExplained(view: view, servesUnclassed: unclassed).served.map(\.name)
    }
    #expect(served() == ["ours"])
    #expect(served(true) == ["none", "ours"])
    view.apply([
      "kind": "IngressClass", "spec": ["controller": "weft.dev/ingress"],
      "metadata": [
        "name": "weft", "annotations": ["ingressclass.kubernetes.io/is-default-class": "true"],
      ],
    ])
    #expect(served() == ["none", "ours"])
  }

  @Test func `hosts of several Ingresses merge and the oldest claim of a path wins`() {
    let view = ClusterView(
      objects: basics + [
        ingress(
          "young", created: "2026-02-01T00:00:00Z",
          ["rules": [rule("h", "/", "web"), rule("h", "/b", "web")]]),
        ingress("old", ["rules": [rule("h", "/", "missing")]]),
      ])
    let plan = planRoutesExplained(view: view)
    #expect(endpoints(plan.table, "h") == [])
    #expect(endpoints(plan.table, "h", "/b") == ["10.42.0.2:8080"])
    #expect(
      plan.problems.contains {
        $0.description == "ingress demo/young: h/ is already served by ingress demo/old"
      })
  }

  // MARK: - Codec

  private var sample: RouteTable {
    RouteTable(
      backends: [
        RouteBackend(
          namespace: "demo", ingress: "web", service: "web", servicePort: "http",
          endpoints: [SocketEndpoint("10.42.0.2:8080"), SocketEndpoint("[fd00::2]:8080")].compactMap { $0 }),
        backend("other"),
      ],
      hosts: [
        RouteHost(
          name: "*.foo.com",
          paths: [
            RoutePath(path: "/a", isExact: true, backend: 1),
            RoutePath(path: "/", isExact: false, backend: 0),
          ]), RouteHost(name: "", paths: []),
      ], defaultBackend: 1)
  }

  @Test func `a table survives its encoding`() throws {
    #expect(try RouteTable(encoded: sample.encoded()) == sample)
    #expect(try RouteTable(encoded: RouteTable().encoded()) == RouteTable())
  }

  @Test(arguments: [1, 2, 3]) func `damaged encodings are refused or read, never trapped on`(seed: UInt64) {
    let good = sample.encoded()
    for length in 0..<good.count {
      #expect(throws: RouteTableUnreadable.self) { try RouteTable(encoded: Array(good[..<length])) }
    }
    var random = Random(seed)
    var refused = 0
    for _ in 0..<5000 {
      var bytes = good
      for _ in 0...random.next(3) { bytes[random.next(bytes.count)] = UInt8(random.next(256)) }
      do {
        let table = try RouteTable(encoded: bytes)
        _ = table.match(host: "a.foo.com", path: "/a/b")
      } catch { refused += 1 }
    }
    #expect(refused > 100)
  }
}

/// xorshift: the same numbers for the same seed.
struct Random {
  private var state: UInt64
  init(_ seed: UInt64) { state = seed &* 0x9e37_79b9_7f4a_7c15 | 1 }
  mutating func next(_ bound: Int) -> Int {
    state ^= state << 13
    state ^= state >> 7
    state ^= state << 17
    return Int(state % UInt64(bound))
  }
}
