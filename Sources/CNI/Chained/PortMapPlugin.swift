// The `portmap` plugin: ports of the node that lead to the pod that another plugin attached.

struct PortMapPlugin {
  let chained: ChainedCall
  let ports: HostPorts

  init(_ chained: ChainedCall) throws(CNIError) {
    self.chained = chained
    var ports = HostPorts(owner: chained.owner)
    if chained.call.verb == .add || chained.call.verb == .check {
      ports.settings = try HostPortSettings(chained.configuration.json)
    }
    self.ports = ports
  }

  func add() throws(CNIError) {
    let mappings = chained.configuration.portMappings
    guard !mappings.isEmpty else { return }
    let link = try chained.routedInterface()
    do throws(CNIError) {
      for address in chained.podAddresses { try ports.add(mappings, to: address, hostInterface: link) }
    } catch {
      if error.code != .hostPortTaken { try? ports.remove() }
      throw error
    }
  }

  func del() throws(CNIError) { try ports.remove() }

  func check() throws(CNIError) {
    for address in chained.podAddresses {
      try ports.check(chained.configuration.portMappings, to: address)
    }
  }

  func collectGarbage() throws(CNIError) {
    try HostPorts.collectGarbage(network: chained.configuration.name, valid: chained.valid)
  }
}
