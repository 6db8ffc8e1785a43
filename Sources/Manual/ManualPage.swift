// A command's page for man(1), made from its definition, so that it never says anything else than `--help` does.

extension CommandDefinition {
  /// The page's name: `weft-cni-check`.
  public var pageName: String { path.joined(separator: "-") }

  /// The page as roff with the macros of man(7), section 1. Pure; costs the text's length.
  /// - Parameter version: of the program, for the page's foot.
  public func manualPage(version: String) -> String {
    var page = RoffText()
    page.line(".TH \(RoffText.quoted(pageName.uppercased())) 1 \"\" \(RoffText.quoted("weft \(version)"))")
    page.line(".SH NAME")
    page.text("\(pageName) - \(abstract)")
    page.line(".SH SYNOPSIS")
    page.line(".nh")
    for form in synopsis { page.line(form) }
    if !discussion.isEmpty {
      page.line(".SH DESCRIPTION")
      // A line that ends in the middle of a sentence goes on in the next.
      var isNew = false
      for line in discussion.split(separator: "\n") {
        if isNew { page.line(".PP") }
        page.text(String(line))
        isNew = line.last == "."
      }
    }
    let (words, flags) = (
      arguments.filter { $0.kind == .positional }, arguments.filter { $0.kind != .positional }
    )
    for (title, list) in [("ARGUMENTS", words), ("OPTIONS", flags)] where !list.isEmpty {
      page.line(".SH \(title)")
      for argument in list {
        page.line(".TP")
        page.line(argument.roffHead)
        page.text(argument.sentence)
      }
    }
    if !subcommands.isEmpty {
      page.line(".SH COMMANDS")
      for command in subcommands {
        page.line(".TP")
        page.line(".B \(RoffText.escaped(command.path.joined(separator: " ")))")
        page.text(command.abstract)
      }
    }
    let related = related
    if !related.isEmpty {
      page.line(".SH SEE ALSO")
      page.line(related.map { ".BR \(RoffText.escaped($0)) (1)" }.joined(separator: ",\n"))
    }
    return page.out
  }

  private var synopsis: [String] {
    let name = ".B \(RoffText.escaped(path.joined(separator: " ")))"
    if !subcommands.isEmpty { return [name, ".I command", ".RI [ options ]"] }
    let words = arguments.filter { $0.kind == .positional }.map { argument in
      let word = RoffText.escaped(argument.valueName.uppercased()) + (argument.isRepeating ? " ..." : "")
      return argument.isOptional ? ".RI [ \(word) ]" : ".I \(word)"
    }
    return [name, ".RI [ options ]"] + words
  }

  private var related: [String] {
    let parent = path.count > 1 ? [path.dropLast().joined(separator: "-")] : []
    return parent + subcommands.map(\.pageName)
  }
}

extension ArgumentDefinition {
  fileprivate var roffHead: String {
    switch kind {
    case .positional: return ".I \(RoffText.escaped(valueName.uppercased()))"
    case .flag: return ".B \(RoffText.escaped(names.joined(separator: ", ")))"
    case .option:
      let value = values.isEmpty ? valueName.uppercased() : values.joined(separator: "|")
      return ".BI \(RoffText.quoted(names.joined(separator: ", ") + " ")) \(RoffText.quoted(value))"
    }
  }

  fileprivate var sentence: String {
    var text = abstract
    if let defaultValue, !defaultValue.isEmpty, kind == .option {
      text += "\(text.isEmpty ? "" : " ")Default: \(defaultValue)."
    }
    if isRepeating { text += "\(text.isEmpty ? "" : " ")May be given several times." }
    return text.isEmpty ? "-" : text
  }
}

/// Lines of roff. What is text never becomes a request.
struct RoffText {
  private(set) var out = ""

  mutating func line(_ request: String) { out += request + "\n" }
  mutating func text(_ text: String) { out += Self.escaped(text) + "\n" }

  /// Backslashes and dashes mean themselves, and no line begins with a dot or an apostrophe.
  static func escaped(_ text: String) -> String {
    var out = ""
    for (index, character) in text.enumerated() {
      switch character {
      case "\\": out += "\\e"
      case "-": out += "\\-"
      case "\n": out += " "
      case ".", "'": out += index == 0 ? "\\&\(character)" : String(character)
      case "\"": out += "\\(dq"
      default: out.append(character)
      }
    }
    return out
  }

  /// One argument of a macro.
  static func quoted(_ text: String) -> String { "\"" + escaped(text) + "\"" }
}
