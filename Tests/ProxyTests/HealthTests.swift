// /healthz, /livez and healthCheckNodePorts: what load balancers hear, with kube-proxy's words.

import Addresses
import ClusterObjects
import ClusterView
import Diagnostics
import Glibc
import NamespaceLab
@testable import Proxy
import Synchronization
import Testing

private final class FakeClock: Sendable {
  private let elapsed = Mutex<Duration>(.zero)
  private let start = ContinuousClock.now
  func advance(_ duration: Duration) { elapsed.withLock { $0 += duration } }
  var now: ProxyHealth.Moment {
    let elapsed = elapsed.withLock { $0 }
    return .init(
      steady: start + elapsed, seconds: 1_700_000_000 + elapsed.components.seconds, nanoseconds: 0)
  }
}

private func health(_ clock: FakeClock, metrics: Metrics = Metrics()) -> ProxyHealth {
  ProxyHealth(families: [.v4], timeout: .seconds(60), nodeIsKnown: false, metrics: metrics) { clock.now }
}

private let node: JSON = ["kind": "Node", "metadata": ["name": "n1"]]

@Test func `a proxy is well until a change is late, and again once it is in force`() {
  let clock = FakeClock()
  let metrics = Metrics()
  let health = health(clock, metrics: metrics)
  health.see(node: node)
  health.queued()
  clock.advance(.seconds(600))
  #expect(health.healthzAnswer().status == 200, "starting is no failure")
  health.updated()
  clock.advance(.seconds(600))
  #expect(health.healthzAnswer().status == 200, "nothing queued, nothing late")
  health.queued()
  clock.advance(.seconds(30))
  health.queued()
  #expect(health.isHealthy)
  clock.advance(.seconds(30))
  #expect(!health.isHealthy, "the oldest change counts")
  #expect(health.healthzAnswer().status == 503 && health.livezAnswer().status == 503)
  health.updated()
  #expect(health.healthzAnswer().status == 200 && health.livezAnswer().status == 200)
  let text = metrics.text()
  #expect(text.contains("kubeproxy_proxy_healthz_total{code=\"200\"} 3"), "\(text)")
  #expect(text.contains("kubeproxy_proxy_healthz_total{code=\"503\"} 1"))
  #expect(text.contains("kubeproxy_proxy_livez_total{code=\"503\"} 1"))
}

@Test func `a node that leaves fails healthz and not livez`() {
  let health = health(FakeClock())
  health.updated()
  #expect(health.healthzAnswer().status == 503, "no Node object was seen")
  health.see(node: node)
  #expect(health.healthzAnswer().status == 200)
  var tainted = node
  tainted.set([["key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"]], at: "spec", "taints")
  health.see(node: tainted)
  #expect(health.healthzAnswer().status == 503 && health.livezAnswer().status == 200)
  #expect(health.isHealthy, "healthCheckNodePorts go on answering")
  var deleted = node
  deleted.set("2026-01-01T00:00:00Z", at: "metadata", "deletionTimestamp")
  health.see(node: deleted)
  #expect(health.healthzAnswer().status == 503)
  health.see(node: nil)
  #expect(health.healthzAnswer().status == 503)
}

@Test func `health is told in kube-proxy's JSON`() {
  let clock = FakeClock()
  let health = health(clock)
  health.see(node: node)
  health.updated()
  clock.advance(.seconds(10))
  health.queued()
  clock.advance(.seconds(60))
  #expect(
    health.healthzAnswer().body
      == #"{"lastUpdated":"2023-11-14T22:13:20.000000000Z","currentTime":"2023-11-14T22:14:30.000000000Z","#
      + #""nodeEligible":true,"healthy":false,"#
      + #""status":{"IPv4":{"lastUpdated":"2023-11-14T22:13:20.000000000Z","healthy":false}}}"#)
  #expect(!health.livezAnswer().body.contains("nodeEligible"))
}

private func balanced(_ name: String, port: Int64, _ extra: [String: JSON] = [:]) -> JSON {
  var fields: [String: JSON] = [
    "type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": JSON(port),
  ]
  fields.merge(extra) { $1 }
  return service(name, "10.43.0.50", [nodePort(30090)], fields, ingress: ["203.0.113.50"])
}

