// Requests explained: through Ingresses and routes of Gateways, with what a rule does besides, and why nobody takes one.
import Addresses
import ClusterClient
import ClusterObjects
import ClusterView
import Diagnostics
import Foundation
import Ingress
import NamespaceLab
import Observe
import Policy
import Ruleset
import Testing

private let webObjects: [JSON] =
  ExplainedCluster.objects + [
    [
      "kind": "IngressClass", "metadata": ["name": "weft"], "spec": ["controller": "weft.dev/ingress"],
    ],
    [
      "kind": "Ingress", "metadata": ["name": "shop", "namespace": "demo"],
      "spec": [
        "ingressClassName": "weft",
        "rules": [
          [
            "host": "shop.test",
            "http": [
              "paths": [
                [
                  "path": "/cart", "pathType": "Prefix",
                  "backend": ["service": ["name": "web", "port": ["name": "http"]]],
                ],
                [
                  "path": "/lost", "pathType": "Exact",
                  "backend": ["service": ["name": "wbe", "port": ["number": 80]]],
                ],
              ]
            ],
          ]
        ],
      ],
    ],
    [
      "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": ["name": "weft"],
      "spec": ["controllerName": "weft.dev/gateway"],
    ],
    [
      "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
      "metadata": ["name": "door", "namespace": "demo"],
      "spec": [
        "gatewayClassName": "weft", "listeners": [["name": "http", "port": 80, "protocol": "HTTP"]],
      ],
    ],
    [
      "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
      "metadata": ["name": "api", "namespace": "demo"],
      "spec": [
        "parentRefs": [["name": "door"]], "hostnames": ["api.test"],
        "rules": [
          [
            "matches": [["path": ["type": "PathPrefix", "value": "/v1"]]],
            "backendRefs": [["name": "web", "port": 80]],
          ]
        ],
      ],
    ],
    [
      "kind": "Node", "metadata": ["name": "n1"],
      "status": ["addresses": [["type": "InternalIP", "address": "192.0.2.1"]]],
    ],
  ]

private func webExplainer() -> Explainer {
  Explainer(view: ClusterView(objects: webObjects), nodeName: "n1", observed: nil) { _ in .doesNotExist }
}

@Test(arguments: [
  (
    "http://192.0.2.1/v1",
    "Gateway demo/inner: listener http (port 80 at 192.0.2.1), HTTPRoute demo/inner rule 0 (every path)"
  ),
  (
    "http://192.0.2.9/v1",
    "Gateway demo/open: listener http (port 80), HTTPRoute demo/open rule 0 (every path)"
  ),
])
func `a request to an address goes by the listeners that are for it`(url: String, rule: String) throws {
  let inner: [JSON] = ["inner", "open"].flatMap { (name: String) -> [JSON] in
    var spec: JSON = [
      "gatewayClassName": "weft", "listeners": [["name": "http", "port": 80, "protocol": "HTTP"]],
    ]
    if name == "inner" { spec["addresses"] = [["type": "IPAddress", "value": "192.0.2.1"]] }
    return [
      [
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": ["name": JSON(name), "namespace": "demo"], "spec": spec,
      ],
      [
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": ["name": JSON(name), "namespace": "demo"],
        "spec": [
          "parentRefs": [["name": JSON(name)]], "rules": [["backendRefs": [["name": "web", "port": 80]]]],
        ],
      ],
    ]
  }
  let view = ClusterView(objects: webObjects + inner)
  let explanation = try Explainer(view: view, nodeName: "n1", observed: nil) { _ in .doesNotExist }
    .explain(from: "192.0.2.77", to: url)
  let texts = explanation.steps.map(\.text)
  #expect(texts.contains(rule), "\(texts)")
}

