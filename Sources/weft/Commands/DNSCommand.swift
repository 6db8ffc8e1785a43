// `weft dns`: cluster DNS alone, against any API server or a folder of manifests, with CoreDNS's configuration if there is one.

import Addresses
import ArgumentParser
import ClusterClient
import ClusterObjects
import ClusterView
import DNS
import DataPlane
import Diagnostics
import Glibc
import Logging

struct DNSCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "dns", abstract: "Cluster DNS alone; Ctrl-C or SIGTERM ends it.",
    discussion: """
      Names that are not the cluster's go to the name servers of /etc/resolv.conf, or where the Corefile's `forward` says.
      Until the cluster has been read, its names are answered with SERVFAIL, never with a denial.
      """)

  @OptionGroup var cluster: ClusterOptions
  @OptionGroup var logging: LogOptions
  @Option(
    help:
      "Where to listen, UDP and TCP; may be given several times. Default: the Corefile's, else 127.0.0.1:53.")
  var listen: [String] = []
  @Option(help: "A CoreDNS configuration. What it asks for and has no effect here is said on standard error.")
  var corefile: String?
  @Option(
    help: "Where metrics are served; `none` for nowhere. Default: the Corefile's `prometheus`, else none.")
  var metrics: String?

  func run() async throws {
    logging.apply()
    let plan = try plan()
    let dns = DNSServer(settings: plan.server, zone: .unready(plan.zone))
    try dns.start(listen: plan.listen)
    defer { dns.stop() }
    let pages = try StatusPages(metrics: plan.metrics, healthz: plan.health)
    defer { pages.stop() }
    let signal = Task.detached { await StopSignal.wait() }
    let informers = SharedInformers(api: try await cluster.api())
    let follower = ViewFollower()
    try await follower.start(
      informers, resources: [.services, .endpointSlices, .pods, .namespaces])
    var planner = ZonePlanner(
      settings: plan.zone, firstSerial: UInt32(truncatingIfNeeded: Timestamp.now().seconds))
    dns.swapZone(planner.plan(follower.view))
    let ready = try StatusPages(metrics: nil, healthz: plan.ready)
    let view = follower.view
    Logger(label: "dns").info(
      "zone served",
      metadata: [
        "zone": "\(plan.zone.zone)", "services": "\(view.services.count)",
        "listen": "\(plan.listen.map(\.description).joined(separator: ", "))",
      ])
    if cluster.manifests != nil { Self.complain(of: view) }
    let loop = Task.detached { [planner] in
      var planner = planner
      for await _ in follower.changes { dns.swapZone(planner.plan(follower.view)) }
    }
    _ = await signal.value
    ready.stop()
    follower.stop()
    loop.cancel()
    await loop.value
    await informers.stop()
  }

  /// An API server gives every Service an address; where a manifest says none, there is nothing to answer.
  private static func complain(of view: ClusterView) {
    let silent = view.services.values.filter {
      $0.kind != .externalName && !$0.isHeadless && $0.clusterIPs.isEmpty
    }
    guard !silent.isEmpty else { return }
    let names = silent.map { "\($0.key)" }.sorted().prefix(10).joined(separator: ", ")
    Terminal.complain("without a name: \(silent.count) Services whose manifests say no clusterIP: \(names)")
  }

  /// Everything the flags and the Corefile decide.
  private struct Plan {
    var zone = ZoneSettings()
    var server = DNSServerSettings()
    var listen: [SocketEndpoint] = []
    var metrics: SocketEndpoint?
    var health: SocketEndpoint?
    var ready: SocketEndpoint?
  }

  private func plan() throws(WeftError) -> Plan {
    var plan = Plan()
    if let corefile {
      let file = try read(corefile)
      guard let zone = file.zone else {
        throw WeftError(
          "CLI0031", object: corefile, cause: "no `kubernetes` line says which zone is the cluster's",
          next: "add: kubernetes cluster.local in-addr.arpa ip6.arpa")
      }
      plan.zone = zone
      plan.server = file.server
      let addresses = file.bindAddresses.isEmpty ? [IPAddress.v4(IPv4Address(bits: 0))] : file.bindAddresses
      plan.listen = file.ports.flatMap { port in addresses.map { SocketEndpoint($0, port) } }
      plan.metrics = try file.metricsAddress.map { text throws(WeftError) in try page(text, corefile) }
      plan.health = try file.healthAddress.map { text throws(WeftError) in try page(text, corefile) }
      plan.ready = try file.readyAddress.map { text throws(WeftError) in try page(text, corefile) }
    }
    if !listen.isEmpty {
      plan.listen = try listen.map { text throws(WeftError) in try endpoint(text, "--listen") }
    }
    if plan.listen.isEmpty { plan.listen = [SocketEndpoint(.v4(IPv4Address(127, 0, 0, 1)), 53)] }
    if let metrics { plan.metrics = metrics == "none" ? nil : try endpoint(metrics, "--metrics") }
    if corefile == nil, let upstreams = upstreams(besides: plan.listen) {
      plan.server.routes = [ForwardRoute(upstreams: upstreams)]
    }
    plan.zone.nameServerAddresses = plan.listen.map(\.address).filter { !$0.isUnspecified }
    return plan
  }

  private func read(_ path: String) throws(WeftError) -> Corefile {
    guard access(path, R_OK) == 0 else {
      throw WeftError(
        "CLI0030", object: path, cause: String(cString: strerror(errno)),
        next: "check the path: ls -l \(path)")
    }
    var environment: [String: String] = [:]
    for name in [
      "HOSTNAME", "NODE_NAME", "POD_NAME", "POD_IP", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT",
    ] {
      environment[name] = getenv(name).map { String(cString: $0) }
    }
    let file = try Corefile.read(ResolverFile.text(path), file: path, environment: environment) { resolver in
      access(resolver, R_OK) == 0 ? ResolverFile.text(resolver) : nil
    }
    for warning in file.warnings { Terminal.complain("\(path): \(warning)") }
    for (isAsked, line) in [
      (file.isReloading, "reload: the file is read at start only; restart to apply a change"),
      (file.isLoggingQueries, "log: queries are not logged; they are counted in the metrics"),
    ] where isAsked { Terminal.complain("\(path): \(line)") }
    return file
  }

  /// The machine's own name servers, never ourselves.
  private func upstreams(besides own: [SocketEndpoint]) -> [SocketEndpoint]? {
    let servers = nameServers(resolvConf: ResolverFile.text("/etc/resolv.conf")).filter { server in
      !own.contains {
        $0 == server || ($0.port == server.port && $0.address.isUnspecified && server.address.isLoopback)
      }
    }
    return servers.isEmpty ? nil : servers
  }

  /// An address as CoreDNS writes them: `:9153` means every address, `localhost:8080` loopback.
  private func page(_ text: String, _ file: String) throws(WeftError) -> SocketEndpoint {
    if text.hasPrefix(":") { return try endpoint("0.0.0.0\(text)", file) }
    if text.hasPrefix("localhost:") { return try endpoint("127.0.0.1\(text.dropFirst(9))", file) }
    return try endpoint(text, file)
  }

  private func endpoint(_ text: String, _ flag: String) throws(WeftError) -> SocketEndpoint {
    guard let endpoint = SocketEndpoint(text) else {
      throw WeftError(
        "CLI0004", object: "\(flag) \(text)", cause: "is no address and port",
        next: "write it as 127.0.0.1:53")
    }
    return endpoint
  }
}

extension IPAddress {
  /// 0.0.0.0 or [::]: every address of the machine.
  fileprivate var isUnspecified: Bool {
    switch self {
    case .v4(let address): address.isUnspecified
    case .v6(let address): address.isUnspecified
    }
  }
}
