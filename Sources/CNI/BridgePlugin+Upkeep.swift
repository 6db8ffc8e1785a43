// The verbs that look after what ADD made: CHECK and STATUS.
import Addresses
import Glibc
import KernelNetlink

extension BridgePlugin {
  /// Throws error 102 that names the first thing that is not as ADD left it. Additions by later plugins are
  /// fine.
  func check() throws(CNIError) {
    guard let lease = try leases.find("\(call.containerID):\(call.interfaceName)") else {
      throw CNIError(.differs, "container \(call.containerID) has no lease for \(call.interfaceName)")
    }
    var expected = lease.addresses.map(\.address)
    if let json = configuration.previousResult {
      let previous = try CNIResult(json, version: configuration.version)
      let own = previous.podInterface(call.interfaceName)?.index
      expected += previous.assignments.filter { $0.interface == own }.map(\.address.address)
    }
    do {
      var node = try RouteSession()
      var master: Int32 = 0
      if !lease.bridge.isEmpty {
        guard let bridge = try node.link(named: lease.bridge), bridge.isUp else {
          throw CNIError(.differs, "bridge \(lease.bridge) is missing or down")
        }
        master = bridge.index
      }
      guard let port = try node.link(named: hostInterface), port.master == master, port.isUp else {
        let place = lease.bridge.isEmpty ? "" : " or not a port of \(lease.bridge)"
        throw CNIError(.differs, "\(hostInterface) is missing, down\(place)")
      }
      try checkExtras(lease)
      try runInNamespace(call.namespacePath) {
        var pod = try RouteSession()
        guard let link = try pod.link(named: call.interfaceName),
          link.isUp || settings.leavesInterfaceDown
        else {
          throw CNIError(.differs, "\(call.interfaceName) is missing or down in \(call.namespacePath)")
        }
        let present = try pod.addresses(of: link.index).map(\.value.address)
        for address in expected where !present.contains(address) {
          throw CNIError(.differs, "\(call.interfaceName) has lost its address \(address)")
        }
        let routes = try pod.routes()
        for wanted in podPaths(lease)
        where !routes.contains(where: {
          $0.destination == wanted.destination && $0.gateway == wanted.gateway
            && $0.table == wanted.table ?? 254
        }) {
          throw CNIError(
            .differs, "\(call.namespacePath) has lost its route to \(wanted.destination)")
        }
      }
    } catch {
      throw CNIError.wrapping(error, "cannot check container \(call.containerID)")
    }
  }

  /// Throws error 50 when an ADD could not work now: no address left, or no agent although one is required.
  /// - Returns: what will become a reason soon.
  func status() throws(CNIError) -> [String] {
    let notes = try checkAddresses()
    guard configuration.requiresNode, let path = configuration.nodeSocket else { return notes }
    let agent = NodeAgent(path: path, timeoutMilliseconds: configuration.nodeTimeoutMilliseconds)
    let answer = agent.tell(.object(["event": .string("status")]))
    if case .absent = answer {
      throw CNIError(.unavailable, "the node agent does not listen on \(path)", details: "is weft running?")
    }
    if case .silent(let reason) = answer {
      throw CNIError(.unavailable, "the node agent on \(path) does not answer", details: reason)
    }
    return notes
  }

  /// Throws error 50 when a range set is exhausted; returns a note of each that nearly is.
  func checkAddresses() throws(CNIError) -> [String] {
    var notes: [String] = []
    for (space, used, total) in try leases.usage() {
      guard used < total else {
        throw CNIError(
          .unavailable, "network \(configuration.name) has no free address",
          details: "\(space.description): all \(total) are leased")
      }
      if AddressSpace.isNearlyExhausted(used: used, total: total) {
        notes.append(
          "network \(configuration.name): \(used) of \(total) addresses of \(space.description) are leased")
      }
    }
    return notes
  }
}