@Test(arguments: [
  (
    "http://shop.test/cart/7",
    "Ingress demo/shop: rule shop.test /cart (Prefix) leads to Service demo/web port http"
  ),
  (
    "http://api.test/v1/users?x=1",
    "Gateway demo/door: listener http (port 80), HTTPRoute demo/api rule 0 (PathPrefix /v1)"
  ),
])
func `a request is followed through the rule that takes it to the endpoints`(url: String, rule: String) throws
{
  let explanation = try webExplainer().explain(from: "192.0.2.77", to: url)
  let texts = explanation.steps.map(\.text)
  #expect(texts.contains(rule), "\(texts)")
  #expect(texts.contains { $0.contains("demo/web port 80: its endpoints are called") }, "\(texts)")
  #expect(texts.contains("10.42.0.3:8080 (web-1), 10.42.0.4:8080 (web-2)"), "\(texts)")
  // The node opens the connection, and a pod's own node always reaches it.
  #expect(explanation.verdict == .allow, "\(texts)")
}

@Test(arguments: [
  ("http://shop.test/other", "no rule of shop.test takes /other: it is answered with 404", ""),
  (
    "http://shpo.test/cart",
    "no Ingress and no route of a Gateway has the name shpo.test: it is answered with 404",
    "did you mean shop.test?"
  ),
  ("http://api.test/v2", "no rule of api.test takes /v2: it is answered with 404", ""),
  (
    "http://shop.test/lost", "Service demo/wbe does not exist: it is answered with 503",
    "did you mean demo/web?"
  ),
])
func `a request that nobody takes is told why`(url: String, says: String, hint: String) throws {
  let explanation = try webExplainer().explain(from: "192.0.2.77", to: url)
  let last = try #require(explanation.steps.last)
  #expect(explanation.verdict == .reject && last.mark == .fault && last.text == says, "\(explanation.steps)")
  #expect(hint.isEmpty || last.hint?.contains(hint) == true, "\(explanation.steps)")
}

@Test(arguments: [
  (
    "wfet", "there is no IngressClass wfet: it is answered with 404",
    "set spec.ingressClassName: weft (kubectl edit ingress -n demo other); classes: kubectl get ingressclass"
  ),
  (
    "nginx", "its class nginx is served by k8s.io/ingress-nginx, not by us: it is answered with 404",
    "classes: kubectl get ingressclass"
  ),
  (
    "", "it has no class, and no class of ours is the default: it is answered with 404",
    "set spec.ingressClassName: weft"
  ),
])
func `an Ingress that has the name and is not served is told with whose it is`(
  className: String, says: String, hint: String
) throws {
  var explainer = webExplainer()
  explainer.view.apply([
    "kind": "IngressClass", "metadata": ["name": "nginx"], "spec": ["controller": "k8s.io/ingress-nginx"],
  ])
  let backend: JSON = ["service": ["name": "web", "port": ["number": 80]]]
  var spec: JSON = [
    "rules": [
      [
        "host": "other.test",
        "http": ["paths": [["path": "/", "pathType": "Prefix", "backend": backend]]],
      ]
    ]
  ]
  if !className.isEmpty { spec["ingressClassName"] = JSON(className) }
  explainer.view.apply([
    "kind": "Ingress", "metadata": ["name": "other", "namespace": "demo"], "spec": spec,
  ])
  let explanation = try explainer.explain(from: "192.0.2.77", to: "http://other.test/")
  let last = try #require(explanation.steps.last)
  #expect(explanation.verdict == .reject && last.mark == .fault)
  #expect(last.text == "Ingress demo/other has the name other.test, and \(says)")
  #expect(last.hint?.hasPrefix(hint) == true, "\(explanation.steps)")
}

/// The shop's Ingress with annotations of ingress-nginx, and what the manifests of a user hold beside it.
private func annotated(_ annotations: JSON, _ others: [JSON] = []) throws -> Explainer {
  var explainer = webExplainer()
  var ingress = try #require(webObjects.first { $0.kind == "Ingress" })
  var named: JSON = [:]
  for (name, value) in annotations.object ?? [:] { named["nginx.ingress.kubernetes.io/\(name)"] = value }
  ingress.set(named, at: "metadata", "annotations")
  explainer.view.apply(ingress)
  explainer.takeReferences(others)
  return explainer
}

