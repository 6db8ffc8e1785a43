// Ports of a node that pods ask for: what scheduler and node agent agree on.

import ClusterObjects

/// A port on the node's own address.
public struct HostPort: Hashable, Sendable {
  public var transport: String
  public var address: String
  public var port: Int

  public init(transport: String, address: String, port: Int) {
    (self.transport, self.address, self.port) = (transport, address, port)
  }

  /// Those that the containers name, and with the node's network all of theirs.
  public static func all(of spec: JSON, _ containers: [JSON]) -> [HostPort] {
    let isHostNetwork = spec["hostNetwork"]?.bool ?? false
    var ports: [HostPort] = []
    for container in containers {
      for port in container["ports"]?.elements ?? [] {
        let number = port["hostPort"]?.int ?? (isHostNetwork ? port["containerPort"]?.int : nil)
        guard let number, number > 0 else { continue }
        let address = port["hostIP"]?.string ?? ""
        ports.append(
          HostPort(
            transport: port["protocol"]?.string ?? "TCP", address: address.isEmpty ? "0.0.0.0" : address,
            port: number))
      }
    }
    return ports
  }

  /// The wildcard address conflicts with every other one.
  public func conflicts(with other: HostPort) -> Bool {
    transport == other.transport && port == other.port
      && (address == other.address || address == "0.0.0.0" || other.address == "0.0.0.0")
  }
}
