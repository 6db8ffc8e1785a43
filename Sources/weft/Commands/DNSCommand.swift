// `weft dns`: cluster DNS alone, against any API server or a folder of manifests, with CoreDNS's configuration if there is one.

import Addresses
import ArgumentParser
import CLinux
import DNS
import Diagnostics
import Glibc
import Logging

/// Serves unless a word says otherwise.
struct DNSCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "dns", abstract: "Cluster DNS alone, or what it says of a name.",
    subcommands: [DNSServeCommand.self, DNSQueryCommand.self], defaultSubcommand: DNSServeCommand.self)
}

struct DNSServeCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "serve", abstract: "Cluster DNS alone; Ctrl-C or SIGTERM ends it.",
    discussion: """
      Names that are not the cluster's go to the name servers of /etc/resolv.conf, or where the Corefile's `forward` says.
      Until the cluster has been read, its names are answered with SERVFAIL, never with a denial.
      """)

  @OptionGroup var cluster: ClusterOptions
  @OptionGroup var names: NameOptions
  @OptionGroup var logging: LogOptions
  @Option(
    help:
      "Where to listen, UDP and TCP; may be given several times. Default: the Corefile's, else 127.0.0.1:53.")
  var listen: [String] = []
  @Option(help: "A CoreDNS configuration. What it asks for and has no effect here is said on standard error.")
  var corefile: String?
  @Option(
    help:
      "Only reads this CoreDNS configuration and says what is wrong with it: exit code 0, or 1 with file and line."
  )
  var check: String?
  @Option(
    help: "Where metrics are served; `none` for nowhere. Default: the Corefile's `prometheus`, else none.")
  var metrics: String?
  @Option(
    help: ArgumentHelp(
      "Where the last known names are kept for a start while the API server is away; `none` for nowhere. Default: a file of the cluster's in \(LastNames.folder).",
      valueName: "file"))
  var snapshot: String?

  func run() async throws {
    logging.apply()
    weft_heap_keep_small()
    if let check { return try Self.check(check) }
    let plan = try plan()
    let namespaces = PodNamespaces()
    let dns = DNSServer(
      settings: plan.server, zone: .unready(plan.zone), namespaceOf: namespaces.namespace(of:))
    var isOpen = false
    func open() throws {
      if isOpen { return }
      isOpen = true
      try dns.start(listen: plan.listen, encrypted: plan.encrypted)
    }
    // Whoever gives the start a time would rather wait than have SERVFAIL.
    if plan.startupSeconds ?? 0 == 0 { try open() }
    let pages = try StatusPages(metrics: plan.metrics, healthz: plan.health)
    defer { pages.stop() }
    let signal = Task.detached { await StopSignal.wait() }
    // Most of the program that the start called is not called again: reading the cluster begins without it.
    weft_text_release()
    let feed = try NameFeed.begin(cluster, plan.access, wants: plan.wants)
    let keeper = ZoneKeeper(
      dns, settings: plan.zone, source: feed, namespaces: namespaces, followsPods: true)
    let lastNames = LastNames.choose(snapshot, cluster: feed.cluster)
    var ready: StatusPages?
    defer { ready?.stop() }
    if try await !isRead(feed, within: plan.startupSeconds, orServing: lastNames, keeper, open) {
      ready = try StatusPages(metrics: nil, healthz: plan.ready)
      guard try await Self.isRead(feed, before: signal) else { return await keeper.stop() }
    }
    lastNames?.served(nil)
    // Nor is what read it, while names are planned.
    weft_text_release()
    await keeper.swap()
    try open()
    if ready == nil { ready = try StatusPages(metrics: nil, healthz: plan.ready) }
    weft_heap_trim()
    weft_text_release()
    Logger(label: "dns").info(
      "zone served",
      metadata: [
        "zone": "\(plan.zone.zone)", "services": "\(feed.serviceCount)",
        "listen": "\(plan.listen.map(\.description).joined(separator: ", "))",
      ])
    if cluster.manifests != nil { Self.complain(of: feed) }
    let loop = Task.detached { await keeper.run() }
    let writing = Task.detached { await lastNames?.run { await keeper.feed } }
    let reload = Task.detached { await self.reload(plan, keeper) }
    let check = Task.detached { if let health = plan.health { await SelfCheck.run(health) } }
    defer { check.cancel() }
    _ = await signal.value
    reload.cancel()
    await reload.value
    ready?.stop()
    ready = nil
    if plan.lameduckSeconds > 0 {
      Logger(label: "dns").info(
        "answering for a while longer", metadata: ["seconds": "\(plan.lameduckSeconds)"])
      try? await Task.sleep(for: .seconds(plan.lameduckSeconds))
    }
    loop.cancel()
    await loop.value
    writing.cancel()
    await writing.value
    if let lastNames, let feed = await keeper.feed { lastNames.write(feed) }
    await keeper.stop()
  }

  /// Whether the cluster has been read. False: it has not, and names of an earlier run are served.
  /// - Parameter seconds: `startup_timeout`. When it is over ports are opened, whatever there is to answer.
  /// - Throws: `API0103` when it has not been read for a while longer, and there is no earlier run.
  private func isRead(
    _ feed: NameFeed, within seconds: Double?, orServing lastNames: LastNames?, _ keeper: ZoneKeeper,
    _ open: () throws -> Void
  ) async throws -> Bool {
    let patience = seconds ?? Corefile.startupSecondsDefault
    if (try? await feed.waitForSync(timeout: .seconds(patience))) != nil { return true }
    if let snapshot = lastNames?.read(for: feed) {
      await keeper.serve(snapshot)
      lastNames?.served(snapshot)
      try open()
      return false
    }
    Logger(label: "dns").warning(
      "the cluster has not been read in time; its names are SERVFAIL until it is",
      metadata: ["startup_timeout": "\(patience)s"])
    try open()
    try await feed.waitForSync(timeout: .seconds(25))
    return true
  }

  /// Waits until the cluster has been read; false when the signal came first.
  private static func isRead(_ feed: NameFeed, before signal: Task<StopSignal, Never>) async throws -> Bool {
    let reading = Task { try await feed.waitForSync() }
    let watch = Task {
      _ = await signal.value
      reading.cancel()
    }
    defer { watch.cancel() }
    do { try await reading.value } catch is CancellationError { return false }
    return true
  }

  /// Looks at a Corefile and says what came of it.
  private static func check(_ path: String) throws {
    do throws(WeftError) {
      let plan = try CorefilePlan.read(path)
      for warning in plan.warnings { Terminal.complain(warning) }
      let ports = Set((plan.listen + plan.encrypted.map(\.endpoint)).map(\.port)).sorted().map(String.init)
        .joined(separator: ", ")
      print(
        "\(path): read; zone \(plan.zone.zone), \(plan.server.blocks.count) server blocks, ports \(ports)")
    } catch {
      Terminal.complain("\(error)")
      throw ExitCode(1)
    }
  }

  /// Takes a changed Corefile over until the task is cancelled.
  private func reload(_ first: DNSPlan, _ keeper: ZoneKeeper) async {
    guard let corefile else { return }
    await CorefileWatch.run(corefile, first) { read in
      let plan = try plan(read)
      // What the new configuration has to know of the cluster besides is read before it serves.
      let known = await keeper.feed
      let isKnown = plan.wants == known?.wants && plan.access == known?.access
      let feed = isKnown ? nil : try await NameFeed.follow(cluster, plan.access, wants: plan.wants)
      try await keeper.replace(plan, source: feed)
      weft_heap_trim()
    }
  }

  /// An API server gives every Service an address; where a manifest says none, there is nothing to answer.
  private static func complain(of feed: NameFeed) {
    let silent = feed.withoutAddress
    guard !silent.isEmpty else { return }
    let names = silent.map { "\($0)" }.prefix(10).joined(separator: ", ")
    Terminal.complain("without a name: \(silent.count) Services whose manifests say no clusterIP: \(names)")
  }

  /// Everything the flags and the Corefile decide.
  private func plan() throws(WeftError) -> DNSPlan {
    let read = try corefile.map { path throws(WeftError) in try CorefilePlan.read(path) }
    for warning in read?.warnings ?? [] { Terminal.complain(warning) }
    return try plan(read)
  }

  private func plan(_ read: DNSPlan?) throws(WeftError) -> DNSPlan {
    var plan = read ?? DNSPlan()
    if !listen.isEmpty {
      plan.listen = try listen.map { text throws(WeftError) in try CorefilePlan.endpoint(text, "--listen") }
    }
    if plan.listen.isEmpty, plan.encrypted.isEmpty {
      plan.listen = [SocketEndpoint(.v4(IPv4Address(127, 0, 0, 1)), 53)]
    }
    if let metrics {
      plan.metrics = metrics == "none" ? nil : try CorefilePlan.endpoint(metrics, "--metrics")
    }
    if read == nil, let upstreams = upstreams(besides: plan.listen) {
      plan.server.routes = [ForwardRoute(upstreams: upstreams)]
    }
    names.apply(to: &plan.zone)
    plan.zone.nameServerPorts = Set(plan.listen.map(\.port))
    plan.zone.nameServerAddresses = OwnAddresses.asked(at: plan.listen + plan.encrypted.map(\.endpoint))
    return plan
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
}
