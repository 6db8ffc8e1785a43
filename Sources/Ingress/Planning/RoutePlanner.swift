// From the cluster's view to the route table. Pure: the same view gives the same table.

import Addresses
import ClusterObjects
import ClusterView

/// What people should know about an Ingress that is not served as written.
public struct RouteProblem: Sendable, Hashable, CustomStringConvertible {
  /// Names as events have them.
  public enum Topic: String, Sendable {
    case route = "InvalidRoute"
    case certificate = "InvalidCertificate"
    case annotation = "UnsupportedAnnotation"
  }
  public var ingress: ObjectKey
  public var topic = Topic.route
  public var reason: String
  public var description: String { "ingress \(ingress): \(reason)" }
}

/// A planned table and how it came about.
public struct RoutePlan: Sendable {
  public var table: RouteTable
  public var tls: TLSTable
  /// Hosts with `ssl-passthrough`.
  public var streams: StreamTable
  /// What `tls` serves, by Secret, for whoever looks at dates.
  public var certificates: [ServedCertificate]
  /// The Ingresses this controller serves, in the order in which they claim routes.
  public var served: [ObjectKey]
  public var problems: [RouteProblem]
}

/// The controller name that an IngressClass of ours carries in `spec.controller`.
public let ingressControllerName = "weft.dev/ingress"

/// Routes of every Ingress whose class is ours.
/// - Parameters:
///   - view: the cluster.
///   - controller: the `spec.controller` of our IngressClasses.
///   - servesUnclassed: also serve Ingresses without a class when no default class says whose they are.
public func planRoutes(
  view: ClusterView, controller: String = ingressControllerName, servesUnclassed: Bool = false
) -> RouteTable {
  planRoutesExplained(view: view, controller: controller, servesUnclassed: servesUnclassed).table
}

/// Like `planRoutes`, with certificates, and with the reasons for what is missing.
/// - Parameters:
///   - tls: what is known besides the view when HTTPS is served.
///   - credentials: the Secrets that exist, of those that `planCredentialReferences` names.
///   - headers: data of the ConfigMaps that exist, of those that `planHeaderReferences` names.
///   - passthroughPort: the port of HTTPS, when `ssl-passthrough` is honoured there.
///   - place: where the data plane stands: endpoints that are meant for its zone go before others.
public func planRoutesExplained(
  view: ClusterView, controller: String = ingressControllerName, servesUnclassed: Bool = false,
  tls: TLSInput? = nil, credentials: [ObjectKey: CredentialSecret] = [:],
  headers: [ObjectKey: [String: String]] = [:], passthroughPort: UInt16? = nil, near place: NodePlace? = nil
) -> RoutePlan {
  var planner = RoutePlanner(view: view, controller: controller, servesUnclassed: servesUnclassed, input: tls)
  planner.passthrough = PassthroughPlan(port: passthroughPort)
  planner.credentials = credentials
  planner.headers = headers
  planner.place = place
  return planner.plan()
}

/// The Secrets that Ingresses of ours name, and `defaultSecret`: all that has to be read of a cluster's Secrets.
public func planSecretReferences(
  view: ClusterView, controller: String = ingressControllerName, servesUnclassed: Bool = false,
  defaultSecret: ObjectKey? = nil
) -> Set<ObjectKey> {
  let planner = RoutePlanner(
    view: view, controller: controller, servesUnclassed: servesUnclassed, input: nil)
  var references = Set([defaultSecret].compactMap(\.self))
  for ingress in view.ingresses.values where planner.isOurs(ingress) {
    for entry in ingress.tls where !entry.secretName.isEmpty {
      references.insert(ObjectKey(ingress.key.namespace, entry.secretName))
    }
  }
  return references
}

/// The Secrets with names and passwords, authorities and certificates towards endpoints that Ingresses of ours name (`auth-secret`,
/// `auth-tls-secret`, `proxy-ssl-secret`).
public func planCredentialReferences(
  view: ClusterView, controller: String = ingressControllerName, servesUnclassed: Bool = false
) -> Set<ObjectKey> {
  let planner = RoutePlanner(
    view: view, controller: controller, servesUnclassed: servesUnclassed, input: nil)
  return Set(view.ingresses.values.filter(planner.isOurs).flatMap(AnnotationPlan.secretKeys))
}

