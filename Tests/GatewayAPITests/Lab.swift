// A cluster in YAML and what is planned of it. Names, namespaces and labels are our own; what is shown follows the conformance tests of
// Gateway API, whose names the tests carry.

import ClusterClient
import ClusterObjects
import ClusterView
import Foundation
import GatewayAPI
import Ingress
import SoakLab
import Synchronization
import Testing

/// Everything that the cases share: a class, three namespaces, Services.
let base = """
  apiVersion: gateway.networking.k8s.io/v1
  kind: GatewayClass
  metadata: {name: weft, generation: 3}
  spec: {controllerName: weft.dev/gateway}
  ---
  apiVersion: v1
  kind: Namespace
  metadata: {name: infra, labels: {kubernetes.io/metadata.name: infra}}
  ---
  apiVersion: v1
  kind: Namespace
  metadata: {name: web, labels: {team: web}}
  ---
  apiVersion: v1
  kind: Namespace
  metadata: {name: other, labels: {team: other}}
  ---
  apiVersion: v1
  kind: Service
  metadata: {name: one, namespace: infra}
  spec: {type: ClusterIP, clusterIP: 10.43.0.11, ports: [{name: http, port: 8080}, {name: dns, port: 53, protocol: UDP}]}
  ---
  apiVersion: v1
  kind: Service
  metadata: {name: two, namespace: infra}
  spec: {type: ClusterIP, clusterIP: 10.43.0.12, ports: [{name: http, port: 8080}, {name: https, port: 8443}]}
  ---
  apiVersion: v1
  kind: Service
  metadata: {name: far, namespace: web}
  spec: {type: ClusterIP, clusterIP: 10.43.0.13, ports: [{name: http, port: 8080}, {name: dns, port: 53, protocol: UDP}]}
  """

struct Lab {
  var view = ClusterView()
  var settings = GatewaySettings(addresses: ["192.0.2.1"])
  var input = GatewayInput()
  private var made = 0

  init(_ manifests: String...) throws {
    for text in [base] + manifests { try add(text) }
  }

  /// Adds or replaces objects; each is a second younger than the one before, unless it says when it was made.
  mutating func add(_ manifests: String) throws {
    for document in try YAML.parseAll(manifests) {
      var object = document.value
      made += 1
      if object.creationTimestamp.isEmpty {
        let (minutes, seconds) = ("\(made / 60 + 100)".dropFirst(), "\(made % 60 + 100)".dropFirst())
        object.set(
          JSON("2026-01-01T00:\(minutes):\(seconds)Z"), at: "metadata", "creationTimestamp")
      }
      let isKnown = view.apply(object)
      #expect(isKnown, "\(object.kind) is no kind of the view")
    }
    #expect(view.quarantined.isEmpty)
  }

  func plan() -> GatewayPlan { planGateways(view: view, settings: settings, input: input) }
}

/// A Gateway of our class in `infra`; listeners are given as flow mappings, one a line.
func gateway(_ name: String, generation: Int = 1, more: String = "", _ listeners: String...) -> String {
  owner("Gateway", name, "infra", generation, "  gatewayClassName: weft\n" + more, listeners)
}

func listenerSet(
  _ name: String, _ namespace: String = "infra", of gateway: String, _ listeners: String...
) -> String {
  owner(
    "ListenerSet", name, namespace, 1, "  parentRef: {name: \(gateway), namespace: infra}\n", listeners)
}

private func owner(
  _ kind: String, _ name: String, _ namespace: String, _ generation: Int, _ head: String,
  _ listeners: [String]
) -> String {
  """
  apiVersion: gateway.networking.k8s.io/v1
  kind: \(kind)
  metadata: {name: \(name), namespace: \(namespace), generation: \(generation)}
  spec:
  \(head)  listeners:
  \(listeners.map { "  - {\($0)}" }.joined(separator: "\n"))
  """
}

/// A route with one rule to a backend, or with rules of its own.
func route(
  _ name: String, _ namespace: String = "infra", kind: String = "HTTPRoute", to parents: String,
  hosts: String = "", backend: String = "{name: one, port: 8080}", rules: String? = nil, generation: Int = 1
) -> String {
  """
  apiVersion: gateway.networking.k8s.io/v1
  kind: \(kind)
  metadata: {name: \(name), namespace: \(namespace), generation: \(generation)}
  spec:
    parentRefs: [\(parents)]
    hostnames: [\(hosts)]
    rules: \(rules ?? "[{backendRefs: [\(backend)]}]")
  """
}

