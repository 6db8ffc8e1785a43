// What `weft explain` says on this node, for who is not here: objects, ruleset, and with `live` a packet of the source's own.
//
//   explain?from=NAMESPACE/POD&to=…&namespace=…&live=true

import ClusterClient
import ClusterNode
import ClusterObjects
import ClusterView
import DNS
import DataPlane
import Diagnostics
import KernelSockets
import Observe
import Synchronization

extension NodeHandlers {
  mutating func addExplain(
    _ nodeName: String, _ follower: ViewFollower, _ zone: @escaping @Sendable () -> Zone
  ) {
    let places = ProbePlaces()
    addJSON("explain") { request in
      guard let from = request.parameter("from"), let to = request.parameter("to") else {
        throw APIStatusError(code: 400, reason: "BadRequest", message: "from, to: one is missing")
      }
      let isLive = request.parameter("live") == "true"
      let namespace = request.parameter("namespace") ?? "default"
      let (view, zone) = (follower.view, zone())
      return try await places.run {
        var explainer = Explainer(view: view, nodeName: nodeName, observed: nil) {
          ZoneNames.answer(zone, $0)
        }
        explainer.localAddresses = Set((try? NodeAddress.all(besides: "")) ?? [])
        explainer.readKernel()
        var explanation = try explainer.explain(from: from, to: to, namespace: namespace)
        if isLive {
          let isOwn = explanation.asked.map { explainer.localAddresses.contains($0.source) } ?? false
          try LiveExplainer().add(to: &explanation, isOwn: isOwn, planned: explainer.observed)
        }
        return explanation.json
      }
    }
  }
}

/// So many explanations at once: each reads the kernel's tables, and a live one waits for an answer for seconds.
private final class ProbePlaces: Sendable {
  static let placesMax = 4
  private let taken = Atomic<Int>(0)

  /// On a thread of its own. Throws 429 when all places are taken.
  func run(_ body: @escaping @Sendable () throws -> JSON) async throws -> JSON {
    defer { taken.subtract(1, ordering: .relaxed) }
    guard taken.add(1, ordering: .relaxed).newValue <= Self.placesMax else {
      throw APIStatusError(
        code: 429, reason: "TooManyRequests", message: "\(Self.placesMax) connections are explained already")
    }
    return try await withCheckedThrowingContinuation { continuation in
      let isStarted = DetachedThread.start { continuation.resume(with: Result { try body() }) }
      if !isStarted {
        continuation.resume(
          throwing: APIStatusError(
            code: 503, reason: "ServiceUnavailable", message: "no thread can be had"))
      }
    }
  }
}

extension Explainer {
  /// Takes in what is in force in this network namespace: ruleset and ways to other nodes.
  mutating func readKernel() {
    observed = ObservedRuleset.read(view: view, nodeName: nodeName)
    if let paths = try? ObservedPaths(view, nodeName: nodeName) {
      ways = { paths.plan.steps(to: $1, of: $0.name, paths.inForce) }
    }
  }
}
