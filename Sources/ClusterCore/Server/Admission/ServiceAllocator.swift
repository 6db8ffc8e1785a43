// Cluster addresses and node ports of Services. What is taken is what Services say: the table is made from
// them at start, so nothing can leak. A claim is made before the write and given back when the write fails.

import Addresses
import ClusterClient
import ClusterObjects
import Synchronization

/// Addresses and ports that one Service holds.
struct ServiceClaims: Sendable, Equatable {
  var addresses: Set<IPAddress> = []
  var ports: Set<UInt16> = []
  var isEmpty: Bool { addresses.isEmpty && ports.isEmpty }
}

/// Gives out addresses of the service blocks and node ports. Shared by all writers.
final class ServiceAllocator: Sendable {
  private struct State {
    var addresses: Set<IPAddress> = []
    /// Held by IPAddress objects that are no Service's.
    var reserved: Set<IPAddress> = []
    var ports: Set<UInt16> = []
    /// The blocks, then those of other ServiceCIDRs.
    var ranges: [Range]
    var nextPort: UInt16 = 0
    mutating func takes(_ address: IPAddress) -> Bool {
      !reserved.contains(address) && addresses.insert(address).inserted
    }
  }
  private struct Range {
    var block: IPPrefix
    var next: UInt64 = 0
    /// Addresses that may be given, the first one and the last one among them.
    var size: UInt64 { min(addressesMax, 1 << UInt64(min(block.family.width - block.length, 62))) }
    /// The first address of a block is the network's own; the last one of IPv4 is its broadcast address.
    func contains(_ address: IPAddress) -> Bool {
      block.contains(address) && address != block.address && (address.family == .v6 || address != block.last)
    }
  }
  private let isShared: Bool
  /// One block, or one of each family; a Service that does not say is of the first one's.
  let blocks: [IPPrefix]
  /// Addresses below this offset are given out only when asked for by name: kubernetes is .1, DNS is .10.
  private static let dynamicFrom: UInt64 = 256
  /// Of a larger block only so many addresses are given without being asked for.
  private static let addressesMax: UInt64 = 1 << 24
  private static let portRange: ClosedRange<UInt16> = 30_000...32_767
  private let state: Mutex<State>

  /// Several servers begin at random places, so that they seldom choose the same.
  init(blocks: [IPPrefix], isShared: Bool = false) {
    self.blocks = blocks
    self.isShared = isShared
    var state = State(ranges: blocks.map { Self.range($0, isShared) })
    if isShared { state.nextPort = .random(in: 0..<UInt16(Self.portRange.count)) }
    self.state = Mutex(state)
  }

  private static func range(_ block: IPPrefix, _ isShared: Bool) -> Range {
    var range = Range(block: block)
    if isShared { range.next = .random(in: 0..<range.size) }
    return range
  }

  /// The ranges beside the blocks of the settings from now on. Those of fewer than four addresses are left out.
  func widen(_ prefixes: [IPPrefix]) {
    state.withLock { state in
      let known = state.ranges.dropFirst(blocks.count)
      state.ranges = Array(state.ranges.prefix(blocks.count))
      for prefix in prefixes where prefix.family.width - prefix.length >= 2 {
        state.ranges.append(known.first { $0.block == prefix } ?? Self.range(prefix, isShared))
      }
    }
  }

  /// Addresses that somebody else than a Service holds, from now on.
  func reserve(_ addresses: Set<IPAddress>) { state.withLock { $0.reserved = addresses } }

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
      if let value = address.string.flatMap({ IPAddress($0) }) { claims.addresses.insert(value) }
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
      try admitAddresses(kind, &service, old: old, &taken)
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

  /// Takes an address that was asked for.
  func take(_ address: IPAddress, _ kind: ResourceKind, _ name: String, _ path: FieldPath) throws {
    let problem: String? = state.withLock { state in
      let ranges = state.ranges.filter { $0.block.family == address.family }
      if !ranges.contains(where: { $0.contains(address) }) {
        let text = ranges.isEmpty ? "empty" : ranges.map(\.block.description).joined(separator: ",")
        return "failed to allocate IP \(address): the provided IP is not in the valid range. "
          + "The range of valid IPs is \(text)"
      }
      if !state.takes(address) {
        return "failed to allocate IP \(address): provided IP is already allocated"
      }
      return nil
    }
    if let problem {
      throw Failure.invalid(kind, name, [FieldError.invalid(path, JSON(["\(address)"]), problem)])
    }
  }

  /// Takes any free address of the family.
  func takeAddress(_ family: IPFamily) throws -> IPAddress {
    let found: IPAddress? = state.withLock { state in
      for index in state.ranges.indices where state.ranges[index].block.family == family {
        let range = state.ranges[index]
        let reserved = min(Self.dynamicFrom, range.size / 16)
        let span = range.size - 1 - reserved
        for _ in 0..<span {
          let offset = reserved + state.ranges[index].next % span
          state.ranges[index].next &+= 1
          guard let candidate = range.block.address(at: offset), candidate != range.block.address else {
            continue
          }
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
}
