// What `weft test connectivity` makes in a cluster: servers and Services first, then a pod for each scenario that calls them and ends
// with 0 or 1. Pure.

import Addresses
import ClusterObjects
import ClusterView
import Ingress

/// What the plan depends on.
public struct ConnectivityGround: Sendable, Hashable {
  public struct Place: Sendable, Hashable {
    public var name: String
    public var addresses: [String]
  }
  public var namespace: String
  public var image: String
  /// Nodes that pods can run on; a plan needs one.
  public var nodes: [Place]
  /// The class of an ingress; nil when the cluster has none.
  public var ingressClass: String?

  /// Nodes of a view that are ready, by name; the class that is ours, else the default one, else any.
  public init(_ view: ClusterView, namespace: String, image: String) {
    let ours = view.ingressClasses.values.sorted { $0.name < $1.name }
    self.namespace = namespace
    self.image = image
    nodes = view.nodes.values.filter(\.isReady).sorted { $0.name < $1.name }.map {
      Place(name: $0.name, addresses: $0.internalIPs.filter { $0.family == .v4 }.map(\.description))
    }
    ingressClass =
      (ours.first { $0.controller == ingressControllerName } ?? ours.first(where: \.isDefault)
      ?? ours.first)?.name
  }
}

/// What is known once the servers run.
public struct ConnectivityFacts: Sendable, Hashable {
  /// Pod addresses of the servers, the second one on another node when there is one.
  public var near = ""
  public var far: String?
  public var clusterIP = ""
  public var nodePort = 0
  /// Nil: no address was given.
  public var balancer: String?
  public init() {}
}

/// One scenario: a pod that calls, or the reason why it cannot be tried.
public struct ConnectivityScenario: Sendable, Hashable {
  /// Also the pod's name.
  public var name: String
  public var title: String
  /// Ends with 0 when all is as it should be. Nil: skipped.
  public var script: String?
  public var skipped: String?
  public var node: String
  public var usesNodeNetwork = false
  public var labels: [String: String] = [:]
  /// What to type when it fails.
  public var next: String
}

public struct ConnectivityPlan: Sendable {
  public let ground: ConnectivityGround
  public init(_ ground: ConnectivityGround) { self.ground = ground }

  static let port = 8080
  var hostName: String { "connectivity.\(ground.namespace).test" }
  private var first: String { ground.nodes[0].name }
  private var second: String? { ground.nodes.count > 1 ? ground.nodes[1].name : nil }

  // MARK: Objects

  public var namespace: JSON {
    [
      "apiVersion": "v1", "kind": "Namespace",
      "metadata": [
        "name": JSON(ground.namespace),
        "labels": [
          "app.kubernetes.io/managed-by": "weft-test", "pod-security.kubernetes.io/enforce": "privileged",
        ],
      ],
    ]
  }

  /// Servers, Services, policies and the Ingress.
  public var servers: [JSON] {
    var objects = [
      server("near", on: first, role: "near"), server("guarded", on: first, role: "guarded"),
      service("server", selector: ["app": "server", "open": "yes"]),
      service("near", selector: ["role": "near"]),
      service("guarded", selector: ["role": "guarded"]), service("itself", selector: ["role": "itself"]),
      service("by-node", selector: ["role": "near"], ["type": "NodePort"]),
      service("balanced", selector: ["role": "near"], ["type": "LoadBalancer"]),
      service("headless", selector: ["app": "server", "open": "yes"], ["clusterIP": "None"]),
      policy(
        "guard", selecting: ["role": "guarded"], "Ingress",
        ["ingress": [["from": [["podSelector": ["matchLabels": ["friend": "yes"]]]]]]]),
      policy(
        "fence", selecting: ["fenced": "yes"], "Egress",
        [
          "egress": [
            ["to": [["podSelector": ["matchLabels": ["role": "near"]]]]],
            ["ports": [["protocol": "UDP", "port": 53], ["protocol": "TCP", "port": 53]]],
          ]
        ]),
    ]
    if let second { objects.append(server("far", on: second, role: "far")) }
    if let name = ground.ingressClass {
      objects.append([
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata("door"),
        "spec": [
          "ingressClassName": JSON(name),
          "rules": [
            [
              "host": JSON(hostName),
              "http": [
                "paths": [
                  [
                    "path": "/", "pathType": "Prefix",
                    "backend": ["service": ["name": "near", "port": ["number": 80]]],
                  ]
                ]
              ],
            ]
          ],
        ],
      ])
    }
    return objects
  }