/// The ConfigMaps with fields of answers that Ingresses of ours name (`custom-headers`).
public func planHeaderReferences(
  view: ClusterView, controller: String = ingressControllerName, servesUnclassed: Bool = false
) -> Set<ObjectKey> {
  let planner = RoutePlanner(
    view: view, controller: controller, servesUnclassed: servesUnclassed, input: nil)
  return Set(view.ingresses.values.filter(planner.isOurs).compactMap(AnnotationPlan.headersKey))
}

struct RoutePlanner {
  let view: ClusterView
  let controller: String
  let servesUnclassed: Bool
  let input: TLSInput?
  var backends: [RouteBackend] = []
  var backendIndex: [BackendKey: Int] = [:]
  var problems: [RouteProblem] = []
  var credentials: [ObjectKey: CredentialSecret] = [:]
  var headers: [ObjectKey: [String: String]] = [:]
  /// Hosts whose clients show certificates, by the Ingress that asked first.
  var certified: [String: Certified] = [:]
  var passthrough = PassthroughPlan(port: nil)
  var place: NodePlace?
  var actions: [RouteAction] = []
  var actionIndex: [RouteAction: Int] = [:]

  struct BackendKey: Hashable {
    var ingress: ObjectKey
    var backend: Ingress.Backend
  }
  struct RuleKey: Hashable {
    var host: String
    var path: [UInt8]
    var isExact: Bool
  }
  /// A rule of an Ingress before it is known whether its host's paths are patterns.
  struct Claim {
    var path: RoutePath
    /// As it was written: in a pattern a slash at the end has a meaning.
    var text: String
    var owner: ObjectKey
  }
  /// Whose a path is, and which of its host's claims that is.
  struct Place {
    var owner: ObjectKey
    var index: Int
  }

  init(view: ClusterView, controller: String, servesUnclassed: Bool, input: TLSInput?) {
    self.input = input
    self.view = view
    self.controller = controller
    self.servesUnclassed = servesUnclassed
  }

  mutating func plan() -> RoutePlan {
    // The oldest claim wins: a newcomer in another namespace cannot take a path that is served.
    let served = view.ingresses.values.filter(isOurs).sorted {
      ($0.creationTimestamp, $0.key) < ($1.creationTimestamp, $1.key)
    }
    let tls = input.map { TLSPlan(served: served, input: $0, isValid: isValid(host:)) } ?? TLSPlan()
    problems += tls.problems
    var hosts: [String: [Claim]] = [:]
    var places: [RuleKey: Place] = [:]
    var patterned: Set<String> = []
    var others: [(ingress: Ingress, plan: AnnotationPlan)] = []
    var defaultBackend: (index: Int, action: Int)?
    for ingress in served where !CanaryPlan.isCanary(ingress) {
      var annotations = AnnotationPlan(ingress, credentials: credentials, headers: headers)
      tell(annotations.problems, ingress.key, .annotation)
      ask(ingress, served, for: &annotations)
      tellErrors(ingress, &annotations)
      let action = number(of: annotations.action)
      for rule in ingress.rules {
        guard isValid(host: rule.host) else {
          tell(["host \(rule.host) is not a DNS name"], ingress.key)
          continue
        }
        if annotations.usesPatterns { patterned.insert(rule.host) }
        certify(rule.host, ingress, annotations)
        for path in rule.paths {
          guard path.path.utf8.first == UInt8(ascii: "/") else {
            tell(["path \(path.path) must begin with /"], ingress.key)
            continue
          }
          let route = RoutePath(
            path: path.path, kind: path.kind == .exact ? .exact : .prefix,
            backend: endpoint(path.backend, of: ingress.key, annotations), action: action,
            redirectsToHTTPS: tls.redirects(ingress, host: rule.host, path: path.path))
          let key = RuleKey(host: rule.host, path: route.path, isExact: route.isExact)
          if let place = places[key] {
            tell(["\(rule.host)\(path.path) is already served by ingress \(place.owner)"], ingress.key)
            continue
          }
          places[key] = Place(owner: ingress.key, index: hosts[rule.host]?.count ?? 0)
          passthrough.take(ingress, host: rule.host, path: path.path, backend: route.backend)
          hosts[rule.host, default: []].append(Claim(path: route, text: path.path, owner: ingress.key))
        }
      }
      if annotations.addsNames { others.append((ingress, annotations)) }
      tell(passthrough.problems(of: ingress), ingress.key, .annotation)
      guard let own = ingress.defaultBackend else { continue }
      if defaultBackend == nil {
        defaultBackend = (endpoint(own, of: ingress.key, annotations), action)
      } else {
        tell(["defaultBackend: an older ingress has one already"], ingress.key)
      }
    }
    addCanaries(served.filter(CanaryPlan.isCanary), places, to: &hosts)
    for (host, claims) in hosts where patterned.contains(host) { hosts[host] = asPatterns(claims) }
    addNames(others, to: &hosts)
    certify(&hosts)
    let finished = hosts.sorted { $0.key < $1.key }.map {
      RouteHost(name: $0.key, paths: $0.value.map(\.path), isSecured: tls.secured.contains($0.key))
    }
    return RoutePlan(
      table: RouteTable(
        backends: backends, actions: actions, hosts: finished, defaultBackend: defaultBackend?.index,
        defaultAction: defaultBackend?.action ?? -1,
        strictTransportSecurity: Array((input?.strictTransportSecurity ?? "").utf8)),
      tls: asking(tls.table), streams: passthrough.table(backends), certificates: tls.certificates,
      served: served.map(\.key), problems: problems)
  }

