// The text of iptables-save, read for kube-proxy's chains, and the text for iptables-restore that takes them away.

/// One table of an iptables-save text, as far as chains go.
struct SavedTable: Sendable, Equatable {
  var name: String
  var chains: [String] = []
  /// Rules as they were written, without `-A CHAIN `.
  var rules: [(chain: String, words: String)] = []

  static func == (a: Self, b: Self) -> Bool {
    a.name == b.name && a.chains == b.chains
      && a.rules.elementsEqual(b.rules) { $0.chain == $1.chain && $0.words == $1.words }
  }

  /// Reads all tables. Lines that are none of the format are passed over.
  static func parse(_ text: some StringProtocol) -> [SavedTable] {
    var tables: [SavedTable] = []
    for line in text.split(separator: "\n") {
      switch line.first {
      case "*": tables.append(SavedTable(name: String(line.dropFirst())))
      case ":" where !tables.isEmpty:
        let name = line.dropFirst().prefix { $0 != " " }
        if !name.isEmpty { tables[tables.count - 1].chains.append(String(name)) }
      case "-" where !tables.isEmpty:
        guard line.hasPrefix("-A ") else { continue }
        let rest = line.dropFirst(3)
        let chain = rest.prefix { $0 != " " }
        tables[tables.count - 1].rules.append((String(chain), String(rest.dropFirst(chain.count + 1))))
      default: continue
      }
    }
    return tables
  }

  /// Where a rule jumps or goes to: the word behind -j or -g, outside of quotes.
  static func target(_ words: String) -> String? {
    var isQuoted = false
    var word = ""
    var isNext = false
    for character in words + " " {
      if character == "\"" { isQuoted.toggle() }
      guard character == " ", !isQuoted else {
        word.append(character)
        continue
      }
      if isNext { return word }
      isNext = word == "-j" || word == "-g"
      word = ""
    }
    return nil
  }

  var references: [(chain: String, target: String)] {
    rules.compactMap { rule in Self.target(rule.words).map { (rule.chain, $0) } }
  }

  var removable: Set<String> { KubeProxyChains.removable(chains, references: references) }

  /// The input of `iptables-restore --noflush` that removes kube-proxy's chains and the rules that lead there; nil when there
  /// is nothing to remove. Naming a chain empties it, so that none refers to another when they are deleted.
  var removal: String? {
    let chains = removable
    guard !chains.isEmpty else { return nil }
    var text = "*\(name)\n"
    for chain in chains.sorted() { text += ":\(chain) - [0:0]\n" }
    for rule in rules where !chains.contains(rule.chain) {
      if let target = Self.target(rule.words), chains.contains(target) {
        text += "-D \(rule.chain) \(rule.words)\n"
      }
    }
    for chain in chains.sorted() { text += "-X \(chain)\n" }
    return text + "COMMIT\n"
  }
}