  /// Names of the server pods.
  public var serverNames: [String] { ["near", "guarded"] + (second == nil ? [] : ["far"]) }

  private func metadata(_ name: String, _ labels: [String: String] = [:]) -> JSON {
    [
      "name": JSON(name), "namespace": JSON(ground.namespace),
      "labels": .object(JSONObject(labels.sorted { $0.key < $1.key }.map { ($0.key, JSON($0.value)) })),
    ]
  }

  private func server(_ name: String, on node: String, role: String) -> JSON {
    pod(
      name, on: node, labels: ["app": "server", "role": role, "open": role == "guarded" ? "no" : "yes"],
      arguments: ["serve", "\(Self.port)"])
  }

  private func pod(_ name: String, on node: String, labels: [String: String], arguments: [String]) -> JSON {
    [
      "apiVersion": "v1", "kind": "Pod", "metadata": metadata(name, labels),
      "spec": [
        "restartPolicy": "Never", "terminationGracePeriodSeconds": 0,
        "nodeSelector": ["kubernetes.io/hostname": JSON(node)], "tolerations": [["operator": "Exists"]],
        "containers": [
          [
            "name": "main", "image": JSON(ground.image), "imagePullPolicy": "IfNotPresent",
            "args": JSON(arguments),
          ]
        ],
      ],
    ]
  }

  private func service(_ name: String, selector: [String: String], _ more: JSON = [:]) -> JSON {
    var spec: JSON = [
      "ports": [
        ["name": "http", "port": name == "headless" ? JSON(Self.port) : 80, "targetPort": JSON(Self.port)]
      ]
    ]
    spec["selector"] = .object(
      JSONObject(selector.sorted { $0.key < $1.key }.map { ($0.key, JSON($0.value)) }))
    for (key, value) in more.object ?? [:] { spec[key] = value }
    return ["apiVersion": "v1", "kind": "Service", "metadata": metadata(name), "spec": spec]
  }

  private func policy(_ name: String, selecting labels: [String: String], _ type: String, _ more: JSON)
    -> JSON
  {
    var spec: JSON = ["policyTypes": [JSON(type)]]
    spec.set(
      .object(JSONObject(labels.map { ($0.key, JSON($0.value)) })), at: "podSelector", "matchLabels")
    for (key, value) in more.object ?? [:] { spec[key] = value }
    return [
      "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata(name), "spec": spec,
    ]
  }

  public func pod(of scenario: ConnectivityScenario) -> JSON {
    var pod = pod(
      scenario.name, on: scenario.node, labels: scenario.labels,
      arguments: ["sh", "-c", scenario.script ?? "exit 1"])
    if scenario.usesNodeNetwork {
      pod.set(true, at: "spec", "hostNetwork")
      pod.set("ClusterFirstWithHostNet", at: "spec", "dnsPolicy")
    }
    return pod
  }

  // MARK: Scenarios

