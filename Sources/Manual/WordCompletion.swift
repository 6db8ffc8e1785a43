// What can follow on a command line: commands, flags, and the words that an option takes.

extension CommandDefinition {
  /// What the last of `words` can become; the program's name is not among them, and the last is empty when a new word begins.
  /// With a tab and a short text behind each, as kubectl's shell functions show it. Pure; costs the number of definitions.
  public func completions(of words: [String]) -> [String] {
    let typed = words.last ?? ""
    let before = words.dropLast()
    let command = descend(before.filter { !$0.hasPrefix("-") })
    if before.contains("--") { return [] }
    if let flag = before.last, let option = command.option(flag) {
      return option.values.filter { $0.hasPrefix(typed) }
    }
    if typed.hasPrefix("-") {
      if let equals = typed.firstIndex(of: "="), let option = command.option(String(typed[..<equals])) {
        let value = typed[typed.index(after: equals)...]
        return option.values.filter { $0.hasPrefix(value) }.map { typed[...equals] + $0 }
      }
      let used = Set(before)
      return command.arguments.filter { $0.isRepeating || used.isDisjoint(with: $0.names) }
        .flatMap { argument in argument.names.map { ($0, argument.abstract) } }
        .filter { $0.0.hasPrefix(typed) && ($0.0.hasPrefix("--") || typed == "-") }.map(described)
    }
    return command.subcommands.filter { $0.name.hasPrefix(typed) }.map { described(($0.name, $0.abstract)) }
  }

  private func option(_ name: String) -> ArgumentDefinition? {
    arguments.first { $0.kind == .option && $0.names.contains(name) }
  }

  private func described(_ word: (String, String)) -> String {
    let line = word.1.split(separator: "\n").first.map(String.init) ?? ""
    return line.isEmpty ? word.0 : "\(word.0)\t\(line)"
  }
}
