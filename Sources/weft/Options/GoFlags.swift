// Command lines written for upstream's programs: their library takes `--flag=true` where ours takes `--flag`.

enum GoFlags {
  /// Switches of `weft proxy` that kube-proxy's command lines may give a value.
  static let switches: Set<String> = [
    "--masquerade-all", "--cleanup", "--bind-address-hard-fail", "--profiling", "--conntrack-tcp-be-liberal",
    "--ipvs-strict-arp", "--init-only",
  ]

  /// The same words with `--switch=true` as `--switch` and `--switch=false` left out; other commands' words unchanged.
  static func plain(_ words: [String]) -> [String] {
    if words.first == "server" { return words.map(server) }
    guard words.first == "proxy" else { return words }
    return words.compactMap { word in
      guard let equals = word.firstIndex(of: "="), switches.contains(String(word[..<equals])) else {
        return word
      }
      switch word[word.index(after: equals)...] {
      case "true", "True", "TRUE", "t", "T", "1": return String(word[..<equals])
      case "false", "False", "FALSE", "f", "F", "0": return nil
      default: return word
      }
    }
  }

  /// A switch that is on by itself.
  private static func server(_ word: String) -> String {
    switch word {
    case "--allocate-node-cidrs=true": "--allocate-node-cidrs"
    case "--allocate-node-cidrs=false": "--no-allocate-node-cidrs"
    default: word
    }
  }
}
