// What changes in a table, element by element: an incremental planner hands this in instead of the table, and nothing
// on the way to the kernel looks at what stays.

/// Changes of one table. Later changes of the same element or chain replace earlier ones.
public struct TableDelta: Hashable, Sendable {
  public var id: Table.ID
  /// By set and key, what the element shall be; nil: it goes.
  public private(set) var elements: [String: [Datum: Element?]] = [:]
  /// By name, what the chain shall be; nil: it goes. Hooks of base chains cannot change this way.
  public private(set) var chains: [String: Chain?] = [:]

  public init(_ id: Table.ID) { self.id = id }

  public var isEmpty: Bool { elements.isEmpty && chains.isEmpty }

  public mutating func setElement(_ set: String, _ key: Datum, _ element: Element?) {
    elements[set, default: [:]][key] = .some(element)
  }

  public mutating func setChain(_ name: String, _ chain: Chain?) { chains[name] = .some(chain) }

  /// Takes in what changed after this.
  public mutating func merge(_ later: TableDelta) {
    for (set, changes) in later.elements {
      elements[set, default: [:]].merge(changes) { _, new in new }
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
    applyChains(delta)
  }

  /// Only the chains of a change.
  public mutating func applyChains(_ delta: TableDelta) {
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
    var verdicts: [Operation] = []
    var last: [Operation] = []
    let changedChains = delta.chains.sorted { $0.key < $1.key }
    for case (let name, let chain?) in changedChains where chains[name] == nil {
      first.append(.addChain(id, Chain(name, chain.base)))
    }
    for (name, changes) in delta.elements.sorted(by: { $0.key < $1.key }) {
      guard let set = sets[name] else { return nil }
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
    return first + verdicts + last
  }

  /// What is in force once the change is. In place: costs the change.
  public mutating func apply(_ delta: TableDelta) {
    for (name, changes) in delta.elements {
      for (key, element) in changes { sets[name]?.elements[key] = element }
    }
    for (name, chain) in delta.chains {
      chains[name] = chain.map { .init(base: $0.base, fingerprints: $0.rules.map(\.fingerprint)) }
    }
  }
}
