// Flows of other nodes: the page `flows` of each, in rounds; what a round brings is shown in the order of time.

import ClusterClient
import ClusterObjects
import Diagnostics
import Observe

struct RemoteFlows {
  /// Between rounds that brought nothing new.
  static let pause: Duration = .milliseconds(500)

  private let pages: NodePageClient
  private let question: FlowQuestion
  private var states: [String: State] = [:]
  private let nodes: [String]

  private struct State: Sendable {
    /// The number of the next flow that is wanted; nil: the newest so many.
    var next: UInt64?
    var isDone = false
    /// Why it did not tell when it was asked last.
    var refusal: String?
  }

  init(_ pages: NodePageClient, of nodes: [String], _ question: FlowQuestion) {
    self.pages = pages
    self.nodes = nodes
    self.question = question
    // A page holds no more; of a larger number the newest are picked here.
    let isPage = (question.limit ?? .max) <= FlowKeeper.answerMax
    for node in nodes { states[node] = State(next: isPage ? nil : 0) }
  }

  /// What is kept; with `follows` then what comes, until `body` returns false. A node that does not tell is said, once.
  /// - Returns: whether every node told.
  mutating func read(_ body: (FlowAnswer) -> Bool) async throws -> Bool {
    var kept: [Flow] = []
    while states.values.contains(where: { !$0.isDone }) { kept += await round().flows }
    if let limit = question.limit, kept.count > limit {
      kept = Array(kept.sorted { $0.time < $1.time }.suffix(limit))
    }
    guard Self.show(kept, body) else { return true }
    while question.follows {
      let (flows, missed) = await round()
      if missed > 0, !body(.missed(missed)) { return true }
      guard Self.show(flows, body) else { return true }
      if flows.isEmpty { try await Task.sleep(for: Self.pause) }
    }
    return states.values.allSatisfy { $0.refusal == nil }
  }

  private static func show(_ flows: [Flow], _ body: (FlowAnswer) -> Bool) -> Bool {
    flows.sorted { $0.time < $1.time }.allSatisfy { body(.flow($0)) }
  }

  /// One page of each node.
  private mutating func round() async -> (flows: [Flow], missed: UInt64) {
    let (states, words) = (states, words)
    let wanted = nodes.filter { question.follows || states[$0]?.isDone == false }
    let limit = question.limit
    let answers = await pages.read("flows", of: wanted) { node in
      guard let next = states[node]?.next else { return words + [("limit", "\(limit ?? 0)")] }
      return words + [("after", "\(next)"), ("limit", "\(FlowKeeper.answerMax)")]
    }
    var flows: [Flow] = []
    var missed: UInt64 = 0
    for (node, answer) in answers {
      var state = states[node] ?? State()
      switch answer {
      case .success(let page):
        let found = (page["flows"]?.elements ?? []).compactMap { Flow($0) }
        flows += found
        missed += page["missed"]?.integer.map { UInt64(clamping: $0) } ?? 0
        state.isDone = state.next == nil || found.count < FlowKeeper.answerMax
        state.next = page["next"]?.integer.map { UInt64(clamping: $0) } ?? 0
        state.refusal = nil
      case .failure(let error):
        let reason = NodePageClient.reason(error)
        if state.refusal == nil { Terminal.complain("node \(node) does not tell: \(reason)") }
        state.refusal = reason
        state.isDone = true
      }
      self.states[node] = state
    }
    return (flows, missed)
  }

  private var words: NodePageClient.Query {
    let all: [(String, String?)] = [
      ("from", question.from), ("to", question.to), ("verdict", question.verdict),
      ("service", question.service), ("port", question.port), ("namespace", question.namespace),
      ("since", question.since > 0 ? "\(question.since)" : nil),
    ]
    return all.compactMap { name, value in value.map { (name, $0) } }
  }
}
