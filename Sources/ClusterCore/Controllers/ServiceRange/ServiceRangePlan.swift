// What is due of one ServiceCIDR: its finalizer, its condition, and whether it may go. Pure.

import Addresses
import ClusterClient
import ClusterObjects

enum ServiceRangeNames {
  static let finalizer = "networking.k8s.io/service-cidr-finalizer"
  static let managedBy = "ipaddress.kubernetes.io/managed-by"
  static let allocator = "ipallocator.k8s.io"
  /// A range that goes stays so long after its deletion: every server must have stopped giving its addresses out.
  static let graceSeconds: Int64 = 10
}

enum ServiceRangePlan: Equatable {
  case nothing
  case addFinalizer
  case ready
  /// Addresses of it are in use that no other range has.
  case inUse
  /// Nothing keeps it; in so many seconds it may go.
  case wait(Int64)
  case release

  static let readyMessage = "Kubernetes Service CIDR is ready"
  static let inUseMessage =
    "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR"
}

/// - Parameters:
///   - others: all ServiceCIDRs, this one may be among them.
///   - addresses: names of the IPAddress objects that Services hold.
func planServiceRange(
  _ range: JSON, others: [JSON], addresses: [String], now: Int64
) -> ServiceRangePlan {
  guard range.isTerminating else {
    if !range.finalizers.contains(ServiceRangeNames.finalizer) { return .addFinalizer }
    return range.isConditionTrue("Ready") ? .nothing : .ready
  }
  guard range.finalizers.contains(ServiceRangeNames.finalizer) else { return .nothing }
  let rest = others.filter { $0.name != range.name && !$0.isTerminating }.flatMap(\.servicePrefixes)
  let own = range.servicePrefixes.filter { prefix in !rest.contains { $0.contains(prefix) } }
  let isUsed = addresses.contains { text in
    guard let address = IPAddress(text) else { return false }
    return own.contains { $0.contains(address) } && !rest.contains { $0.contains(address) }
  }
  if isUsed { return .inUse }
  let left = (range.time("metadata", "deletionTimestamp") ?? 0) + ServiceRangeNames.graceSeconds - now
  return left > 0 ? .wait(left) : .release
}

extension JSON {
  /// The ranges of a ServiceCIDR; what is none is left out.
  var servicePrefixes: [IPPrefix] {
    at("spec", "cidrs")?.elements.compactMap { $0.string.flatMap { IPPrefix($0) } } ?? []
  }
}