@Test func `a healthCheckNodePort counts the ready endpoints of this node, each pod once`() {
  var view = ClusterView(objects: [
    balanced("web", port: 32000), endpointSlice("web", [podA, podB, remote]),
    balanced("cluster", port: 32001, ["externalTrafficPolicy": "Cluster"]),
    service("plain", "10.43.0.51"),
  ])
  let web = ObjectKey("demo", "web")
  #expect(
    planServiceHealth(view, nodeName: "n1") == [.init(service: web, port: 32000, localEndpoints: 2)])
  #expect(planServiceHealth(view, nodeName: "n2").first?.localEndpoints == 1)
  #expect(planServiceHealth(view, nodeName: "n3").first?.localEndpoints == 0)
  #expect(planServiceHealth(view, nodeName: "n1", proxyName: "other") == [])
  // One that terminates still serves, and takes no new traffic.
  var slice = endpointSlice("web", [podA])
  slice["endpoints"] = [
    [
      "addresses": ["10.42.0.11"], "nodeName": "n1",
      "conditions": ["ready": false, "serving": true, "terminating": true],
    ]
  ]
  view.apply(slice)
  #expect(planServiceHealth(view, nodeName: "n1").first?.localEndpoints == 0)
}

@Test(.timeLimit(.minutes(1)))
func `healthCheckNodePorts are opened, answered with kube-proxy's bytes, changed and closed`() throws {
  let clock = FakeClock()
  let proxy = health(clock)
  proxy.updated()
  let failures = Mutex<[String]>([])
  try inFreshNamespace {
    let addresses = [IPAddress("0.0.0.0")!, IPAddress("::")!]
    // The reactor's thread inherits the namespace of the thread that starts it.
    let server = try ServiceHealthServer(addresses: addresses, health: proxy, metrics: Metrics()) {
      health, _ in failures.withLock { $0.append(health.service.description) }
    }
    defer { server.stop() }
    func get(_ url: String) -> String { run("curl -s -i --max-time 20 '\(url)'").output }
    let web = ObjectKey("demo", "web")
    server.update([ServiceHealth(service: web, port: 32000, localEndpoints: 2)])
    try #require(becomesTrue { get("http://127.0.0.1:32000/").contains("200 OK") })
    let answer = get("http://[::1]:32000/anything")
    #expect(answer.contains("X-Load-Balancing-Endpoint-Weight: 2\r\n"), "\(answer)")
    #expect(answer.contains("Content-Type: application/json\r\n"))
    #expect(answer.contains("X-Content-Type-Options: nosniff\r\n"))
    #expect(
      answer.hasSuffix(
        """
        {
        \t"service": {
        \t\t"namespace": "demo",
        \t\t"name": "web"
        \t},
        \t"localEndpoints": 2,
        \t"serviceProxyHealthy": true
        }
        """), "\(answer)")

    server.update([ServiceHealth(service: web, port: 32000, localEndpoints: 0)])
    #expect(becomesTrue { get("http://127.0.0.1:32000/").contains("503 Service Unavailable") })
    server.update([ServiceHealth(service: web, port: 32000, localEndpoints: 1)])
    #expect(becomesTrue { get("http://127.0.0.1:32000/").contains("200 OK") })
    proxy.queued()
    clock.advance(.seconds(61))
    let late = get("http://127.0.0.1:32000/")
    #expect(late.contains("503") && late.contains("\"serviceProxyHealthy\": false"), "\(late)")
    proxy.updated()

    // Another port, and a second Service that finds its port taken until the first lets go of it.
    let other = ObjectKey("demo", "other")
    server.update([
      ServiceHealth(service: web, port: 32000, localEndpoints: 1),
      ServiceHealth(service: other, port: 32000, localEndpoints: 1),
    ])
    #expect(becomesTrue { failures.withLock { $0 } == ["demo/other"] })
    server.update([
      ServiceHealth(service: web, port: 32001, localEndpoints: 1),
      ServiceHealth(service: other, port: 32000, localEndpoints: 1),
    ])
    #expect(becomesTrue { get("http://127.0.0.1:32000/").contains("\"name\": \"other\"") })
    #expect(get("http://127.0.0.1:32001/").contains("\"name\": \"web\""))
    server.update([])
    #expect(becomesTrue { get("http://127.0.0.1:32001/").isEmpty })
  }
}
