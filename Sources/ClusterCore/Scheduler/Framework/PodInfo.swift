// A pod as plugins see it: read once from its tree, then compared a thousand times.

import ClusterClient
import ClusterObjects
import Diagnostics

/// What scheduling needs of a pod. Immutable; reading it costs no look-up in the tree.
public final class PodInfo: Sendable {
  public let object: JSON
  public let key: ObjectKey
  public let uid: String
  public let labels: [String: String]
  public let priority: Int64
  public let schedulerName: String
  /// Empty while it waits.
  public let nodeName: String
  /// `status.nominatedNodeName`: where victims make room for it.
  public let nominatedNodeName: String
  public let preemptionPolicy: String
  public let requests: Amounts
  /// CPU and memory for scores: a container that asks for nothing counts as 100m and 200Mi.
  public let scoredCPU: Int64
  public let scoredMemory: Int64
  public let hostPorts: [HostPort]
  public let tolerations: [Toleration]
  public let nodeSelector: [String: String]
  /// The terms of required node affinity, any of which may hold; nil when there is none.
  public let requiredNodeTerms: [NodeTerm]?
  public let preferredNodeTerms: [NodeTerm]
  public let affinity: [PodTerm]
  public let antiAffinity: [PodTerm]
  public let preferredAffinity: [PodTerm]
  public let preferredAntiAffinity: [PodTerm]
  public let spreadConstraints: [SpreadConstraint]
  /// Names of the claims in its own namespace, those of ephemeral volumes too.
  public let claims: [String]
  /// Of these, the ones that ephemeral volumes make.
  public let ephemeralClaims: Set<String>
  public let images: [String]
  public let schedulingGates: [String]
  public let isTerminating: Bool
  public let isFinished: Bool
  /// Seconds since 1970; `Int64.max` when it has not started.
  public let startSeconds: Int64

  public var name: String { key.name }
  public var namespace: String { key.namespace }
  var hasAffinity: Bool {
    !affinity.isEmpty || !antiAffinity.isEmpty || !preferredAffinity.isEmpty || !preferredAntiAffinity.isEmpty
  }

  public init(_ pod: JSON) {
    object = pod
    key = pod.key
    uid = pod.uid
    let labels = pod.labels
    self.labels = labels
    let spec = pod.spec
    let status = pod.status
    priority = spec["priority"]?.integer ?? 0
    let scheduler = spec["schedulerName"]?.string ?? ""
    schedulerName = scheduler.isEmpty ? "default-scheduler" : scheduler
    nodeName = spec["nodeName"]?.string ?? ""
    nominatedNodeName = status["nominatedNodeName"]?.string ?? ""
    preemptionPolicy = spec["preemptionPolicy"]?.string ?? "PreemptLowerPriority"
    let containers = spec["containers"]?.elements ?? []
    requests = Amounts(ResourceList.requests(ofPod: pod))
    (scoredCPU, scoredMemory) = Self.scored(containers, requests)
    hostPorts = HostPort.all(of: spec, containers)
    tolerations = (spec["tolerations"]?.elements ?? []).map(Toleration.init)
    nodeSelector = spec["nodeSelector"]?.stringMap ?? [:]
    let affinityTree = spec["affinity"] ?? .null
    let nodeAffinity = affinityTree["nodeAffinity"] ?? .null
    requiredNodeTerms = nodeAffinity["requiredDuringSchedulingIgnoredDuringExecution"].map {
      ($0["nodeSelectorTerms"]?.elements ?? []).map { NodeTerm($0) }
    }
    preferredNodeTerms = (nodeAffinity["preferredDuringSchedulingIgnoredDuringExecution"]?.elements ?? [])
      .map { NodeTerm($0["preference"] ?? .null, weight: $0["weight"]?.integer ?? 0) }
    let namespace = pod.namespace
    func terms(_ kind: String) -> (required: [PodTerm], preferred: [PodTerm]) {
      guard let tree = affinityTree[kind] else { return ([], []) }
      return (
        (tree["requiredDuringSchedulingIgnoredDuringExecution"]?.elements ?? []).map {
          PodTerm($0, namespace: namespace, labels: labels)
        },
        (tree["preferredDuringSchedulingIgnoredDuringExecution"]?.elements ?? []).map {
          PodTerm(
            $0["podAffinityTerm"] ?? .null, namespace: namespace, labels: labels,
            weight: $0["weight"]?.integer ?? 0)
        }
      )
    }
    (affinity, preferredAffinity) = terms("podAffinity")
    (antiAffinity, preferredAntiAffinity) = terms("podAntiAffinity")
    spreadConstraints = (spec["topologySpreadConstraints"]?.elements ?? []).map {
      SpreadConstraint($0, labels: labels)
    }
    var claims: [String] = []
    var ephemeral: Set<String> = []
    for volume in spec["volumes"]?.elements ?? [] {
      if let claim = volume.at("persistentVolumeClaim", "claimName")?.string {
        claims.append(claim)
      } else if volume["ephemeral"] != nil {
        let claim = "\(pod.name)-\(volume["name"]?.string ?? "")"
        claims.append(claim)
        ephemeral.insert(claim)
      }
    }
    self.claims = claims
    ephemeralClaims = ephemeral
    images = containers.compactMap { $0["image"]?.string }
    schedulingGates = (spec["schedulingGates"]?.elements ?? []).compactMap { $0["name"]?.string }
    isTerminating = pod.isTerminating
    isFinished = ["Succeeded", "Failed"].contains(status["phase"]?.string ?? "")
    startSeconds = status["startTime"]?.string.flatMap { Timestamp.parse($0)?.seconds } ?? .max
  }

  private static func scored(_ containers: [JSON], _ requests: Amounts) -> (Int64, Int64) {
    var cpu: Int64 = 0
    var memory: Int64 = 0
    for container in containers {
      if container.at("resources", "requests", "cpu") == nil { cpu += 100 }
      if container.at("resources", "requests", "memory") == nil { memory += 200 << 20 }
    }
    // What limits stand in for is counted by `requests` already; then the default is too much by 100m at
    // most.
    return (sum(requests.cpu, cpu), sum(requests.memory, memory))
  }

  /// Whether this is a newer state of the pod that may fit where the old one did not.
  func differsForScheduling(from old: PodInfo) -> Bool {
    object["spec"] != old.object["spec"] || labels != old.labels || isTerminating != old.isTerminating
  }
}
