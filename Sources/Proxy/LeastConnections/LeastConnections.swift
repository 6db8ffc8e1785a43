// Least connections in the kernel's rules: the kernel draws slots at random and counts nobody's connections, so the slots
// are shared out anew as connections come and go. Pure: who is open, who weighs what, what is in force; the slots out.
//
//   share of an endpoint  ~  weight / (4 + open / weight)²        at least one slot each

import Addresses
import KernelNftables

/// Shares slots out by the number of open connections.
enum LeastConnections {
  /// Slots for each endpoint: how finely shares can differ.
  static let slotsPerEndpoint = 16
  /// Slots of a service port in all; with more endpoints than this each has one, and they are drawn evenly.
  static let slotsMax = 1024
  /// What an endpoint without connections counts as: keeps one connection more or less from deciding everything.
  static let headStart = 4.0
  /// A share that is off by less than one in this many stays: small differences are gone by the next look.
  static let tolerance = 8

  /// How many slots a service port with so many endpoints has. Depends on nothing else: its chain stays while shares change.
  static func slots(endpoints count: Int) -> Int {
    count <= 1 ? count : max(count, min(count * slotsPerEndpoint, slotsMax))
  }

  /// The endpoint of each slot, in no particular order; `slots(endpoints:)` of them.
  /// - Parameters:
  ///   - shares: endpoints, each once, with weights of at least 1.
  ///   - open: connections of each of these, in their order; nil when nobody has counted yet.
  ///   - inForce: slots as they are. They stay when nothing is known, and when they are about right.
  static func slots(
    _ shares: [(target: SocketEndpoint, weight: Int)], open: [Int]?,
    inForce: [SocketEndpoint]
  ) -> [SocketEndpoint] {
    let total = slots(endpoints: shares.count)
    var present: [SocketEndpoint: Int] = [:]
    if inForce.count == total { for target in inForce { present[target, default: 0] += 1 } }
    var isSameSet = present.count == shares.count
    for share in shares where present[share.target] == nil { isSameSet = false }
    if open == nil, isSameSet { return inForce }
    var parts: [Double] = []
    for (index, share) in shares.enumerated() {
      let weight = Double(share.weight)
      let load = headStart + Double(open?[index] ?? 0) / weight
      parts.append(weight / (load * load))
    }
    let wanted = apportion(parts, total: total)
    var isFine = isSameSet
    var slots: [SocketEndpoint] = []
    slots.reserveCapacity(total)
    for (index, share) in shares.enumerated() {
      isFine = isFine && isAboutRight(present[share.target] ?? 0, wanted[index])
      slots += [SocketEndpoint](repeating: share.target, count: wanted[index])
    }
    return isFine ? inForce : slots
  }

  private static func isAboutRight(_ now: Int, _ wanted: Int) -> Bool {
    abs(now - wanted) * tolerance <= max(now, wanted)
  }

  /// Whole parts of `total` in proportion, at least one each, the largest remainders rounded up first.
  static func apportion(_ shares: [Double], total: Int) -> [Int] {
    let sum = shares.reduce(0, +)
    let spare = Double(total - shares.count)
    guard spare > 0, sum > 0 else { return shares.map { _ in 1 } }
    let exact = shares.map { $0 / sum * spare }
    var parts = exact.map { Int($0) }
    let order = exact.indices.sorted {
      (exact[$1] - exact[$1].rounded(.down), $0) < (exact[$0] - exact[$0].rounded(.down), $1)
    }
    for index in order.prefix(max(0, total - shares.count - parts.reduce(0, +))) { parts[index] += 1 }
    return parts.map { $0 + 1 }
  }
}
