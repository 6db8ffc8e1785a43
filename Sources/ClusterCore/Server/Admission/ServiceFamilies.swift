// Which families of addresses a Service has, and its cluster address of each: `ipFamilyPolicy`, `ipFamilies`, `clusterIPs`.
//
//   given                              a cluster of IPv4       a cluster of both
//   nothing                            SingleStack, IPv4       SingleStack, the cluster's first family
//   PreferDualStack                    one address             two, the first of the cluster's first family
//   RequireDualStack                   refused                 two
//   headless without a selector        both families, no address: whoever writes its endpoints decides
//
// The first family and the first address stay for as long as the Service lives; the second may come and go with the policy.

import Addresses
import ClusterClient
import ClusterObjects

extension ServiceAllocator {
  /// Fills in the four fields. What it took is in `taken`, also when it throws.
  func admitAddresses(
    _ kind: ResourceKind, _ service: inout JSON, old: JSON?, _ taken: inout ServiceClaims
  ) throws {
    if service.at("spec", "type")?.string == "ExternalName" {
      for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        service.set(nil, at: "spec", field)
      }
      return
    }
    let old = old?.at("spec", "type")?.string == "ExternalName" ? nil : old
    let request = ServiceFamilies(service, old: old)
    let before = old?.serviceAddresses ?? []
    let plan: ServiceFamilies
    do throws(ServiceFamilies.Refusal) { plan = try request.planned(before: before, cluster: families) } catch
    {
      throw Failure.invalid(kind, service.name, error.errors)
    }
    service.set(JSON(plan.policy), at: "spec", "ipFamilyPolicy")
    service.set(JSON(plan.families.map(\.text)), at: "spec", "ipFamilies")
    let addresses =
      plan.isHeadless ? ["None"] : try allocate(plan, kind, service.name, before: before, &taken)
    service.set(JSON(addresses[0]), at: "spec", "clusterIP")
    service.set(JSON(addresses), at: "spec", "clusterIPs")
    if service.at("spec", "internalTrafficPolicy") == nil {
      service.set("Cluster", at: "spec", "internalTrafficPolicy")
    }
  }

  private var families: [IPFamily] { blocks.map(\.family) }

  /// An address for each family: the one it has, the one it asks for, or any.
  private func allocate(
    _ plan: ServiceFamilies, _ kind: ResourceKind, _ name: String, before: [String],
    _ taken: inout ServiceClaims
  ) throws -> [String] {
    var addresses: [String] = []
    for (index, family) in plan.families.enumerated() {
      let held = index < before.count && IPAddress(before[index])?.family == family ? before[index] : nil
      guard let text = index < plan.asked.count ? plan.asked[index] : held else {
        let address = try takeAddress(family)
        taken.addresses.insert(address)
        addresses.append("\(address)")
        continue
      }
      if text != held, let address = IPAddress(text) {
        try take(address, kind, name, "spec.clusterIPs")
        taken.addresses.insert(address)
        addresses.append("\(address)")
      } else {
        addresses.append(text)
      }
    }
    return addresses
  }
}

/// The four fields as values.
struct ServiceFamilies {
  var policy: String
  var families: [IPFamily]
  /// Texts of `clusterIPs`; empty where any will do.
  var asked: [String]
  var isHeadless: Bool
  private var hasSelector: Bool
  /// What the Service had, for saying what may not change.
  private var oldFamilies: [IPFamily] = []
  private var unknown: [FieldError] = []

  struct Refusal: Error {
    var errors: [FieldError]
  }

  /// What was asked for. What is not said of a Service that exists stays as it is.
  init(_ service: JSON, old: JSON?) {
    hasSelector = !(service.at("spec", "selector")?.object?.isEmpty ?? true)
    asked = service.serviceAddresses
    if asked.isEmpty { asked = old?.serviceAddresses ?? [] }
    isHeadless = asked.first == "None"
    oldFamilies = (old?.at("spec", "ipFamilies")?.elements ?? []).compactMap {
      IPFamily(text: $0.string ?? "")
    }
    policy =
      service.at("spec", "ipFamilyPolicy")?.string ?? old?.at("spec", "ipFamilyPolicy")?.string
      ?? (isHeadless && !hasSelector ? Self.require : Self.single)
    let policies = [Self.single, Self.prefer, Self.require]
    if !policies.contains(policy) {
      unknown.append(.notSupported("spec.ipFamilyPolicy", JSON(policy), policies))
    }
    families = []
    for (index, text) in (service.at("spec", "ipFamilies")?.elements ?? []).enumerated() {
      let path = FieldPath("spec.ipFamilies").index(index)
      guard let family = IPFamily(text: text.string ?? "") else {
        unknown.append(.notSupported(path, text, ["IPv4", "IPv6"]))
        continue
      }
      if families.contains(family) { unknown.append(.duplicate(path, text)) }
      families.append(family)
    }
    // From two families to one: the second address goes with the policy, nobody has to take it out of the lists.
    if policy == Self.single, let old, old.at("spec", "ipFamilyPolicy")?.string != Self.single {
      if asked.count == 2, asked == old.serviceAddresses { asked.removeLast() }
      if families.count == 2, families == oldFamilies { families.removeLast() }
    }
  }

