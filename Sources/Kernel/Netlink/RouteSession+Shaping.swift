// Rates: a token bucket on a link's way out, and an `ifb` twin that gives a link's way in one too.
//
//   to the pod     node ──tbf──▶ veth ──▶ pod
//   from the pod   pod ──▶ veth ──ingress──▶ mirred ──▶ ifb ──tbf──▶ node
import Glibc

extension RouteSession {
  /// How long a packet may wait in a token bucket before it is dropped.
  static let bucketLatencyMicroseconds: UInt64 = 25_000

  /// `tc qdisc replace dev INDEX root tbf rate RATE burst BURST latency 25ms`
  /// - Parameters:
  ///   - rate: bytes a second. At least 1.
  ///   - burst: bytes that may go at once; a packet longer than this never goes.
  public mutating func setTokenBucket(on index: Int32, rate: UInt64, burst: UInt32) throws(NetlinkError) {
    var message = NetlinkMessage(type: Wire.newDiscipline, flags: Wire.create | Wire.replace)
    message.appendTrafficHeader(index: index, handle: 0x1_0000, parent: Wire.Traffic.root)
    message.attribute(Wire.Traffic.kind, text: "tbf")
    // Bytes that arrive at the rate within the latency, and one burst.
    let (waiting, overflow) = rate.multipliedReportingOverflow(by: Self.bucketLatencyMicroseconds)
    let limit = UInt32(clamping: (overflow ? UInt64(UInt32.max) : waiting / 1_000_000) + UInt64(burst))
    message.nest(Wire.Traffic.options) { options in
      // tc_tbf_qopt: two rates of 12 bytes (link layer Ethernet, so that no rate table is wanted), limit, buffer, MTU.
      var parameters: [UInt8] = [0, 1, 0, 0, 0, 0, 0, 0]
      parameters += Self.bytes(UInt32(clamping: rate))
      parameters += [UInt8](repeating: 0, count: 12)
      parameters += Self.bytes(limit) + Self.bytes(UInt32(0)) + Self.bytes(UInt32(0))
      options.attribute(Wire.Traffic.bucketParameters, bytes: parameters)
      if rate > UInt64(UInt32.max) { options.attribute(Wire.Traffic.bucketRate64, rate) }
      options.attribute(Wire.Traffic.bucketBurst, burst)
    }
    try perform(message, command: "tc qdisc replace dev if\(index) root tbf rate \(rate)bps burst \(burst)b")
  }

  /// `tc qdisc add dev FROM ingress; tc filter add dev FROM parent ffff: u32 match u32 0 0 action mirred egress
  /// redirect dev TO`: what comes in by one link goes out by the other, which may shape it.
  public mutating func redirectIngress(from source: Int32, to target: Int32) throws(NetlinkError) {
    var ingress = NetlinkMessage(type: Wire.newDiscipline, flags: Wire.create | Wire.replace)
    ingress.appendTrafficHeader(index: source, handle: 0xffff_0000, parent: Wire.Traffic.ingress)
    ingress.attribute(Wire.Traffic.kind, text: "ingress")
    try perform(ingress, command: "tc qdisc add dev if\(source) ingress")
    var filter = NetlinkMessage(type: Wire.newFilter, flags: Wire.create | Wire.exclusive)
    // Priority 1, every protocol (ETH_P_ALL in network order).
    filter.appendTrafficHeader(
      index: source, parent: 0xffff_0000, info: 1 << 16 | UInt32(UInt16(3).bigEndian))
    filter.attribute(Wire.Traffic.kind, text: "u32")
    filter.nest(Wire.Traffic.options) { options in
      // tc_u32_sel: terminal, one key; the key: mask 0 and value 0 match everything.
      var selector: [UInt8] = [1, 0, 1, 0] + [UInt8](repeating: 0, count: 12)
      selector += [UInt8](repeating: 0, count: 16)
      options.attribute(5, bytes: selector)
      options.nest(7) { actions in
        actions.nest(1) { action in
          action.attribute(1, text: "mirred")
          action.nest(2) {
            // tc_mirred: index, capabilities, action 4 (stolen), two counts, 1 (egress redirect), the link.
            let words: [Int32] = [0, 0, 4, 0, 0, 1, target]
            $0.attribute(2, bytes: words.flatMap { Self.bytes($0) })
          }
        }
      }
    }
    try perform(filter, command: "tc filter add dev if\(source) parent ffff: … redirect dev if\(target)")
  }

  /// `tc qdisc show dev INDEX`: kinds only, in the kernel's order.
  public mutating func disciplines(on index: Int32) throws(NetlinkError) -> [String] {
    var message = NetlinkMessage(type: Wire.getDiscipline, flags: 0)
    message.appendTrafficHeader(index: index)
    return try dump(message, command: "tc qdisc show dev if\(index)").compactMap { answer in
      guard answer.body.integer(at: 4, as: Int32.self) == index else { return nil }
      return answer.body.dropping(20).attributes()[Wire.Traffic.kind]?.text
    }
  }

  /// `ip link add NAME mtu MTU up type ifb`
  public mutating func createIntermediate(_ name: String, mtu: UInt32) throws(NetlinkError) {
    var message = NetlinkMessage(type: Wire.newLink, flags: Wire.create | Wire.exclusive)
    message.appendLinkHeader(flags: Wire.interfaceUp, change: Wire.interfaceUp)
    message.attribute(Wire.Link.name, text: name)
    message.attribute(Wire.Link.mtu, mtu)
    message.nest(Wire.Link.info) { $0.attribute(Wire.Link.infoKind, text: "ifb") }
    try perform(message, command: "ip link add \(name) type ifb")
  }

  private static func bytes(_ value: some FixedWidthInteger) -> [UInt8] {
    withUnsafeBytes(of: value) { [UInt8]($0) }
  }
}

extension NetlinkMessage {
  /// Appends `tcmsg`: family and padding, index, handle, parent, info.
  mutating func appendTrafficHeader(
    index: Int32, handle: UInt32 = 0, parent: UInt32 = 0, info: UInt32 = 0
  ) {
    append(UInt32(0))
    append(index)
    append(handle)
    append(parent)
    append(info)
  }
}