@Test(
  arguments: [
    (
      ["permanent-redirect": "https://elsewhere.test"], .allow,
      "the answer is a redirect (301); no endpoint is asked"
    ),
    (
      ["whitelist-source-range": "198.51.100.0/24"], .reject,
      "192.0.2.77 is not among the addresses that may come: the answer is 403"
    ),
    (
      ["auth-type": "basic", "auth-secret": "people"], .allow,
      "clients have to give a name and a password: without them the answer is 401"
    ),
    (
      ["auth-type": "basic", "auth-secret": "nobody"], .reject,
      "every request is answered with 403: what is to protect the rule cannot be had"
    ),
    (
      ["auth-url": "http://empty.demo.svc.cluster.local/check"], .reject,
      "Service demo/empty is asked first: it has no endpoint, and nobody is let in"
    ),
    (["limit-rpm": "60"], .allow, "a client gets 60 requests a minute; beyond that the answer is 503"),
  ] as [(JSON, Explanation.Verdict, String)])
func `what a rule does besides sending on is told, and decides`(
  annotations: JSON, verdict: Explanation.Verdict, says: String
) throws {
  let people: JSON = [
    "apiVersion": "v1", "kind": "Secret", "metadata": ["name": "people", "namespace": "demo"],
    "stringData": ["auth": "ann:{SHA}VGhpcyBpcyBub3QgYSBwYXNzd29yZA=="],
  ]
  let explanation = try annotated(annotations, [people]).explain(
    from: "192.0.2.77", to: "http://shop.test/cart")
  #expect(explanation.verdict == verdict, "\(explanation.text(colour: false))")
  #expect(explanation.steps.contains { $0.step == "rule" && $0.text == says }, "\(explanation.steps)")
}

@Test func `Secrets that nobody may read are no reason to call a rule closed`() throws {
  var explainer = try annotated(["auth-type": "basic", "auth-secret": "people"])
  explainer.credentials = nil
  let explanation = try explainer.explain(from: "192.0.2.77", to: "http://shop.test/cart")
  #expect(explanation.verdict == .allow, "\(explanation.text(colour: false))")
  #expect(explanation.steps.contains { $0.text.contains("Secrets were not read") })
}

@Test(arguments: [(8080, false), (8081, true)])
func `a port that no container declares is noted, and does not decide`(port: Int64, isStrange: Bool) throws {
  let slice: JSON = [
    "kind": "EndpointSlice", "addressType": "IPv4",
    "metadata": ["name": "moved-x", "namespace": "demo", "labels": ["kubernetes.io/service-name": "moved"]],
    "ports": [["name": "http", "port": JSON(port)]],
    "endpoints": [["addresses": ["10.42.0.6"], "targetRef": ["kind": "Pod", "name": "stranger"]]],
  ]
  let view = ClusterView(
    objects: ExplainedCluster.objects + [ExplainedCluster.service("moved", "10.43.0.11"), slice])
  let explainer = Explainer(view: view, nodeName: "n1", observed: nil) { _ in .doesNotExist }
  let explanation = try explainer.explain(from: "demo/client", to: "demo/moved")
  #expect(explanation.verdict == .allow)
  let notes = explanation.steps.filter { $0.mark == .note && $0.text.hasPrefix("CLI0134 demo/moved") }
  #expect(notes.count == (isStrange ? 1 : 0), "\(explanation.steps)")
  #expect(!isStrange || notes[0].text.contains("sends to port 8081, and its containers declare 8080"))
}

