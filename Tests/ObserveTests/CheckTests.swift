// Why a Service does not answer is found in its objects, and the report has its two forms.

import ClusterObjects
import ClusterView
import Testing

@testable import Ingress
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

  @Test(arguments: [
    ("FailedScheduling", "web", true), ("FailedScheduling", "gone", false),
    ("FailedScheduling", "waiting", false),
    ("BackOff", "web", false),
  ])
  func `a warning is over when its pod has what it waited for`(reason: String, name: String, isBehind: Bool) {
    var waiting = pod("waiting", app: "a", ready: false)
    waiting.set("", at: "spec", "nodeName")
    let view = ClusterView(objects: [pod("web", app: "a", ready: true), waiting])
    #expect(isOver(reason, of: "Pod", ObjectKey("demo", name), in: view) == isBehind)
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

@Suite struct LinkAndCertificateCheckTests {
  private func link(_ pod: String, _ podMTU: UInt32, _ nodeMTU: UInt32, hairpin: Bool?) -> PodLink {
    PodLink(
      pod: ObjectKey("demo", pod), name: "veth-\(pod)", podMTU: podMTU, nodeMTU: nodeMTU, isHairpin: hairpin)
  }

  @Test func `a link that takes less than its pod sends, and one that sends nothing back, are found`() {
    var view = ClusterView(objects: [service("web", app: "web")])
    var targeted = slice("web", ready: true, port: 8080)
    targeted.set(
      [["addresses": ["10.42.0.9"], "targetRef": ["kind": "Pod", "name": "stuck"]]], at: "endpoints")
    view.apply(targeted)
    let report = CheckReport([
      checkPodLinks(
        [
          link("short", 1450, 1280, hairpin: true), link("fine", 1450, 1450, hairpin: true),
          link("stuck", 1450, 1450, hairpin: false), link("uncalled", 1450, 9000, hairpin: false),
          link("routed", 1450, 1450, hairpin: nil),
        ], view: view)
    ])
    #expect(
      report.text(colour: false) == """
        pod links
        × pod demo/short  CLI0143 sends packets of up to 1450 bytes, and its link veth-short takes 1280: longer ones are lost without a word
                          → ip link set dev veth-short mtu 1450, or have the pod made anew: kubectl delete pod -n demo short
        × pod demo/stuck  CLI0144 cannot reach itself by its Services: the bridge does not send back by veth-stuck what came from there
                          → ip link set dev veth-stuck type bridge_slave hairpin on, or have the pod made anew: kubectl delete pod -n demo stuck

        2 wrong, 0 to look at, 0 well

        """)
    let well = checkPodLinks([link("fine", 1450, 1450, hairpin: true)], view: view)
    #expect(well.items.map(\.state) == [.ok] && checkPodLinks([], view: view).items.isEmpty)
  }

  fileprivate struct End: Sendable {
    var seconds: Int64
    var state: CheckReport.State
    var says: String
  }
  fileprivate static let ends: [End] = [
    End(seconds: -1, state: .failed, says: "expired 0 days ago"),
    End(seconds: -86_400, state: .failed, says: "expired 1 day ago"),
    End(seconds: 29 * 86_400, state: .warning, says: "expires in 29 days"),
    End(seconds: 31 * 86_400, state: .ok, says: "is good for 31 days"),
  ]

  @Test(arguments: LinkAndCertificateCheckTests.ends)
  fileprivate func `a certificate is judged by its end`(end: End) {
    let certificates = [
      ServedCertificate(
        ingress: nil, secret: ObjectKey("demo", "tls"), hosts: ["a.test", "b.test"],
        notAfter: 1_000_000 + end.seconds)
    ]
    let item = checkCertificates(certificates, now: 1_000_000).items[0]
    #expect(item.state == end.state && item.text == "the certificate of a.test, b.test \(end.says)")
    #expect(item.code == (end.state == .ok ? nil : "CLI0145"))
    let problems = [
      RouteProblem(ingress: ObjectKey("demo", "web"), topic: .certificate, reason: "tls: no"),
      RouteProblem(ingress: ObjectKey("demo", "web"), topic: .route, reason: "path"),
    ]
    #expect(
      checkCertificates(certificates, problems: problems, now: 1_000_000).items.compactMap(\.code).contains(
        "CLI0146"))
    #expect(checkCertificates(certificates, problems: problems, now: 1_000_000).items.count == 2)
  }
}
