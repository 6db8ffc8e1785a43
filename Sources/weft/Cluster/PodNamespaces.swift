// Which namespace the pod with an address is of: what cluster DNS needs to walk the asking pod's search path (`autopath`).

import Addresses
import ClusterObjects
import ClusterView
import DataPlane
import Policy
import Synchronization

/// Addresses of pods. On a node those of its own pods, as the CNI plugin reported them: no pod of another node asks here, and an
/// address that was given anew belongs to its new pod at once.
final class PodNamespaces: Sendable {
  private struct State {
    var holders: [IPAddress: (owner: String, namespace: String)] = [:]
    var addresses: [String: [IPAddress]] = [:]
  }
  private let state = Mutex(State())

  func namespace(of address: IPAddress) -> String? { state.withLock { $0.holders[address]?.namespace } }

  func add(_ attachment: ContainerAttachment) {
    set(
      attachment.containerID, attachment.attachment.pod.namespace, attachment.attachment.addresses)
  }

  func remove(containerID: String) { set(containerID, "", []) }

  /// Pods that changed, for a server that is on no node and hears of pods from the API alone.
  func take(_ pods: [ObjectKey: Pod?], isWhole: Bool) {
    if isWhole {
      let known = Set(pods.keys.map(\.description))
      for owner in state.withLock({ Array($0.addresses.keys) }) where !known.contains(owner) {
        set(owner, "", [])
      }
    }
    for (key, pod) in pods {
      // Pods of the host's network ask with the node's address, which is of no namespace.
      let addresses = pod.flatMap { $0.hasEnded || $0.isHostNetwork ? nil : $0.addresses } ?? []
      set(key.description, key.namespace, addresses)
    }
  }

  private func set(_ owner: String, _ namespace: String, _ addresses: [IPAddress]) {
    state.withLock { state in
      for old in state.addresses[owner] ?? [] where state.holders[old]?.owner == owner {
        state.holders[old] = nil
      }
      state.addresses[owner] = addresses.isEmpty ? nil : addresses
      for address in addresses { state.holders[address] = (owner, namespace) }
    }
  }
}
