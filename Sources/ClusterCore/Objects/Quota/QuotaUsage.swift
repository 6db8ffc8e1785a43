// What an object uses of a ResourceQuota: pure functions that admission and the quota controller share.

/// Usage of quotas by objects.
public enum QuotaUsage {
  /// Everything that an object may be counted for, by the names that quotas use. `now` in seconds since 1970:
  /// pods past their grace period use nothing.
  public static func usage(of object: JSON, _ gvr: GroupVersionResource, now: Int64) -> ResourceList {
    var usage = ResourceList([countName(gvr): Quantity(1)])
    guard gvr.group.isEmpty else { return usage }
    switch gvr.resource {
    case "pods":
      if isAtEnd(object, now: now) { return usage }
      addPod(object, &usage)
    case "services":
      usage["services"] = Quantity(1)
      addService(object, &usage)
    case "persistentvolumeclaims": addClaim(object, &usage)
    case "configmaps", "secrets", "replicationcontrollers", "resourcequotas":
      usage[gvr.resource] = Quantity(1)
    default: break
    }
    return usage
  }

  /// `count/deployments.apps`, `count/pods`.
  public static func countName(_ gvr: GroupVersionResource) -> String { "count/\(gvr)" }

  /// The resource whose objects count for a quota's name, as `group` and plural; nil when nothing is known to.
  public static func counted(for name: String) -> (group: String, resource: String)? {
    if name.hasPrefix("count/") {
      let rest = name.dropFirst("count/".count)
      guard let dot = rest.firstIndex(of: ".") else { return ("", String(rest)) }
      return (String(rest[rest.index(after: dot)...]), String(rest[..<dot]))
    }
    switch name {
    case "services", "services.loadbalancers", "services.nodeports": return ("", "services")
    case "configmaps", "secrets", "replicationcontrollers", "resourcequotas": return ("", name)
    case "persistentvolumeclaims", "requests.storage": return ("", "persistentvolumeclaims")
    case let name where name.contains("storageclass.storage.k8s.io/"): return ("", "persistentvolumeclaims")
    case "pods", "cpu", "memory", "ephemeral-storage": return ("", "pods")
    case let name
    where name.hasPrefix("requests.") || name.hasPrefix("limits.") || name.hasPrefix("hugepages-"):
      return ("", "pods")
    default: return nil
    }
  }

  // MARK: Kinds

  /// Done, failed, or deleted and past its time.
  private static func isAtEnd(_ pod: JSON, now: Int64) -> Bool {
    if ["Succeeded", "Failed"].contains(pod.at("status", "phase")?.string ?? "") { return true }
    guard let text = pod.deletionTimestamp, let deleted = KubeTime(text),
      pod.at("metadata", "deletionGracePeriodSeconds") != nil
    else { return false }
    // `deletionTimestamp` is the moment at which the grace period is over.
    return now > deleted.seconds
  }

  private static func addPod(_ pod: JSON, _ usage: inout ResourceList) {
    usage["pods"] = Quantity(1)
    for (name, amount) in ResourceList.requests(ofPod: pod).amounts {
      if ["cpu", "memory", "ephemeral-storage"].contains(name) || name.hasPrefix("hugepages-") {
        usage[name] = amount
        usage["requests.\(name)"] = amount
      } else if name.contains("/") {
        usage["requests.\(name)"] = amount
      }
    }
    for (name, amount) in limits(ofPod: pod).amounts { usage["limits.\(name)"] = amount }
  }

  private static func limits(ofPod pod: JSON) -> ResourceList {
    let spec = pod.spec
    func limits(_ container: JSON) -> ResourceList { ResourceList(container.at("resources", "limits")) }
    var total = ResourceList()
    for container in spec["containers"]?.elements ?? [] { total = total + limits(container) }
    var sidecars = ResourceList()
    var peak = ResourceList()
    for container in spec["initContainers"]?.elements ?? [] {
      if container["restartPolicy"]?.string == "Always" {
        sidecars = sidecars + limits(container)
        peak = peak.union(sidecars)
      } else {
        peak = peak.union(sidecars + limits(container))
      }
    }
    total = (total + sidecars).union(peak)
    total.amounts.merge(ResourceList(spec.at("resources", "limits")).amounts) { $1 }
    for (name, amount) in ResourceList(spec["overhead"]).amounts where total.amounts[name] != nil {
      total[name] += amount
    }
    return total
  }

  private static func addService(_ service: JSON, _ usage: inout ResourceList) {
    let ports = service.at("spec", "ports")?.elements ?? []
    switch service.at("spec", "type")?.string {
    case "NodePort": usage["services.nodeports"] = Quantity(Int64(ports.count))
    case "LoadBalancer":
      usage["services.loadbalancers"] = Quantity(1)
      let isAllocated = service.at("spec", "allocateLoadBalancerNodePorts")?.bool != false
      let count = isAllocated ? ports.count : ports.count { ($0["nodePort"]?.integer ?? 0) != 0 }
      usage["services.nodeports"] = Quantity(Int64(count))
    default: break
    }
  }

  private static func addClaim(_ claim: JSON, _ usage: inout ResourceList) {
    usage["persistentvolumeclaims"] = Quantity(1)
    let className =
      claim.annotations["volume.beta.kubernetes.io/storage-class"]
      ?? claim.at("spec", "storageClassName")?.string ?? ""
    if !className.isEmpty {
      usage["\(className).storageclass.storage.k8s.io/persistentvolumeclaims"] = Quantity(1)
    }
    guard let size = Quantity(claim.at("spec", "resources", "requests", "storage")) else { return }
    // What was given may be more than what was asked for.
    let storage = Quantity(claim.at("status", "allocatedResources", "storage")).map { max($0, size) } ?? size
    usage["requests.storage"] = storage
    if !className.isEmpty { usage["\(className).storageclass.storage.k8s.io/requests.storage"] = storage }
  }
}