  private static let single = "SingleStack"
  private static let prefer = "PreferDualStack"
  private static let require = "RequireDualStack"

  /// The same with nothing left open.
  /// - Parameter cluster: the families that Services can have; the first is that of whoever does not say.
  func planned(before: [String], cluster: [IPFamily]) throws(Refusal) -> ServiceFamilies {
    var plan = self
    var errors = unknown + changes(before)
    let several = "must be RequireDualStack or PreferDualStack when multiple"
    if policy == Self.single {
      if asked.count > 1 {
        errors.append(.invalid("spec.ipFamilyPolicy", JSON(policy), "\(several) 'clusterIPs' are specified"))
      }
      if families.count > 1 {
        errors.append(.invalid("spec.ipFamilyPolicy", JSON(policy), "\(several) 'ipFamilies' are specified"))
      }
    }
    for (index, text) in asked.enumerated() where !isHeadless {
      let path = FieldPath("spec.clusterIPs").index(index)
      guard let family = IPAddress(text)?.family else {
        errors.append(
          .invalid(path, JSON(text), "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"))
        continue
      }
      if index < families.count {
        guard families[index] != family else { continue }
        errors.append(
          .invalid(
            path, JSON(text),
            "expected an \(families[index].text) value as indicated by `ipFamilies[\(index)]`"))
      } else if !cluster.contains(family) {
        errors.append(.invalid(path, JSON(asked), "\(family.text) is not configured on this cluster"))
      } else {
        plan.families.append(family)
      }
    }
    guard errors.isEmpty else { throw Refusal(errors: errors) }
    let isFree = isHeadless && !hasSelector
    if !isFree {
      if policy == Self.require, cluster.count < 2 {
        errors.append(
          .invalid(
            "spec.ipFamilyPolicy", JSON(policy), "this cluster is not configured for dual-stack services"))
      }
      for (index, family) in plan.families.enumerated() where !cluster.contains(family) {
        errors.append(
          .invalid(
            FieldPath("spec.ipFamilies").index(index), JSON(family.text), "not configured on this cluster"))
      }
      guard errors.isEmpty else { throw Refusal(errors: errors) }
    }
    if plan.families.isEmpty { plan.families = oldFamilies.isEmpty ? Array(cluster.prefix(1)) : oldFamilies }
    if policy == Self.single { plan.families = Array(plan.families.prefix(1)) }
    if policy != Self.single, plan.families.count == 1, isFree || cluster.count == 2 {
      plan.families.append(plan.families[0] == .v4 ? .v6 : .v4)
    }
    return plan
  }

  /// What of the Service's identity would change.
  private func changes(_ before: [String]) -> [FieldError] {
    guard let first = before.first, first != "", let now = asked.first else { return [] }
    var errors: [FieldError] = []
    if first != now {
      errors.append(
        .invalid(FieldPath("spec.clusterIPs").index(0), JSON(asked), "may not change once set"))
    } else if !isHeadless, let family = families.first, let own = oldFamilies.first, family != own {
      errors.append(
        .invalid(FieldPath("spec.ipFamilies").index(0), JSON(family.text), "may not change once set"))
    } else if before.count == 2, asked.count == 2, before[1] != asked[1] {
      errors.append(
        .invalid(FieldPath("spec.clusterIPs").index(1), JSON(asked), "may not change once set"))
    }
    return errors
  }
}

extension IPFamily {
  /// As Services write it.
  fileprivate var text: String { self == .v4 ? "IPv4" : "IPv6" }

  fileprivate init?(text: String) {
    switch text {
    case "IPv4": self = .v4
    case "IPv6": self = .v6
    default: return nil
    }
  }
}

extension JSON {
  /// `clusterIPs` of a Service; where `clusterIP` says otherwise, that.
  fileprivate var serviceAddresses: [String] {
    let listed = (at("spec", "clusterIPs")?.elements ?? []).compactMap(\.string).filter { !$0.isEmpty }
    guard let first = at("spec", "clusterIP")?.string, !first.isEmpty, listed.first != first else {
      return listed
    }
    return [first]
  }
}
