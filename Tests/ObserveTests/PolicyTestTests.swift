// `weft policy test`: what is expected, of manifests that nothing runs yet.
import ClusterObjects
import Diagnostics
import FuzzLab
import Observe
import Testing

private func workload(_ kind: String, _ name: String, _ app: String, port: Int = 8080) -> JSON {
  let template: JSON = [
    "metadata": ["labels": ["app": JSON(app)]],
    "spec": ["containers": [["name": "c", "ports": [["name": "http", "containerPort": JSON(port)]]]]],
  ]
  let spec: JSON =
    kind == "CronJob" ? ["jobTemplate": ["spec": ["template": template]]] : ["template": template]
  return ["kind": JSON(kind), "metadata": ["name": JSON(name), "namespace": "shop"], "spec": spec]
}

private let objects: [JSON] = [
  ["kind": "Namespace", "metadata": ["name": "shop"]],
  workload("Deployment", "web", "web"), workload("StatefulSet", "db", "db", port: 5432),
  workload("CronJob", "report", "report"),
  [
    "kind": "Pod", "metadata": ["name": "probe", "namespace": "watch", "labels": ["app": "probe"]],
    "spec": ["containers": [["name": "c"]]],
  ],
  [
    "kind": "Service", "metadata": ["name": "web", "namespace": "shop"],
    "spec": ["selector": ["app": "web"], "ports": [["name": "web", "port": 80, "targetPort": "http"]]],
  ],
  [
    "kind": "Service", "metadata": ["name": "nothing", "namespace": "shop"],
    "spec": ["selector": ["app": "none"], "ports": [["port": 80]]],
  ],
  [
    "kind": "NetworkPolicy", "metadata": ["name": "db", "namespace": "shop"],
    "spec": [
      "podSelector": ["matchLabels": ["app": "db"]],
      "ingress": [["from": [["podSelector": ["matchLabels": ["app": "web"]]]], "ports": [["port": 5432]]]],
    ],
  ],
  [
    "kind": "NetworkPolicy", "metadata": ["name": "web", "namespace": "shop"],
    "spec": [
      "podSelector": ["matchLabels": ["app": "web"]],
      "ingress": [
        [
          "from": [
            ["namespaceSelector": ["matchLabels": ["kubernetes.io/metadata.name": "watch"]]],
            ["ipBlock": ["cidr": "203.0.113.0/24"]],
          ], "ports": [["port": "http"]],
        ]
      ],
    ],
  ],
]

private func results(_ text: String) throws -> [PolicyTestResult] {
  PolicyTest(objects).run(try PolicyExpectation.read(text, file: "f", namespace: "default"))
}

@Test(arguments: [
  "allow shop/web shop/db:5432", "deny shop/report shop/db:5432", "deny shop/web shop/db:5433",
  "deny shop/web shop/db:5432/UDP", "allow watch/probe svc/shop/web:80", "allow watch/probe shop/web:http",
  "allow watch/probe shop/web:8080", "deny watch/probe shop/web:80", "allow 203.0.113.7 svc/shop/web:web",
  "deny 198.51.100.7 svc/shop/web:80", "allow shop/db 198.51.100.7:443", "allow shop/web shop/web:1",
])
func `an expectation that holds, and its opposite that does not`(line: String) throws {
  let opposite =
    line.hasPrefix("allow") ? "deny" + line.dropFirst("allow".count) : "allow" + line.dropFirst("deny".count)
  let both = try results("\(line)\n\(opposite)")
  #expect(both.map(\.hasPassed) == [true, false], "\(both.map(\.reason))")
}

@Test func `a result names the policy that decided, or what is missing`() throws {
  let found = try results(
    """
    # the database
    deny  shop/web  shop/db:5432   # wrong

    allow shop/report shop/db:5432
    allow shop/gone shop/db:5432
    allow shop/web svc/shop/nothing:80
    allow shop/web svc/shop/web:81
    """)
  #expect(found.map(\.expectation.line) == [2, 4, 5, 6, 7])
  #expect(found.allSatisfy { !$0.hasPassed })
  #expect(found[0].reason == "shop/db: allowed by shop/db, ingress rule 0")
  #expect(found[1].reason == "shop/db: denied, no ingress rule of shop/db lets it through")
  #expect(found[2].reason == "there is no pod, workload or Service shop/gone")
  #expect(found[3].reason == "nothing stands behind Service shop/nothing with port 80")
  #expect(found[4].reason == "there is no Service shop/web with port 81")
}

