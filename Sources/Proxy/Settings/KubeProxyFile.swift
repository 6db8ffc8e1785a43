// Reads kube-proxy's config file: `KubeProxyConfiguration` of kubeproxy.config.k8s.io/v1alpha1. Every field of upstream is
// known by name and type; one that is not is an error, one that means nothing to this proxy is a warning.

import Addresses
import ClusterObjects
import Diagnostics

/// A file that was read: what it sets, and what in it has no effect.
public struct KubeProxyFile: Sendable {
  public var settings: KubeProxySettings
  /// One line each, for the log.
  public var warnings: [String]

  public static let apiVersion = "kubeproxy.config.k8s.io/v1alpha1"
  public static let kind = "KubeProxyConfiguration"

  /// Reads a parsed document. Throws `PRX0010` for a field that does not exist or a value that cannot be, and names the path.
  /// - Parameter path: the file, for messages.
  public init(_ tree: JSON, path: String) throws(WeftError) {
    guard tree.apiVersion == Self.apiVersion, tree.kind == Self.kind else {
      let found = "\(tree.apiVersion) \(tree.kind)"
      throw WeftError(
        "PRX0010", object: path, cause: "holds \(found == " " ? "no such object" : found)",
        next: "it must begin with apiVersion: \(Self.apiVersion) and kind: \(Self.kind)")
    }
    var reader = FileReader(path: path)
    reader.check(tree, KubeProxyFields.all, at: "")
    settings = KubeProxySettings()
    reader.apply(tree, to: &settings)
    if let problem = reader.problems.first {
      let more = reader.problems.count > 1 ? " (and \(reader.problems.count - 1) more)" : ""
      throw WeftError(
        "PRX0010", object: path, cause: problem + more,
        next:
          "correct it; fields are listed at kubernetes.io/docs/reference/config-api/kube-proxy-config.v1alpha1"
      )
    }
    warnings = reader.warnings
  }
}

private struct FileReader {
  let path: String
  var problems: [String] = []
  var warnings: [String] = []

  /// Every field is known and has the type it should.
  mutating func check(_ tree: JSON, _ fields: [String: KubeProxyFields.Field], at prefix: String) {
    guard let object = tree.object else {
      if !tree.isNull { problems.append("\(prefix) must be a map") }
      return
    }
    for (name, value) in object {
      let path = prefix.isEmpty ? name : "\(prefix).\(name)"
      guard let field = fields[name] else {
        problems.append("unknown field \"\(path)\"")
        continue
      }
      if value.isNull { continue }
      if case .map(let inner) = field.type {
        check(value, inner, at: path)
      } else if let wanted = field.type.complaint(value) {
        problems.append("\(path) must be \(wanted), and is \(value.text)")
        continue
      }
      if let reason = field.ignored, !value.isEmptyValue {
        warnings.append("\(path) has no effect: \(reason)")
      }
    }
  }

  mutating func apply(_ tree: JSON, to settings: inout KubeProxySettings) {
    settings.kubeconfig = text(tree.at("clientConnection", "kubeconfig"))
    settings.hostnameOverride = text(tree["hostnameOverride"])
    if let endpoint = endpoint(tree["healthzBindAddress"], "healthzBindAddress", port: 10256) {
      settings.healthzBindAddress = endpoint
    }
    if let endpoint = endpoint(tree["metricsBindAddress"], "metricsBindAddress", port: 10249) {
      settings.metricsBindAddress = endpoint
    }
    settings.bindAddressHardFail = tree["bindAddressHardFail"]?.bool ?? false
    settings.serviceProxyName = text(tree["serviceProxyName"])
    settings.oomScoreAdj = tree["oomScoreAdj"]?.int
    let section = mode(tree, &settings)
    settings.masqueradeAll = tree.at(section, "masqueradeAll")?.bool ?? false
    if let bit = tree.at(section, "masqueradeBit")?.int, bit != 14 {
      warnings.append("\(section).masqueradeBit has no effect: this proxy marks with bit 14")
    }
    if let seconds = seconds(tree.at(section, "syncPeriod")), seconds > 0 { settings.syncSeconds = seconds }
    applyLocal(tree, &settings)
    applyNodePorts(tree, &settings)
    applyConntrack(tree["conntrack"] ?? .null, &settings.conntrack)
  }

