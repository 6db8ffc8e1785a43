// The words of kube-proxy's flags and fields as values: modes, blocks of addresses, bind addresses.

import Addresses
import Diagnostics

extension KubeProxySettings {
  /// The mode that a word means, and what to say when it is not quite what was asked for. Throws `PRX0011`.
  public static func mode(named word: String) throws(WeftError) -> (Mode, warning: String?) {
    switch word {
    case "", "nftables": return (.nftables, nil)
    case "userspace": return (.userspace, nil)
    case "iptables", "ipvs":
      return (.nftables, "\(word) is kube-proxy's; the same Services are served by nftables")
    default:
      throw WeftError(
        "PRX0011", object: "mode \(word)", cause: "\"\(word)\" is no mode of a proxy on Linux",
        next: "choose nftables or userspace")
    }
  }

  /// Blocks of addresses separated by commas. Throws `PRX0012`.
  public static func blocks(_ text: String, _ object: String) throws(WeftError) -> [IPPrefix] {
    var blocks: [IPPrefix] = []
    for word in text.split(separator: ",") {
      guard let block = IPPrefix(word.filter { $0 != " " }) else {
        throw WeftError(
          "PRX0012", object: object, cause: "\"\(word)\" is no block of addresses",
          next: "write it as 10.42.0.0/16, or 10.42.0.0/16,fd00:42::/56 for both families")
      }
      blocks.append(block)
    }
    return blocks
  }

  /// How local traffic is told apart. Throws `PRX0013` for a word that is no mode or a mode without its interface.
  public static func detectLocal(named word: String, bridge: String?, prefix: String?) throws(WeftError)
    -> DetectLocal
  {
    func refusal(_ cause: String, _ next: String) -> WeftError {
      WeftError("PRX0013", object: "detectLocalMode \(word)", cause: cause, next: next)
    }
    switch word {
    case "", "ClusterCIDR": return .clusterCIDR
    case "NodeCIDR": return .nodeCIDR
    case "BridgeInterface":
      guard let bridge else {
        throw refusal("names no bridge", "set detectLocal.bridgeInterface or --pod-bridge-interface")
      }
      return .bridgeInterface(bridge)
    case "InterfaceNamePrefix":
      guard let prefix else {
        throw refusal(
          "names no prefix", "set detectLocal.interfaceNamePrefix or --pod-interface-name-prefix")
      }
      return .interfaceNamePrefix(prefix)
    default:
      throw refusal(
        "\"\(word)\" is no mode", "choose ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix")
    }
  }

  /// Where NodePorts answer. Throws `PRX0014`.
  public static func nodePortAddresses(_ words: [String]) throws(WeftError) -> NodePortAddresses {
    if words.isEmpty { return .all }
    if words == ["primary"] { return .primary }
    var blocks: [IPPrefix] = []
    for word in words {
      guard let block = IPPrefix(word) else {
        throw WeftError(
          "PRX0014", object: "nodePortAddresses",
          cause: word == "primary" ? "\"primary\" stands alone" : "\"\(word)\" is no block of addresses",
          next: "write blocks as 192.0.2.0/24, or the one word primary")
      }
      blocks.append(block)
    }
    return .blocks(blocks)
  }

  /// `A.B.C.D:PORT`, or an address alone with the port that is usual. nil when it is neither.
  public static func bindAddress(_ text: String, port: UInt16) -> SocketEndpoint? {
    if let address = IPAddress(text) { return SocketEndpoint(address, port) }
    return SocketEndpoint(text)
  }
}
