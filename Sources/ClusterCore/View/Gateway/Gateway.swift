// gateway.networking.k8s.io/v1 GatewayClass, Gateway and ListenerSet, parsed.

import Addresses
import ClusterObjects

/// An object that another one names, by group, kind and name.
public struct ObjectReference: Sendable, Hashable, CustomStringConvertible {
  public var group: String
  public var kind: String
  /// Empty: that of the object which names it.
  public var namespace: String
  public var name: String

  public init(group: String, kind: String, namespace: String = "", name: String) {
    self.group = group
    self.kind = kind
    self.namespace = namespace
    self.name = name
  }

  init(_ tree: JSON, group: String = "", kind: String = "") {
    self.group = tree["group"]?.string ?? group
    self.kind = tree["kind"]?.string ?? kind
    namespace = tree["namespace"]?.string ?? ""
    name = tree["name"]?.string ?? ""
  }

  /// The object's key, seen from a namespace.
  public func key(in own: String) -> ObjectKey { ObjectKey(namespace.isEmpty ? own : namespace, name) }

  public var description: String {
    let kind = group.isEmpty ? kind : "\(kind).\(group)"
    return namespace.isEmpty ? "\(kind) \(name)" : "\(kind) \(namespace)/\(name)"
  }
}

public struct GatewayClass: Sendable, Hashable {
  public var name: String
  public var generation: Int64
  public var controllerName: String
  public var parameters: ObjectReference?

  public init(_ tree: JSON) {
    name = tree.name
    generation = tree.generation
    controllerName = tree.at("spec", "controllerName")?.string ?? ""
    parameters = tree.at("spec", "parametersRef").map { ObjectReference($0) }
  }
}

/// One port of a Gateway or ListenerSet, and what is spoken there.
public struct GatewayListener: Sendable, Hashable {
  public enum Namespaces: Sendable, Hashable {
    case none, same, all
    case selected(LabelSelector)
  }

  public struct TLS: Sendable, Hashable {
    public var isPassthrough: Bool
    public var certificates: [ObjectReference]
    /// What the API leaves to controllers.
    public var options: [String: String]
  }

  public struct RouteKind: Sendable, Hashable {
    public var group: String
    public var kind: String
    public init(group: String = GatewayObjects.group, kind: String) {
      self.group = group
      self.kind = kind
    }
  }

  public var name: String
  /// In lower case; nil for every name.
  public var hostname: String?
  public var port: UInt16
  /// As it is written: HTTP, HTTPS, TLS, TCP, UDP, or a name of somebody's own.
  public var protocolName: String
  public var tls: TLS?
  /// Empty: all that fit the protocol.
  public var routeKinds: [RouteKind]
  public var routeNamespaces: Namespaces

  init(_ tree: JSON, _ path: String, _ reader: TreeReader) throws(UnreadableObject) {
    name = tree["name"]?.string ?? ""
    hostname = tree["hostname"]?.string.flatMap { $0.isEmpty ? nil : $0.lowercased() }
    port = try reader.port(tree["port"], "\(path).port")
    protocolName = tree["protocol"]?.string ?? ""
    tls = tree["tls"].map { tls in
      TLS(
        isPassthrough: tls["mode"]?.string == "Passthrough",
        certificates: (tls["certificateRefs"]?.elements ?? []).map {
          ObjectReference($0, kind: "Secret")
        }, options: tls["options"]?.stringMap ?? [:])
    }
    routeKinds = (tree.at("allowedRoutes", "kinds")?.elements ?? []).map {
      RouteKind(group: $0["group"]?.string ?? GatewayObjects.group, kind: $0["kind"]?.string ?? "")
    }
    routeNamespaces = try Self.namespaces(
      tree.at("allowedRoutes", "namespaces"), default: .same, "\(path).allowedRoutes.namespaces", reader)
  }

  static func namespaces(
    _ tree: JSON?, default absent: Namespaces, _ path: String, _ reader: TreeReader
  ) throws(UnreadableObject) -> Namespaces {
    guard let tree else { return absent }
    switch tree["from"]?.string {
    case "All": return .all
    case "Same": return .same
    case "None": return .none
    case "Selector": return .selected(try reader.selector(tree["selector"] ?? [:], "\(path).selector"))
    case nil: return absent
    case let other?: throw reader.unreadable("\(path).from", other)
    }
  }

