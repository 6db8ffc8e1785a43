// The command line. Executables only assemble: each command reads its flags, puts parts together and runs them.

import ArgumentParser
import Diagnostics
import Glibc
import Logging

@main
struct Main {
  static func main() async {
    // A peer that goes away while we write is an error to handle, not a signal to die of.
    signal(SIGPIPE, SIG_IGN)
    if CommandLine.arguments.dropFirst().first == IngressProcess.command { IngressProcess.runChild() }
    Upgrade.receive()
    if KubectlPlugin.calledAs == KubectlPlugin.completer { return KubectlPlugin.complete() }
    do {
      let arguments = CommandLine.arguments.dropFirst()
      let isCheck = arguments.first == Upgrade.checkCommand
      let words = GoFlags.plain(Array(arguments.dropFirst(isCheck ? 1 : 0)))
      var command = try Weft.parseAsRoot(words)
      if isCheck { return }
      if var asynchronous = command as? any AsyncParsableCommand {
        try await asynchronous.run()
      } else {
        try command.run()
      }
    } catch let error as WeftError {
      Terminal.complain(Terminal.isVerbose ? error.fullDescription : error.description)
      exit(error.exit.rawValue)
    } catch let finding as Finding {
      exit(finding.status.rawValue)
    } catch {
      let parsed = Weft.exitCode(for: error)
      if parsed == .success {
        Terminal.say(Weft.fullMessage(for: error))
        exit(0)
      }
      if parsed == .validationFailure {
        let refusal = usageError(Weft.message(for: error))
        Terminal.complain(refusal.description)
        exit(refusal.exit.rawValue)
      }
      let message = Weft.fullMessage(for: error)
      if !message.isEmpty { Terminal.complain(message) }
      exit(ExitStatus.finding.rawValue)
    }
  }

  /// What the parser says of flags and arguments, in the one line that every refusal has.
  private static func usageError(_ message: String) -> WeftError {
    let names = Weft.configuration.subcommands.map { $0.configuration.commandName }
    let program = KubectlPlugin.isPlugin ? "kubectl weft" : "weft"
    let command =
      CommandLine.arguments.dropFirst().first { names.contains($0) }.map { "\(program) \($0)" } ?? program
    let line = message.split(separator: "\n").first.map(String.init) ?? "cannot be read"
    let first = CommandLine.arguments.dropFirst().first ?? ""
    let meant = command == program ? NearWord.nearest(to: first, in: names.compactMap(\.self)) : nil
    return WeftError(
      "CLI0006", object: command, cause: line.prefix(1).lowercased() + line.dropFirst(),
      next: "\(meant.map { "did you mean \(program) \($0)? " } ?? "")see: \(command) --help")
  }
}

struct Weft: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "weft", abstract: "A Kubernetes network and control plane in one binary.",
    version: version,
    subcommands: [
      Up.self, Down.self, ServerCommand.self, NodeCommand.self, ProxyCommand.self, DNSCommand.self,
      ImageCommand.self, CNICommand.self, SchedulerCommand.self, BenchCommand.self, StatusCommand.self,
      CheckCommand.self, IngressCommand.self,
      DiffCommand.self, RulesCommand.self, ExplainCommand.self, FlowsCommand.self, MapCommand.self,
      CaptureCommand.self, PolicyCommand.self, TestCommand.self,
      SupportCommand.self,
      KubectlCommand.self, CompletionCommand.self, ManualCommand.self,
    ])
  static let version = "0.1.0"
}

/// The command did its work and found what it was asked to look for: says so by exit code alone.
struct Finding: Error {
  var status: ExitStatus
}

/// Flags that every long-running command has.
struct LogOptions: ParsableArguments {
  @Flag(name: .shortAndLong, help: "Say more: debug log lines, and the cause underneath an error.")
  var verbose = false

  /// - Parameter quiet: for commands that answer a question: warnings only, unless more is asked for.
  func apply(quiet: Bool = false) {
    Terminal.isVerbose = verbose
    bootstrapLogging(level: verbose ? .debug : quiet ? .warning : .info)
  }
}
