// What changes in a table, element by element: an incremental planner hands this in instead of the table, and nothing
// on the way to the kernel looks at what stays.

/// Changes of one table. Later changes of the same element or chain replace earlier ones.
public struct TableDelta: Hashable, Sendable {
  public var id: Table.ID
  /// By set and key, what the element shall be; nil: it goes.
  public private(set) var elements: [String: [Datum: Element?]] = [:]
  /// By name, what the chain shall be; nil: it goes. Hooks of base chains cannot change this way.
  public private(set) var chains: [String: Chain?] = [:]
  /// By name, a set that comes with its elements; nil: it goes. A set that stays changes in `elements`.
  public private(set) var sets: [String: NamedSet?] = [:]

  public init(_ id: Table.ID) { self.id = id }

  public var isEmpty: Bool { elements.isEmpty && chains.isEmpty && sets.isEmpty }

  public mutating func setElement(_ set: String, _ key: Datum, _ element: Element?) {
    switch sets[set] {
    case nil: elements[set, default: [:]][key] = .some(element)
    case .some(.some(var coming)):
      // Taken out meanwhile: one owner, so nothing is copied.
      sets[set] = .some(nil)
      coming.elements[key] = element
      sets[set] = coming
    case .some(nil): break
    }
  }

  public mutating func setChain(_ name: String, _ chain: Chain?) { chains[name] = .some(chain) }

  /// A set that was not there, or is to be exactly this one.
  public mutating func addSet(_ set: NamedSet) {
    elements[set.name] = nil
    sets[set.name] = set
  }

  public mutating func removeSet(_ name: String) {
    elements[name] = nil
    sets[name] = .some(nil)
  }

  /// Takes in what changed after this.
  public mutating func merge(_ later: TableDelta) {
    for (name, set) in later.sets {
      if let set { addSet(set) } else { removeSet(name) }
    }
    for (set, changes) in later.elements {
      if sets[set] == nil {
        elements[set, default: [:]].merge(changes) { _, new in new }
      } else {
        for (key, element) in changes { setElement(set, key, element) }
      }
    }
    chains.merge(later.chains) { _, new in new }
  }
}

extension Table {
  /// The table with the changes in it. Sets that the table does not have are passed over.
  public mutating func apply(_ delta: TableDelta) {
    for index in sets.indices {
      for (key, element) in delta.elements[sets[index].name] ?? [:] { sets[index].elements[key] = element }
    }
    applySets(delta) { $0 }
    applyChains(delta)
  }

  /// All of a change but elements.
  public mutating func applyStructure(_ delta: TableDelta) {
    applySets(delta) { $0.declaration }
    applyChains(delta)
  }

  private mutating func applySets(_ delta: TableDelta, _ kept: (NamedSet) -> NamedSet) {
    guard !delta.sets.isEmpty else { return }
    sets.removeAll { delta.sets[$0.name] != nil }
    for (_, set) in delta.sets.sorted(by: { $0.key < $1.key }) {
      if let set { sets.append(kept(set)) }
    }
  }

  private mutating func applyChains(_ delta: TableDelta) {
    guard !delta.chains.isEmpty else { return }
    for index in chains.indices {
      if case .some(.some(let chain)) = delta.chains[chains[index].name] { chains[index] = chain }
    }
    let known = Set(chains.map(\.name))
    chains.removeAll { delta.chains[$0.name] == .some(nil) }
    for (name, chain) in delta.chains.sorted(by: { $0.key < $1.key }) where !known.contains(name) {
      if let chain { chains.append(chain) }
    }
  }
}

extension Table {
  /// Declarations, counters and chains.
  public var withoutElements: Table {
    var copy = self
    for index in copy.sets.indices { copy.sets[index].elements = [:] }
    return copy
  }
}

extension InForce.TableInForce {
  /// The operations that put a change in force, ordered as `Ruleset.operations` orders them. Elements and chains that
  /// are as wanted cost nothing. Nil when the delta names a set that is not there: then the whole table has to be
  /// handed in.
  public func operations(_ delta: TableDelta) -> [Operation]? {
    let id = delta.id
    var first: [Operation] = []
    let changedSets = delta.sets.sorted { $0.key < $1.key }
    for case (let name, let set?) in changedSets {
      if let there = sets[name] {
        guard set.isDeclaredLike(there) else { return nil }
      } else {
        first.append(.addSet(id, set.declaration))
      }
    }
    var verdicts: [Operation] = []
    var last: [Operation] = []
    let changedChains = delta.chains.sorted { $0.key < $1.key }
    for case (let name, let chain?) in changedChains where chains[name] == nil {
      first.append(.addChain(id, Chain(name, chain.base)))
    }
    var elements = delta.elements
    for case (let name, let set?) in changedSets {
      var changes = set.elements.mapValues { Optional($0) }
      for key in (sets[name]?.elements ?? [:]).keys where set.elements[key] == nil {
        changes[key] = .some(nil)
      }
      elements[name] = changes
    }
    for (name, changes) in elements.sorted(by: { $0.key < $1.key }) {
      // Of a set that comes its declaration stands in the change.
      guard let set = sets[name] ?? delta.sets[name]??.declaration else { return nil }
      var added: [Operation.ElementChange] = []
      var replaced: [Operation.ElementChange] = []
      var gone: [Operation.ElementChange] = []
      for (key, wanted) in changes {
        let before = set.elements[key]
        if before == wanted { continue }
        if let wanted { added.append(.init(key, wanted)) }
        guard let before else { continue }
        if wanted != nil || set.isInterval {
          replaced.append(.init(key, before))
        } else {
          gone.append(.init(key, before))
        }
      }
      let declaration = set.declaration
      func append(
        _ list: [Operation.ElementChange],
        _ make: (Table.ID, NamedSet, [Operation.ElementChange]) -> Operation, _ to: inout [Operation]
      ) {
        if !list.isEmpty { to.append(make(id, declaration, list.sorted { $0.key < $1.key })) }
      }
      append(replaced, Operation.deleteElements, &first)
      if set.data == .verdict {
        append(added, Operation.addElements, &verdicts)
      } else {
        append(added, Operation.addElements, &first)
      }
      append(gone, Operation.deleteElements, &last)
    }
    for case (let name, let chain?) in changedChains {
      let fingerprints = chain.rules.map(\.fingerprint)
      if chains[name]?.fingerprints ?? [] != fingerprints {
        first.append(.replaceRules(id, chain: name, chain.rules))
      }
    }
    let goneChains = changedChains.filter { $0.value == nil && chains[$0.key] != nil }.map(\.key)
    for name in goneChains where chains[name]?.fingerprints.isEmpty == false {
      last.append(.replaceRules(id, chain: name, []))
    }
    for name in goneChains { last.append(.deleteChain(id, name)) }
    for case (let name, nil) in changedSets where sets[name] != nil { last.append(.deleteSet(id, name)) }
    return first + verdicts + last
  }

  /// What is in force once the change is. In place: costs the change.
  public mutating func apply(_ delta: TableDelta) {
    for (name, set) in delta.sets { sets[name] = set }
    for (name, changes) in delta.elements {
      for (key, element) in changes { sets[name]?.elements[key] = element }
    }
    for (name, chain) in delta.chains {
      chains[name] = chain.map { .init(base: $0.base, fingerprints: $0.rules.map(\.fingerprint)) }
    }
  }
}
