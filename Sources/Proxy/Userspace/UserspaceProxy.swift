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
  /// Opened in the namespace that the workers are in; nil without the right.
  private var addresses: LocalAddresses?
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
    Self.raiseDescriptorLimit()
    let counted = UserspaceMetrics(metrics)
    self.metrics = counted
    common = ProxyMetrics(metrics)
    let affinity = AffinityTable(entriesMax: limits.affinityMax, metrics: metrics)
    var threads: [ReactorThread] = []
    for index in 0..<max(1, limits.workers) {
      threads.append(try ReactorThread(name: "relay-\(index)"))
    }
    self.threads = threads
    workers = threads.map {
      UserspaceWorker(
        reactor: $0.reactor, limits: limits, metrics: counted, affinity: affinity, keepsSources: keepsSources)
    }
  }

  /// Puts a view in force; returns when every worker listens as it says.
  @discardableResult
  public func sync(_ view: ClusterView) async -> Report {
    let clock = ContinuousClock()
    let start = clock.now
    var plan = planUserspace(view, configuration)
    takeAddresses(&plan)
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

  /// Without the right to take addresses in, what is not the node's own is left out of the plan.
  private func takeAddresses(_ plan: inout UserspacePlan) {
    if addresses != nil {
      do throws(NetlinkError) {
        try addresses?.apply(plan.addresses)
        return
      } catch {
        guard error.errno == EPERM || error.errno == EACCES else {
          logger.error("addresses of services not taken in", metadata: ["error": "\(error)"])
          return
        }
        addresses = nil
        logger.warning(
          "only node ports are served: ClusterIPs need CAP_NET_ADMIN", metadata: ["error": "\(error)"])
      }
    }
    let foreign = plan.addresses
    plan.frontends = plan.frontends.filter { !foreign.contains($0.key.endpoint.address) }
  }

  /// Ends the workers; connections that run have `duration` to end by themselves. Addresses stay for the next start unless
  /// they are to be removed.
  public func stop(draining duration: Duration = .zero, removingAddresses: Bool = false) {
    for thread in threads { thread.reactor.stop(draining: duration) }
    for thread in threads { thread.join() }
    if removingAddresses { try? addresses?.apply([]) }
  }

  /// Takes away the addresses that an earlier run took in, in the namespace of the calling thread. False without the right.
  @discardableResult
  public static func removeAddresses() -> Bool {
    guard var addresses = try? LocalAddresses() else { return false }
    return (try? addresses.apply([])) != nil
  }

  /// A connection takes two descriptors and while bytes wait two more; the soft limit of 1,024 is for select(2).
  private static func raiseDescriptorLimit() {
    var limit = rlimit()
    guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0, limit.rlim_cur < limit.rlim_max
    else { return }
    limit.rlim_cur = limit.rlim_max
    _ = setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
  }
}
