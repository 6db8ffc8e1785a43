// `autopath`: the client's search path is walked here, so that `ndots:5` costs one query and not five.

import Addresses

/// Where a client's search path comes from.
public struct Autopath: Sendable, Hashable {
  public enum Source: Sendable, Hashable {
    /// A resolv.conf's search path, for everybody.
    case path([DomainName])
    /// The path kubelet gives a pod, by the namespace of the pod that asks; then the node's own.
    case cluster(besides: [DomainName])
  }
  /// Only names below these.
  public var zones: [DomainName]
  public var source: Source

  /// The path of whoever asks; empty when it is not known. A pod's path ends with the name as it stands.
  func path(zone: DomainName?, namespace: String?) -> [DomainName] {
    switch source {
    case .path(let names): return names
    case .cluster(let besides):
      guard let zone, let namespace, let services = zone.child("svc"), let own = services.child(namespace)
      else {
        return []
      }
      return [own, services, zone] + besides
    }
  }

  /// Names to try for a question, the first being itself; nil when the question is not the first step of a search.
  func candidates(_ name: DomainName, _ path: [DomainName]) -> [DomainName]? {
    guard let first = path.first, name != first, name.isWithin(first),
      zones.contains(where: { name.isWithin($0) })
    else { return nil }
    let labels = name.labels.dropLast(first.labels.count).map(Array.init)
    return [name] + path.dropFirst().compactMap { DomainName(labels: labels + $0.labels.map(Array.init)) }
      + (DomainName(labels: labels).map { [$0] } ?? [])
  }
}
