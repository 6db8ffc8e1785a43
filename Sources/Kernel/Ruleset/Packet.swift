// The packet that a ruleset is asked about, and the answer: which rules it met, what they did, how it left.

import Addresses

/// The first packet of a connection, or a later one, with what connection tracking knows about it.
public struct Packet: Hashable, Sendable {
  public var source: IPAddress
  public var destination: IPAddress
  /// IANA protocol number; 6 is TCP.
  public var transport: UInt8
  /// Zero where the protocol has none.
  public var sourcePort: UInt16
  public var destinationPort: UInt16
  public var inputInterface: String
  public var outputInterface: String
  public var mark: UInt32
  public var ctMark: UInt32
  public var state: ConnectionState
  /// Whether it goes against the direction of the connection's first packet.
  public var isReply: Bool
  public var tcpFlags: UInt8
  public var etherSource: MACAddress?

  public init(
    _ source: IPAddress, _ destination: IPAddress, transport: UInt8 = 6, sourcePort: UInt16 = 40000,
    destinationPort: UInt16 = 0, inputInterface: String = "", outputInterface: String = "",
    mark: UInt32 = 0, ctMark: UInt32 = 0, state: ConnectionState = .new, isReply: Bool = false,
    tcpFlags: UInt8 = TCPFlag.syn, etherSource: MACAddress? = nil
  ) {
    self.source = source
    self.destination = destination
    self.transport = transport
    self.sourcePort = sourcePort
    self.destinationPort = destinationPort
    self.inputInterface = inputInterface
    self.outputInterface = outputInterface
    self.mark = mark
    self.ctMark = ctMark
    self.state = state
    self.isReply = isReply
    self.tcpFlags = tcpFlags
    self.etherSource = etherSource
  }

  public var family: IPFamily { destination.family }
}

/// What the evaluator must know about the machine besides the ruleset.
public struct EvaluationContext: Sendable {
  /// Addresses of the machine: they decide between input and forward, and `fib … type local`.
  public var localAddresses: Set<IPAddress>
  /// What `numgen random mod N` draws; always below N.
  public var draw: @Sendable (_ modulus: UInt32) -> UInt32
  /// Bound on rules visited, as the kernel bounds jumps. Past it the verdict is drop.
  public var rulesMax: Int = 10_000

  public init(
    localAddresses: Set<IPAddress> = [], draw: @escaping @Sendable (UInt32) -> UInt32 = { _ in 0 }
  ) {
    self.localAddresses = localAddresses
    self.draw = draw
  }
}

/// The walk of one packet.
public struct Evaluation: Sendable {
  public enum Outcome: Hashable, Sendable {
    case accept
    case drop
    case rejectWithReset
    case rejectUnreachable
    public var isAccept: Bool { self == .accept }
  }

  /// One rule that matched, or the end of a base chain.
  public struct Step: Hashable, Sendable, CustomStringConvertible {
    public var table: Table.ID
    public var hook: BaseChain.Hook
    public var chain: String
    /// Nil for the policy of a base chain.
    public var rule: Int?
    /// The rule as nft prints it.
    public var text: String
    /// What it did: `goto KUBE-BALANCE`, `dnat to 10.42.0.11:8080`, `ct mark 0x20080001`.
    public var effect: String
    public var comment: String?
    public var description: String {
      "\(hook.rawValue) \(table) \(chain)\(rule.map { "[\($0)]" } ?? ""): \(text) -> \(effect)"
    }
  }

  public var outcome: Outcome = .accept
  /// As it leaves: addresses after NAT, marks as set.
  public var packet: Packet
  public var steps: [Step] = []
  /// The hooks passed, in order.
  public var hooks: [BaseChain.Hook] = []
  /// Where DNAT sent it.
  public var destinationNAT: SocketEndpoint?
  /// What was done to the connection on the way.
  public var status: ConnectionStatus = []
  /// Whether its source is replaced by an address of the machine.
  public var isMasqueraded = false
  public var isUntracked = false

  /// The step that decided; nil when nothing but policies did.
  public var decisive: Step? { steps.last { $0.rule != nil } }
}
