// The success result, in the shape of each version of the specification.
import Addresses
import KernelNetlink

/// What ADD made.
struct CNIResult {
  struct Interface {
    var name: String
    var mac: MACAddress?
    var mtu: UInt32
    /// Path of the namespace it is in; nil for the host's.
    var sandbox: String?
  }

  var interfaces: [Interface] = []
  var addresses: [InterfaceAddress] = []
  var gateways: [IPAddress] = []
  /// Index in `interfaces` of the one that carries the addresses; nil for an IPAM plugin's abbreviated
  /// result.
  var carrier: Int?
  var routes: [Route] = []
  var dns: JSONValue?

  func json(version: String) -> JSONValue {
    let hasAddressVersion = version.hasPrefix("0.")
    let ips = addresses.enumerated().map { index, address in
      JSONValue.object([
        "version": hasAddressVersion ? .string(address.address.family == .v4 ? "4" : "6") : nil,
        "address": .string("\(address)"),
        "gateway": index < gateways.count ? .string("\(gateways[index])") : nil,
        "interface": carrier.map { .integer(Int64($0)) },
      ])
    }
    let links = interfaces.map { link in
      JSONValue.object([
        "name": .string(link.name), "mac": link.mac.map { .string("\($0)") },
        "mtu": version == "1.1.0" && link.mtu > 0 ? .integer(Int64(link.mtu)) : nil,
        "sandbox": link.sandbox.map { .string($0) },
      ])
    }
    let paths = routes.map { route in
      JSONValue.object([
        "dst": .string("\(route.destination)"), "gw": route.gateway.map { .string("\($0)") },
      ])
    }
    return .object([
      "cniVersion": .string(version), "interfaces": carrier == nil ? nil : .array(links), "ips": .array(ips),
      "routes": paths.isEmpty ? nil : .array(paths), "dns": dns ?? .object([JSONValue.Member]()),
    ])
  }
}
