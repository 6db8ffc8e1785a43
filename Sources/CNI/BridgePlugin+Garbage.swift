// GC: everything of attachments that nobody knows any more goes together, kind by kind, in the order in which DEL undoes one.
// A thousand of them cost a few waits for the kernel and for its lock on network changes, not a few for each.
import Addresses
import Glibc
import KernelNetlink

extension BridgePlugin {
  /// Removes what belongs to no valid attachment: links of this network, rules, neighbours, leases. Goes on over errors and
  /// reports the first.
  func collectGarbage() throws(CNIError) {
    let valid = Self.keys(configuration.validAttachments ?? [])
    var failures: [CNIError] = []
    let stale = try leases.all().filter { !valid.contains($0.key) }
    do throws(CNIError) {
      try removeRules(of: stale, valid: valid)
      try removeLinks(of: stale, valid: valid)
      for lease in stale { other(lease).sayGoodbye(lease) }
      try leases.release(stale.map(\.key))
    } catch {
      failures.append(error)
      // One that cannot be removed is no reason to keep the others.
      for lease in stale {
        do throws(CNIError) { try other(lease).del() } catch { failures.append(error) }
      }
    }
    do throws(CNIError) { try leases.expireKept() } catch { failures.append(error) }
    guard var first = failures.first else { return }
    if failures.count > 1 { first.details += " (and \(failures.count - 1) more)" }
    throw first
  }

  private func removeRules(of stale: [Lease], valid: Set<String>) throws(CNIError) {
    try HostPorts.collectGarbage(network: configuration.name, valid: valid)
    try Masquerade.remove(stale.filter { $0.extras.contains(.masquerade) }.flatMap(\.addresses))
    for lease in stale where lease.extras.contains(.sourceGuard) {
      try SourceGuard.remove(lease.hostInterface)
    }
  }

  /// Links that say they are of this network and of no valid attachment, and those that a killed ADD had not yet marked; then what
  /// the node remembers of their neighbours.
  private func removeLinks(of stale: [Lease], valid: Set<String>) throws(CNIError) {
    let names = Set(stale.flatMap { [$0.hostInterface, other($0).intermediate] })
    let prefix = "weft:\(configuration.name)/"
    do {
      var node = try RouteSession()
      let links = try node.links()
      let gone = links.filter { link in
        guard link.name.hasPrefix("vp") || link.kind == "ifb" else { return false }
        if names.contains(link.name) { return true }
        guard link.alias.hasPrefix(prefix) else { return false }
        let parts = link.alias.dropFirst(prefix.utf8.count).split(separator: "/", maxSplits: 1)
        return parts.count == 2 && !valid.contains("\(parts[0]):\(parts[1])")
      }
      try node.deleteLinks(gone.map(\.index))
      let bridges = Set(stale.map(\.bridge))
      let carriers = Set(links.filter { bridges.contains($0.name) }.map(\.index))
      guard !carriers.isEmpty else { return }
      let addresses = Set(stale.flatMap { $0.addresses.map(\.address) })
      try node.deleteNeighbours(
        try node.neighbours().filter { carriers.contains($0.interface) && addresses.contains($0.address) })
    } catch {
      throw CNIError.wrapping(error, "cannot remove links of network \(configuration.name)")
    }
  }

  /// The call that would undo that lease.
  private func other(_ lease: Lease) -> BridgePlugin {
    var other = self
    other.call.containerID = lease.containerID
    other.call.interfaceName = lease.interfaceName
    return other
  }

  static func keys(_ attachments: [JSONValue]) -> Set<String> {
    Set(attachments.map { "\($0["containerID"]?.string ?? ""):\($0["ifname"]?.string ?? "")" })
  }
}
