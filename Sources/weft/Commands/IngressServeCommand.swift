// `weft ingress serve`: the ingress alone, against any API server or a folder of manifests, with ingress-nginx's names for what
// it is told.

import Addresses
import ArgumentParser
import ClusterClient
import ClusterObjects
import ClusterView
import DataPlane
import Diagnostics
import GatewayAPI
import Ingress
import Logging

struct IngressServeCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "serve", abstract: "The ingress alone; Ctrl-C or SIGTERM ends it.",
    discussion: """
      Strangers' bytes are read by a process of its own, without capabilities, credentials or environment. SIGUSR1 opens the access
      log anew; SIGUSR2 has the program that now stands here go on in the place of this one, without a refused connection.
      To take over from ingress-nginx: --ingress-class nginx --controller-class k8s.io/ingress-nginx.
      """)

  @OptionGroup var cluster: ClusterOptions
  @OptionGroup var logging: LogOptions
  @Option(help: "Where HTTP is served.") var http = "0.0.0.0:80"
  @Option(help: "Where HTTPS is served; `none` for nowhere.") var https = "0.0.0.0:443"
  @Option(help: "Where /metrics and /healthz are served; `none` for nowhere.") var metrics = "0.0.0.0:10254"
  @OptionGroup var options: IngressOptions
  @Option(help: "The class that is served also without an IngressClass of this name.") var ingressClass =
    "weft"
  @Option(help: "IngressClasses with this `spec.controller` are served.") var controllerClass =
    ingressControllerName
  @Flag(help: "Serve Ingresses without a class too, unless a default class is another's.")
  var watchIngressWithoutClass = false
  @Option(help: "Only Ingresses of this namespace, with its Services and Secrets: a Role is enough.")
  var watchNamespace: String?
  @Option(help: "NAMESPACE/NAME of the Service in front, whose addresses Ingresses' statuses get.")
  var publishService: String?
  @Option(help: "Addresses or names, with commas, that Ingresses' statuses get. Default: this machine's.")
  var publishStatusAddress: String?
  @Option(help: ArgumentHelp("Whether statuses are written.", valueName: "true|false"))
  var updateStatus = true
  @Option(
    help: ArgumentHelp(
      "Whether Ingresses' statuses are taken back when this ends.", valueName: "true|false"))
  var updateStatusOnShutdown = true
  @Option(
    help:
      "The zone that this machine stands in (trafficDistribution). Default: that of the Node of its name, where it may be read."
  )
  var zone: String?
  @Option(
    help: ArgumentHelp(
      "Whether Gateways of classes with `spec.controllerName: \(gatewayControllerName)` are served. Default: where --publish-… gives all that run the same address, or manifests are read.",
      valueName: "true|false"))
  var gatewayApi: Bool?

  /// What is read of a cluster.
  static let resources: [GroupVersionResource] = [.ingresses, .ingressClasses, .services, .endpointSlices]
  /// How long the first lists may take before it is said what is missing; they are waited for all the same.
  private static let patience: Duration = .seconds(30)

  func run() async throws {
    logging.apply()
    let settings = try settings()
    let source = try statusSource()
    let endpoints = (http: try Self.endpoint(http, "--http"), https: try Self.optional(https, "--https"))
    let status = try Self.optional(metrics, "--metrics")
    let api = try await cluster.api()
    let signal = Task.detached { await StopSignal.wait() }
    let process = try IngressProcess.start(
      http: endpoints.http, https: endpoints.https, accessLog: settings.accessLog,
      proxy: settings.proxy)
    var isHandedOver = false
    defer { if !isHandedOver { process.stop() } }
    let pages = try StatusPages(metrics: status, healthz: nil)
    defer { pages.stop() }
    var gateways: GatewaySettings?
    // Classes belong to no namespace: who watches one sees no Gateway.
    let isAlone = publishService != nil || publishStatusAddress != nil || cluster.manifests != nil
    if gatewayApi ?? isAlone, watchNamespace == nil {
      var published = Self.addresses(of: source) ?? []
      if published.isEmpty { published = try NodeAddress.all(besides: "").map(\.description) }
      var made = GatewaySettings(
        http: endpoints.http, https: endpoints.https, own: [status], addresses: published)
      made.writesStatuses = updateStatus && cluster.manifests == nil
      gateways = made
    }
    let work = Task { [gateways] in try await follow(api, process, settings, source, gateways, signal) }
    let ended = Task {
      let kind = await signal.value
      work.cancel()
      return kind
    }
    defer { ended.cancel() }
    do { try await work.value } catch is CancellationError {}
    guard await ended.value == .upgrade else { return }
    isHandedOver = true
    throw Upgrade.become(leaving: process.handOver())
  }

  private func follow(
    _ api: any ClusterAPI, _ process: IngressProcess, _ settings: IngressSettings,
    _ source: IngressStatusSource?, _ gateways: GatewaySettings?, _ signal: Task<StopSignal, Never>
  ) async throws {
    let informers = SharedInformers(api: api)
    for resource in Self.resources { _ = informers.informer(settings.scope.informerScope(resource)) }
    try await Self.firstLists(informers)
    var placed = settings
    placed.zone = await nodeZone(api)
    let follower = ViewFollower()
    let keeper = IngressKeeper(
      process, informers: informers, settings: placed, nodeName: NodeAddress.hostName)
    let status = source.map {
      IngressStatusKeeper(api: api, informers: informers, scope: settings.scope, source: $0)
    }
    let gatewayKeeper = gateways.map {
      GatewayKeeper(api: api, informers: informers, settings: $0) { plan, input in
        await keeper.take(plan, input)
      }
    }
    if gatewayKeeper != nil { await follower.followGateways(informers, with: [.namespaces]) }
    try await follower.start(
      informers, resources: Self.resources, scope: { settings.scope.informerScope($0) })
    for await _ in follower.changes {
      let view = follower.view
      await keeper.take(view)
      await status?.take(view)
      if publishService != nil,
        let found = Self.addresses(of: (await status?.current).map { IngressStatusSource.addresses($0) })
      {
        await gatewayKeeper?.take(addresses: found)
      }
      await gatewayKeeper?.take(view)
    }
    follower.stop()
    await gatewayKeeper?.stop()
    // The program that goes on in our place serves on.
    let goesOn = await signal.value == .upgrade
    await status?.stop(takesBack: updateStatusOnShutdown && !goesOn)
    await keeper.stop()
    await informers.stop()
  }

  /// Waits for the first list of everything, however long the API server is away. Connections wait in the kernel meanwhile.
  private static func firstLists(_ informers: SharedInformers) async throws {
    while true {
      do {
        return try await informers.waitForSync(timeout: patience)
      } catch let error as WeftError {
        try Task.checkCancellation()
        Logger(label: "ingress").warning("waiting for the API server", metadata: ["reason": "\(error)"])
      }
    }
  }

  /// Those that are addresses, for Gateways; nil when there are none.
  private static func addresses(of source: IngressStatusSource?) -> [String]? {
    guard case .addresses(let all)? = source else { return nil }
    let found = all.compactMap { if case .ip(let text) = $0 { text } else { nil } }
    return found.isEmpty ? nil : found
  }

  /// Where this machine stands. A Node keeps its zone for as long as it lives, so it is asked for once; who may not, or is none of
  /// the cluster, knows nothing of zones.
  private func nodeZone(_ api: any ClusterAPI) async -> String? {
    if let zone { return zone.isEmpty ? nil : zone }
    let node = try? await api.get(.nodes, namespace: "", name: NodeAddress.hostName)
    return node?.labels["topology.kubernetes.io/zone"]
  }

  // MARK: - Flags

  private func settings() throws(WeftError) -> IngressSettings {
    var settings = try options.settings()
    settings.scope = IngressScope(
      controller: controllerClass, className: ingressClass.isEmpty ? nil : ingressClass,
      servesUnclassed: watchIngressWithoutClass, namespace: watchNamespace ?? "")
    return settings
  }

  /// Nil: none are written.
  private func statusSource() throws(WeftError) -> IngressStatusSource? {
    guard updateStatus, cluster.manifests == nil else { return nil }
    if let publishService {
      return .service(try IngressOptions.key(publishService, "--publish-service", "Service"))
    }
    if let publishStatusAddress {
      let addresses = publishStatusAddress.split(separator: ",").map {
        String($0.drop { $0 == " " }.prefix { $0 != " " })
      }
      guard !addresses.isEmpty,
        addresses.allSatisfy({ IPAddress($0) != nil || Names.subdomainProblem($0) == nil })
      else {
        throw WeftError(
          "CLI0004", object: "--publish-status-address \(publishStatusAddress)",
          cause: "is no list of addresses and names",
          next: "write it as 192.0.2.1,lb.example.com")
      }
      return .addresses(Set(addresses.map { IngressAddress($0) }).sorted())
    }
    let own = try NodeAddress.all(besides: "")
    return own.isEmpty ? nil : .addresses(own.map { IngressAddress("\($0)") })
  }

  private static func optional(_ text: String, _ flag: String) throws(WeftError) -> SocketEndpoint? {
    text == "none" ? nil : try endpoint(text, flag)
  }

  private static func endpoint(_ text: String, _ flag: String) throws(WeftError) -> SocketEndpoint {
    guard let endpoint = SocketEndpoint(text) else {
      throw WeftError(
        "CLI0004", object: "\(flag) \(text)", cause: "is no address and port",
        next: "write it as 0.0.0.0:8080")
    }
    return endpoint
  }
}
