// networking.k8s.io/v1 Ingress and IngressClass, parsed.

import Addresses
import ClusterObjects

/// HTTP routes from outside to Services.
public struct Ingress: Sendable, Hashable {
  public enum PathKind: String, Sendable {
    case exact = "Exact", prefix = "Prefix", implementationSpecific = "ImplementationSpecific"
  }
  public enum PortReference: Sendable, Hashable {
    case number(UInt16)
    case name(String)
  }

  public struct Backend: Sendable, Hashable {
    public var service: ObjectKey
    public var port: PortReference
    public init(service: ObjectKey, port: PortReference) {
      self.service = service
      self.port = port
    }
  }

  public struct Path: Sendable, Hashable {
    public var path: String
    public var kind: PathKind
    public var backend: Backend
  }

  public struct Rule: Sendable, Hashable {
    /// Empty means every host; `*.example.com` means one label more.
    public var host: String
    public var paths: [Path]
  }

  public struct TLS: Sendable, Hashable {
    public var hosts: [String]
    public var secretName: String
  }

  public var key: ObjectKey
  public var className: String?
  public var annotations: [String: String]
  public var creationTimestamp: String
  public var defaultBackend: Backend?
  public var rules: [Rule]
  public var tls: [TLS]

  public init(_ tree: JSON) throws(UnreadableObject) {
    let reader = TreeReader("Ingress", tree)
    key = tree.key
    className = tree.at("spec", "ingressClassName")?.string ?? tree.annotations["kubernetes.io/ingress.class"]
    annotations = tree.annotations
    creationTimestamp = tree.creationTimestamp
    if let backend = tree.at("spec", "defaultBackend") {
      defaultBackend = try Self.backend(backend, tree.namespace, "spec.defaultBackend", reader)
    }
    rules = []
    for (index, rule) in (tree.at("spec", "rules")?.elements ?? []).enumerated() {
      var paths: [Path] = []
      for (at, path) in (rule.at("http", "paths")?.elements ?? []).enumerated() {
        let where_ = "spec.rules[\(index)].http.paths[\(at)]"
        guard let backend = path["backend"] else { throw reader.unreadable("\(where_).backend", "") }
        paths.append(
          Path(
            path: path["path"]?.string ?? "/",
            kind: try reader.choice(path["pathType"], "\(where_).pathType", default: .implementationSpecific),
            backend: try Self.backend(backend, tree.namespace, "\(where_).backend", reader)))
      }
      rules.append(Rule(host: (rule["host"]?.string ?? "").lowercased(), paths: paths))
    }
    tls = (tree.at("spec", "tls")?.elements ?? []).map {
      TLS(hosts: $0["hosts"]?.elements.compactMap(\.string) ?? [], secretName: $0["secretName"]?.string ?? "")
    }
  }

  private static func backend(_ tree: JSON, _ namespace: String, _ path: String, _ reader: TreeReader)
    throws(UnreadableObject) -> Backend
  {
    guard let name = tree.at("service", "name")?.string else {
      throw reader.unreadable("\(path).service.name", tree.text)
    }
    let port = tree.at("service", "port")
    if let portName = port?["name"]?.string, !portName.isEmpty {
      return Backend(service: ObjectKey(namespace, name), port: .name(portName))
    }
    return Backend(
      service: ObjectKey(namespace, name),
      port: .number(try reader.port(port?["number"], "\(path).service.port.number")))
  }
}

/// Which controller serves an Ingress.
public struct IngressClass: Sendable, Hashable {
  public var name: String
  public var controller: String
  public var isDefault: Bool
  public init(_ tree: JSON) {
    name = tree.name
    controller = tree.at("spec", "controller")?.string ?? ""
    isDefault = tree.annotations["ingressclass.kubernetes.io/is-default-class"] == "true"
  }
}
