// How a node's policies tell what they refuse and cut what they came to forbid, and whether the node keeps flows.

import ArgumentParser
import ClusterView
import DataPlane
import Diagnostics
import KernelNetlink
import Logging
import Observe
import Policy

/// What the flags came to.
struct FlowSettings: Sendable {
  var logging: PolicyLogging? = PolicyLogging()
  var cutsForbidden = false
  var keepsFlows = true

  /// In the run directory.
  static let socketName = "flows.sock"
}

struct FlowOptions: ParsableArguments {
  @Option(help: "The nflog group that refused packets are told to; `none`: they are counted and not told.")
  var policyLogGroup = "\(PolicyLogging.defaultGroup)"
  @Flag(
    help:
      "Connections that a change of policies forbids are cut; otherwise they live on, new ones are refused.")
  var strictPolicies = false
  @Flag(inversion: .prefixedNo, help: "Keep the newest flows for `weft flows` and count them by Service.")
  var flows = true

  func settings() throws(WeftError) -> FlowSettings {
    var settings = FlowSettings(cutsForbidden: strictPolicies, keepsFlows: flows)
    if policyLogGroup == "none" {
      settings.logging = nil
    } else {
      guard let group = UInt16(policyLogGroup) else {
        throw WeftError(
          "FLW0007", object: "--policy-log-group \(policyLogGroup)", cause: "is no nflog group",
          next: "use a number from 0 to 65535, or none")
      }
      settings.logging = PolicyLogging(group: group)
    }
    return settings
  }
}

/// A node's flows while it runs: the keeper, and the socket where it is asked.
final class NodeFlows: Sendable {
  let keeper: FlowKeeper
  private let server: FlowServer

  /// Nil, with a warning, when the kernel does not let flows be read: the network does without.
  static func start(
    _ settings: FlowSettings, nodeName: String, socket: String, follower: ViewFollower
  ) -> NodeFlows? {
    guard settings.keepsFlows else { return nil }
    let log = Logger(label: "flows")
    // Without them flows have neither amounts nor durations.
    for name in ["nf_conntrack_acct", "nf_conntrack_timestamp"] {
      do { try Sysctl.write("net/netfilter/\(name)", "1") } catch {
        log.warning("connections are not measured", metadata: ["error": "\(error)"])
      }
    }
    let subscription = follower.subscribe(withPods: true)
    let source = FlowKeeper.Source(changes: { subscription.take() }, view: { follower.view })
    var group = settings.logging?.group
    while true {
      do throws(WeftError) {
        let keeper = try FlowKeeper(
          nodeName: nodeName, group: group, source: source, timeouts: timeouts())
        return try NodeFlows(keeper, socket)
      } catch {
        log.warning("\(error)")
        // Somebody else reads what is refused: connections are kept all the same.
        guard error.code == "FLW0001" else { return nil }
        group = nil
      }
    }
  }

  private init(_ keeper: FlowKeeper, _ socket: String) throws(WeftError) {
    self.keeper = keeper
    server = FlowServer(path: socket, keeper: keeper)
    try server.start()
    do throws(WeftError) {
      try keeper.start()
    } catch {
      server.stop()
      throw error
    }
  }

  func stop() {
    server.stop()
    keeper.stop()
  }

  /// As this network namespace has them; the kernel's defaults where they cannot be read.
  private static func timeouts() -> FlowTimeouts {
    func seconds(_ name: String) -> UInt64? {
      (try? Sysctl.read("net/netfilter/nf_conntrack_\(name)")).flatMap { UInt64($0) }
    }
    var timeouts = FlowTimeouts()
    for (state, name) in [
      (UInt8(4), "fin_wait"), (5, "close_wait"), (6, "last_ack"), (7, "time_wait"), (8, "close"),
    ] {
      if let value = seconds("tcp_timeout_\(name)") { timeouts.tcp[state] = value }
    }
    timeouts.udp = seconds("udp_timeout") ?? timeouts.udp
    timeouts.udpStream = seconds("udp_timeout_stream") ?? timeouts.udpStream
    return timeouts
  }
}