@Test func `a pod that does not run is told so, whoever may speak to it`() throws {
  var stopped = ExplainedCluster.pod("stopped", "10.42.0.9", app: "stopped")
  stopped.set(
    [["name": "main", "state": ["waiting": ["reason": "CrashLoopBackOff"]]]], at: "status",
    "containerStatuses")
  let view = ClusterView(objects: ExplainedCluster.objects + [stopped])
  let explainer = Explainer(view: view, nodeName: "n1", observed: nil) { _ in .doesNotExist }
  let explanation = try explainer.explain(from: "demo/client", to: "demo/stopped")
  #expect(
    explanation.steps.contains {
      $0.mark == .note && $0.text == "demo/stopped does not run: main: CrashLoopBackOff"
        && $0.hint == "see why: kubectl describe pod -n demo stopped"
    }, "\(explanation.steps)")
}

@Test func `a name that a Gateway serves on another port is told with that port`() throws {
  var explainer = webExplainer()
  explainer.view.apply([
    "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
    "metadata": ["name": "side", "namespace": "demo"],
    "spec": [
      "gatewayClassName": "weft", "listeners": [["name": "alt", "port": 8080, "protocol": "HTTP"]],
    ],
  ])
  explainer.view.apply([
    "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
    "metadata": ["name": "side", "namespace": "demo"],
    "spec": [
      "parentRefs": [["name": "side"]], "hostnames": ["side.test", "shop.test"],
      "rules": [["backendRefs": [["name": "web", "port": 80]]]],
    ],
  ])
  let elsewhere = try explainer.explain(from: "192.0.2.77", to: "http://side.test/cart")
  let last = try #require(elsewhere.steps.last)
  #expect(elsewhere.verdict == .reject)
  #expect(
    last.text == "side.test is served on port 8080 (http, listener alt of Gateway demo/side), and not on 80")
  #expect(last.hint == "ask there: http://side.test:8080/cart")
  // An Ingress has this name too, and not this port.
  let there = try explainer.explain(from: "192.0.2.77", to: "http://shop.test:8080/cart")
  #expect(there.verdict == .allow, "\(there.steps)")
  #expect(there.steps.contains { $0.objects.first == "Gateway demo/side" }, "\(there.steps)")
}

@Test(arguments: ["http://", "http:///x", "https://a:0/", "http://a:x/", "http://a b/"])
func `requests that cannot be read are errors`(text: String) {
  #expect(throws: WeftError.self) { try ExplainTarget(text) }
}

@Test func `a pod that its own policy keeps from the node does not come to the ingress`() throws {
  var explainer = webExplainer()
  explainer.view.apply([
    "kind": "ClusterNetworkPolicy", "metadata": ["name": "inside"],
    "spec": [
      "tier": "Admin", "priority": 1, "subject": ["namespaces": [:]],
      "egress": [["name": "out", "action": "Deny", "to": [["networks": ["192.0.2.0/24"]]]]],
    ],
  ])
  let explanation = try explainer.explain(from: "demo/client", to: "http://shop.test/cart")
  #expect(explanation.verdict == .deny, "\(explanation.steps)")
  #expect(explanation.steps.last?.objects.contains("ClusterNetworkPolicy inside") == true)
}

@Test func `a pod that asks a Service of its own is told of the hairpin, and a far one of the way`() throws {
  var explainer = webExplainer()
  let own = try explainer.explain(from: "demo/web-1", to: "demo/web")
  #expect(
    own.steps.contains { $0.step == "hairpin" && $0.text.hasPrefix("10.42.0.3:8080 is the pod that asks") })
  explainer.nodeName = "n2"
  explainer.ways = { node, address in
    [.init("way", .fault, "CLI0155 \(address) of \(node.name)")]
  }
  let far = try explainer.explain(from: "demo/client", to: "demo/web")
  #expect(far.verdict == .unreachable && far.kernel == .differs)
  // Both endpoints are on one node: its way is told once.
  #expect(far.steps.filter { $0.step == "way" }.map(\.text) == ["CLI0155 10.42.0.3 of n1"])
}

