// From a call to an answer: read, check, dispatch by the name the plugin was called by.
import Glibc
import KernelNetlink

/// What a call answers: text for standard output and the process's exit code.
public struct PluginAnswer: Sendable, Hashable {
  public var output: String
  public var exitCode: Int32
}

/// The plugin behind all of its names: `weft-cni` and `bridge`, `loopback`, `host-local`.
public enum Plugin {
  /// Runs one call as the process was started: environment, standard input, the name in `program`.
  public static func main(program: String) -> PluginAnswer {
    run(
      program: program,
      environment: { name in getenv(name).map { String(cString: $0) } },
      input: { () throws(CNIError) in
        try Files.readAll(0, bytesMax: JSONValue.bytesMax, name: "standard input")
      })
  }

  /// The same with everything passed in.
  public static func run(
    program: String, environment: (String) -> String?, input: () throws(CNIError) -> [UInt8]
  ) -> PluginAnswer {
    var version = "1.0.0"
    do throws(CNIError) {
      let call = try Invocation(program: program, environment: environment)
      let bytes = try input()
      let json: JSONValue
      do {
        json = try JSONValue(parsing: bytes)
      } catch {
        if call.verb == .version { return answer(versions("1.1.0")) }
        throw CNIError(.undecodable, "the network configuration is not JSON", details: "\(error)")
      }
      if let given = json["cniVersion"]?.string, NetworkConfiguration.versions.contains(given) {
        version = given
      }
      return try dispatch(call, json)
    } catch {
      return PluginAnswer(output: error.json(version: version).text + "\n", exitCode: 1)
    }
  }

  private static func dispatch(_ call: Invocation, _ json: JSONValue) throws(CNIError) -> PluginAnswer {
    if call.verb == .version { return answer(versions(json["cniVersion"]?.string ?? "1.1.0")) }
    let kind = kind(call, json)
    let needsRanges = kind != "loopback" && (call.verb == .add || call.verb == .status)
    let configuration = try NetworkConfiguration(json, arguments: call.arguments, needsRanges: needsRanges)
    if configuration.version != "1.1.0", call.verb == .gc || call.verb == .status {
      throw CNIError(
        .incompatibleVersion, "\(call.verb.rawValue) needs cniVersion 1.1.0, not \(configuration.version)")
    }
    switch kind {
    case "loopback": return try loopback(call, configuration)
    case "host-local": return try hostLocal(call, configuration)
    default: return try bridge(call, configuration)
    }
  }

  private static func kind(_ call: Invocation, _ json: JSONValue) -> String {
    if ["loopback", "host-local", "bridge", "weft-cni"].contains(call.program) { return call.program }
    return json["type"]?.string ?? "weft-cni"
  }

  private static func bridge(_ call: Invocation, _ configuration: NetworkConfiguration) throws(CNIError)
    -> PluginAnswer
  {
    let plugin = BridgePlugin(call: call, configuration: configuration)
    switch call.verb {
    case .add: return answer(try plugin.add().json(version: configuration.version))
    case .del: try plugin.del()
    case .check: try plugin.check()
    case .gc: try plugin.collectGarbage()
    case .status: try plugin.status()
    case .version: break
    }
    return PluginAnswer(output: "", exitCode: 0)
  }

  /// Leases without links: for another main plugin that names `host-local` in its `ipam`.
  private static func hostLocal(_ call: Invocation, _ configuration: NetworkConfiguration) throws(CNIError)
    -> PluginAnswer
  {
    let leases = LeaseStore(configuration)
    let key = "\(call.containerID):\(call.interfaceName)"
    switch call.verb {
    case .add:
      let wanted = Lease(
        network: configuration.name, containerID: call.containerID, interfaceName: call.interfaceName)
      let lease = try leases.acquire(wanted, requested: configuration.requestedAddresses)
      var result = CNIResult(addresses: lease.addresses, gateways: lease.gateways, dns: configuration.dns)
      result.routes = (configuration.routes ?? []).map { Route($0.destination, gateway: $0.gateway) }
      return answer(result.json(version: configuration.version))
    case .del: try leases.release(key)
    case .check:
      guard try leases.find(key) != nil else {
        throw CNIError(.differs, "container \(call.containerID) has no lease for \(call.interfaceName)")
      }
    case .gc:
      let valid = BridgePlugin.keys(configuration.validAttachments ?? [])
      for lease in try leases.all() where !valid.contains(lease.key) { try leases.release(lease.key) }
    case .status: try BridgePlugin(call: call, configuration: configuration).checkAddresses()
    case .version: break
    }
    return PluginAnswer(output: "", exitCode: 0)
  }

  /// containerd before 2.1 calls `loopback` for every pod. DEL has nothing to do: `lo` goes with its
  /// namespace.
  private static func loopback(_ call: Invocation, _ configuration: NetworkConfiguration) throws(CNIError)
    -> PluginAnswer
  {
    guard call.verb == .add || call.verb == .check else { return PluginAnswer(output: "", exitCode: 0) }
    let isUp: Bool
    do {
      isUp = try runInNamespace(call.namespacePath) {
        var session = try RouteSession()
        guard let link = try session.link(named: "lo") else { return false }
        if call.verb == .add, !link.isUp { try session.setLink(link.index, isUp: true) }
        return call.verb == .add || link.isUp
      }
    } catch {
      throw CNIError.wrapping(error, "cannot set lo up in \(call.namespacePath)")
    }
    guard isUp else { throw CNIError(.differs, "lo is down in \(call.namespacePath)") }
    guard call.verb == .add else { return PluginAnswer(output: "", exitCode: 0) }
    if let previous = configuration.previousResult { return answer(previous) }
    var result = CNIResult(
      interfaces: [.init(name: "lo", mac: nil, mtu: 0, sandbox: call.namespacePath)], carrier: 0)
    result.addresses = ["127.0.0.1/8", "::1/128"].compactMap { InterfaceAddress($0) }
    return answer(result.json(version: configuration.version))
  }

  private static func versions(_ asked: String) -> JSONValue {
    .object([
      "cniVersion": .string(asked),
      "supportedVersions": .array(NetworkConfiguration.versions.map { .string($0) }),
    ])
  }

  private static func answer(_ json: JSONValue) -> PluginAnswer {
    PluginAnswer(output: json.text + "\n", exitCode: 0)
  }
}
