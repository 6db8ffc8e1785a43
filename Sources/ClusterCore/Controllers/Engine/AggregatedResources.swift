// What other API servers serve behind this one (APIServices with a Service). Of one that does not answer nobody knows
// what it keeps.

import ClusterClient
import ClusterObjects

/// What the aggregated APIs serve now, and which could not be asked.
struct AggregatedResources {
  var resources: [TrackedResource] = []
  /// Group versions that did not say what they serve, and why.
  var undiscovered: [String: String] = [:]
  var unparsed: [String] = []
}

extension ControllerContext {
  /// APIServices, those of other servers among them.
  var apiServices: Informer {
    informers.informer(GroupVersionResource("apiregistration.k8s.io", "v1", "apiservices"))
  }

  /// What stands behind every APIService with a Service.
  func aggregatedResources() async -> AggregatedResources {
    var found = AggregatedResources()
    for object in apiServices.snapshot.values where object.spec["service"]?.object != nil {
      let (group, version) = (object.spec["group"]?.string ?? "", object.spec["version"]?.string ?? "")
      let groupVersion = "\(group)/\(version)"
      if group.isEmpty || version.isEmpty || group.contains("/") || version.contains("/") {
        found.unparsed.append(groupVersion)
        continue
      }
      guard object.isConditionTrue("Available") else {
        found.undiscovered[groupVersion] = Self.stale(groupVersion)
        continue
      }
      guard let discover = settings.aggregatedResources else { continue }
      if let resources = await discover(groupVersion) {
        found.resources += resources
      } else {
        found.undiscovered[groupVersion] = Self.stale(groupVersion)
      }
    }
    return found
  }

  /// Upstream's words for a server that answered before and does not now.
  static func stale(_ groupVersion: String) -> String { "stale GroupVersion discovery: \(groupVersion)" }
}
