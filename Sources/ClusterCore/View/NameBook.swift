// Services and their endpoints as a server of names keeps them: packed, one block of bytes an object, and read back only when their
// names are planned anew.
//
//   object -> Service | EndpointSlice -> bytes -> ServiceState, for as long as its names are being planned

import Addresses
import ClusterObjects

/// What cluster DNS has to remember of a cluster. A `ClusterView` also knows what proxies and policies need, and takes many times the
/// memory. A value; owned by one.
public struct NameBook: Sendable {
  /// What is remembered besides what every zone is made of.
  public struct Wants: OptionSet, Sendable, Hashable {
    public let rawValue: Int
    public init(rawValue: Int) { self.rawValue = rawValue }
    /// Labels of Services, to choose by.
    public static let labels = Self(rawValue: 1)
    /// Zones of endpoints.
    public static let zones = Self(rawValue: 2)
    /// Names of endpoints' pods.
    public static let endpointPods = Self(rawValue: 4)
    /// ServiceImports and their slices.
    public static let imports = Self(rawValue: 8)
    /// Pods.
    public static let pods = Self(rawValue: 16)
  }

  struct Entry: Sendable {
    var service: [UInt8]?
    var slices: [(name: String, bytes: [UInt8])] = []
    var isEmpty: Bool { service == nil && slices.isEmpty }

    /// Whether that is another than before.
    mutating func take(_ bytes: [UInt8]) -> Bool {
      if service == bytes { return false }
      service = bytes
      return true
    }
  }

  public let wants: Wants
  private var entries: [ObjectKey: Entry] = [:]
  /// The Service of each EndpointSlice, so that one that changes its label leaves the old place.
  private var serviceOfSlice: [ObjectKey: ObjectKey] = [:]
  /// Namespaces, pods, ServiceImports: few, or asked for.
  private var others = ClusterView()
  private var changed: Set<ObjectKey> = []
  /// Of these what has not been handed out yet: to take one out of a large set after the other costs far more.
  private var leaving: [ObjectKey] = []
  private var unreadable: [ClusterView.QuarantineKey: UnreadableObject] = [:]
  /// One copy of each namespace's name.
  private var namespaces: [String: String] = [:]

  public init(wants: Wants = []) {
    self.wants = wants
    _ = others.takeChanges()
    if wants.contains(.pods) { others.namePods() }
  }

  /// Resources to be fed from.
  public var resources: [GroupVersionResource] {
    [.services, .endpointSlices, .namespaces] + (wants.contains(.pods) ? [.pods] : [])
      + (wants.contains(.imports) ? [.serviceImports] : [])
  }

  public var serviceCount: Int { entries.reduce(0) { $0 + ($1.value.service == nil ? 0 : 1) } }
  /// Objects left out, with the reason.
  public var quarantined: [ClusterView.QuarantineKey: UnreadableObject] {
    unreadable.merging(others.quarantined) { own, _ in own }
  }
  /// Whether `nextChanges` has something to hand out.
  public var hasChanges: Bool { !leaving.isEmpty || !changed.isEmpty || others.hasChanges }

  // MARK: - Taking objects in

  /// Takes an object in, in place of what was there under its kind and key.
  public mutating func apply(_ kind: String, _ key: ObjectKey, _ tree: JSON) {
    let key = ObjectKey(interned(key.namespace), key.name)
    unreadable[ClusterView.QuarantineKey(kind: kind, key: key)] = nil
    do throws(UnreadableObject) {
      switch kind {
      case "Service":
        place(key, try Service(tree).packed(wants))
      case "EndpointSlice":
        let slice = try EndpointSlice(tree)
        place(key, slice.service.map { ObjectKey(key.namespace, $0.name) }, slice.packed(wants))
        // The view knows of imports only what belongs to one, or did.
        if wants.contains(.imports), ImportedSlice.service(of: tree) != nil || others.isImported(key) {
          var tree = tree
          tree["kind"] = .string(kind)
          others.apply(tree)
        }
      default:
        var tree = tree
        // Items of typed lists come without a kind.
        if tree.kind.isEmpty { tree["kind"] = .string(kind) }
        others.apply(tree)
      }
    } catch {
      remove(kind, key)
      unreadable[ClusterView.QuarantineKey(kind: kind, key: key)] = error
    }
  }

  /// Takes an object in as `apply` does, from its text. False, and nothing is taken, when that is not written plainly or is of a
  /// kind that is read as a tree.
  public mutating func apply(_ kind: String, _ key: ObjectKey, plain object: TapeValue) -> Bool {
    let key = ObjectKey(interned(key.namespace), key.name)
    let reader = PlainObjects(wants: wants)
    do throws(PlainObjects.NotPlain) {
      switch kind {
      case "Service": place(key, try reader.service(object))
      case "EndpointSlice" where !wants.contains(.imports):
        let slice = try reader.slice(object, key)
        place(key, slice.service.map { ObjectKey(key.namespace, $0) }, slice.bytes)
      default: return false
      }
    } catch { return false }
    if !unreadable.isEmpty { unreadable[ClusterView.QuarantineKey(kind: kind, key: key)] = nil }
    return true
  }

