// From a call to an answer: read, check, dispatch by the name the plugin was called by.
import Glibc
import KernelNetlink

/// What a call answers: text for standard output and the process's exit code.
public struct PluginAnswer: Sendable, Hashable {
  public var output: String
  public var exitCode: Int32
  /// For standard error: what is worth knowing of a call that succeeded.
  public var notes: [String] = []
}

/// The plugin behind all of its names.
public enum Plugin {
  /// The reference plugins that this one answers for, beside its own name.
  public static let names = [
    "bridge", "ptp", "host-local", "portmap", "loopback", "bandwidth", "tuning", "firewall",
  ]

  /// Runs one call as the process was started: environment, standard input, the name in `program`.
  public static func main(program: String) -> PluginAnswer {
    if getenv("CNI_COMMAND") == nil, isatty(0) == 1 {
      let name = program.split(separator: "/").last.map(String.init) ?? program
      return PluginAnswer(
        output: "CNI plugin \(name) of weft\nCNI protocol versions supported: "
          + NetworkConfiguration.versions.joined(separator: ", ") + "\n", exitCode: 0)
    }
    return run(
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
    var call = call
    if !names.contains(call.program), let type = json["type"]?.string, names.contains(type) {
      call.program = type
    }
    let configuration = try NetworkConfiguration(
      json, arguments: call.arguments, plugin: call.program, isStrict: call.verb != .del && call.verb != .gc)
    try checkVersion(call.verb, configuration.version)
    switch call.program {
    case "loopback": return try loopback(call, configuration)
    case "host-local": return try hostLocal(call, configuration)
    case "portmap", "bandwidth", "tuning", "firewall": return try chained(call, configuration)
    default: return try bridge(call, configuration)
    }
  }

  /// CHECK came with 0.4.0, GC and STATUS with 1.1.0: before, a runtime may not ask for them.
  private static func checkVersion(_ verb: Invocation.Verb, _ version: String) throws(CNIError) {
    let needed: String
    switch verb {
    case .gc, .status: needed = "1.1.0"
    case .check: needed = "0.4.0"
    case .add, .del, .version: return
    }
    let order = NetworkConfiguration.versions
    guard let own = order.firstIndex(of: version), let least = order.firstIndex(of: needed), own < least
    else {
      return
    }
    throw CNIError(
      .incompatibleVersion, "\(verb.rawValue) needs cniVersion \(needed), not \(version)")
  }

  private static func bridge(_ call: Invocation, _ configuration: NetworkConfiguration) throws(CNIError)
    -> PluginAnswer
  {
    let plugin = BridgePlugin(call: call, configuration: configuration)
    // A reference bridge may carry frames only; ours always gives addresses, unless it says that it does not.
    let needsRanges = configuration.hasAddresses || !names.contains(call.program)
    if needsRanges, !configuration.bridge.leavesInterfaceDown, call.verb == .add || call.verb == .status {
      try configuration.requireRanges()
    }
    switch call.verb {
    case .add:
      let result = try plugin.add()
      var answer = answer(result.json(version: configuration.version))
      answer.notes = result.notes
      return answer
    case .del: try plugin.del()
    case .check: try plugin.check()
    case .gc: try plugin.collectGarbage()
    case .status: return PluginAnswer(output: "", exitCode: 0, notes: try plugin.status())
    case .version: break
    }
    return silence
  }

  /// Leases without links: for another main plugin that names `host-local` in its `ipam`.
  private static func hostLocal(_ call: Invocation, _ configuration: NetworkConfiguration) throws(CNIError)
    -> PluginAnswer
  {
    let leases = LeaseStore(configuration)
    let key = "\(call.containerID):\(call.interfaceName)"
    switch call.verb {
    case .add:
      try configuration.requireRanges()
      var wanted = Lease(
        network: configuration.name, containerID: call.containerID, interfaceName: call.interfaceName)
      wanted.podNamespace = call.arguments["K8S_POD_NAMESPACE"] ?? ""
      wanted.podName = call.arguments["K8S_POD_NAME"] ?? ""
      wanted.isKept = configuration.keepsAddresses
      let lease = try leases.acquire(wanted, requested: configuration.requestedAddresses)
      var result = CNIResult(addresses: lease.addresses, gateways: lease.gateways)
      result.isAbbreviated = true
      result.dns = configuration.dns
      result.paths = configuration.routes ?? []
      return answer(result.json(version: configuration.version))
    case .del: try leases.release(key)
    case .check:
      guard try leases.find(key) != nil else {
        throw CNIError(.differs, "container \(call.containerID) has no lease for \(call.interfaceName)")
      }
    case .gc:
      let valid = BridgePlugin.keys(configuration.validAttachments ?? [])
      try leases.release(try leases.all().map(\.key).filter { !valid.contains($0) })
      try leases.expireKept()
    case .status:
      try configuration.requireRanges()
      let notes = try BridgePlugin(call: call, configuration: configuration).checkAddresses()
      return PluginAnswer(output: "", exitCode: 0, notes: notes)
    case .version: break
    }
    return silence
  }

  /// Plugins that answer with `prevResult`, changed or not.
  private static func chained(_ call: Invocation, _ configuration: NetworkConfiguration) throws(CNIError)
    -> PluginAnswer
  {
    let chained = try ChainedCall(call, configuration)
    var result = chained.previous ?? CNIResult()
    switch (call.program, call.verb) {
    case ("portmap", .add): try PortMapPlugin(chained).add()
    case ("portmap", .del): try PortMapPlugin(chained).del()
    case ("portmap", .check): try PortMapPlugin(chained).check()
    case ("portmap", .gc): try PortMapPlugin(chained).collectGarbage()
    case ("bandwidth", .add): result = try BandwidthPlugin(chained).add(result)
    case ("bandwidth", .del): try BandwidthPlugin(chained).del()
    case ("bandwidth", .check): try BandwidthPlugin(chained).check()
    case ("bandwidth", .gc): try BandwidthPlugin(chained).collectGarbage()
    case ("tuning", .add): result = try TuningPlugin(chained).add(result)
    case ("tuning", .del): try TuningPlugin(chained).del()
    case ("tuning", .check): try TuningPlugin(chained).check()
    case ("firewall", .add): try FirewallPlugin(chained).add()
    case ("firewall", .del): try FirewallPlugin(chained).del()
    case ("firewall", .check): try FirewallPlugin(chained).check()
    case ("firewall", .gc): try FirewallPlugin(chained).collectGarbage()
    default: break
    }
    return call.verb == .add ? answer(result.json(version: configuration.version)) : silence
  }

  /// containerd before 2.1 calls `loopback` for every pod. DEL has nothing to do: `lo` goes with its
  /// namespace.
  private static func loopback(_ call: Invocation, _ configuration: NetworkConfiguration) throws(CNIError)
    -> PluginAnswer
  {
    guard call.verb == .add || call.verb == .check else { return silence }
    let found: (isUp: Bool, mac: String?)
    do {
      found = try runInNamespace(call.namespacePath) {
        var session = try RouteSession()
        guard let link = try session.link(named: "lo") else { return (false, nil) }
        if call.verb == .add, !link.isUp { try session.setLink(link.index, isUp: true) }
        return (call.verb == .add || link.isUp, link.mac.map { "\($0)" })
      }
    } catch {
      throw CNIError.wrapping(error, "cannot set lo up in \(call.namespacePath)")
    }
    guard found.isUp else { throw CNIError(.differs, "lo is down in \(call.namespacePath)") }
    guard call.verb == .add else { return silence }
    if let previous = configuration.previousResult {
      let result = try CNIResult(previous, version: configuration.version)
      return answer(result.json(version: configuration.version))
    }
    var result = CNIResult(
      addresses: ["127.0.0.1/8", "::1/128"].compactMap { InterfaceAddress($0) }, gateways: [], interface: 0)
    result.interfaces = [.init(name: "lo", mac: found.mac, mtu: 0, sandbox: call.namespacePath)]
    return answer(result.json(version: configuration.version))
  }

  private static func versions(_ asked: String) -> JSONValue {
    .object([
      "cniVersion": .string(asked),
      "supportedVersions": .array(NetworkConfiguration.versions.map { .string($0) }),
    ])
  }

  private static let silence = PluginAnswer(output: "", exitCode: 0)

  private static func answer(_ json: JSONValue) -> PluginAnswer {
    PluginAnswer(output: json.text + "\n", exitCode: 0)
  }
}
