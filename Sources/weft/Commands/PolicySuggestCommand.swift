// `weft policy suggest`: NetworkPolicies that allow what was observed.

import ArgumentParser
import ClusterObjects
import Diagnostics
import Observe

struct PolicySuggestCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "suggest", abstract: "Propose NetworkPolicies from observed flows.",
    discussion: """
      Prints YAML with the flows behind each rule as remarks, and holds every observed connection against the proposal. Flows come
      from the node process here, or from files that `weft flows --to-file` wrote, of several nodes one after the other.
      What was refused is not proposed. Observe long enough: what did not happen meanwhile is not allowed.
      Exit code: 0, 1 the proposal would refuse something observed, 2 a file cannot be read, 3 no node process answers.
      """)

  @Option(help: "Propose for pods of this namespace alone.") var namespace: String?
  @Option(help: "Not older: 90s, 5m, 2h, 1d, or a time of RFC 3339.") var since: String?
  @Option(help: "Read flows from this file, - for standard input; may be given several times.") var input:
    [String] = []
  @Option(help: "Where the node process has its sockets. Default: where the one of this machine has them.")
  var runDir: String?

  /// Flows that are held in memory at most; older ones go first.
  static let flowsMax = 1 << 20

  func run() throws {
    var question = FlowQuestion()
    if let since { question.since = try FlowFilterOptions.moment(since) }
    var flows: [Flow] = []
    func take(_ flow: Flow) -> Bool {
      flows.append(flow)
      if flows.count > Self.flowsMax { flows.removeFirst(Self.flowsMax / 4) }
      return true
    }
    if input.isEmpty {
      try FlowClient.ask(question, at: "\(NodeNote.runFolder(runDir))/\(FlowSettings.socketName)") { answer in
        if case .flow(let flow) = answer { return take(flow) }
        return true
      }
    }
    for path in input {
      let file = try InputFile(path)
      FlowClient.read(file.descriptor, filter: try question.filter(), take)
    }
    let suggestion = PolicySuggestion(flows, namespace: namespace)
    for line in suggestion.leftOut { Terminal.complain("left out: \(line)") }
    guard !suggestion.policies.isEmpty else {
      Terminal.complain("no connection of a pod was observed: nothing to propose")
      return
    }
    Terminal.say(suggestion.policies.map(\.yaml).joined(separator: "---\n"))
    for line in suggestion.refused { Terminal.complain("would be refused: \(line)") }
    Terminal.complain(
      "\(suggestion.connections - suggestion.refused.count) of \(suggestion.connections) observed flows would be allowed"
    )
    if !suggestion.refused.isEmpty { throw Finding(status: .finding) }
  }
}
