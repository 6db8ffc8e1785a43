// What makes the command line at home on a machine: completion, pages for man(1), `kubectl weft`.

import ArgumentParser
import Diagnostics
import Glibc
import Manual

struct CompletionCommand: ParsableCommand {
  enum Shell: String, ExpressibleByArgument, CaseIterable {
    case bash, zsh, fish
    var parser: CompletionShell { self == .bash ? .bash : self == .zsh ? .zsh : .fish }
  }
  static let configuration = CommandConfiguration(
    commandName: "completion", abstract: "Print the completion script of a shell: bash, zsh or fish.",
    discussion: """
      bash: source <(weft completion bash), or write it to /etc/bash_completion.d/weft.
      zsh: write it to a folder of $fpath as _weft. fish: write it to ~/.config/fish/completions/weft.fish.
      """)

  @Argument(help: "bash, zsh or fish.") var shell: Shell

  func run() { Terminal.say(Weft.completionScript(for: shell.parser)) }
}

struct ManualCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "man", abstract: "Print a command's page for man(1), or write all of them to a folder.",
    discussion: "To read one: weft man cni check | man -l -")

  @Argument(help: "The command: cni check.") var words: [String] = []
  @Option(help: "Write all pages to this folder, such as /usr/local/share/man/man1.") var dir: String?

  func run() throws {
    let program = try CommandLineDefinition.weft()
    if let dir {
      for command in program.all {
        let path = "\(dir)/\(command.pageName).1"
        try HomeFiles.write(command.manualPage(version: Weft.version), to: path, mode: 0o644)
        Terminal.say(path)
      }
      return
    }
    guard let found = program.all.first(where: { Array($0.path.dropFirst()) == words }) else {
      throw WeftError(
        "CLI0120", object: words.joined(separator: " "), cause: "is no command", next: "see: weft --help")
    }
    Terminal.say(found.manualPage(version: Weft.version))
  }
}

struct KubectlCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "kubectl", abstract: "Make `kubectl weft` work: this program as a plugin of kubectl.",
    discussion: """
      Links kubectl-weft and kubectl_complete-weft to this program in a folder of PATH. kubectl finds plugins by their names; \
      the second one answers its shell completion.
      """)

  @Option(help: "A folder of PATH.") var dir = "/usr/local/bin"

  func run() throws {
    for name in [KubectlPlugin.name, KubectlPlugin.completer] {
      let path = "\(dir)/\(name)"
      try HomeFiles.link(path, to: Programs.own)
      Terminal.say(path)
    }
  }
}

/// This program under the names by which kubectl calls it.
enum KubectlPlugin {
  static let name = "kubectl-weft"
  static let completer = "kubectl_complete-weft"

  /// The last element of the path that this program was called by.
  static var calledAs: String {
    CommandLine.arguments.first?.split(separator: "/").last.map(String.init) ?? "weft"
  }
  static var isPlugin: Bool { calledAs == name }

  /// Answers kubectl's question what can follow: a line each, then a directive: 4, no names of files.
  static func complete() {
    let words = Array(CommandLine.arguments.dropFirst())
    let lines = (try? CommandLineDefinition.weft().completions(of: words)) ?? []
    Terminal.say((lines + [":4"]).joined(separator: "\n"))
  }
}

enum CommandLineDefinition {
  static func weft() throws -> CommandDefinition {
    guard let program = CommandDefinition(dump: Weft._dumpHelp()) else {
      throw WeftError(
        "CLI0121", object: "weft", cause: "the argument parser describes itself in an unknown form",
        next: "use: weft help COMMAND")
    }
    return program
  }
}
