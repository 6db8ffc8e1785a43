// Service ports of one class share a balancing chain: what the chain does is decided by these few things, whose they are by
// the mark.

import Addresses

/// Equal protocol, number of slots, way of choosing and affinity time.
public struct BalancingClass: Hashable, Sendable, Comparable {
  /// How a slot is chosen.
  public enum Method: Hashable, Sendable {
    case random
    /// By a hash of the client's address, over a Maglev table: the same on every node.
    case maglev
    /// At random for the first connection of a client, then the same for as long as it comes back within these seconds.
    case affinity(seconds: UInt32)
    /// At random over slots that are shared out anew as connections come and go.
    case leastConnections
  }

  public var transport: TransportProtocol
  public var slots: Int
  public var method: Method

  public init(_ transport: TransportProtocol, slots: Int, _ method: Method = .random) {
    self.transport = transport
    self.slots = slots
    self.method = method
  }

  /// `KUBE-LB-TCP-3`, `KUBE-AFF-TCP-3-10800`, `KUBE-MAGLEV-TCP-251`, `KUBE-LEAST-TCP-32`.
  public var chain: String {
    switch method {
    case .random: "KUBE-LB-\(transport.rawValue)-\(slots)"
    case .maglev: "KUBE-MAGLEV-\(transport.rawValue)-\(slots)"
    case .leastConnections: "KUBE-LEAST-\(transport.rawValue)-\(slots)"
    case .affinity(let seconds): "KUBE-AFF-\(transport.rawValue)-\(slots)-\(seconds)"
    }
  }

  /// Reads a chain's name back.
  public init?(chain: String) {
    let parts = chain.split(separator: "-")
    guard parts.count >= 4, parts[0] == "KUBE", let transport = TransportProtocol(rawValue: String(parts[2])),
      let slots = Int(parts[3]), slots > 0
    else { return nil }
    switch (parts[1], parts.count) {
    case ("LB", 4): self.init(transport, slots: slots)
    case ("MAGLEV", 4): self.init(transport, slots: slots, .maglev)
    case ("LEAST", 4): self.init(transport, slots: slots, .leastConnections)
    case ("AFF", 5):
      guard let seconds = UInt32(parts[4]) else { return nil }
      self.init(transport, slots: slots, .affinity(seconds: seconds))
    default: return nil
    }
  }

  /// Numbers for it: those of counted classes have `ProxyMark.countedBit`.
  var numbers: ClosedRange<UInt32> {
    let counted = ProxyMark.countedBit >> 18
    return method == .leastConnections ? counted...ProxyMark.classMax : 1...(counted - 1)
  }

  private var order: UInt64 {
    switch method {
    case .random: 0
    case .maglev: 1
    case .leastConnections: 2
    case .affinity(let seconds): 3 + UInt64(seconds)
    }
  }

  public static func < (a: Self, b: Self) -> Bool {
    (a.transport, a.slots, a.order) < (b.transport, b.slots, b.order)
  }
}
