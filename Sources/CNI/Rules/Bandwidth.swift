// `bandwidth`: how fast a pod may receive and send. A token bucket on the node's end of the pair shapes what goes to the
// pod; what comes from it passes an `ifb` link with a bucket of its own.
import Addresses
import Glibc
import KernelNetlink

/// Rates as a runtime gives them: bits a second, bursts in bits. 0 is no limit.
public struct Bandwidth: Sendable, Hashable {
  public var ingressRate: UInt64 = 0
  public var ingressBurst: UInt64 = 0
  public var egressRate: UInt64 = 0
  public var egressBurst: UInt64 = 0

  var isUnlimited: Bool { ingressRate == 0 && egressRate == 0 }

  /// A burst of this many bits when none is given; the kernel keeps bursts in 32 bits of bytes.
  static let burstBitsMax: UInt64 = UInt64(Int32.max)

  /// Nil when nothing is limited.
  init?(_ json: JSONValue?) throws(CNIError) {
    guard let json else { return nil }
    func number(_ key: String) throws(CNIError) -> UInt64 {
      guard let value = json[key] else { return 0 }
      guard let integer = value.integer, integer >= 0 else {
        throw CNIError(.invalidConfiguration, "`\(key)` is not a number of bits: \(value.text)")
      }
      return UInt64(integer)
    }
    ingressRate = try number("ingressRate")
    ingressBurst = try number("ingressBurst")
    egressRate = try number("egressRate")
    egressBurst = try number("egressBurst")
    guard !isUnlimited else { return nil }
    for (key, rate, burst) in [
      ("ingress", ingressRate, ingressBurst), ("egress", egressRate, egressBurst),
    ] {
      if rate > 0, rate < 8 {
        throw CNIError(.invalidConfiguration, "`\(key)Rate` is less than a byte a second: \(rate)")
      }
      if rate == 0, burst > 0 {
        throw CNIError(.invalidConfiguration, "`\(key)Burst` is set and `\(key)Rate` is not")
      }
    }
  }

  /// Bytes; at least one frame of `mtu`, or that frame would never go.
  static func burstBytes(_ bits: UInt64, mtu: UInt32) -> UInt32 {
    let given = bits == 0 ? burstBitsMax : min(bits, burstBitsMax * 8)
    return max(UInt32(clamping: given / 8), mtu + 14)
  }

  static func intermediateName(containerID: String, ifname: String) -> String {
    "vi" + hostInterfaceName(containerID: containerID, ifname: ifname).dropFirst(2)
  }

  /// Puts the rates in force on the pod's `hostInterface`, in the calling thread's network namespace.
  func apply(on hostInterface: String, intermediate: String, alias: String) throws(CNIError) {
    do {
      var session = try RouteSession()
      guard let port = try session.link(named: hostInterface) else {
        throw CNIError(.inputOutput, "\(hostInterface), which the pod is behind, is missing")
      }
      if ingressRate > 0 {
        try session.setTokenBucket(
          on: port.index, rate: ingressRate / 8, burst: Self.burstBytes(ingressBurst, mtu: port.mtu))
      }
      guard egressRate > 0 else { return }
      // One that a killed call left.
      try session.deleteLink(named: intermediate)
      try session.createIntermediate(intermediate, mtu: port.mtu)
      guard let twin = try session.link(named: intermediate) else {
        throw CNIError(.tryAgainLater, "\(intermediate) was removed while it was set up")
      }
      try session.setLink(twin.index, alias: alias)
      try session.setTokenBucket(
        on: twin.index, rate: egressRate / 8, burst: Self.burstBytes(egressBurst, mtu: port.mtu))
      try session.redirectIngress(from: port.index, to: twin.index)
    } catch {
      throw CNIError.wrapping(error, "cannot limit the rate of \(hostInterface)")
    }
  }

  /// Removes what does not go with the pod's link. None is success.
  static func remove(intermediate: String) throws(CNIError) {
    do {
      var session = try RouteSession()
      session.startDeletingLink(named: intermediate)
      try session.deleteLink(named: intermediate)
    } catch {
      throw CNIError.wrapping(error, "cannot remove \(intermediate)")
    }
  }

  func check(on hostInterface: String, intermediate: String) throws(CNIError) {
    do {
      var session = try RouteSession()
      guard let port = try session.link(named: hostInterface) else {
        throw CNIError(.differs, "\(hostInterface), which the pod is behind, is missing")
      }
      if ingressRate > 0, try !session.disciplines(on: port.index).contains("tbf") {
        throw CNIError(.differs, "\(hostInterface) has lost its token bucket")
      }
      guard egressRate > 0 else { return }
      guard let twin = try session.link(named: intermediate),
        try session.disciplines(on: twin.index).contains("tbf"),
        try session.disciplines(on: port.index).contains("ingress")
      else { throw CNIError(.differs, "what \(hostInterface) receives is limited no more") }
    } catch {
      throw CNIError.wrapping(error, "cannot check the rate of \(hostInterface)")
    }
  }
}
