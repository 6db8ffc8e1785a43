// From what is in force to what is wanted, as an ordered list of operations for one transaction.
//
//   tables, counters, sets, chains   before anything that names them
//   data elements, then rules, then verdict elements: a Service becomes visible when all behind it is there
//   deletions last: rules first (inside replaceRules), elements, chains, sets, counters, tables

extension Ruleset {
  /// The operations that lead from `inForce` to this ruleset. Tables of `inForce` that are not wanted are
  /// deleted. Elements of dynamic sets belong to the packet path and are left alone. Costs one pass over all
  /// elements; sets that share storage with what is in force cost nothing.
  public func operations(from inForce: InForce) -> [Operation] {
    var first: [Operation] = []
    var last: [Operation] = []
    for table in tables {
      if let old = inForce.tables[table.id], !table.mustBeRemade(from: old) {
        table.update(old, &first, &last)
      } else {
        if inForce.tables[table.id] != nil { first.append(.deleteTable(table.id)) }
        first.append(.addTable(table.id))
        table.update(.init(), &first, &last)
      }
    }
    let wanted = Set(tables.map(\.id))
    for id in inForce.tables.keys.sorted() where !wanted.contains(id) { last.append(.deleteTable(id)) }
    return first + last
  }
}

extension Table {
  /// Declarations of sets and hooks cannot be changed in place. They differ after an upgrade only, and then
  /// the table is made anew in the same transaction.
  func mustBeRemade(from old: InForce.TableInForce) -> Bool {
    sets.contains { set in old.sets[set.name].map { !set.isDeclaredLike($0) } ?? false }
      || chains.contains { chain in old.chains[chain.name].map { $0.base != chain.base } ?? false }
  }

  func update(_ old: InForce.TableInForce, _ first: inout [Operation], _ last: inout [Operation]) {
    for counter in counters where !old.counters.contains(counter) { first.append(.addCounter(id, counter)) }
    for set in sets where old.sets[set.name] == nil { first.append(.addSet(id, set.declaration)) }
    for chain in chains where old.chains[chain.name] == nil {
      first.append(.addChain(id, Chain(chain.name, chain.base)))
    }
    var verdicts: [Operation] = []
    var removed: [Operation] = []
    for set in sets where !set.isDynamic {
      let (added, deleted) = set.changes(from: old.sets[set.name])
      let declaration = set.declaration
      // A changed element is deleted and added in one go: the kernel refuses to overwrite data.
      if !deleted.replaced.isEmpty {
        first.append(.deleteElements(id, declaration, deleted.replaced))
      }
      if !added.isEmpty {
        if set.data == .verdict {
          verdicts.append(.addElements(id, declaration, added))
        } else {
          first.append(.addElements(id, declaration, added))
        }
      }
      if !deleted.gone.isEmpty { removed.append(.deleteElements(id, declaration, deleted.gone)) }
    }
    for chain in chains {
      let fingerprints = chain.rules.map(\.fingerprint)
      if old.chains[chain.name]?.fingerprints ?? [] != fingerprints {
        first.append(.replaceRules(id, chain: chain.name, chain.rules))
      }
    }
    first += verdicts
    last += removed
    let chainNames = Set(chains.map(\.name))
    let goneChains = old.chains.keys.filter { !chainNames.contains($0) }.sorted()
    for name in goneChains where !(old.chains[name]?.fingerprints.isEmpty ?? true) {
      last.append(.replaceRules(id, chain: name, []))
    }
    for name in goneChains { last.append(.deleteChain(id, name)) }
    let setNames = Set(sets.map(\.name))
    for name in old.sets.keys.sorted() where !setNames.contains(name) { last.append(.deleteSet(id, name)) }
    let counterNames = Set(counters)
    for name in old.counters.sorted() where !counterNames.contains(name) {
      last.append(.deleteCounter(id, name))
    }
  }
}

extension NamedSet {
  /// Whether both declare the same set, elements aside.
  public func isDeclaredLike(_ other: NamedSet) -> Bool {
    key == other.key && data == other.data && isInterval == other.isInterval && isDynamic == other.isDynamic
      && timeoutSeconds == other.timeoutSeconds && size == other.size
  }

  /// Elements to add, and those to delete: `replaced` before the addition, `gone` at the end. Ranges that go
  /// are in `replaced` as well, because a new range may overlap them.
  func changes(from old: NamedSet?) -> (
    added: [Operation.ElementChange],
    deleted: (replaced: [Operation.ElementChange], gone: [Operation.ElementChange])
  ) {
    guard let old, !old.elements.isEmpty else {
      return (ordered(elements.map { .init($0.key, $0.value) }), ([], []))
    }
    if elements == old.elements { return ([], ([], [])) }
    var added: [Operation.ElementChange] = []
    var replaced: [Operation.ElementChange] = []
    var gone: [Operation.ElementChange] = []
    for (key, element) in elements {
      if let before = old.elements[key] {
        if before == element { continue }
        replaced.append(.init(key, before))
      }
      added.append(.init(key, element))
    }
    for (key, element) in old.elements where elements[key] == nil {
      if isInterval { replaced.append(.init(key, element)) } else { gone.append(.init(key, element)) }
    }
    return (ordered(added), (ordered(replaced), ordered(gone)))
  }

  /// Order is for people, who do not read thousands; the kernel keeps its own. Ranges are told in theirs.
  private func ordered(_ changes: [Operation.ElementChange]) -> [Operation.ElementChange] {
    changes.count > Self.orderedMax && !isInterval ? changes : changes.sorted { $0.key < $1.key }
  }

  /// Bound on changes of one set that are put in order.
  static let orderedMax = 2048
}
