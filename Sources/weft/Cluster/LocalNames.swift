// Cluster DNS of a node: on the Service address, by the view that the node's other parts have, as a Corefile says, and says anew.

import Addresses
import DNS
import Diagnostics
import Logging

/// What this node serves of names, and where.
struct LocalNames: Sendable {
  let server: DNSServer
  private let settings: LocalClusterSettings
  /// As it is served.
  private let plan: DNSPlan

  /// Listens. Names of the cluster are SERVFAIL until a keeper has their first zone.
  /// - Throws: what is wrong with the Corefile; `DNS0001` when the address cannot be had.
  init(
    _ settings: LocalClusterSettings, _ read: DNSPlan, _ namespaces: PodNamespaces, watch: AnswerWatch
  ) throws(WeftError) {
    self.settings = settings
    var plan = read
    plan.server.answerWatch = watch
    server = DNSServer(
      settings: plan.server, zone: .unready(plan.zone), namespaceOf: namespaces.namespace(of:))
    plan.listen = try Self.listen(server, settings.dnsAddress, plan.encrypted)
    self.plan = plan
  }

  /// The settings of its zone.
  var zone: ZoneSettings { plan.zone }

  /// What a node serves: as the Corefile says, or the cluster's names and the machine's own name servers.
  static func read(_ settings: LocalClusterSettings) throws(WeftError) -> DNSPlan {
    var plan = DNSPlan()
    if let path = settings.corefile {
      plan = try CorefilePlan.read(path)
      for warning in plan.warnings { Logger(label: "dns").warning("\(warning)") }
    } else {
      plan.server.routes = upstreams().map { [ForwardRoute(upstreams: $0)] } ?? []
    }
    return own(plan, settings)
  }

  /// Takes a changed Corefile over until the task is cancelled.
  func reload(_ keeper: ZoneKeeper) async {
    guard let path = settings.corefile else { return }
    await CorefileWatch.run(path, plan) { read in
      var next = Self.own(read, settings)
      next.server.answerWatch = plan.server.answerWatch
      next.listen = plan.listen
      try await keeper.replace(next)
    }
  }

  /// A plan with what a node decides itself.
  private static func own(_ read: DNSPlan, _ settings: LocalClusterSettings) -> DNSPlan {
    var plan = read
    if plan.access != Corefile.Access() || plan.startupSeconds != nil {
      Logger(label: "dns").warning(
        "endpoint, tls, kubeconfig, apiserver_… and startup_timeout count for `weft dns` alone: a node has its own view",
        metadata: ["file": "\(settings.corefile ?? "")"])
    }
    if !plan.unusedOnNode.isEmpty {
      Logger(label: "dns").warning(
        "no effect on a node: its metrics are at --metrics, its health at --healthz",
        metadata: [
          "file": "\(settings.corefile ?? "")", "plugins": "\(plan.unusedOnNode.joined(separator: ", "))",
        ])
    }
    for index in plan.encrypted.indices { plan.encrypted[index].endpoint.address = settings.dnsAddress }
    plan.encrypted = Array(Set(plan.encrypted)).sorted { $0.endpoint < $1.endpoint }
    plan.zone.nameServerAddresses = [settings.dnsAddress]
    return plan
  }

  /// On the Service address and, when nobody else has it, on loopback.
  private static func listen(
    _ server: DNSServer, _ address: IPAddress, _ encrypted: [EncryptedPort]
  ) throws(WeftError) -> [SocketEndpoint] {
    let service = SocketEndpoint(address, 53)
    let loopback = SocketEndpoint(.v4(IPv4Address(127, 0, 0, 1)), 53)
    do throws(WeftError) {
      try server.start(listen: [service, loopback], encrypted: encrypted)
      return [service, loopback]
    } catch {
      guard error.code == "DNS0001" else { throw error }
      Logger(label: "dns").warning("not on loopback", metadata: ["reason": "\(error.cause)"])
      try server.start(listen: [service], encrypted: encrypted)
      return [service]
    }
  }

  /// The machine's own name servers, for names that are not the cluster's. Never ourselves.
  private static func upstreams() -> [SocketEndpoint]? {
    let servers = nameServers(resolvConf: ResolverFile.text("/etc/resolv.conf")).filter {
      !$0.address.isLoopback
    }
    return servers.isEmpty ? nil : servers
  }
}
