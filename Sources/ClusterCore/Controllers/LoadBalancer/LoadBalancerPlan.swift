// Which addresses of the pool a Service of type LoadBalancer should have: a pure function of the Service, the pool and who
// has what.

import Addresses
import ClusterObjects

/// Names of this load balancer.
enum LoadBalancerNames {
  /// Wanted addresses, with commas; goes before `spec.loadBalancerIP`, which knows one.
  static let addresses = "weft.dev/load-balancer-ips"
  /// The pool, when it is not given by flag: key `pool` of a ConfigMap.
  static let configMap = ObjectKey("kube-system", "weft-load-balancer")
  static let poolKey = "pool"
}

struct LoadBalancerPlan: Equatable {
  /// What the status should list; nil leaves it as it is.
  var addresses: [IPAddress]?
  /// What could not be given, and why.
  var problem: String?
}

extension JSON {
  /// The addresses that a Service's status lists.
  var loadBalancerAddresses: [IPAddress] {
    (at("status", "loadBalancer", "ingress")?.elements ?? []).compactMap { $0["ip"]?.string }
      .compactMap { IPAddress($0) }
  }

  /// Whether this load balancer is asked to serve the Service.
  var wantsLoadBalancer: Bool {
    guard at("spec", "type")?.string == "LoadBalancer", !isTerminating else { return false }
    let name = at("spec", "loadBalancerClass")?.string
    return name == nil || name == JSON.poolClass
  }
}

/// The addresses of a Service that nodes do not know to be theirs: given before the status said so.
func unannouncedAddresses(_ service: JSON, pool: AddressPool) -> [IPAddress]? {
  let current = service.loadBalancerAddresses
  guard service.wantsLoadBalancer, !current.isEmpty, !service.isAnnouncedByNodes,
    current.allSatisfy({ pool.contains($0) })
  else { return nil }
  return current
}

/// - Parameter isFree: nobody else has the address, or nobody with an older right to it.
func planLoadBalancer(_ service: JSON, pool: AddressPool, isFree: (IPAddress) -> Bool) -> LoadBalancerPlan {
  let current = service.loadBalancerAddresses
  guard service.wantsLoadBalancer else {
    // A Service that was one has nothing to announce any more.
    let isOther = service.at("spec", "type")?.string == "LoadBalancer"
    return LoadBalancerPlan(addresses: current.isEmpty || isOther ? nil : [])
  }
  guard !pool.isEmpty else { return LoadBalancerPlan() }
  let asked = wantedAddresses(service)
  var given: [IPAddress] = []
  if !asked.isEmpty {
    for text in asked {
      guard let address = IPAddress(text) else { return .init(problem: "\"\(text)\" is no address") }
      guard pool.contains(address) else { return .init(problem: "\(address) is not in the pool \(pool)") }
      guard isFree(address) else { return .init(problem: "\(address) belongs to another Service") }
      if !given.contains(address) { given.append(address) }
    }
    return LoadBalancerPlan(addresses: given == current ? nil : given)
  }
  var missing: [IPFamily] = []
  for family in families(service) where pool.has(family) {
    let kept = current.first { $0.family == family && pool.contains($0) && isFree($0) }
    if let address = kept ?? pool.first(family, where: isFree) {
      given.append(address)
    } else {
      missing.append(family)
    }
  }
  var problem: String?
  if !missing.isEmpty {
    problem = "no \(missing.map(\.rawValue).joined(separator: " and ")) address of the pool \(pool) is free"
  } else if given.isEmpty {
    problem = "the pool \(pool) has no address of the Service's family"
  }
  return LoadBalancerPlan(addresses: given == current ? nil : given, problem: problem)
}

private func wantedAddresses(_ service: JSON) -> [String] {
  if let text = service.annotations[LoadBalancerNames.addresses] {
    return text.split(whereSeparator: { $0 == "," || $0 == " " }).map(String.init)
  }
  let single = service.at("spec", "loadBalancerIP")?.string ?? ""
  return single.isEmpty ? [] : [single]
}

private func families(_ service: JSON) -> [IPFamily] {
  let named = (service.at("spec", "ipFamilies")?.elements ?? []).compactMap { $0.string }
    .compactMap { IPFamily(rawValue: $0) }
  if !named.isEmpty { return named }
  return [service.at("spec", "clusterIP")?.string.flatMap { IPAddress($0) }?.family ?? .v4]
}
