// The userspace mode as a whole: workers that share one plan, and the addresses they take in. For hosts without nftables or
// without the rights to use it.

import Addresses
import ClusterObjects
import ClusterView
import Diagnostics
import Glibc
import KernelNetlink
import Logging
import Reactor
import Synchronization

/// Relays the connections of Services in this process. `sync` calls run one after the other.
///
/// Without rights it serves node ports; with CAP_NET_ADMIN ClusterIPs and load balancers' addresses too.
public actor UserspaceProxy {
  private let configuration: ProxyConfiguration
  private let threads: [ReactorThread]
  private let workers: [UserspaceWorker]
  private let metrics: UserspaceMetrics
  private let logger = Logger(label: "proxy")
  /// Opened in the namespace that the workers are in.
  private var addresses: LocalAddresses?
  /// Nil when sources are not to be kept, or may not be.
  private var transparency: TransparentRoutes?
  private var mayTakeAddresses = true
  /// What cannot be done for want of rights, told once each.
  public private(set) var lacks: [WeftError] = []
  private var complained: Set<QuarantinedObject> = []
  private var unopened: Set<Unopened> = []
  private let common: ProxyMetrics
  /// When each slice's last change was made; nil before the first synchronisation.
  private var triggerTimes: [ObjectKey: String]?

  /// An address and port that could not be listened on; everything else is.
  public struct Unopened: Sendable, Hashable {
    public var service: ObjectKey
    public var transport: TransportProtocol
    public var endpoint: SocketEndpoint
    public var reason: String
    /// For want of rights: ports below 1024, usually.
    public var isForbidden = false
  }

  /// What one synchronisation came to.
  public struct Report: Sendable {
    public var services = 0
    public var frontends = 0
    public var quarantined: [QuarantinedObject] = []
    public var unopened: [Unopened] = []
    /// Those of `unopened` that the synchronisation before did not name: to be told to users.
    public var newlyUnopened: [Unopened] = []
  }

  /// Starts the workers in the network namespace of the calling thread. They listen nowhere until the first `sync`.
  /// - Parameter keepsSources: endpoints behind a Local policy see the client's address (IP_TRANSPARENT), where the process may
  ///   do so. Their answers to it must be routed back through this host.
  public init(
    configuration: ProxyConfiguration, limits: UserspaceLimits = UserspaceLimits(),
    keepsSources: Bool = false,
    metrics: Metrics = .shared
  ) throws(SocketError) {
    self.configuration = configuration
    addresses = try? LocalAddresses()
    if keepsSources {
      do {
        transparency = try Self.transparentRoutes()
      } catch {
        lacks.append(Self.lacksTransparency(error))
      }
    }
    Descriptor.raiseLimit()
    let counted = UserspaceMetrics(metrics)
    self.metrics = counted
    common = ProxyMetrics(metrics)
    let affinity = AffinityTable(entriesMax: limits.affinityMax, metrics: metrics)
    let connections = RelayedConnections()
    var threads: [ReactorThread] = []
    for index in 0..<max(1, limits.workers) {
      threads.append(try ReactorThread(name: "relay-\(index)"))
    }
    for lack in lacks { Self.say(lack) }
    self.threads = threads
    workers = threads.map {
      UserspaceWorker(
        reactor: $0.reactor, limits: limits, metrics: counted, affinity: affinity, connections: connections)
    }
  }

  /// Puts a view in force; returns when every worker listens as it says.
  @discardableResult
  public func sync(_ view: ClusterView) async -> Report {
    let clock = ContinuousClock()
    let start = clock.now
    var plan = planUserspace(view, configuration)
    takeAddresses(&plan)
    routeAnswers(&plan)
    var failed: Set<Unopened> = []
    for worker in workers {
      let refused = await withCheckedContinuation { continuation in
        let wanted = plan
        let isAccepted = worker.reactor.submit { _ in continuation.resume(returning: worker.update(wanted)) }
        if !isAccepted { continuation.resume(returning: []) }
      }
      failed.formUnion(refused)
    }
    metrics.frontends.set(Double(plan.frontends.count - failed.count))
    let newly = failed.subtracting(unopened)
    for each in newly.sorted(by: { $0.endpoint < $1.endpoint }) {
      logger.error(
        "not listened on",
        metadata: [
          "service": "\(each.service)", "address": "\(each.endpoint)/\(each.transport.rawValue)",
          "reason": "\(each.reason)",
        ])
    }
    unopened = failed
    if let first = newly.first(where: \.isForbidden), !lacks.contains(where: { $0.code == "PRX0023" }) {
      lack(
        WeftError(
          "PRX0023", object: "\(first.endpoint)/\(first.transport.rawValue) of Service \(first.service)",
          cause: "may not be listened on (\(first.reason)): ports below 1024 need CAP_NET_BIND_SERVICE",
          next: "give the process the capability, or lower net.ipv4.ip_unprivileged_port_start"))
    }
    for left in plan.quarantined where !complained.contains(left) {
      logger.warning("left out", metadata: ["object": "\(left.object)", "reason": "\(left.reason)"])
    }
    complained = Set(plan.quarantined)
    common.record(plan, leftOut: plan.quarantined.count + failed.count, duration: clock.now - start)
    recordProgrammingLatency(view)
    return Report(
      services: plan.services, frontends: plan.frontends.count, quarantined: plan.quarantined,
      unopened: failed.sorted { $0.endpoint < $1.endpoint },
      newlyUnopened: newly.sorted { $0.endpoint < $1.endpoint })
  }

  /// From the change of a pod, as the EndpointSlice controller noted it, to listeners that know of it.
  private func recordProgrammingLatency(_ view: ClusterView) {
    let now = Timestamp.now()
    var seen: [ObjectKey: String] = [:]
    for slices in view.endpointSlices.values {
      for (key, slice) in slices {
        guard let text = slice.triggerTime else { continue }
        seen[key] = text
        // What was there at start was programmed by somebody else's standards.
        guard let before = triggerTimes, before[key] != text, let time = Timestamp.parse(text) else {
          continue
        }
        let seconds =
          Double(now.seconds - time.seconds) + Double(now.nanoseconds) * 1e-9 - Double(time.nanoseconds)
          * 1e-9
        common.programming.observe(max(0, seconds))
      }
    }
    triggerTimes = seen
  }

  /// Ends the workers; connections that run have `duration` to end by themselves. Addresses stay for the next start unless
  /// they are to be removed.
  public func stop(draining duration: Duration = .zero, removingAddresses: Bool = false) {
    for thread in threads { thread.reactor.stop(draining: duration) }
    for thread in threads { thread.join() }
    if removingAddresses {
      try? addresses?.apply([])
      try? transparency?.apply([])
    }
  }

  /// Takes away the addresses that an earlier run took in, in the namespace of the calling thread. False without the right.
  @discardableResult
  public static func removeAddresses() -> Bool {
    guard var addresses = try? LocalAddresses(), var routes = try? TransparentRoutes() else { return false }
    return (try? addresses.apply([])) != nil && (try? routes.apply([])) != nil
  }

  // MARK: - Rights

  /// Without the right to take addresses in, those that are not local are left out of the plan.
  private func takeAddresses(_ plan: inout UserspacePlan) {
    if mayTakeAddresses {
      do throws(NetlinkError) {
        guard addresses != nil else { throw NetlinkError(errno: EPERM, command: "open a netlink socket") }
        try addresses?.apply(plan.addresses)
        return
      } catch {
        guard error.errno == EPERM || error.errno == EACCES else {
          logger.error("addresses of services not taken in", metadata: ["error": "\(error)"])
          return
        }
        mayTakeAddresses = false
        lack(
          WeftError(
            "PRX0021", object: "addresses of Services",
            cause:
              "cannot be taken in without CAP_NET_ADMIN (\(error)): node ports are served, and addresses "
              + "that are local already",
            next:
              "run: ip route add local SERVICE-NETWORK dev lo, as root, or give the process the capability"))
      }
    }
    // Somebody else may have made them local, all at once.
    let foreign = plan.addresses.filter { ((try? addresses?.isLocal($0)) ?? false) == false }
    plan.frontends = plan.frontends.filter { !foreign.contains($0.key.endpoint.address) }
  }

  /// Answers to connections that go out as their client must come back here before the first one is made.
  private func routeAnswers(_ plan: inout UserspacePlan) {
    guard transparency != nil else { return }
    var backends: Set<TransparentRoutes.Backend> = []
    for (key, frontend) in plan.frontends where frontend.keepsSource {
      for target in frontend.targets { backends.insert(.init(transport: key.transport, endpoint: target)) }
    }
    do throws(NetlinkError) {
      try transparency?.apply(backends)
      plan.keepsSources = true
    } catch {
      logger.error("sources are not kept", metadata: ["error": "\(error)"])
    }
  }

  private static func transparentRoutes() throws -> TransparentRoutes {
    if let refusal = Sockets.transparencyRefusal() { throw refusal }
    var routes = try TransparentRoutes()
    try routes.probe()
    return routes
  }

  private static func lacksTransparency(_ error: any Error) -> WeftError {
    WeftError(
      "PRX0022", object: "the transparent source",
      cause: "is not to be had without CAP_NET_ADMIN (\(error)): endpoints see this host's address",
      next: "give the process the capability, or leave --transparent-source out")
  }

  private func lack(_ error: WeftError) {
    lacks.append(error)
    Self.say(error)
  }

  private static func say(_ error: WeftError) { Logger(label: "proxy").warning("\(error)") }
}
