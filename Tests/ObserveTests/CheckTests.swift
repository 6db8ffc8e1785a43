// Why a Service does not answer is found in its objects, and the report has its two forms.

import ClusterObjects
import ClusterView
import Testing

@testable import Observe

private func pod(_ name: String, app: String, ready: Bool, port: Int? = nil, waiting: String? = nil) -> JSON {
  var container: JSON = ["name": "c"]
  if let port { container["ports"] = [["containerPort": JSON(port)]] }
  var status: JSON = [
    "phase": "Running", "podIP": "10.42.0.9",
    "conditions": [["type": "Ready", "status": JSON(ready ? "True" : "False")]],
  ]
  if let waiting {
    status["containerStatuses"] = [["name": "c", "state": ["waiting": ["reason": JSON(waiting)]]]]
  }
  return [
    "kind": "Pod", "metadata": ["name": JSON(name), "namespace": "demo", "labels": ["app": JSON(app)]],
    "spec": ["nodeName": "n1", "containers": [container]], "status": status,
  ]
}

private func service(_ name: String, app: String?, port: Int = 80) -> JSON {
  var spec: JSON = ["clusterIP": "10.43.0.9", "ports": [["name": "http", "port": JSON(port)]]]
  if let app { spec["selector"] = ["app": JSON(app)] }
  return ["kind": "Service", "metadata": ["name": JSON(name), "namespace": "demo"], "spec": spec]
}

private func slice(_ service: String, ready: Bool, port: Int?, name: String = "http") -> JSON {
  var ports: [JSON] = []
  if let port { ports.append(["name": JSON(name), "port": JSON(port)]) }
  return [
    "kind": "EndpointSlice", "addressType": "IPv4",
    "metadata": [
      "name": JSON(service + "-a"), "namespace": "demo",
      "labels": ["kubernetes.io/service-name": JSON(service)],
    ],
    "ports": .array(ports),
    "endpoints": [["addresses": ["10.42.0.9"], "conditions": ["ready": JSON(ready)]]],
  ]
}

@Suite struct CheckTests {
  private static let objects: [JSON] = [
    pod("web-1", app: "web", ready: true, port: 8080),
    pod("late-1", app: "late", ready: false, waiting: "ImagePullBackOff"),
    service("web", app: "web"), slice("web", ready: true, port: 8080),
    service("typo", app: "wbe"),
    service("late", app: "late"), slice("late", ready: false, port: 8080),
    service("other", app: "web"), slice("other", ready: true, port: 8081),
    service("named", app: "web"), slice("named", ready: true, port: nil),
    service("bare", app: nil),
    [
      "kind": "Service", "metadata": ["name": "out", "namespace": "demo"],
      "spec": ["type": "ExternalName", "externalName": "example.org"],
    ],
  ]

  @Test func `each Service says why it does not answer`() {
    let report = CheckReport([checkServices(ClusterView(objects: Self.objects))])
    #expect(
      report.text(colour: false) == """
        services
        ‼ demo/bare   CLI0133 has no selector, and nobody gave it endpoints
                      → kubectl get endpointslices -n demo -l kubernetes.io/service-name=bare
        × demo/late   CLI0131 none of its 1 pods is ready: late-1 (c: ImagePullBackOff)
                      → kubectl describe pod -n demo late-1
        × demo/named  CLI0132 no container has the port that its port 80 is sent to by name
                      → kubectl get service -n demo named -o jsonpath='{.spec.ports}'
        ‼ demo/other  CLI0134 sends to port 8081, and its containers declare 8080
                      → see who listens: kubectl exec -n demo web-1 -- ss -ltn
        √ demo/out    is example.org
        × demo/typo   CLI0130 its selector app=wbe selects no pod
                      → kubectl get pods -n demo --show-labels
        √ demo/web    10.43.0.9 to 1 endpoint

        3 wrong, 2 to look at, 2 well

        """)
    #expect(!report.isWell)
    #expect(report.json.at("ok")?.bool == false)
    let items = report.json["categories"]?.array?.first?["items"]?.array ?? []
    #expect(items.count == 7 && items[1]["code"]?.string == "CLI0131" && items[6]["next"] == nil)
  }

  @Test func `what is wrong comes first when not all of a category is shown`() {
    var items = (0..<200).map { CheckReport.Item.ok("node \($0)", "ready") }
    items[150] = .failed("node 150", "CLI0128", "is not ready", next: "kubectl describe node 150")
    let text = CheckReport([.init("cluster", items)]).text(colour: false)
    let lines = text.split(separator: "\n")
    #expect(lines[1].hasPrefix("× node 150") && lines.count == 54)
    #expect(text.contains("and 150 more: -o json") && text.contains("1 wrong, 0 to look at, 199 well"))
    let well = CheckReport([.init("cluster", [.ok("a", "b")])])
    #expect(well.isWell && well.text(colour: false) == "cluster\n√ a  b\n\nall well: 1 looked at\n")
    #expect(well.text(colour: true).contains("\u{1b}[32m√\u{1b}[0m"))
  }
}
