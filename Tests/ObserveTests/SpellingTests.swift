// What somebody may have meant by a name that does not exist.
import ClusterObjects
import ClusterView
import Diagnostics
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
  func distance(_ a: String, _ b: String) -> Int { NearWord.distance(Array(a.utf8), Array(b.utf8)) }
  #expect(distance("", "abc") == 3 && distance("abc", "abc") == 0 && distance("web", "wbe") == 1)
  #expect(distance("kitten", "sitting") == 3 && distance("ab", "ba") == 1 && distance("abc", "ac") == 1)
}

@Test(arguments: [
  ("shop/front", "did you mean shop/front-7d9-a?"), ("shop/clinet", "did you mean shop/client?"),
  ("shop/xyz", ""),
])
func `a pod that does not exist is told with one of its workload, or a near name`(typed: String, says: String)
{
  func pod(_ name: String) -> JSON {
    ["kind": "Pod", "metadata": ["name": JSON(name), "namespace": "shop"], "status": ["podIP": "10.42.0.5"]]
  }
  let view = ClusterView(objects: [pod("front-7d9-b"), pod("front-7d9-a"), pod("client")])
  let explainer = Explainer(view: view, nodeName: "n1", observed: nil) { _ in .doesNotExist }
  let error = #expect(throws: WeftError.self) { try explainer.explain(from: typed, to: "10.0.0.1:80") }
  #expect(error?.code == "CLI0011" && error?.next.contains("did you mean") == !says.isEmpty)
  #expect(error?.next.hasPrefix(says) == true, "\(String(describing: error))")
}

@Test func `a Service that does not exist is told with the one that was meant`() {
  let explainer = Explainer(view: view, nodeName: "n1", observed: nil) { _ in .doesNotExist }
  #expect {
    try explainer.explain(from: "10.0.0.1", to: "shop/paymetns")
  } throws: {
    "\($0)".contains("did you mean shop/payments?")
  }
}
