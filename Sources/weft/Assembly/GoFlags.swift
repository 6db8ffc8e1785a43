// Command lines written for kube-proxy: its library takes `--flag=true` where ours takes `--flag`.

enum GoFlags {
  /// Switches of `weft proxy` that kube-proxy's command lines may give a value.
  static let switches: Set<String> = [
    "--masquerade-all", "--cleanup", "--bind-address-hard-fail", "--profiling", "--conntrack-tcp-be-liberal",
    "--ipvs-strict-arp", "--init-only",
  ]

  /// The same words with `--switch=true` as `--switch` and `--switch=false` left out; other commands' words unchanged.
  static func plain(_ words: [String]) -> [String] {
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
}
