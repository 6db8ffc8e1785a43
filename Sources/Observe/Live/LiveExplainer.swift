// `weft explain --live`: sends one marked packet through the real network and lets the kernel tell which rules it meets.
//
//   socket in the pod's namespace, bound -> tracer for that address and port in the node's -> connect -> events -> steps

import Addresses
import Diagnostics
import KernelNetlink
import KernelNftables
import Ruleset

/// Runs in the network namespace of the node, as root.
public struct LiveExplainer {
  /// Events still come for a moment after the answer.
  private static let restMilliseconds: Int32 = 100

  public init() {}

  /// Adds to an explanation what its connection really meets. Blocks for up to 2.5 seconds.
  ///
  /// Throws `CLI0151` when the source is not on this node, `CLI0152` when a probe or a trace cannot be made.
  /// - Parameters:
  ///   - isOwn: whether the address is the node's own.
  ///   - planned: what is in force as it was planned, for the text of rules.
  public func add(to explanation: inout Explanation, isOwn: Bool, planned: Ruleset?) throws(WeftError) {
    guard let asked = explanation.asked else { return }
    guard asked.transport != .sctp else {
      throw WeftError(
        "CLI0152", object: explanation.destination, cause: "SCTP cannot be tried",
        next: "leave --live away: the kernel's ruleset is asked without a packet")
    }
    let namespace = isOwn ? nil : try Self.namespace(of: asked.source, explanation.source)
    let probe = try LiveProbe(from: asked.source, asked.transport, namespace: namespace)
    do throws(NftablesError) {
      let tracer = try PacketTracer(from: probe.source, transport: asked.transport.number)
      let outcome = probe.send(to: asked.destination)
      var events: [TraceEvent] = []
      while events.count < PacketTracer.eventsMax {
        let more = try tracer.read(milliseconds: Self.restMilliseconds)
        if more.isEmpty { break }
        events += more
      }
      let socket = try NftablesSocket()
      var notes: [Table.ID: [UInt64: RuleNote]] = [:]
      for id in Set(events.map(\.table)) { notes[id] = try socket.ruleNotes(of: id) }
      explanation.add(LiveTrace(events: events, notes: notes, planned: planned), outcome)
    } catch {
      throw WeftError(
        "CLI0152", object: "trace", cause: "the kernel does not tell (\(error))",
        next: "run as root in the node's network namespace, on Linux 5.12 or later", underlying: error)
    }
  }

  private static func namespace(of address: IPAddress, _ source: String) throws(WeftError) -> String {
    do {
      var session = try RouteSession()
      if let path = try session.linkedNamespace(holding: address) { return path }
    } catch {
      throw WeftError(
        "CLI0152", object: source, cause: "the namespaces of this node cannot be read (\(error))",
        next: "run as root in the node's network namespace", underlying: error)
    }
    throw WeftError(
      "CLI0151", object: source, cause: "no pod of this node has \(address)",
      next: "run it on the pod's node: kubectl get pod -o wide", exit: .finding)
  }
}
