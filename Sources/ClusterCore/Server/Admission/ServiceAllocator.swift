// Cluster addresses and node ports of Services. What is taken is what Services say: the table is made from
// them at start, so nothing can leak. A claim is made before the write and given back when the write fails.

import Addresses
import ClusterClient
import ClusterObjects
import Synchronization

/// Addresses and ports that one Service holds.
struct ServiceClaims: Sendable, Equatable {
  var addresses: Set<UInt32> = []
  var ports: Set<UInt16> = []
  var isEmpty: Bool { addresses.isEmpty && ports.isEmpty }
}

/// Gives out addresses of the service range and node ports. Shared by all writers.
final class ServiceAllocator: Sendable {
  private struct State {
    var addresses: Set<UInt32> = []
    /// Held by IPAddress objects that are no Service's.
    var reserved: Set<UInt32> = []
    var ports: Set<UInt16> = []
    /// That of the settings, then those of other ServiceCIDRs.
    var ranges: [Range]
    var nextPort: UInt16 = 0
    mutating func takes(_ address: UInt32) -> Bool {
      !reserved.contains(address) && addresses.insert(address).inserted
    }
  }
  private struct Range {
    var base: UInt32
    var length: Int
    var next: UInt32 = 0
    var size: UInt32 { UInt32(1) << (32 - UInt32(length)) }
    var text: String { "\(IPv4Address(bits: base))/\(length)" }
    func contains(_ address: UInt32) -> Bool { address > base && address - base < size - 1 }
  }
  private let isShared: Bool
  /// Addresses below this offset are given out only when asked for by name: kubernetes is .1, DNS is .10.
  private static let dynamicFrom: UInt32 = 256
  private static let portRange: ClosedRange<UInt16> = 30_000...32_767
  private let state: Mutex<State>

  /// Several servers begin at random places, so that they seldom choose the same.
  init(base: UInt32, length: Int, isShared: Bool = false) {
    self.isShared = isShared
    var first = Range(base: base, length: length)
    if isShared { first.next = .random(in: 0..<first.size) }
    var state = State(ranges: [first])
    if isShared { state.nextPort = .random(in: 0..<UInt16(Self.portRange.count)) }
    self.state = Mutex(state)
  }

  /// The ranges beside that of the settings from now on. Those of IPv6, and of more than 2^24 addresses, are left out.
  func widen(_ prefixes: [IPPrefix]) {
    state.withLock { state in
      let known = state.ranges.dropFirst()
      var ranges = [state.ranges[0]]
      for prefix in prefixes {
        guard let base = prefix.address.v4?.bits, (8...30).contains(prefix.length) else { continue }
        var range = Range(base: base, length: prefix.length)
        if let old = known.first(where: { $0.base == base && $0.length == prefix.length }) {
          range.next = old.next
        } else if isShared {
          range.next = .random(in: 0..<range.size)
        }
        ranges.append(range)
      }
      state.ranges = ranges
    }
  }

  /// Addresses that somebody else than a Service holds, from now on.
  func reserve(_ addresses: Set<UInt32>) { state.withLock { $0.reserved = addresses } }

  /// Takes what a stored Service holds.
  func adopt(_ service: JSON) { adopt(Self.claims(of: service)) }

  /// Takes what somebody else holds.
  func adopt(_ claims: ServiceClaims) {
    if claims.isEmpty { return }
    state.withLock { state in
      state.addresses.formUnion(claims.addresses)
      state.ports.formUnion(claims.ports)
    }
  }

  func release(_ claims: ServiceClaims) {
    if claims.isEmpty { return }
    state.withLock { state in
      state.addresses.subtract(claims.addresses)
      state.ports.subtract(claims.ports)
    }
  }

  func release(of object: JSON) {
    if object.kind == "Service", object.apiVersion == "v1" { release(Self.claims(of: object)) }
  }

  static func claims(of service: JSON) -> ServiceClaims {
    var claims = ServiceClaims()
    for address in service.at("spec", "clusterIPs")?.elements ?? [] {
      if let value = address.string.flatMap(ipv4) { claims.addresses.insert(value) }
    }
    for port in service.at("spec", "ports")?.elements ?? [] {
      if let value = port["nodePort"]?.integer, let port = UInt16(exactly: value), port > 0 {
        claims.ports.insert(port)
      }
    }
    if let value = service.at("spec", "healthCheckNodePort")?.integer, let port = UInt16(exactly: value),
      port > 0
    {
      claims.ports.insert(port)
    }
    return claims
  }

