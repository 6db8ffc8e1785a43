// What planning needs besides the view: Secrets and ConfigMaps that objects name, and no others.

import ClusterObjects
import ClusterView
import Ingress

/// Certificates of authorities, read from a ConfigMap's `ca.crt`.
public struct AuthorityBundle: Sendable, Hashable {
  public let certificates: [UInt8]

  /// Nil when there is no `ca.crt`, a block of it is no certificate in base64, or no certificate can be read in it.
  public init?(configMap tree: JSON) {
    guard let text = tree.at("data", "ca.crt")?.string, Self.isBundle(text) else { return nil }
    certificates = Array(text.utf8)
    guard TLSAuthority(source: "", pem: certificates).isUsable else { return nil }
  }

  /// At least one block, and each a DER sequence.
  private static func isBundle(_ text: String) -> Bool {
    var blocks = 0
    var body: String?
    for line in text.split(whereSeparator: \.isNewline) {
      switch line {
      case "-----BEGIN CERTIFICATE-----":
        if body != nil { return false }
        body = ""
      case "-----END CERTIFICATE-----":
        guard let found = body, let bytes = Base64.decode(found), bytes.count > 16, bytes.first == 0x30 else {
          return false
        }
        body = nil
        blocks += 1
      default: body?.append(contentsOf: line)
      }
    }
    return blocks > 0 && body == nil
  }
}

/// The Secrets and ConfigMaps that exist and may be read, of those that `planGatewayReferences` names.
public struct GatewayInput: Sendable, Equatable {
  public var secrets: [ObjectKey: TLSSecret]
  public var authorities: [ObjectKey: AuthorityBundle]

  public init(secrets: [ObjectKey: TLSSecret] = [:], authorities: [ObjectKey: AuthorityBundle] = [:]) {
    self.secrets = secrets
    self.authorities = authorities
  }

  /// Secrets are compared by what they hold, and what is wrong with them.
  public static func == (a: GatewayInput, b: GatewayInput) -> Bool {
    a.authorities == b.authorities && a.secrets.count == b.secrets.count
      && a.secrets.allSatisfy { key, secret in
        guard let other = b.secrets[key] else { return false }
        return secret.certificate == other.certificate && secret.problem == other.problem
      }
  }
}

/// What has to be read of a cluster.
public struct GatewayReferences: Sendable, Hashable {
  public var secrets: Set<ObjectKey> = []
  public var configMaps: Set<ObjectKey> = []
  public init() {}
}

/// The Secrets and ConfigMaps that Gateways of ours name and may name: nothing is read that a ReferenceGrant does not allow.
public func planGatewayReferences(view: ClusterView, settings: GatewaySettings) -> GatewayReferences {
  var references = GatewayReferences()
  let objects = view.gateway
  func add(_ reference: ObjectReference, _ kind: String, in namespace: String) {
    let key = reference.key(in: namespace)
    guard reference.group.isEmpty, objects.permits(kind, in: namespace, to: reference, at: key) else {
      return
    }
    switch reference.kind {
    case "Secret": references.secrets.insert(key)
    case "ConfigMap": references.configMaps.insert(key)
    default: break
    }
  }
  func add(_ listeners: [GatewayListener], _ kind: String, in namespace: String) {
    for tls in listeners.compactMap(\.tls) where !tls.isPassthrough {
      for certificate in tls.certificates { add(certificate, kind, in: namespace) }
    }
  }
  var ours: Set<ObjectKey> = []
  for gateway in objects.gateways.values
  where objects.classes[gateway.className]?.controllerName == settings.controllerName {
    ours.insert(gateway.key)
    let namespace = gateway.key.namespace
    add(gateway.listeners, "Gateway", in: namespace)
    if let certificate = gateway.backendCertificate { add(certificate, "Gateway", in: namespace) }
    let validations =
      [gateway.clientValidation] + gateway.clientValidationOfPorts.values.map { $0 }
    for authority in validations.compactMap(\.self).flatMap(\.authorities) {
      add(authority, "Gateway", in: namespace)
    }
  }
  for set in objects.listenerSets.values {
    guard let gateway = set.gateway, ours.contains(gateway) else { continue }
    add(set.listeners, "ListenerSet", in: set.key.namespace)
  }
  if !ours.isEmpty {
    for policy in objects.backendPolicies.values {
      for authority in policy.authorities { add(authority, "BackendTLSPolicy", in: policy.key.namespace) }
    }
  }
  return references
}

extension TLSSecret {
  /// Nil: it can be served.
  fileprivate var problem: String? {
    if case .failure(let reason) = loaded { "\(reason)" } else { nil }
  }
}