@Test(arguments: [
  ("permit a/b c/d:80", "begins with \"permit\""), ("allow a/b", "has 1 ends"),
  ("allow a/b c/d:80 e", "has 3 ends"),
  ("allow a/b c/d", "names no port"), ("allow a/b c/d:0", "cannot be read"),
  ("allow a//b c/d:80", "cannot be read"),
])
func `a line that cannot be read is named by its number`(line: String, cause: String) {
  let error = #expect(throws: WeftError.self) { try results("# first\n\(line)") }
  #expect(error?.object == "f:2")
  #expect(error?.cause.contains(cause) == true, "\(error?.cause ?? "")")
  #expect(error?.code == "POL0001")
}

@Test func `JUnit's report counts failures and escapes what XML means`() throws {
  let report = JUnitReport(
    name: "a<b>&\"c\"", results: try results("allow shop/web shop/db:5432\ndeny shop/web shop/db:5432"))
  #expect(report.text.contains(#"<testsuite name="a&lt;b&gt;&amp;&quot;c&quot;" tests="2" failures="1">"#))
  #expect(report.text.contains(#"name="line 1: allow shop/web shop/db:5432"/>"#))
  #expect(report.text.contains(#"<failure message="shop/db: allowed by shop/db, ingress rule 0"/>"#))
}

@Test func `a damaged file of expectations is read or refused by line`() {
  let corpus = [[UInt8]](texts: [
    "allow shop/web shop/db:5432\ndeny 10.0.0.1 svc/shop/web:80/UDP # no\n\n",
    "allow [fd00::1] [fd00::2]:53/UDP",
  ])
  for damaged in mutants(
    of: corpus, words: ["allow", "deny", ":", "/", "#", "\n", "[", "]"], count: 3000, seed: 11)
  {
    do {
      _ = try PolicyExpectation.read(String(decoding: damaged, as: UTF8.self), file: "f", namespace: "n")
    } catch {
      #expect(error.code == "POL0001" && error.object.hasPrefix("f:"))
    }
  }
}

@Test func `ClusterNetworkPolicies decide in their tiers, and say so`() throws {
  func cluster(_ name: String, _ tier: String, _ rule: JSON, isAudit: Bool = false) -> JSON {
    [
      "kind": "ClusterNetworkPolicy",
      "metadata": ["name": JSON(name), "annotations": isAudit ? ["weft.dev/audit": "true"] : [:]],
      "spec": ["tier": JSON(tier), "priority": 1, "subject": ["namespaces": [:]], "ingress": [rule]],
    ]
  }
  let shop: JSON = ["namespaces": ["matchLabels": ["kubernetes.io/metadata.name": "shop"]]]
  let lines = "deny shop/web shop/db:5432\nallow watch/probe shop/web:8080\ndeny shop/db watch/probe:1\n"
  let test = PolicyTest(
    objects + [
      cluster("apart", "Admin", ["name": "no neighbours", "action": "Deny", "from": [shop]]),
      cluster("closed", "Baseline", ["action": "Deny", "from": [["namespaces": [:]]]]),
    ])
  let results = test.run(try PolicyExpectation.read(lines, file: "f", namespace: "default"))
  #expect(results.allSatisfy { $0.hasPassed }, "\(results)")
  #expect(results[0].reason.contains("ClusterNetworkPolicy apart (Admin), ingress rule 0 \"no neighbours\""))
  #expect(results[2].reason.contains("apart"))
  let audited = PolicyTest(
    objects + [cluster("apart", "Admin", ["action": "Deny", "from": [shop]], isAudit: true)])
  let line = try PolicyExpectation.read("allow shop/web shop/db:5432", file: "f", namespace: "default")
  #expect(audited.run(line).allSatisfy { $0.hasPassed })
}
