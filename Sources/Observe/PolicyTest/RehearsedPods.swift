// The pods that manifests will come to: a workload stands for one pod of its template, so that policies can be asked before
// anything runs.

import Addresses
import ClusterObjects
import ClusterView

/// Pods by the names people use for them, and the view that policies are decided in.
struct RehearsedPods {
  private(set) var view = ClusterView()
  /// Workload or pod, by namespace and name.
  private(set) var byName: [ObjectKey: ObjectKey] = [:]
  private var services: [ObjectKey: JSON] = [:]

  /// Kinds whose template makes pods, and where it stands.
  private static let templates: [String: [String]] = [
    "Deployment": ["spec", "template"], "StatefulSet": ["spec", "template"],
    "DaemonSet": ["spec", "template"],
    "ReplicaSet": ["spec", "template"], "ReplicationController": ["spec", "template"],
    "Job": ["spec", "template"],
    "CronJob": ["spec", "jobTemplate", "spec", "template"],
  ]

  /// - Parameter first: of the addresses that pods without one are given. By default of the networks for benchmarks (RFC 2544): no
  ///   block of a policy means them.
  init(_ objects: [JSON], from first: IPv4Address = IPv4Address(198, 18, 0, 1)) {
    var labels: [String: [String: String]] = [:]
    var used: Set<IPAddress> = []
    for object in objects {
      switch object.kind {
      case "Namespace": labels[object.name] = object.labels
      case "NetworkPolicy": view.apply(Self.inNamespace(object))
      case "ClusterNetworkPolicy", "Node": view.apply(object)
      case "Service":
        let service = Self.inNamespace(object)
        services[service.key] = service
      default: break
      }
      for address in object.kind == "Pod" ? Self.addresses(object) : [] { used.insert(address) }
    }
    // A pod that runs has its own.
    var next = first.bits
    func freshAddress() -> IPAddress {
      while used.contains(.v4(IPv4Address(bits: next))) { next += 1 }
      defer { next += 1 }
      return .v4(IPv4Address(bits: next))
    }
    for object in objects {
      if object.kind == "Pod" {
        let pod = Self.inNamespace(object)
        byName[pod.key] = pod.key
        view.apply(Self.addresses(pod).isEmpty ? Self.placed(pod, freshAddress()) : pod)
        labels[pod.key.namespace] = labels[pod.key.namespace] ?? [:]
      } else if let path = Self.templates[object.kind] {
        let workload = Self.inNamespace(object)
        guard var pod = path.reduce(Optional(workload), { $0?[$1] }), byName[workload.key] == nil else {
          continue
        }
        pod["kind"] = "Pod"
        pod["metadata"]?["name"] = JSON(workload.name)
        pod["metadata"]?["namespace"] = JSON(workload.key.namespace)
        byName[workload.key] = pod.key
        view.apply(Self.placed(pod, freshAddress()))
        labels[pod.key.namespace] = labels[pod.key.namespace] ?? [:]
      }
    }
    for (name, own) in labels {
      // As the API server labels it.
      let all = own.merging(["kubernetes.io/metadata.name": name]) { old, _ in old }
      view.apply([
        "kind": "Namespace",
        "metadata": [
          "name": JSON(name), "labels": .object(JSONObject(all.map { ($0.key, JSON($0.value)) })),
        ],
      ])
    }
  }

  static func inNamespace(_ object: JSON) -> JSON {
    guard object.key.namespace.isEmpty else { return object }
    var copy = object
    copy["metadata"]?["namespace"] = "default"
    return copy
  }

  private static func addresses(_ pod: JSON) -> [IPAddress] {
    (pod.at("status", "podIPs")?.elements ?? []).compactMap { $0["ip"]?.string.flatMap { IPAddress($0) } }
      + [pod.at("status", "podIP")?.string.flatMap { IPAddress($0) }].compactMap { $0 }
  }

  private static func placed(_ pod: JSON, _ address: IPAddress) -> JSON {
    var copy = pod
    copy["status"] = ["phase": "Running", "podIP": JSON(address.description)]
    return copy
  }

  /// The pods behind a Service's port, each with the port it listens on. Nil: there is no such Service or port.
  func backends(of key: ObjectKey, port wanted: ExplainTarget.Port, _ transport: TransportProtocol?)
    -> [(pod: Pod, port: UInt16, transport: TransportProtocol)]?
  {
    guard let service = services[key] else { return nil }
    let found = (service.at("spec", "ports")?.elements ?? []).first { port in
      let own = TransportProtocol(rawValue: port["protocol"]?.string ?? "TCP")
      if let transport, own != transport { return false }
      switch wanted {
      case .number(let number): return port["port"]?.int == Int(number)
      case .name(let name): return port["name"]?.string == name
      }
    }
    guard let found, let own = TransportProtocol(rawValue: found["protocol"]?.string ?? "TCP") else {
      return nil
    }
    let selector = service.at("spec", "selector")?.stringMap ?? [:]
    if selector.isEmpty { return [] }
    let chosen = LabelSelector(matchLabels: selector)
    return view.pods.values.filter { $0.key.namespace == key.namespace && chosen.matches($0.labels) }
      .sorted { $0.key < $1.key }
      .compactMap { pod in
        switch found["targetPort"] {
        case .string(let name):
          return pod.ports.first { $0.name == name && $0.transport == own }.map { (pod, $0.port, own) }
        case let number:
          guard let target = UInt16(exactly: number?.int ?? found["port"]?.int ?? 0) else { return nil }
          return (pod, target, own)
        }
      }
  }

  func hasService(_ key: ObjectKey) -> Bool { services[key] != nil }
}