  static func list(_ tree: JSON, _ reader: TreeReader) throws(UnreadableObject) -> [GatewayListener] {
    var listeners: [GatewayListener] = []
    for (index, listener) in (tree.at("spec", "listeners")?.elements ?? []).enumerated() {
      listeners.append(try GatewayListener(listener, "spec.listeners[\(index)]", reader))
    }
    return listeners
  }
}

public struct Gateway: Sendable, Hashable {
  /// An address that is wanted.
  public struct Address: Sendable, Hashable {
    public var type: String
    /// Empty: any of this type.
    public var value: String
    public init(type: String, value: String) {
      self.type = type
      self.value = value
    }
  }

  /// How the certificates of clients are checked.
  public struct ClientValidation: Sendable, Hashable {
    public var authorities: [ObjectReference]
    /// A client without a valid certificate is let in all the same.
    public var isInsecure: Bool
  }

  public var key: ObjectKey
  public var generation: Int64
  public var creationTimestamp: String
  public var className: String
  public var listeners: [GatewayListener]
  public var addresses: [Address]
  public var parameters: ObjectReference?
  public var listenerSetNamespaces: GatewayListener.Namespaces
  public var clientValidation: ClientValidation?
  /// In place of `clientValidation` for some ports; nil: nothing is asked there.
  public var clientValidationOfPorts: [UInt16: ClientValidation?]
  /// The certificate that backends are shown.
  public var backendCertificate: ObjectReference?

  public init(_ tree: JSON) throws(UnreadableObject) {
    let reader = TreeReader("Gateway", tree)
    key = tree.key
    generation = tree.generation
    creationTimestamp = tree.creationTimestamp
    className = tree.at("spec", "gatewayClassName")?.string ?? ""
    listeners = try GatewayListener.list(tree, reader)
    addresses = (tree.at("spec", "addresses")?.elements ?? []).map {
      Address(type: $0["type"]?.string ?? "IPAddress", value: $0["value"]?.string ?? "")
    }
    parameters = tree.at("spec", "infrastructure", "parametersRef").map { ObjectReference($0) }
    listenerSetNamespaces = try GatewayListener.namespaces(
      tree.at("spec", "allowedListeners", "namespaces"), default: .none, "spec.allowedListeners.namespaces",
      reader)
    let tls = tree.at("spec", "tls")
    clientValidation = Self.validation(tls?.at("frontend", "default"))
    clientValidationOfPorts = [:]
    for (index, entry) in (tls?.at("frontend", "perPort")?.elements ?? []).enumerated() {
      let port = try reader.port(entry["port"], "spec.tls.frontend.perPort[\(index)].port")
      clientValidationOfPorts[port] = .some(Self.validation(entry["tls"]))
    }
    backendCertificate = tls?.at("backend", "clientCertificateRef").map {
      ObjectReference($0, kind: "Secret")
    }
  }

  private static func validation(_ tree: JSON?) -> ClientValidation? {
    guard let tree = tree?["validation"] else { return nil }
    return ClientValidation(
      authorities: (tree["caCertificateRefs"]?.elements ?? []).map { ObjectReference($0) },
      isInsecure: tree["mode"]?.string == "AllowInsecureFallback")
  }

  /// What is asked of clients of a port.
  public func clientValidation(port: UInt16) -> ClientValidation? {
    clientValidationOfPorts[port] ?? clientValidation
  }
}

/// More listeners for a Gateway.
public struct ListenerSet: Sendable, Hashable {
  public var key: ObjectKey
  public var generation: Int64
  public var creationTimestamp: String
  public var parent: ObjectReference
  public var listeners: [GatewayListener]

  public init(_ tree: JSON) throws(UnreadableObject) {
    let reader = TreeReader("ListenerSet", tree)
    key = tree.key
    generation = tree.generation
    creationTimestamp = tree.creationTimestamp
    parent = ObjectReference(
      tree.at("spec", "parentRef") ?? [:], group: GatewayObjects.group, kind: "Gateway")
    listeners = try GatewayListener.list(tree, reader)
  }

  /// The Gateway; nil when the parent is none.
  public var gateway: ObjectKey? {
    parent.group == GatewayObjects.group && parent.kind == "Gateway" ? parent.key(in: key.namespace) : nil
  }
}
