// A port of the node that leads to a port of the pod, as the runtime asks for it.
import Addresses

/// One entry of `portMappings`.
public struct PortMapping: Sendable, Hashable {
  public var hostPort: UInt16
  public var containerPort: UInt16
  public var transport: TransportProtocol
  /// The only address of the node that it is reached by; nil for all of them.
  public var hostAddress: IPAddress?
  /// Addresses of this family only; nil for both. `0.0.0.0` says IPv4, `::` IPv6.
  public var family: IPFamily?

  /// The list of `runtimeConfig`; entries without a host port ask for nothing.
  static func all(_ json: JSONValue?) throws(CNIError) -> [PortMapping] {
    guard let json else { return [] }
    guard let list = json.array else { throw malformed(json, "a list is expected") }
    guard list.count <= countMax else { throw malformed(json, "there are more than \(countMax)") }
    var mappings: [PortMapping] = []
    for entry in list {
      if let mapping = try PortMapping(entry) { mappings.append(mapping) }
    }
    return mappings
  }

  /// More mappings than this for one pod are refused.
  static let countMax = 1024

  private init?(_ json: JSONValue) throws(CNIError) {
    func port(_ key: String) throws(CNIError) -> UInt16 {
      let number = json[key].map(\.integer) ?? 0
      guard let number, let port = UInt16(exactly: number) else {
        throw Self.malformed(json, "`\(key)` is not a port")
      }
      return port
    }
    hostPort = try port("hostPort")
    containerPort = try port("containerPort")
    guard hostPort != 0 else { return nil }
    guard containerPort != 0 else { throw Self.malformed(json, "`containerPort` is 0") }
    let name = json["protocol"]?.string ?? ""
    guard let transport = TransportProtocol(rawValue: name.isEmpty ? "TCP" : name.uppercased()) else {
      throw Self.malformed(json, "`protocol` is none of tcp, udp, sctp")
    }
    self.transport = transport
    guard let text = json["hostIP"]?.string, !text.isEmpty else { return }
    guard let address = IPAddress(text) else { throw Self.malformed(json, "`hostIP` is not an address") }
    family = address.family
    if address.bytes.contains(where: { $0 != 0 }) { hostAddress = address }
  }

  private static func malformed(_ json: JSONValue, _ why: String) -> CNIError {
    CNIError(.invalidConfiguration, "a port mapping is malformed: \(json.text)", details: why)
  }
}