  /// All of them, in the order in which they are told.
  public func scenarios(_ facts: ConnectivityFacts) -> [ConnectivityScenario] {
    func explain(_ from: String, _ to: String) -> String {
      "run it with --keep, then: weft explain \(ground.namespace)/\(from) \(to)"
    }
    func scenario(
      _ name: String, _ title: String, _ script: String?, skipped: String = "", on node: String? = nil,
      usesNodeNetwork: Bool = false, labels: [String: String] = [:], to target: String
    ) -> ConnectivityScenario {
      ConnectivityScenario(
        name: name, title: title, script: script, skipped: script == nil ? skipped : nil, node: node ?? first,
        usesNodeNetwork: usesNodeNetwork, labels: labels,
        next: usesNodeNetwork ? "run it with --keep, then: weft check" : explain(name, target))
    }
    let port = Self.port
    let zone = "\(ground.namespace).svc.cluster.local"
    let alone = "the cluster has one node that is ready"
    let doors = ground.nodes.flatMap(\.addresses)
    return [
      scenario(
        "pod-to-pod-near", "pod to pod on the same node",
        Self.reaches("http://\(facts.near):\(port)/", "near"),
        to: "pod/\(ground.namespace)/near:\(port)"),
      scenario(
        "pod-to-pod-far", "pod to pod on another node",
        facts.far.map { Self.reaches("http://\($0):\(port)/", "far") }, skipped: alone,
        to: "pod/\(ground.namespace)/far:\(port)"),
      scenario(
        "far-pod-to-service", "pod of another node to a Service",
        second.map { _ in Self.reaches("http://near.\(zone)/", "near") }, skipped: alone, on: second,
        to: "svc/\(ground.namespace)/near:80"),
      scenario(
        "pod-to-cluster-ip", "pod to a Service by its cluster IP",
        Self.reaches("http://\(facts.clusterIP)/", "pod:"), to: "svc/\(ground.namespace)/server:80"),
      scenario(
        "pod-to-name", "pod to a Service by its name, short and whole",
        Self.reaches("http://server/", "pod:") + Self.reaches("http://server.\(zone)./", "pod:"),
        to: "server.\(zone):80"),
      scenario(
        "headless", "pod to a headless Service",
        Self.reaches("http://headless.\(zone):\(port)/", "pod:"), to: "headless.\(zone):\(port)"),
      scenario(
        "dns", "cluster DNS answers, and denies what is not there",
        """
        nslookup kubernetes.default.svc.cluster.local >/tmp/out 2>&1 || { cat /tmp/out; exit 1; }
        if nslookup nothing-here.\(zone). >/tmp/out 2>&1; then echo 'a name that does not exist has an address'; exit 1; fi

        """, to: "kubernetes.default.svc.cluster.local:443"),
      scenario(
        "node-port", "node to a NodePort of each node",
        doors.isEmpty
          ? nil : doors.map { Self.reaches("http://\($0):\(facts.nodePort)/", "near") }.joined(),
        skipped: "no node has an address", usesNodeNetwork: true, to: ""),
      scenario(
        "load-balancer", "pod to a Service of type LoadBalancer",
        facts.balancer.map { Self.reaches("http://\($0)/", "near") },
        skipped: "nobody gave it an address: no load balancer, or no pool for one",
        to: "svc/\(ground.namespace)/balanced:80"),
      scenario(
        "node-to-pod", "node to a pod", Self.reaches("http://\(facts.near):\(port)/", "near"),
        usesNodeNetwork: true, to: ""),
      scenario(
        "hairpin", "pod to itself by its Service",
        "httpd -p \(port) -h /www\n" + Self.reaches("http://itself.\(zone)/", "hairpin"),
        labels: ["role": "itself"], to: "svc/\(ground.namespace)/itself:80"),
      scenario(
        "ingress-policy-allow", "a policy lets a friend in",
        Self.reaches("http://guarded.\(zone)/", "guarded"), labels: ["friend": "yes"],
        to: "svc/\(ground.namespace)/guarded:80"),
      scenario(
        "ingress-policy-deny", "a policy keeps a stranger out",
        Self.reaches("http://near.\(zone)/", "near") + Self.isKept("http://guarded.\(zone)/"),
        to: "svc/\(ground.namespace)/guarded:80"),
      scenario(
        "egress-policy-allow", "a fenced pod gets out to what its policy names",
        Self.reaches("http://near.\(zone)/", "near"), labels: ["fenced": "yes"],
        to: "svc/\(ground.namespace)/near:80"),
      scenario(
        "egress-policy-deny", "a fenced pod gets out to nothing else",
        Self.reaches("http://near.\(zone)/", "near") + Self.isKept("http://guarded.\(zone)/"),
        labels: ["fenced": "yes", "friend": "yes"], to: "svc/\(ground.namespace)/guarded:80"),
      scenario(
        "ingress", "node to an Ingress",
        ground.ingressClass == nil || doors.isEmpty
          ? nil
          : Self.reaches(doors.map { "http://\($0)/" }.joined(separator: " "), "near", host: hostName),
        skipped: "the cluster has no IngressClass", usesNodeNetwork: true, to: ""),
    ]
  }

  /// Tried for half a minute: what was made a moment ago may not be in force on every node. Any of several URLs will do.
  private static func reaches(_ urls: String, _ expected: String, host: String? = nil) -> String {
    let header = host.map { "--header 'Host: \($0)' " } ?? ""
    return """
      ok=; end=$(($(date +%s) + 30)); while [ $(date +%s) -lt $end ]; do for url in \(urls); do
        if timeout 3 wget -q \(header)-O /tmp/out $url 2>/tmp/err && grep -q '\(expected)' /tmp/out; then ok=1; break 2; fi
      done; sleep 1; done
      [ "$ok" ] || { echo "no answer of \(expected) from \(urls): $(cat /tmp/err)"; exit 1; }

      """
  }

  private static func isKept(_ url: String) -> String {
    """
    if timeout 3 wget -q -O /tmp/out \(url) 2>/tmp/err; then echo 'an answer from \(url), which policy forbids'; exit 1; fi

    """
  }
}
