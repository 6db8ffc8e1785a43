// The one view of the cluster from which ruleset, zone and routes are planned: parsed, indexed, a value.

import Addresses
import ClusterObjects

/// What the network needs to know of a cluster at one moment. Copies are cheap; whoever plans works on its own copy.
///
/// Objects come in one by one through `apply`, which parses each once. What cannot be read is kept in `quarantined`
/// and nothing else suffers.
public struct ClusterView: Sendable {
  public private(set) var services: [ObjectKey: Service] = [:]
  /// EndpointSlices by the Service they belong to, then by their own key.
  public private(set) var endpointSlices: [ObjectKey: [ObjectKey: EndpointSlice]] = [:]
  public private(set) var pods: [ObjectKey: Pod] = [:]
  public private(set) var namespaces: [String: Namespace] = [:]
  public private(set) var nodes: [String: Node] = [:]
  public private(set) var networkPolicies: [ObjectKey: NetworkPolicy] = [:]
  public private(set) var clusterNetworkPolicies: [String: ClusterNetworkPolicy] = [:]
  /// What cluster DNS has answered for names that ClusterNetworkPolicies speak of: in lower case, without the last dot.
  public private(set) var resolved: [String: Set<IPAddress>] = [:]
  public private(set) var ingresses: [ObjectKey: Ingress] = [:]
  public private(set) var ingressClasses: [String: IngressClass] = [:]
  /// Objects of Gateway API, for whoever follows them.
  public private(set) var gateway = GatewayObjects()
  /// Services of the cluster set, for whoever follows them, and their EndpointSlices.
  public private(set) var serviceImports: [ObjectKey: ServiceImport] = [:]
  public private(set) var importedSlices: [ObjectKey: [ObjectKey: ImportedSlice]] = [:]
  /// Whether `serviceImports` is known: somebody follows them and has their first list.
  public private(set) var areImportsRead = false
  /// Objects left out, by kind and key.
  public private(set) var quarantined: [QuarantineKey: UnreadableObject] = [:]
  /// The Service of each EndpointSlice, so that one that changes its label leaves the old place.
  private var serviceOfSlice: [ObjectKey: ObjectKey] = [:]
  private var importOfSlice: [ObjectKey: ObjectKey] = [:]
  /// What changed since each consumer asked; nil as long as it has not. Consumer 0 is always there.
  var notes: [ChangeNotes?] = [nil]
  var consumersOfPods: Set<Int> = []

  public struct QuarantineKey: Hashable, Sendable {
    public var kind: String
    public var key: ObjectKey
    public init(kind: String, key: ObjectKey) {
      self.kind = kind
      self.key = key
    }
  }

  public init() {}

  /// The view of a set of objects, such as a folder of manifests. Kinds the network does not know are passed over.
  public init(objects: some Sequence<JSON>) {
    for object in objects { apply(object) }
  }

  /// The resources a view is made of.
  public static let resources: [GroupVersionResource] = [
    .services, .endpointSlices, .pods, .namespaces, .nodes, .networkPolicies, .ingresses, .ingressClasses,
  ]

  /// Takes an object in, in place of what was there under its kind and key. Returns false for unknown kinds.
  @discardableResult public mutating func apply(_ tree: JSON) -> Bool {
    let kind = tree.kind
    let key = tree.key
    quarantined[QuarantineKey(kind: kind, key: key)] = nil
    note(kind, key)
    do throws(UnreadableObject) {
      switch kind {
      case "Service": services[key] = try Service(tree)
      case "EndpointSlice":
        let slice = try EndpointSlice(tree)
        removeSlice(key)
        if let service = slice.service {
          note(service: service)
          endpointSlices[service, default: [:]][key] = slice
          serviceOfSlice[key] = service
        }
        if let service = ImportedSlice.service(of: tree) {
          note(imported: service)
          importedSlices[service, default: [:]][key] = ImportedSlice(slice, tree)
          importOfSlice[key] = service
        }
      case "Pod": pods[key] = try Pod(tree)
      case "Namespace": namespaces[key.name] = Namespace(tree)
      case "ServiceImport": serviceImports[key] = try ServiceImport(tree)
      case "Node": nodes[key.name] = try Node(tree)
      case "NetworkPolicy": networkPolicies[key] = try NetworkPolicy(tree)
      case "ClusterNetworkPolicy": clusterNetworkPolicies[key.name] = try ClusterNetworkPolicy(tree)
      case "Ingress": ingresses[key] = try Ingress(tree)
      case "IngressClass": ingressClasses[key.name] = IngressClass(tree)
      default: return try gateway.apply(kind, tree)
      }
    } catch {
      remove(kind: kind, key)
      quarantined[QuarantineKey(kind: kind, key: key)] = error
    }
    return true
  }