  mutating func tell(_ reasons: [String], _ ingress: ObjectKey, _ topic: RouteProblem.Topic = .route) {
    problems += reasons.map { RouteProblem(ingress: ingress, topic: topic, reason: $0) }
  }

  /// Actions that are alike are one.
  mutating func number(of action: RouteAction) -> Int {
    if action.isEmpty { return -1 }
    if let known = actionIndex[action] { return known }
    actions.append(action)
    actionIndex[action] = actions.count - 1
    return actions.count - 1
  }

  func isOurs(_ ingress: Ingress) -> Bool {
    if let name = ingress.className, !name.isEmpty {
      return view.ingressClasses[name]?.controller == controller
    }
    // Admission writes the default class into new objects; older ones are without.
    let defaults = view.ingressClasses.values.filter(\.isDefault)
    if defaults.isEmpty { return servesUnclassed }
    return defaults.contains { $0.controller == controller }
  }

  /// A name of letters, digits, hyphens and dots, with `*` as nothing but its first label.
  func isValid(host: String) -> Bool {
    var name = host.utf8[...]
    if name.isEmpty { return true }
    if host.hasPrefix("*.") { name = name.dropFirst(2) }
    return !name.isEmpty && name.count <= 253
      && name.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false).allSatisfy { label in
        !label.isEmpty && label.count <= 63
          && label.allSatisfy { $0 &- 97 < 26 || $0 &- 48 < 10 || $0 == UInt8(ascii: "-") }
      }
  }

  mutating func backend(
    _ backend: Ingress.Backend, of ingress: ObjectKey, _ policy: BackendPolicy = BackendPolicy()
  ) -> Int {
    let key = BackendKey(ingress: ingress, backend: backend)
    if let known = backendIndex[key] { return known }
    let (targets, traits) = endpoints(backend, ingress)
    var made = RouteBackend(
      namespace: ingress.namespace, ingress: ingress.name, service: backend.service.name,
      servicePort: Self.text(backend.port), endpoints: targets)
    made.policy = policy
    made.policy.proxy = view.proxyVersion(of: backend.service)
    made.policy.endpoints = traits
    if let service = view.services[backend.service] {
      tell(made.policy.take(service), ingress, .annotation)
    }
    backends.append(made)
    backendIndex[key] = backends.count - 1
    return backends.count - 1
  }

  private mutating func endpoints(
    _ backend: Ingress.Backend, _ ingress: ObjectKey
  ) -> (targets: [SocketEndpoint], traits: [EndpointTraits]) {
    guard let service = view.services[backend.service] else {
      problems.append(RouteProblem(ingress: ingress, reason: "service \(backend.service) does not exist"))
      return ([], [])
    }
    guard service.kind != .externalName else {
      problems.append(
        RouteProblem(
          ingress: ingress, reason: "service \(backend.service) is an ExternalName, which has no endpoints"))
      return ([], [])
    }
    let found = service.ports.first { port in
      guard port.transport == .tcp else { return false }
      return switch backend.port {
      case .number(let number): port.port == number
      case .name(let name): port.name == name
      }
    }
    guard let port = found else {
      problems.append(
        RouteProblem(
          ingress: ingress, reason: "service \(backend.service) has no TCP port \(Self.text(backend.port))"))
      return ([], [])
    }
    return view.reach(backend.service, port: port, near: place)
  }

  private static func text(_ port: Ingress.PortReference) -> String {
    switch port {
    case .number(let number): "\(number)"
    case .name(let name): name
    }
  }
}
