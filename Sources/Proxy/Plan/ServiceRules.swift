// What of the proxy's tables belongs to one Service: its addresses, how it is balanced, its endpoints, as lines that `nft` prints too.

import Addresses
import ClusterObjects
import Ruleset

/// The elements of one Service among those of all. Found by the names that stand as comments at its addresses, and by the ids that
/// these lead to.
public struct ServiceRules: Sendable, Hashable {
  public struct Line: Sendable, Hashable {
    /// `ip KUBE-PROXY`.
    public var table: String
    public var set: String
    /// One element, as `nft list` prints it.
    public var element: String
  }

  public var lines: [Line]
  /// The chains that choose its endpoints.
  public var chains: [String]
  /// Whether there were more than `linesMax`.
  public var isCut = false

  public static let linesMax = 2000

  /// Costs one look at each element of the tables.
  public init(of service: ObjectKey, in inForce: InForce) {
    lines = []
    var chains: Set<String> = []
    for family in IPFamily.allCases {
      let id = ProxyTables.id(family)
      guard let table = inForce.tables[id] else { continue }
      let name = "\(id.family.rawValue) \(id.name)"
      var ids: Set<UInt32> = []
      var classes: Set<UInt32> = []
      for set in Self.named {
        for element in table.sets[set]?.elements.values ?? [:].values {
          guard let comment = element.comment, Self.names(comment, service),
            case .data(let mark) = element.value
          else { continue }
          ids.insert(ProxyMark.id(of: mark.asNumber))
          classes.insert(ProxyMark.classNumber(of: mark.asNumber))
        }
      }
      guard !ids.isEmpty else { continue }
      for (set, found) in table.sets.sorted(by: { $0.key < $1.key }) where !found.isDynamic {
        guard Self.named.contains(set) || Self.numbered.contains(set) else { continue }
        var own = found
        own.elements = found.elements.filter { key, element in
          if let comment = element.comment { return Self.names(comment, service) }
          guard Self.numbered.contains(set) else { return false }
          // Where addresses are ranges, numbers stand in network order.
          let number = set == "lb-src" ? key.asNumber.byteSwapped : key.asNumber
          return ids.contains(ProxyMark.id(of: number))
        }
        for text in own.elementTexts() {
          if lines.count < Self.linesMax {
            lines.append(Line(table: name, set: set, element: text))
          } else {
            isCut = true
          }
        }
      }
      for (key, element) in table.sets["class"]?.elements ?? [:] {
        guard case .verdict(let verdict) = element.value, let chain = verdict.chain,
          classes.contains(ProxyMark.classNumber(of: key.asNumber))
        else { continue }
        chains.insert(chain)
      }
    }
    self.chains = chains.sorted()
  }

  /// Sets whose elements carry the Service's name.
  private static let named = ["svc-id", "np-id", "local-of"]
  /// Sets whose keys begin with a mark of the Service.
  private static let numbered = ["backends", "aff-ep", "aff-pick", "lb-src"]

  /// Comments are `NAMESPACE/NAME:PORT`, some with words after it.
  private static func names(_ comment: String, _ service: ObjectKey) -> Bool {
    comment.hasPrefix("\(service.namespace)/\(service.name):")
  }

  public var json: JSON {
    [
      "chains": JSON(chains), "truncated": JSON(isCut),
      "lines": .array(
        lines.map { ["table": JSON($0.table), "set": JSON($0.set), "element": JSON($0.element)] }),
    ]
  }

  /// Reads what `json` wrote; nil for anything else. Control characters are dropped: the lines go to a terminal.
  public init?(_ tree: JSON) {
    guard let list = tree["lines"]?.array else { return nil }
    func word(_ tree: JSON?) -> String {
      String(
        String.UnicodeScalarView(
          (tree?.string ?? "").unicodeScalars.filter { $0.value >= 32 && $0.value != 127 }))
    }
    lines = list.prefix(Self.linesMax).map {
      Line(table: word($0["table"]), set: word($0["set"]), element: word($0["element"]))
    }
    chains = (tree["chains"]?.elements ?? []).prefix(64).map { word($0) }
    isCut = tree["truncated"]?.bool ?? false
  }

  /// One line an element, behind its table and set.
  public var text: String {
    var out = ""
    for chain in chains { out += "chain \(chain)\n" }
    for line in lines { out += "\(line.table) \(line.set) { \(line.element) }\n" }
    return out
  }
}
