// What somebody may have meant by a name that does not exist.
import ClusterObjects
import ClusterView
import Testing

@testable import Observe

private let view = ClusterView(objects: [
  service("web", "demo"), service("web", "shop"), service("payments", "shop"), service("db", "data"),
])

private func service(_ name: String, _ namespace: String) -> JSON {
  [
    "kind": "Service", "metadata": ["name": JSON(name), "namespace": JSON(namespace)],
    "spec": ["clusterIP": "10.43.0.7", "ports": [["port": 80]]],
  ]
}

@Test(arguments: [
  ("wbe.demo.svc.cluster.local", "web.demo.svc.cluster.local"),
  ("web.deom.svc.cluster.local", "web.demo.svc.cluster.local"),
  ("payment.shop.svc.cluster.local", "payments.shop.svc.cluster.local"),
  ("paymnets.shop", "payments.shop"),
  ("web.demo.scv.cluster.local", "web.demo.svc.cluster.local"),
  ("payments.demo.svc.cluster.local", "payments.shop.svc.cluster.local"),
])
func `a slip of the finger is seen through`(typed: String, meant: String) {
  #expect(Spelling.name(typed, in: view) == meant)
}

@Test(arguments: [
  "other.demo.svc.cluster.local", "web.demo.svc.cluster.local", "xx.data.svc.cluster.local", "web", "",
  String(repeating: "a", count: 300) + ".demo.svc.cluster.local",
])
func `nothing is proposed that is not near`(typed: String) {
  #expect(Spelling.name(typed, in: view) == nil)
}

@Test func `distances are those of letters missing, too many, others, and changed places`() {
  func distance(_ a: String, _ b: String) -> Int { Spelling.distance(Array(a.utf8), Array(b.utf8)) }
  #expect(distance("", "abc") == 3 && distance("abc", "abc") == 0 && distance("web", "wbe") == 1)
  #expect(distance("kitten", "sitting") == 3 && distance("ab", "ba") == 1 && distance("abc", "ac") == 1)
}

@Test func `a Service that does not exist is told with the one that was meant`() {
  let explainer = Explainer(view: view, nodeName: "n1", observed: nil) { _ in .doesNotExist }
  #expect {
    try explainer.explain(from: "10.0.0.1", to: "shop/paymetns")
  } throws: {
    "\($0)".contains("did you mean shop/payments?")
  }
}
