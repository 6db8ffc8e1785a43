// How the parts of this node stand: `status`. Read from memory: it costs the same at ten Services and at ten thousand.

import ClusterClient
import ClusterNode
import ClusterObjects
import ClusterView
import DNS
import DataPlane
import Diagnostics
import KernelNftables
import Observe

/// What a node's status is made of.
struct StatusSources: Sendable {
  var nodeName: String
  var informers: SharedInformers
  var follower: ViewFollower
  var network: NodeNetwork
  var worker: RulesetWorker
  var zone: @Sendable () -> Zone
  var flows: FlowKeeper?
  var hasIngress: Bool

  /// A change may wait so long before it counts as a fault: plans take milliseconds, and a refused one is tried again each second.
  static let behindMax: Duration = .seconds(5)

  func read() async -> NodeStatus {
    let view = follower.view
    var parts = [watches, await rules, names]
    if let flows { parts.append(Self.flows(flows, nodeName)) }
    if hasIngress { parts.append(ingress(view)) }
    let left = view.quarantined.map { "\($0.key.kind) \($0.key.key): \($0.value)" }.sorted()
    return NodeStatus(node: nodeName, parts: parts, leftOut: left)
  }

  /// Whether this node hears of changes.
  private var watches: PartStatus {
    let broken = ClusterView.resources.filter { informers.informer($0).lastFailure != nil }
    let reason = broken.first.flatMap { informers.informer($0).lastFailure }
    let text =
      reason.map { "\(broken.map(\.resource).joined(separator: ", ")) are not heard of: \($0)" }
      ?? "\(ClusterView.resources.count) kinds are followed"
    return PartStatus(
      "watches", node: nodeName, broken.isEmpty ? .ok : .failed, version: Weft.version, text: text,
      next: broken.isEmpty ? "" : "kubectl get --raw '/readyz?verbose'")
  }

  private var rules: PartStatus {
    get async {
      let standing = network.standing
      let behind = follower.behind
      // Where another program has committed since, ours are looked at now: the answer is what is, not what may be.
      let look = await lookAfterOthers()
      var part = PartStatus(
        "rules", node: nodeName, version: Weft.version,
        behindMilliseconds: Int64(behind / .milliseconds(1)),
        commitAgeMilliseconds: standing.lastCommit.map {
          Int64((ContinuousClock.now - $0) / .milliseconds(1))
        },
        drops: standing.failures,
        text: "in force as planned, \(standing.operations) operations last")
      if let failure = standing.failure {
        part.state = .failed
        part.text = "the last change is not in force: \(failure)"
        part.next = "weft diff"
      } else if !standing.hasSynced {
        part.state = .failed
        part.text = "not in force yet"
      } else if behind > Self.behindMax {
        part.state = .failed
        part.text = "changes wait to be put in force"
        part.next = "weft diff"
      } else {
        switch look {
        case .success(0): break
        case .success(let operations):
          part.state = .warning
          part.text = "another program has just changed our tables; \(operations) operations put them right"
          part.next = "nft monitor"
        case .failure(let error):
          part.state = .failed
          part.text =
            "another program has changed tables of the kernel, and ours could not be looked at: \(error)"
          part.next = "weft diff"
        }
      }
      return part
    }
  }

  /// How many operations put our tables right after changes of other programs.
  private func lookAfterOthers() async -> Result<Int, any Error> {
    do {
      return .success(try await worker.perform { try $0.repair()?.operations ?? 0 })
    } catch { return .failure(error) }
  }

  private var names: PartStatus {
    let broken = [GroupVersionResource.services, .endpointSlices, .namespaces].compactMap {
      informers.informer($0).lastFailure
    }.first
    let isRead = zone().isReady
    let drops = Metrics.shared.total("weft_dns_dropped_total").map { UInt64($0) }
    return PartStatus(
      "dns", node: nodeName, isRead && broken == nil ? .ok : .failed, version: Weft.version, drops: drops,
      text: !isRead
        ? "its zone has not been read yet"
        : broken.map { "answers from what was known last: \($0)" } ?? "serves zone \(zone().settings.zone)",
      next: broken == nil ? "" : "kubectl get --raw '/readyz?verbose'")
  }

  private static func flows(_ keeper: FlowKeeper, _ nodeName: String) -> PartStatus {
    let losses = keeper.losses
    return PartStatus(
      "flows", node: nodeName, version: Weft.version, drops: losses.flows + losses.packets,
      text: "\(keeper.end) seen")
  }

  private func ingress(_ view: ClusterView) -> PartStatus {
    let restarts = Metrics.shared.total("weft_ingress_restarts_total") ?? 0
    return PartStatus(
      "ingress", node: nodeName, restarts > 0 ? .warning : .ok, version: Weft.version,
      text: restarts > 0
        ? "was started anew \(Int(restarts)) times" : "routes of \(view.ingresses.count) Ingresses",
      next: restarts > 0 ? "look into the node process's log" : "")
  }
}

extension NodeHandlers {
  mutating func addStatus(_ sources: StatusSources) {
    addJSON("status") { _ in await sources.read().json }
  }
}