@Test func `manifests are enough: workloads stand for pods, and the classes of a new cluster are there`()
  throws
{
  let text = try Project.demo()
  let view = RehearsedCluster.view(of: text)
  let explainer = Explainer(view: view, nodeName: "", observed: nil) { _ in .doesNotExist }
  #expect(try explainer.explain(from: "demo/client", to: "demo/web").verdict == .allow)
  let denied = try explainer.explain(from: "demo/stranger", to: "demo/web")
  #expect(
    denied.verdict == .deny && denied.text(colour: false).contains("NetworkPolicy demo/web-from-client"))
  let outside = try explainer.explain(from: "192.0.2.9", to: "http://web.localhost/")
  #expect(outside.verdict == .allow, "\(outside.text(colour: false))")
  #expect(outside.steps.contains { $0.objects == ["Ingress demo/web"] })
}

private enum Project {
  /// The objects of examples/demo.yaml.
  static func demo() throws -> [JSON] {
    let file = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().appending(path: "examples/demo.yaml")
    return try Manifests.read(file.path())
  }
}

/// A certificate that ends in so many days; openssl makes it.
private func secret(_ host: String, days: Int) throws -> TLSSecret {
  let base = "/tmp/weft-explain-\(getpid())-\(UInt32.random(in: 0...UInt32.max))"
  defer { run("rm -f \(base).crt \(base).key") }
  let made = run(
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days \(days) -subj /CN=\(host)"
      + " -addext subjectAltName=DNS:\(host) -keyout \(base).key -out \(base).crt 2>&1")
  try #require(made.status == 0, "\(made.output)")
  return TLSSecret(
    TLSCertificate(
      chain: Array(run("cat \(base).crt").output.utf8), key: Array(run("cat \(base).key").output.utf8)))
}

private let secured: [JSON] = [
  [
    "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
    "metadata": ["name": "door", "namespace": "demo"],
    "spec": [
      "gatewayClassName": "weft",
      "listeners": [
        [
          "name": "https", "port": 443, "protocol": "HTTPS", "hostname": "api.test",
          "tls": ["certificateRefs": [["name": "api"]]],
        ],
        [
          "name": "lost", "port": 444, "protocol": "HTTPS", "tls": ["certificateRefs": [["name": "nowhere"]]],
        ],
      ],
    ],
  ]
]

@Test func `the certificate of a Gateway's listener is a step of a request, and a line of a check`() throws {
  var explainer = webExplainer()
  for object in secured { explainer.view.apply(object) }
  let unread = try explainer.explain(from: "192.0.2.77", to: "https://api.test/v1/users")
  #expect(
    unread.steps.contains {
      $0.step == "certificate" && $0.mark == .note && $0.text.hasPrefix("Secrets were not read: ")
    }, "\(unread.steps)")
  explainer.secrets = [ObjectKey("demo", "api"): try secret("api.test", days: 5)]
  let soon = try explainer.explain(from: "192.0.2.77", to: "https://api.test/v1/users")
  let step = try #require(soon.steps.first { $0.step == "certificate" }, "\(soon.steps)")
  #expect(step.mark == .note && step.text.hasPrefix("CLI0145 Secret demo/api: the certificate of api.test"))
  #expect(
    step.text.contains(" expires in ") && step.text.hasSuffix(" days")
      && step.hint?.contains("kubectl create secret tls") == true)
  #expect(soon.verdict == .allow, "\(soon.steps)")

  let items = checkGatewayCertificates(
    explainer.view, secrets: explainer.secrets ?? [:], now: Int64(time(nil)))
  #expect(items.map(\.name) == ["Secret demo/api", "Gateway demo/door"])
  #expect(items.map(\.code) == ["CLI0145", "CLI0146"])
  #expect(
    items[1].text == "listener lost: secret demo/nowhere does not exist, or may not be named from here")
}