  // MARK: Admission

  func admit(_ kind: ResourceKind, _ service: inout JSON, old: JSON?) throws -> Admitted {
    let held = old.map(Self.claims) ?? ServiceClaims()
    var taken = ServiceClaims()
    do {
      try admitAddress(kind, &service, old: old, &taken)
      try admitPorts(kind, &service, old: old, held: held, &taken)
    } catch {
      release(taken)
      throw error
    }
    let now = Self.claims(of: service)
    let dropped = ServiceClaims(
      addresses: held.addresses.subtracting(now.addresses), ports: held.ports.subtracting(now.ports))
    return Admitted(taken: taken, dropped: dropped)
  }

  private func admitAddress(
    _ kind: ResourceKind, _ service: inout JSON, old: JSON?, _ taken: inout ServiceClaims
  ) throws {
    let name = service.name
    if service.at("spec", "type")?.string == "ExternalName" {
      for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        service.set(nil, at: "spec", field)
      }
      return
    }
    let before = old?.at("spec", "clusterIP")?.string ?? ""
    var wanted = service.at("spec", "clusterIP")?.string ?? ""
    if wanted.isEmpty { wanted = service.at("spec", "clusterIPs", "0")?.string ?? "" }
    if wanted.isEmpty, let listed = service.at("spec", "clusterIPs")?[0]?.string { wanted = listed }
    if wanted.isEmpty { wanted = before }
    if !before.isEmpty, wanted != before, old?.at("spec", "type")?.string != "ExternalName" {
      throw Failure.invalid(
        kind, name, [FieldError.invalid("spec.clusterIPs[0]", JSON([wanted]), "may not change once set")])
    }
    if wanted == "None" {
      service.set("None", at: "spec", "clusterIP")
      service.set(["None"], at: "spec", "clusterIPs")
    } else if wanted == before, !before.isEmpty {
      service.set(JSON(before), at: "spec", "clusterIP")
      service.set(JSON([before]), at: "spec", "clusterIPs")
    } else {
      let address: UInt32
      if wanted.isEmpty {
        address = try takeAddress(kind, name)
      } else {
        guard let asked = Self.ipv4(wanted) else {
          throw Failure.invalid(
            kind, name,
            [
              FieldError.invalid(
                "spec.clusterIPs[0]", JSON(wanted),
                "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")
            ])
        }
        address = asked
        try take(address, text: wanted, kind, name)
      }
      taken.addresses.insert(address)
      let text = IPv4Address(bits: address).description
      service.set(JSON(text), at: "spec", "clusterIP")
      service.set(JSON([text]), at: "spec", "clusterIPs")
    }
    if service.at("spec", "ipFamilies")?.elements.isEmpty ?? true {
      service.set(["IPv4"], at: "spec", "ipFamilies")
    }
    if service.at("spec", "ipFamilyPolicy") == nil {
      service.set("SingleStack", at: "spec", "ipFamilyPolicy")
    }
    if service.at("spec", "internalTrafficPolicy") == nil {
      service.set("Cluster", at: "spec", "internalTrafficPolicy")
    }
  }

  private func take(_ address: UInt32, text: String, _ kind: ResourceKind, _ name: String) throws {
    let problem: String? = state.withLock { state in
      if !state.ranges.contains(where: { $0.contains(address) }) {
        return "failed to allocate IP \(text): the provided IP is not in the valid range. "
          + "The range of valid IPs is \(state.ranges.map(\.text).joined(separator: ","))"
      }
      if !state.takes(address) {
        return "failed to allocate IP \(text): provided IP is already allocated"
      }
      return nil
    }
    if let problem {
      throw Failure.invalid(kind, name, [FieldError.invalid("spec.clusterIPs", JSON([text]), problem)])
    }
  }

  private func takeAddress(_ kind: ResourceKind, _ name: String) throws -> UInt32 {
    let found: UInt32? = state.withLock { state in
      for index in state.ranges.indices {
        let range = state.ranges[index]
        // The network's own address is never given, the first ones when they are asked for.
        let reserved = max(1, min(Self.dynamicFrom, range.size / 16))
        let span = range.size - 1 - reserved
        for _ in 0..<span {
          let candidate = range.base + reserved + state.ranges[index].next % span
          state.ranges[index].next &+= 1
          if state.takes(candidate) { return candidate }
        }
      }
      return nil
    }
    guard let found else {
      throw APIStatusError(
        code: 500, reason: "InternalError",
        message: "Internal error occurred: failed to allocate a serviceIP: range is full")
    }
    return found
  }

  private func admitPorts(
    _ kind: ResourceKind, _ service: inout JSON, old: JSON?, held: ServiceClaims, _ taken: inout ServiceClaims
  ) throws {
    let type = service.at("spec", "type")?.string ?? "ClusterIP"
    let wantsPorts =
      type == "NodePort"
      || (type == "LoadBalancer" && service.at("spec", "allocateLoadBalancerNodePorts")?.bool != false)
    if type == "LoadBalancer", service.at("spec", "allocateLoadBalancerNodePorts") == nil {
      service.set(true, at: "spec", "allocateLoadBalancerNodePorts")
    }
    if type == "NodePort" || type == "LoadBalancer" {
      if service.at("spec", "externalTrafficPolicy") == nil {
        service.set("Cluster", at: "spec", "externalTrafficPolicy")
      }
    } else {
      service.set(nil, at: "spec", "externalTrafficPolicy")
    }
    var ports = service.at("spec", "ports")?.elements ?? []
    let before = old?.at("spec", "ports")?.elements ?? []
    var used: Set<UInt16> = []
    for index in ports.indices {
      var asked = ports[index]["nodePort"]?.integer ?? 0
      if !wantsPorts, asked != 0, type != "LoadBalancer" {
        // A Service that became ClusterIP gives the ports of its former self up; a new one may not ask.
        if old == nil {
          throw Failure.invalid(
            kind, service.name,
            [
              FieldError.forbidden(
                FieldPath("spec.ports[\(index)].nodePort"), "may not be used when `type` is 'ClusterIP'")
            ])
        }
        ports[index]["nodePort"] = nil
        continue
      }
      if asked == 0, wantsPorts,
        let same = before.first(where: {
          $0["port"] == ports[index]["port"] && $0["protocol"] == ports[index]["protocol"]
        })
      {
        asked = same["nodePort"]?.integer ?? 0
      }
      if asked == 0, !wantsPorts { continue }
      let port: UInt16
      if asked == 0 {
        port = try takePort(kind, service.name)
        taken.ports.insert(port)
      } else {
        guard let exact = UInt16(exactly: asked), Self.portRange.contains(exact) else {
          throw Failure.invalid(
            kind, service.name,
            [
              FieldError.invalid(
                FieldPath("spec.ports[\(index)].nodePort"), JSON(asked),
                "provided port is not in the valid range. The range of valid ports is 30000-32767")
            ])
        }
        port = exact
        // TCP and UDP of one Service may share a number.
        if !held.ports.contains(port), !used.contains(port), !taken.ports.contains(port) {
          guard state.withLock({ $0.ports.insert(port).inserted }) else {
            throw Failure.invalid(
              kind, service.name,
              [
                FieldError.invalid(
                  FieldPath("spec.ports[\(index)].nodePort"), JSON(asked),
                  "provided port is already allocated")
              ])
          }
          taken.ports.insert(port)
        }
      }
      used.insert(port)
      ports[index]["nodePort"] = JSON(port)
    }
    if !ports.isEmpty { service.set(.array(ports), at: "spec", "ports") }
  }

  private func takePort(_ kind: ResourceKind, _ name: String) throws -> UInt16 {
    let found: UInt16? = state.withLock { state in
      let span = UInt16(Self.portRange.count)
      for _ in 0..<span {
        let candidate = Self.portRange.lowerBound + state.nextPort % span
        state.nextPort = (state.nextPort + 1) % span
        if state.ports.insert(candidate).inserted { return candidate }
      }
      return nil
    }
    guard let found else {
      throw APIStatusError(
        code: 500, reason: "InternalError",
        message: "Internal error occurred: failed to allocate a nodePort: range is full")
    }
    return found
  }

  private static func ipv4(_ text: String) -> UInt32? { IPv4Address(text)?.bits }
}
