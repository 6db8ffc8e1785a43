// Plugins that change what a plugin before them made: portmap, bandwidth, tuning, firewall. Each takes `prevResult` and
// answers with it, in the version of the configuration.
import Addresses
import KernelNetlink

/// One call of a chained plugin.
struct ChainedCall {
  var call: Invocation
  var configuration: NetworkConfiguration
  /// `prevResult`; nil on a DEL that a runtime makes without one.
  var previous: CNIResult?

  init(_ call: Invocation, _ configuration: NetworkConfiguration) throws(CNIError) {
    self.call = call
    self.configuration = configuration
    if let json = configuration.previousResult {
      do {
        previous = try CNIResult(json, version: configuration.version)
      } catch  where call.verb == .del {
        previous = nil
      }
    }
    guard previous != nil || call.verb == .del || call.verb == .gc || call.verb == .status else {
      throw CNIError(
        .invalidConfiguration, "\(call.program) needs `prevResult`",
        details: "it is chained: name it after another plugin in the list")
    }
  }

  var owner: RuleOwner {
    let pod = call.arguments["K8S_POD_NAME"].map { name in
      "\(call.arguments["K8S_POD_NAMESPACE"] ?? "")/\(name)"
    }
    return RuleOwner(
      network: configuration.name, containerID: call.containerID, interfaceName: call.interfaceName,
      pod: pod ?? "")
  }

  var valid: Set<String> { BridgePlugin.keys(configuration.validAttachments ?? []) }

  /// The pod's addresses, the first of each family.
  var podAddresses: [InterfaceAddress] {
    [IPFamily.v4, .v6].compactMap { previous?.podAddress($0) }
  }

  /// The node's end of the pair that the pod's interface is the other end of.
  func hostInterface() throws(CNIError) -> String {
    guard let pod = previous?.podInterface(call.interfaceName)?.interface else {
      throw CNIError(.invalidConfiguration, "`prevResult` has no interface in the pod")
    }
    let path = pod.sandbox.flatMap { $0.isEmpty ? nil : $0 } ?? call.namespacePath
    do {
      var inside = try RouteSession(inNamespace: path)
      guard let link = try inside.link(named: pod.name), link.peer > 0 else {
        throw CNIError(.inputOutput, "\(pod.name) in \(path) is missing or no end of a pair")
      }
      var node = try RouteSession()
      let names = previous?.interfaces.filter { $0.sandbox?.isEmpty ?? true }.map(\.name) ?? []
      // The result's own words first: numbers of links count within a namespace.
      for name in names {
        if let found = try node.link(named: name), found.index == link.peer { return name }
      }
      if let found = try node.links().first(where: { $0.index == link.peer && $0.kind == "veth" }) {
        return found.name
      }
      throw CNIError(.inputOutput, "the other end of \(pod.name) is not on this node")
    } catch {
      throw CNIError.wrapping(error, "cannot find the node's end of \(pod.name)")
    }
  }

  /// What the node routes the pod's packets to: the bridge its end is a port of, else the end itself.
  func routedInterface() throws(CNIError) -> String {
    let end = try hostInterface()
    do {
      var node = try RouteSession()
      guard let port = try node.link(named: end), port.master != 0 else { return end }
      return try node.links().first { $0.index == port.master }?.name ?? end
    } catch {
      throw CNIError.wrapping(error, "cannot find what \(end) is a port of")
    }
  }
}
