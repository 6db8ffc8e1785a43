// The extender protocol over HTTP: POST urlPrefix/verb with JSON, upstream's field names.

import ClusterClient
import ClusterObjects
import Diagnostics
import Synchronization

/// One extender of the configuration. Thread-safe; connections are kept.
final class HTTPExtender: Extender {
  private let configuration: ExtenderConfiguration
  private let client: Result<RemoteClient, WeftError>

  init(_ configuration: ExtenderConfiguration) {
    self.configuration = configuration
    var server = configuration.urlPrefix
    while server.hasSuffix("/") { server.removeLast() }
    var target = Kubeconfig(server: server)
    target.skipsVerification = configuration.skipsVerification
    target.certificateAuthority = configuration.certificateAuthority
    target.clientCertificate = configuration.clientCertificate
    target.clientKey = configuration.clientKey
    if !configuration.serverName.isEmpty { target.tlsServerName = configuration.serverName }
    do throws(WeftError) {
      client = .success(try RemoteClient(kubeconfig: target, userAgent: "weft-scheduler"))
    } catch { client = .failure(error) }
  }

  var name: String { configuration.urlPrefix }
  var isIgnorable: Bool { configuration.ignorable }
  var canFilter: Bool { !configuration.filterVerb.isEmpty }
  var canPrioritize: Bool { !configuration.prioritizeVerb.isEmpty }
  var canPreempt: Bool { !configuration.preemptVerb.isEmpty }
  var canBind: Bool { !configuration.bindVerb.isEmpty }

  func isInterested(in pod: PodInfo) -> Bool {
    if configuration.managedResources.isEmpty { return true }
    if configuration.managedResources.contains(where: { pod.requests[$0] > 0 }) { return true }
    let containers =
      (pod.object.at("spec", "containers")?.elements ?? [])
      + (pod.object.at("spec", "initContainers")?.elements ?? [])
    return containers.contains { container in
      configuration.managedResources.contains {
        container.at("resources", "requests", $0) != nil || container.at("resources", "limits", $0) != nil
      }
    }
  }

  func filter(_ pod: PodInfo, _ nodes: [NodeInfo]) async throws -> ExtenderFilterResult {
    let answer = try await send(configuration.filterVerb, arguments(pod, nodes))
    if let error = answer["Error"]?.string ?? answer["error"]?.string, !error.isEmpty {
      throw ExtenderError(extender: name, message: error)
    }
    let failed = (answer["FailedNodes"] ?? answer["failedNodes"])?.stringMap ?? [:]
    let lasting =
      (answer["FailedAndUnresolvableNodes"] ?? answer["failedAndUnresolvableNodes"])?.stringMap ?? [:]
    let names: [String]
    if let list = (answer["NodeNames"] ?? answer["nodenames"] ?? answer["nodeNames"])?.array {
      names = list.compactMap(\.string)
    } else {
      names = ((answer["Nodes"] ?? answer["nodes"])?["items"]?.elements ?? []).map(\.name)
    }
    return ExtenderFilterResult(nodes: Set(names), failed: failed, failedAndUnresolvable: lasting)
  }

  func prioritize(_ pod: PodInfo, _ nodes: [NodeInfo]) async throws -> [String: Int64] {
    let answer = try await send(configuration.prioritizeVerb, arguments(pod, nodes))
    var scores: [String: Int64] = [:]
    for entry in answer.elements {
      guard let host = (entry["Host"] ?? entry["host"])?.string,
        let score = (entry["Score"] ?? entry["score"])?.integer
      else { continue }
      // Its 0…10 counts as a plugin's 0…100.
      scores[host] = min(max(score, 0), 10) * 10 * Int64(min(configuration.weight, 1_000_000))
    }
    return scores
  }

  func preempt(_ pod: PodInfo, _ plans: [PreemptionPlan]) async throws -> [PreemptionPlan] {
    var victims: [(String, JSON)] = []
    for plan in plans {
      let pods: [JSON] = plan.victims.map {
        configuration.nodeCacheCapable ? ["UID": JSON($0.uid)] : $0.object
      }
      victims.append((plan.node, ["Pods": .array(pods), "NumPDBViolations": JSON(plan.violations)]))
    }
    let field = configuration.nodeCacheCapable ? "NodeNameToMetaVictims" : "NodeNameToVictims"
    let answer = try await send(
      configuration.preemptVerb, ["Pod": pod.object, field: .object(JSONObject(victims))])
    let kept = (answer["NodeNameToMetaVictims"] ?? answer["nodeNameToMetaVictims"])?.object ?? [:]
    return plans.compactMap { plan in
      guard let entry = kept[plan.node] else { return nil }
      let uids = Set(
        ((entry["Pods"] ?? entry["pods"])?.elements ?? []).compactMap {
          ($0["UID"] ?? $0["uid"])?.string
        })
      let violations = (entry["NumPDBViolations"] ?? entry["numPDBViolations"])?.int ?? plan.violations
      return PreemptionPlan(
        node: plan.node, victims: plan.victims.filter { uids.contains($0.uid) }, violations: violations)
    }
  }

  func bind(_ pod: PodInfo, to node: String) async throws {
    let answer = try await send(
      configuration.bindVerb,
      [
        "PodName": JSON(pod.name), "PodNamespace": JSON(pod.namespace), "PodUID": JSON(pod.uid),
        "Node": JSON(node),
      ])
    if let error = answer["Error"]?.string ?? answer["error"]?.string, !error.isEmpty {
      throw ExtenderError(extender: name, message: error)
    }
  }

  /// With `nodeCacheCapable` it knows the nodes: names are enough.
  private func arguments(_ pod: PodInfo, _ nodes: [NodeInfo]) -> JSON {
    if configuration.nodeCacheCapable {
      return ["Pod": pod.object, "NodeNames": JSON(nodes.map(\.name))]
    }
    return [
      "Pod": pod.object,
      "Nodes": [
        "apiVersion": "v1", "kind": "NodeList", "metadata": [:],
        "items": .array(nodes.map(\.facts.object)),
      ],
    ]
  }

  /// Ends with an error after `httpTimeout`.
  private func send(_ verb: String, _ body: JSON) async throws -> JSON {
    let client = try client.get()
    let timeout = configuration.httpTimeout
    let name = name
    return try await withThrowingTaskGroup(of: JSON.self) { group in
      group.addTask { try await client.post("/" + verb, body) }
      group.addTask {
        try await Task.sleep(for: timeout)
        throw ExtenderError(extender: name, message: "no answer within \(timeout)")
      }
      defer { group.cancelAll() }
      guard let answer = try await group.next() else { throw CancellationError() }
      return answer
    }
  }
}

struct ExtenderError: Error, CustomStringConvertible {
  var extender: String
  var message: String
  var description: String { "extender \(extender): \(message)" }
}
