// What a command line consists of, as the argument parser describes it: commands, flags, arguments.

import ClusterObjects

/// One command, its arguments and what stands below it. Plain values, read once from the parser's description.
public struct CommandDefinition: Sendable, Hashable {
  /// The words that lead to it, the program's name first: `["weft", "cni", "check"]`.
  public var path: [String]
  /// One line.
  public var abstract: String
  /// What else is to be said; empty when nothing is.
  public var discussion: String
  public var arguments: [ArgumentDefinition]
  public var subcommands: [CommandDefinition]

  public var name: String { path.last ?? "" }

  /// Reads the description that the argument parser prints for `--experimental-dump-help`. Hidden commands and arguments, and
  /// `help`, which every command has, are left out. Nil when it is none. Costs its length.
  public init?(dump: String) {
    guard let tree = try? JSON(parsing: Array(dump.utf8)), let command = tree["command"] else { return nil }
    self.init(command, under: [])
  }

  private init?(_ tree: JSON, under parents: [String]) {
    guard let name = tree["commandName"]?.string else { return nil }
    path = parents + [name]
    abstract = tree["abstract"]?.string ?? ""
    discussion = tree["discussion"]?.string ?? ""
    arguments = (tree["arguments"]?.array ?? []).compactMap(ArgumentDefinition.init)
    let path = path
    subcommands = (tree["subcommands"]?.array ?? []).compactMap { child in
      if child["shouldDisplay"]?.bool == false || child["commandName"]?.string == "help" { return nil }
      return CommandDefinition(child, under: path)
    }
  }

  /// It and everything below it, in the order of definition.
  public var all: [CommandDefinition] { [self] + subcommands.flatMap(\.all) }

  /// The command that these words lead to, and how many of them it took; words are names, not flags.
  func descend(_ words: some Sequence<String>) -> CommandDefinition {
    var found = self
    for word in words {
      guard let next = found.subcommands.first(where: { $0.name == word }) else { break }
      found = next
    }
    return found
  }
}

/// One argument of a command.
public struct ArgumentDefinition: Sendable, Hashable {
  public enum Kind: String, Sendable, Hashable {
    /// A word by its place.
    case positional
    /// `--name VALUE`.
    case option
    /// `--name`.
    case flag
  }
  public var kind: Kind
  /// With their dashes, long ones first: `["--output", "-o"]`. Empty for positional ones.
  public var names: [String]
  public var valueName: String
  public var abstract: String
  public var defaultValue: String?
  /// The words it takes, where those are known.
  public var values: [String]
  public var isOptional: Bool
  public var isRepeating: Bool

  init?(_ tree: JSON) {
    guard tree["shouldDisplay"]?.bool != false, let kind = tree["kind"]?.string.flatMap(Kind.init(rawValue:))
    else { return nil }
    self.kind = kind
    names = (tree["names"]?.array ?? []).compactMap { entry in
      guard let name = entry["name"]?.string else { return nil }
      return entry["kind"]?.string == "long" ? "--" + name : "-" + name
    }.sorted { $0.hasPrefix("--") && !$1.hasPrefix("--") }
    valueName = tree["valueName"]?.string ?? "value"
    abstract = tree["abstract"]?.string ?? ""
    defaultValue = tree["defaultValue"]?.string
    let listed = tree["allValues"] ?? tree["completionKind"]?["list"]?["values"]
    values = (listed?.array ?? []).compactMap(\.string)
    isOptional = tree["isOptional"]?.bool ?? true
    isRepeating = tree["isRepeating"]?.bool ?? false
  }
}