  /// Takes an object out.
  public mutating func remove(_ kind: String, _ key: ObjectKey) {
    unreadable[ClusterView.QuarantineKey(kind: kind, key: key)] = nil
    switch kind {
    case "Service":
      guard entries[key]?.service != nil else { return }
      entries[key]?.service = nil
      if entries[key]?.isEmpty == true { entries[key] = nil }
      changed.insert(key)
    case "EndpointSlice":
      place(key, nil, [])
      if others.isImported(key) { others.remove(kind: kind, key) }
    default: others.remove(kind: kind, key)
    }
  }

  /// A list is complete: objects of the kind with other keys are gone. Costs all of the kind.
  public mutating func keep(_ kind: String, only keys: Set<ObjectKey>) {
    let known: [ObjectKey] =
      switch kind {
      case "Service": entries.compactMap { $0.value.service == nil ? nil : $0.key }
      case "EndpointSlice": Array(serviceOfSlice.keys) + others.importedSliceKeys
      case "Namespace": others.namespaces.keys.map { ObjectKey("", $0) }
      case "Pod": Array(others.pods.keys)
      case "ServiceImport": Array(others.serviceImports.keys)
      default: []
      }
    let broken = unreadable.keys.filter { $0.kind == kind }.map(\.key)
    for key in known + broken where !keys.contains(key) { remove(kind, key) }
  }

  /// Whether ServiceImports are known: until then an absent one may only not have been read.
  public var areImportsRead: Bool { others.areImportsRead }

  /// Says that the first list of ServiceImports is in.
  public mutating func markImportsRead() { others.markImportsRead() }

  private mutating func place(_ key: ObjectKey, _ service: [UInt8]) {
    if entries[key, default: Entry()].take(service) { changed.insert(key) }
  }

  private mutating func place(_ key: ObjectKey, _ service: ObjectKey?, _ bytes: [UInt8]) {
    let old =
      service.map { serviceOfSlice.updateValue($0, forKey: key) } ?? serviceOfSlice.removeValue(forKey: key)
    if let old, old != service, let at = entries[old]?.slices.firstIndex(where: { $0.name == key.name }) {
      entries[old]?.slices.remove(at: at)
      if entries[old]?.isEmpty == true { entries[old] = nil }
      changed.insert(old)
    }
    guard let service else { return }
    if old == service, let at = entries[service]?.slices.firstIndex(where: { $0.name == key.name }) {
      guard entries[service]?.slices[at].bytes != bytes else { return }
      entries[service]?.slices[at].bytes = bytes
    } else {
      entries[service, default: Entry()].slices.append((key.name, bytes))
    }
    changed.insert(service)
  }

  private mutating func interned(_ namespace: String) -> String {
    if let known = namespaces[namespace] { return known }
    namespaces[namespace] = namespace
    return namespace
  }

  // MARK: - Handing changes out

  /// What changed since the last call, of at most so many Services; nil when nothing is left. The rest of the changes come with
  /// the first piece. Costs what it hands out.
  public mutating func nextChanges(servicesMax: Int = 256) -> ViewChanges? {
    guard hasChanges else { return nil }
    var changes = others.takeChanges()
    // What the view of the others knows of Services are slices of imports.
    changes.services = [:]
    changes.quarantined = quarantined
    if leaving.isEmpty {
      leaving = Array(changed)
      changed = []
    }
    if !leaving.isEmpty { changes.kinds.insert("Service") }
    changes.services.reserveCapacity(min(servicesMax, leaving.count))
    while changes.services.count < servicesMax, let key = leaving.popLast() {
      changes.services[key] = .some(state(of: key))
    }
    // A list that was long once does not keep its room.
    if leaving.isEmpty { leaving = [] }
    return changes
  }

  /// Everything in pieces, for who begins anew; what is handed out this way still comes as a change, if it is one.
  public func everything(servicesMax: Int = 256, _ body: (ViewChanges) -> Void) {
    var changes = others.allChanges
    changes.services = [:]
    changes.isWhole = false
    for key in entries.keys {
      changes.services[key] = .some(state(of: key))
      guard changes.services.count >= servicesMax else { continue }
      body(changes)
      changes = ViewChanges()
      changes.areImportsRead = others.areImportsRead
    }
    changes.kinds.insert("Service")
    body(changes)
  }

  /// A Service with its slices, as far as they have names; nil when there is none.
  public func state(of key: ObjectKey) -> ServiceState? {
    guard let entry = entries[key], let bytes = entry.service else { return nil }
    var slices: [ObjectKey: EndpointSlice] = [:]
    for (name, bytes) in entry.slices {
      let sliceKey = ObjectKey(key.namespace, name)
      slices[sliceKey] = EndpointSlice(packed: bytes, key: sliceKey, service: key)
    }
    return ServiceState(service: Service(packed: bytes, key: key), slices: slices)
  }

  /// Services that have an address to answer with nowhere: neither theirs nor endpoints' nor another name.
  public var withoutAddress: [ObjectKey] {
    entries.keys.filter { key in
      guard let bytes = entries[key]?.service else { return false }
      let service = Service(packed: bytes, key: key)
      return service.kind != .externalName && !service.isHeadless && service.clusterIPs.isEmpty
    }.sorted()
  }
}
