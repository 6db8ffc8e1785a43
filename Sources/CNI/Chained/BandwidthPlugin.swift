// The `bandwidth` plugin: rates for the pod that another plugin attached.
import KernelNetlink

struct BandwidthPlugin {
  let chained: ChainedCall

  init(_ chained: ChainedCall) throws(CNIError) {
    self.chained = chained
    guard chained.call.verb == .add || chained.call.verb == .check else { return }
    // Refusing is safer than ignoring: traffic that should be free would be held back.
    for key in ["shapedSubnets", "unshapedSubnets"]
    where chained.configuration.json[key]?.array?.isEmpty == false {
      throw CNIError(.unsupportedField, "`\(key)` is not supported", details: "remove the key")
    }
  }

  private var intermediate: String {
    Bandwidth.intermediateName(
      containerID: chained.call.containerID, ifname: chained.call.interfaceName)
  }

  private var alias: String {
    BridgePlugin.alias(chained.configuration.name, chained.call.containerID, chained.call.interfaceName)
  }

  /// - Returns: the result with the `ifb` link in it, as the reference plugin has it.
  func add(_ result: CNIResult) throws(CNIError) -> CNIResult {
    guard let rates = chained.configuration.bandwidth else { return result }
    do throws(CNIError) {
      try rates.apply(on: try chained.hostInterface(), intermediate: intermediate, alias: alias)
    } catch {
      try? Bandwidth.remove(intermediate: intermediate)
      throw error
    }
    guard rates.egressRate > 0 else { return result }
    var result = result
    var twin = CNIResult.Interface(name: intermediate)
    if var session = try? RouteSession() {
      let link = try? session.link(named: intermediate)
      twin.mac = link?.mac.map { "\($0)" }
      twin.mtu = link?.mtu ?? 0
    }
    result.interfaces.append(twin)
    return result
  }

  func del() throws(CNIError) { try Bandwidth.remove(intermediate: intermediate) }

  func check() throws(CNIError) {
    guard let rates = chained.configuration.bandwidth else { return }
    try rates.check(on: try chained.hostInterface(), intermediate: intermediate)
  }

  func collectGarbage() throws(CNIError) {
    let valid = chained.valid
    let prefix = "weft:\(chained.configuration.name)/"
    do {
      var session = try RouteSession()
      for link in try session.links() where link.kind == "ifb" && link.alias.hasPrefix(prefix) {
        let parts = link.alias.dropFirst(prefix.utf8.count).split(separator: "/", maxSplits: 1)
        guard parts.count == 2, !valid.contains("\(parts[0]):\(parts[1])") else { continue }
        try session.deleteLink(named: link.name)
      }
    } catch {
      throw CNIError.wrapping(error, "cannot remove links of network \(chained.configuration.name)")
    }
  }
}