func grant(
  _ name: String = "grant", in namespace: String, from kind: String, of other: String = "infra", to: String
) -> String {
  """
  apiVersion: gateway.networking.k8s.io/v1beta1
  kind: ReferenceGrant
  metadata: {name: \(name), namespace: \(namespace)}
  spec:
    from: [{group: gateway.networking.k8s.io, kind: \(kind), namespace: \(other)}]
    to: [\(to)]
  """
}

extension Sequence<GatewayPlan.Condition> {
  /// `True Accepted`; empty when the condition is not there.
  subscript(_ type: String) -> String {
    first { $0.type == type }.map { "\($0.isTrue ? "True" : "False") \($0.reason)" } ?? ""
  }
}

extension GatewayPlan {
  func gateway(_ name: String) throws -> GatewayStatus {
    try #require(gateways[ObjectKey("infra", name)])
  }

  func set(_ name: String, _ namespace: String = "infra") throws -> ListenerSetStatus {
    try #require(listenerSets[ObjectKey(namespace, name)])
  }

  func listener(_ name: String, of gateway: String) throws -> ListenerStatus {
    try #require(try self.gateway(gateway).listeners.first { $0.name == name })
  }

  func parents(_ name: String, _ namespace: String = "infra", kind: GatewayRoute.Kind = .http) throws
    -> [ParentStatus]
  {
    try #require(routes[GatewayRoute.Name(kind, ObjectKey(namespace, name))])
  }

  /// What the only parent says.
  func parent(_ name: String, _ namespace: String = "infra", kind: GatewayRoute.Kind = .http) throws
    -> [Condition]
  {
    let all = try parents(name, namespace, kind: kind)
    try #require(all.count == 1)
    return all[0].conditions
  }

  func served(_ name: String, of gateway: String = "gw") throws -> Listener {
    try #require(listeners.first { $0.name == name && $0.gateway == ObjectKey("infra", gateway) })
  }

  /// `HOST: ROUTE/RULE BACKENDS`, in the order in which they are tried.
  func table(_ name: String, of gateway: String = "gw") throws -> [String] {
    try served(name, of: gateway).hosts.flatMap { host in
      host.rules.map { rule in
        let backends = rule.backends.map { backend in
          switch backend.target {
          case .service(let key, let port): "\(key.name):\(port)"
          case .refused: "500"
          }
        }
        return "\(host.name.isEmpty ? "*" : host.name): \(rule.route.key.name)/\(rule.index) "
          + backends.joined(separator: ",")
      }
    }
  }
}

extension GatewayPlan.ListenerStatus {
  var kinds: [String] { supportedKinds.map(\.kind) }
  /// Accepted, programmed, resolved, in no conflict.
  var isWell: Bool {
    conditions["Accepted"] == "True Accepted" && conditions["Programmed"] == "True Programmed"
      && conditions["ResolvedRefs"] == "True ResolvedRefs" && conditions["Conflicted"] == "False NoConflicts"
  }
}

extension Sequence<GatewayPlan.ListenerStatus> {
  var areWell: Bool { allSatisfy { $0.isWell } }
}

/// Certificates and their keys, made once each.
enum TestCertificate {
  static let pair = make("example.org")
  private static let others = Mutex<[String: TLSSecret]>([:])

  /// For another name.
  static func named(_ name: String) -> TLSSecret {
    if let found = others.withLock({ $0[name] }) { return found }
    let made = make(name)
    let secret = TLSSecret(TLSCertificate(chain: made.chain, key: made.key))
    others.withLock { $0[name] = secret }
    return secret
  }

  private static func make(_ name: String) -> (chain: [UInt8], key: [UInt8]) {
    do {
      let folder = try ScratchFolder.make("gateway")
      defer { ScratchFolder.remove(folder) }
      let openssl = Process()
      openssl.executableURL = URL(fileURLWithPath: "/usr/bin/openssl")
      openssl.arguments = [
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
        "-subj", "/CN=\(name)", "-keyout", "\(folder)/key", "-out", "\(folder)/chain",
      ]
      openssl.standardError = FileHandle.nullDevice
      try openssl.run()
      openssl.waitUntilExit()
      let read = { (name: String) in Array(try Data(contentsOf: URL(fileURLWithPath: "\(folder)/\(name)"))) }
      return (try read("chain"), try read("key"))
    } catch {
      Issue.record("no certificate was made: \(error)")
      return ([], [])
    }
  }

  static var secret: TLSSecret { TLSSecret(TLSCertificate(chain: pair.chain, key: pair.key)) }
  static var broken: TLSSecret {
    TLSSecret(secret: ["data": ["tls.crt": "bm9uZQ==", "tls.key": "bm9uZQ=="]])
  }
  static var configMap: JSON { ["data": ["ca.crt": JSON(String(decoding: pair.chain, as: UTF8.self))]] }
}
