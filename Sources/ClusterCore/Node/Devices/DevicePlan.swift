// Which devices a container gets, and what a node says it has of them. Pure.

import ClusterObjects

/// The devices of one resource, as its plugin last listed them.
struct ResourceDevices: Sendable, Hashable {
  var healthy: Set<String> = []
  var unhealthy: Set<String> = []
  /// False from the moment the plugin went away until it registers again.
  var isServed = false
  var count: Int { healthy.count + unhealthy.count }

  init() {}
  /// Ids are unique and not empty; of two with one id the later counts.
  init(_ list: DeviceList) {
    isServed = true
    for device in list.devices where !device.id.isEmpty {
      healthy.remove(device.id)
      unhealthy.remove(device.id)
      if device.isHealthy { healthy.insert(device.id) } else { unhealthy.insert(device.id) }
    }
  }

  /// After its plugin went away: none is to be had.
  mutating func lose() {
    unhealthy.formUnion(healthy)
    healthy = []
    isServed = false
  }
}

/// A container's devices of one resource.
struct DeviceAllocation: Sendable, Hashable {
  var pod: String
  var container: String
  var resource: String
  var ids: Set<String>
  var grant = DeviceGrant()
}

/// Why there are no devices, in kubelet's words.
struct DevicesUnavailable: Error, Hashable {
  var message: String
}

/// Ids for one container of a pod.
struct DeviceChoice: Sendable, Hashable {
  /// All that may be taken.
  var available: Set<String>
  /// Those of init containers that ended before this one begins: taken first.
  var reusable: Set<String>
  var needed: Int
}

/// What can be chosen from for a container that asks for `count`.
func planDeviceChoice(
  _ resource: String, count: Int, devices: ResourceDevices?, taken: Set<String>, reusable: Set<String>
) throws(DevicesUnavailable) -> DeviceChoice {
  guard let devices, devices.isServed else {
    throw DevicesUnavailable(message: "cannot allocate unregistered device \(resource)")
  }
  guard !devices.healthy.isEmpty else {
    throw DevicesUnavailable(
      message: "no healthy devices present; cannot allocate unhealthy devices \(resource)")
  }
  let reusable = reusable.intersection(devices.healthy)
  let available = devices.healthy.subtracting(taken).union(reusable)
  guard available.count >= count else {
    throw DevicesUnavailable(
      message: "requested number of devices unavailable for \(resource). Requested: \(count), "
        + "Available: \(available.count)")
  }
  return DeviceChoice(available: available, reusable: reusable, needed: count)
}

extension DeviceChoice {
  /// The ids, with those that the plugin prefers before others; what it says beyond what there is counts for nothing.
  func ids(preferred: [String] = []) -> Set<String> {
    var chosen = Set(reusable.sorted().prefix(needed))
    for id in preferred where chosen.count < needed && available.contains(id) { chosen.insert(id) }
    for id in available.sorted() where chosen.count < needed { chosen.insert(id) }
    return chosen
  }
}

/// How many devices of each of `resources` a container asks for.
func deviceRequests(_ container: ContainerSpec, of resources: Set<String>) -> [String: Int] {
  var counts: [String: Int] = [:]
  for key in container.tree.at("resources", "limits")?.object?.keys ?? [] where resources.contains(key) {
    let count = (PodSpec.amount(container.tree.at("resources", "limits", key)) ?? 0) / 1000
    if count > 0 { counts[key] = Int(clamping: count) }
  }
  return counts
}

/// `DOMAIN/NAME`, and of no domain of Kubernetes: what pods may ask for as they do for processors.
func isExtendedResource(_ name: String) -> Bool {
  let parts = name.split(separator: "/", omittingEmptySubsequences: false)
  guard parts.count == 2, !name.hasPrefix("requests."), !parts[0].isEmpty,
    parts[0] != "kubernetes.io", !parts[0].hasSuffix(".kubernetes.io")
  else { return false }
  func isWord(_ part: Substring, _ others: String, max: Int) -> Bool {
    guard let first = part.first, let last = part.last, part.utf8.count <= max else { return false }
    func isAlphanumeric(_ character: Character) -> Bool {
      character.isASCII && (character.isLetter || character.isNumber)
    }
    return isAlphanumeric(first) && isAlphanumeric(last)
      && part.allSatisfy { isAlphanumeric($0) || others.contains($0) }
  }
  return isWord(parts[0], "-.", max: 253) && isWord(parts[1], "-._", max: 63)
}

/// What the Node says it has.
struct ExtendedResources: Sendable, Hashable {
  var capacity: [String: Int] = [:]
  var allocatable: [String: Int] = [:]
}

func planExtendedResources(_ devices: [String: ResourceDevices], forgotten: Set<String>) -> ExtendedResources
{
  var resources = ExtendedResources()
  for (name, entry) in devices {
    resources.capacity[name] = entry.count
    resources.allocatable[name] = entry.healthy.count
  }
  // A merge into the status cannot tell what is gone from what was not said.
  for name in forgotten where devices[name] == nil {
    resources.capacity[name] = 0
    resources.allocatable[name] = 0
  }
  return resources
}