  /// Takes an object out.
  public mutating func remove(kind: String, _ key: ObjectKey) {
    quarantined[QuarantineKey(kind: kind, key: key)] = nil
    note(kind, key)
    switch kind {
    case "Service": services[key] = nil
    case "EndpointSlice": removeSlice(key)
    case "Pod": pods[key] = nil
    case "Namespace": namespaces[key.name] = nil
    case "ServiceImport": serviceImports[key] = nil
    case "Node": nodes[key.name] = nil
    case "NetworkPolicy": networkPolicies[key] = nil
    case "ClusterNetworkPolicy": clusterNetworkPolicies[key.name] = nil
    case "Ingress": ingresses[key] = nil
    case "IngressClass": ingressClasses[key.name] = nil
    default: gateway.remove(kind, key)
    }
  }

  private mutating func note(_ kind: String, _ key: ObjectKey) {
    for index in notes.indices where notes[index] != nil {
      notes[index]?.kinds.insert(kind)
      switch kind {
      case "Service": notes[index]?.services.insert(key)
      case "Node": notes[index]?.nodes.insert(key.name)
      case "Namespace": notes[index]?.namespaces.insert(key.name)
      case "ServiceImport": notes[index]?.imports.insert(key)
      case "Pod" where notes[index]?.areWithPods == true: notes[index]?.pods.insert(key)
      case "NetworkPolicy": notes[index]?.networkPolicies.insert(key)
      case "ClusterNetworkPolicy": notes[index]?.clusterNetworkPolicies.insert(key.name)
      default: break
      }
    }
  }

  /// The addresses that a name has now; none: it is forgotten.
  public mutating func resolve(_ name: String, to addresses: Set<IPAddress>) {
    if resolved[name] ?? [] == addresses { return }
    resolved[name] = addresses.isEmpty ? nil : addresses
    for index in notes.indices where notes[index] != nil {
      notes[index]?.kinds.insert(Self.answers)
      notes[index]?.resolved.insert(name)
    }
  }

  /// Stands among the kinds of changes for answers of cluster DNS.
  public static let answers = "Answer"

  private mutating func note(service: ObjectKey) {
    for index in notes.indices { notes[index]?.services.insert(service) }
  }

  private mutating func note(imported service: ObjectKey) {
    for index in notes.indices { notes[index]?.imports.insert(service) }
  }

  /// Whether an EndpointSlice belongs to a ServiceImport.
  func isImported(_ slice: ObjectKey) -> Bool { importOfSlice[slice] != nil }
  var importedSliceKeys: [ObjectKey] { Array(importOfSlice.keys) }

  /// Says that the first list of ServiceImports is in the view.
  public mutating func markImportsRead() {
    areImportsRead = true
    for index in notes.indices { notes[index]?.kinds.insert("ServiceImport") }
  }

  private mutating func removeSlice(_ key: ObjectKey) {
    if let service = importOfSlice.removeValue(forKey: key) {
      note(imported: service)
      importedSlices[service]?[key] = nil
      if importedSlices[service]?.isEmpty == true { importedSlices[service] = nil }
    }
    guard let service = serviceOfSlice.removeValue(forKey: key) else { return }
    note(service: service)
    endpointSlices[service]?[key] = nil
    if endpointSlices[service]?.isEmpty == true { endpointSlices[service] = nil }
  }

  /// The slices of a Service in a stable order.
  public func slices(of service: ObjectKey) -> [EndpointSlice] {
    (endpointSlices[service] ?? [:]).sorted { $0.key < $1.key }.map(\.value)
  }
}
