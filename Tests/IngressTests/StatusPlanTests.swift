// What statuses say of where an ingress is reached.

import ClusterObjects
import ClusterView
import Testing

@testable import Ingress

@Suite struct StatusPlanTests {
  private func service(_ type: String, external: [String] = [], balanced: [JSON] = []) -> JSON {
    [
      "metadata": ["name": "front", "namespace": "a"],
      "spec": [
        "type": JSON(type), "clusterIP": "10.0.0.1", "externalName": "front.example",
        "externalIPs": .array(external.map { JSON($0) }),
      ], "status": ["loadBalancer": ["ingress": .array(balanced)]],
    ]
  }

  @Test func `a Service in front is reached where its type says`() {
    let balanced: [JSON] = [
      ["hostname": "lb.example"], ["ip": "192.0.2.9"], ["ip": "", "hostname": "b.example"],
    ]
    #expect(
      IngressAddress.of(service: service("LoadBalancer", external: ["192.0.2.1"], balanced: balanced)) == [
        .ip("192.0.2.1"), .ip("192.0.2.9"), .hostname("b.example"), .hostname("lb.example"),
      ])
    #expect(IngressAddress.of(service: service("LoadBalancer")).isEmpty)
    #expect(IngressAddress.of(service: service("NodePort")) == [.ip("10.0.0.1")])
    #expect(
      IngressAddress.of(service: service("ClusterIP", external: ["2001:db8::1"])) == [.ip("2001:db8::1")])
    #expect(IngressAddress.of(service: service("ExternalName")) == [.hostname("front.example")])
  }

  @Test func `a status is written when it differs, and nothing else of it is touched`() {
    let ingress: JSON = [
      "metadata": ["name": "web", "namespace": "a"], "spec": [:],
      "status": ["other": "kept", "loadBalancer": ["ingress": [["ip": "192.0.2.1"]]]],
    ]
    #expect(ingress.withIngressStatus([.ip("192.0.2.1")]) == nil)
    let new = ingress.withIngressStatus([.hostname("b"), .ip("192.0.2.1")])
    #expect(new?.at("status", "loadBalancer", "ingress") == [["ip": "192.0.2.1"], ["hostname": "b"]])
    #expect(new?.at("status", "other")?.string == "kept")
    #expect(new?.withIngressStatus([.ip("192.0.2.1"), .hostname("b")]) == nil)
    let empty: JSON = ["metadata": ["name": "web"]]
    #expect(
      empty.withIngressStatus([.ip("192.0.2.1")])?.at("status", "loadBalancer", "ingress")?.elements.count
        == 1)
  }

  @Test func `what was written is taken back, and what others wrote stays`() {
    let ingress: JSON = [
      "metadata": ["name": "web"],
      "status": [
        "other": "kept", "loadBalancer": ["ingress": [["ip": "192.0.2.1"], ["hostname": "theirs"]]],
      ],
    ]
    #expect(ingress.hasIngressStatus)
    let left = ingress.withoutIngressStatus([.ip("192.0.2.1")])
    #expect(left?.at("status", "loadBalancer", "ingress") == [["hostname": "theirs"]])
    #expect(left?.at("status", "other")?.string == "kept" && left?.hasIngressStatus == true)
    #expect(ingress.withoutIngressStatus([.ip("192.0.2.2")]) == nil)
    let none = ingress.withoutIngressStatus([.ip("192.0.2.1"), .hostname("theirs")])
    #expect(none?.at("status", "loadBalancer") == [:] && none?.hasIngressStatus == false)
    let empty: JSON = ["metadata": ["name": "web"]]
    #expect(empty.withoutIngressStatus([.ip("192.0.2.1")]) == nil && !empty.hasIngressStatus)
  }

  @Test func `the Ingresses that are told are those that are served`() {
    var view = ClusterView()
    view.apply([
      "kind": "IngressClass", "metadata": ["name": "ours"], "spec": ["controller": "k8s.io/ingress-nginx"],
    ])
    for (name, className) in [("b", "ours"), ("a", "ours"), ("c", "theirs"), ("d", nil)] {
      view.apply([
        "kind": "Ingress", "metadata": ["name": JSON(name), "namespace": "n"],
        "spec": className.map { ["ingressClassName": JSON($0)] } ?? [:],
      ])
    }
    func served(_ controller: String, _ unclassed: Bool) -> [String] {
      planServedIngresses(view: view, controller: controller, servesUnclassed: unclassed).map(\.name)
    }
    #expect(served("k8s.io/ingress-nginx", false) == ["a", "b"])
    #expect(served("k8s.io/ingress-nginx", true) == ["a", "b", "d"])
    #expect(served("weft.dev/ingress", false).isEmpty)
  }
}
