// What the kernel holds of our tables, as far as a comparison needs it. Observed by KernelNftables, or
// derived from a ruleset that was just applied.

/// Tables in force. Rules are known by fingerprint: nobody reads expressions back.
public struct InForce: Hashable, Sendable {
  public struct ChainInForce: Hashable, Sendable {
    public var base: BaseChain?
    /// One number a rule, in order. A rule that is not ours counts as 0.
    public var fingerprints: [UInt64]

    public init(base: BaseChain?, fingerprints: [UInt64]) {
      self.base = base
      self.fingerprints = fingerprints
    }
  }

  public struct TableInForce: Hashable, Sendable {
    public var sets: [String: NamedSet] = [:]
    public var counters: Set<String> = []
    public var chains: [String: ChainInForce] = [:]
    public init() {}
  }

  public var tables: [Table.ID: TableInForce] = [:]

  public init() {}

  /// What is in force once `ruleset` is applied.
  public init(_ ruleset: Ruleset) {
    for table in ruleset.tables {
      var inForce = TableInForce()
      for set in table.sets { inForce.sets[set.name] = set }
      inForce.counters = Set(table.counters)
      for chain in table.chains {
        inForce.chains[chain.name] = ChainInForce(
          base: chain.base, fingerprints: chain.rules.map(\.fingerprint))
      }
      tables[table.id] = inForce
    }
  }
}

extension Ruleset {
  /// This ruleset as it is in force: elements from `inForce`, rules recognised by fingerprint. For evaluating
  /// what the kernel really holds. Rules that are not known here cannot be evaluated; they are left out and
  /// counted.
  public func observed(_ inForce: InForce) -> (ruleset: Ruleset, unknownRules: Int) {
    var result = Ruleset()
    var unknownRules = 0
    for table in tables {
      guard let actual = inForce.tables[table.id] else { continue }
      var copy = table
      copy.sets = actual.sets.values.sorted { $0.name < $1.name }
      copy.counters = actual.counters.sorted()
      let known = Dictionary(
        table.chains.flatMap { $0.rules.map { ($0.fingerprint, $0) } },
        uniquingKeysWith: { first, _ in first })
      copy.chains = actual.chains.sorted { $0.key < $1.key }.map { name, chain in
        let rules = chain.fingerprints.compactMap { known[$0] }
        unknownRules += chain.fingerprints.count - rules.count
        return Chain(name, chain.base, rules: rules)
      }
      result.tables.append(copy)
    }
    return (result, unknownRules)
  }
}

/// One step of a transaction. Steps run in order; all of them take effect at once or none does.
public enum Operation: Sendable, Hashable {
  case addTable(Table.ID)
  case deleteTable(Table.ID)
  case addCounter(Table.ID, String)
  case deleteCounter(Table.ID, String)
  /// The declaration; its elements are left out.
  case addSet(Table.ID, NamedSet)
  case deleteSet(Table.ID, String)
  /// The chain without its rules.
  case addChain(Table.ID, Chain)
  case deleteChain(Table.ID, String)
  /// Empties the chain and fills it: counters of its rules start again.
  case replaceRules(Table.ID, chain: String, [Rule])
  case addElements(Table.ID, NamedSet, [ElementChange])
  case deleteElements(Table.ID, NamedSet, [ElementChange])

  public struct ElementChange: Sendable, Hashable {
    public var key: Datum
    public var element: Element
    public init(_ key: Datum, _ element: Element) {
      self.key = key
      self.element = element
    }
  }

  /// How many things change: an element counts as one, a rule as one.
  public var weight: Int {
    switch self {
    case .addElements(_, _, let changes), .deleteElements(_, _, let changes): changes.count
    case .replaceRules(_, _, let rules): max(1, rules.count)
    default: 1
    }
  }

  public var table: Table.ID {
    switch self {
    case .addTable(let id), .deleteTable(let id), .addCounter(let id, _), .deleteCounter(let id, _),
      .addSet(let id, _), .deleteSet(let id, _), .addChain(let id, _), .deleteChain(let id, _),
      .replaceRules(let id, _, _), .addElements(let id, _, _), .deleteElements(let id, _, _):
      id
    }
  }
}

extension Operation: CustomStringConvertible {
  /// As nft would say it; long lists are cut.
  public var description: String {
    func list(_ set: NamedSet, _ changes: [ElementChange]) -> String {
      let shown = changes.prefix(8).map { set.elementText($0.key, $0.element) }.joined(separator: ", ")
      return changes.count > 8 ? "\(shown), … (\(changes.count))" : shown
    }
    return switch self {
    case .addTable(let id): "add table \(id)"
    case .deleteTable(let id): "delete table \(id)"
    case .addCounter(let id, let name): "add counter \(id) \(name)"
    case .deleteCounter(let id, let name): "delete counter \(id) \(name)"
    case .addSet(let id, let set): "add \(set.isMap ? "map" : "set") \(id) \(set.name)"
    case .deleteSet(let id, let name): "delete set \(id) \(name)"
    case .addChain(let id, let chain): "add chain \(id) \(chain.name)"
    case .deleteChain(let id, let name): "delete chain \(id) \(name)"
    case .replaceRules(let id, let chain, let rules): "replace chain \(id) \(chain) (\(rules.count) rules)"
    case .addElements(let id, let set, let changes):
      "add element \(id) \(set.name) { \(list(set, changes)) }"
    case .deleteElements(let id, let set, let changes):
      "delete element \(id) \(set.name) { \(list(set, changes)) }"
    }
  }
}