  /// Sets the mode and returns the section whose masquerade settings count.
  private mutating func mode(_ tree: JSON, _ settings: inout KubeProxySettings) -> String {
    do throws(WeftError) {
      let (mode, warning) = try KubeProxySettings.mode(named: text(tree["mode"]) ?? "")
      settings.mode = mode
      if let warning { warnings.append("mode: \(warning)") }
    } catch {
      problems.append("mode: \(error.cause)")
    }
    switch text(tree["mode"]) ?? "" {
    case "ipvs", "iptables", "":
      return tree.at("nftables", "masqueradeAll")?.bool == true ? "nftables" : "iptables"
    default: return "nftables"
    }
  }

  private mutating func applyLocal(_ tree: JSON, _ settings: inout KubeProxySettings) {
    do throws(WeftError) {
      settings.clusterCIDRs = try KubeProxySettings.blocks(text(tree["clusterCIDR"]) ?? "", "clusterCIDR")
      settings.detectLocal = try KubeProxySettings.detectLocal(
        named: text(tree["detectLocalMode"]) ?? "",
        bridge: text(tree.at("detectLocal", "bridgeInterface")),
        prefix: text(tree.at("detectLocal", "interfaceNamePrefix")))
    } catch {
      problems.append("\(error.object): \(error.cause)")
    }
  }

  private mutating func applyNodePorts(_ tree: JSON, _ settings: inout KubeProxySettings) {
    let words = (tree["nodePortAddresses"]?.elements ?? []).compactMap(\.string)
    do throws(WeftError) {
      settings.nodePortAddresses = try KubeProxySettings.nodePortAddresses(words)
    } catch {
      problems.append("nodePortAddresses: \(error.cause)")
    }
  }

  private mutating func applyConntrack(_ tree: JSON, _ conntrack: inout KubeProxySettings.Conntrack) {
    if let count = tree["maxPerCore"]?.int { conntrack.maxPerCore = count }
    if let count = tree["min"]?.int { conntrack.min = count }
    if let value = seconds(tree["tcpEstablishedTimeout"]) { conntrack.tcpEstablishedSeconds = value }
    if let value = seconds(tree["tcpCloseWaitTimeout"]) { conntrack.tcpCloseWaitSeconds = value }
    conntrack.tcpBeLiberal = tree["tcpBeLiberal"]?.bool ?? false
    conntrack.udpSeconds = seconds(tree["udpTimeout"])
    conntrack.udpStreamSeconds = seconds(tree["udpStreamTimeout"])
  }

  private func text(_ tree: JSON?) -> String? { tree?.string.flatMap { $0.isEmpty ? nil : $0 } }

  private func seconds(_ tree: JSON?) -> Int? { text(tree).flatMap { GoDuration.wholeSeconds($0) } }

  private mutating func endpoint(_ tree: JSON?, _ field: String, port: UInt16) -> SocketEndpoint? {
    guard let text = text(tree) else { return nil }
    if let endpoint = KubeProxySettings.bindAddress(text, port: port) { return endpoint }
    problems.append("\(field): \"\(text)\" is no address with a port")
    return nil
  }
}

extension JSON {
  /// What a field that was left out means.
  fileprivate var isEmptyValue: Bool {
    switch self {
    case .null: true
    case .string(let text): text.isEmpty || text == "0s"
    case .bool(let value): !value
    case .integer(let value): value == 0
    case .array(let elements): elements.isEmpty
    case .object(let members): members.isEmpty || members.allSatisfy { $0.value.isEmptyValue }
    default: false
    }
  }
}
