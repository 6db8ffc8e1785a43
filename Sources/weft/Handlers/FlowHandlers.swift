// Flows and edges of a node, for the page and for `weft map`.
//
//   flows?after=N&limit=N&from=…&to=…&verdict=…&service=…&port=…&namespace=…&since=NANOSECONDS     the words of `weft flows`
//   edges?limit=N

import ClusterClient
import ClusterNode
import ClusterObjects
import ClusterView
import DataPlane
import Observe

extension NodeHandlers {
  /// - Parameter keeper: nil on a node that keeps no flows: the answer says so.
  mutating func addFlows(_ keeper: FlowKeeper?, _ follower: ViewFollower) {
    addJSON("flows") { request in
      guard let keeper else { throw Self.keepsNone }
      var question = FlowQuestion()
      question.limit = try request.number("limit", in: 0...Int64(FlowKeeper.answerMax)).map { Int($0) }
      question.since = try request.number("since", in: 0...Int64.max).map { UInt64($0) } ?? 0
      question.from = request.parameter("from")
      question.to = request.parameter("to")
      question.verdict = request.parameter("verdict")
      question.service = request.parameter("service")
      question.port = request.parameter("port")
      if let namespace = request.parameter("namespace") { question.namespace = namespace }
      return try keeper.page(
        question, after: try request.number("after", in: 0...Int64.max).map { UInt64($0) })
    }
    addJSON("edges") { request in
      guard let keeper else { throw Self.keepsNone }
      let limit = try request.number("limit", in: 0...Int64(FlowEdges.pairsMax)) ?? 1000
      var list = keeper.edges(limit: Int(limit))
      list.name(by: servicesOfPods(follower.view))
      return list.json
    }
  }

  private static let keepsNone = APIStatusError(
    code: 503, reason: "ServiceUnavailable", message: "this node keeps no flows (--no-flows)")
}
