// One of several processes leads: who holds a Lease and renews it. The others wait for it to lapse.

import ClusterObjects
import Diagnostics
import Logging

/// Elects a leader over a `coordination.k8s.io/v1` Lease, with client-go's rules: a lease counts from when
/// *we* saw it change, so clocks need not agree. A leader counts from before it asked for its last renewal, however long
/// the answer took, and others from when they saw it: with `renewDeadline` below `duration` two never lead, while clocks
/// run equally fast to within their ratio. After a leader's death another leads within `duration` and `retryPeriod`.
public struct LeaderElection: Sendable {
  public var lease: ObjectKey
  public var identity: String
  public var duration: Duration = .seconds(15)
  /// A leader that could not renew for this long stops leading; below `duration`, so that two never lead.
  public var renewDeadline: Duration = .seconds(10)
  public var retryPeriod: Duration = .seconds(2)
  /// Time since some moment, by a clock that nobody sets.
  var now: @Sendable () -> Duration = {
    let origin = ContinuousClock.now
    return { ContinuousClock.now - origin }
  }()
  private let api: any ClusterAPI
  private let logger = Logger(label: "leader-election")
  private let isLeader: Gauge
  private let slowPaths: Counter

  /// The metrics `leader_election_…` are labelled with the lease's name.
  public init(api: any ClusterAPI, lease: ObjectKey, identity: String, metrics: Metrics = .shared) {
    self.api = api
    self.lease = lease
    self.identity = identity
    isLeader = metrics.gauge(
      "leader_election_master_status", "1 while this process holds the lease, else 0.", labels: ["name"]
    ).child(lease.name)
    slowPaths = metrics.counter(
      "leader_election_slowpath_total", "Renewals that had to read the lease anew.", labels: ["name"]
    ).child(lease.name)
  }

  /// What one candidate knows of the lease.
  struct View {
    /// The record last seen, and when it was first seen so.
    var record: JSON?
    var since: Duration = .zero
    /// The lease as this candidate last wrote it.
    var held: JSON?
  }

  /// Waits until this process leads, runs `lead`, and cancels it when leadership is lost. Returns when
  /// `lead` has returned; the lease is then given back. Throws `CancellationError` when cancelled before
  /// leading. What `lead` writes goes through a `LeaderAPI`.
  public func run(_ lead: @escaping @Sendable (Leadership) async -> Void) async throws {
    let leadership = Leadership(now: now)
    isLeader.set(0)
    let acquired = try await stand(leadership)
    isLeader.set(1)
    defer { isLeader.set(0) }
    logger.info("leading", metadata: ["lease": "\(lease)", "identity": "\(identity)"])
    let term = leadership.term
    await withTaskGroup(of: Void.self) { group in
      group.addTask { await lead(leadership) }
      group.addTask {
        var view = acquired
        var pause = retryPeriod
        while !Task.isCancelled, leadership.isHeld {
          try? await Task.sleep(for: pause)
          pause = await step(&view, leadership)
          // Another led in between: what was begun before is over.
          if leadership.term != term { leadership.giveUp() }
        }
      }
      // Beside the renewals: one that does not come back must not keep the lead.
      group.addTask {
        while !Task.isCancelled, leadership.isHeld { try? await Task.sleep(for: leadership.remaining) }
      }
      await group.next()
      group.cancelAll()
    }
    leadership.giveUp()
    await release()
  }

  /// Looks until this process leads. Between its looks it follows the lease: a renewal counts from when it was written, not from a
  /// look up to a `retryPeriod` later, and a lease that is given back is taken at once. Without a watch the looks alone do it.
  private func stand(_ leadership: Leadership) async throws -> View {
    let (news, wake) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
    // Not awaited: a watch that does not come back must not keep who leads from leading.
    let follower = Task { await follow { wake.yield() } }
    defer { follower.cancel() }
    var view = View()
    var arrivals = news.makeAsyncIterator()
    while true {
      let pause = await step(&view, leadership)
      if leadership.isHeld { return view }
      let alarm = Task {
        try await Task.sleep(for: pause)
        wake.yield()
      }
      defer { alarm.cancel() }
      _ = await arrivals.next()
      try Task.checkCancellation()
    }
  }

  /// Tells of each change of the lease, until cancelled or refused.
  private func follow(_ tell: @Sendable () -> Void) async {
    let options = ListOptions(fieldSelector: "metadata.name=\(lease.name)")
    while !Task.isCancelled {
      do {
        let events = try await api.watch(.leases, namespace: lease.namespace, options: options)
        for try await _ in events { tell() }
      } catch let error as APIStatusError where [401, 403, 405].contains(error.code) {
        logger.debug("lease is not followed", metadata: ["lease": "\(lease)", "error": "\(error)"])
        return
      } catch {
        logger.debug("lease is not followed now", metadata: ["lease": "\(lease)", "error": "\(error)"])
      }
      try? await Task.sleep(for: retryPeriod)
    }
  }

  /// Tries once, and says when to try again.
  func step(_ view: inout View, _ leadership: Leadership) async -> Duration {
    if await tryAcquire(&view) {
      leadership.hold(until: view.since + renewDeadline, in: view.held.flatMap { LeaderTerm($0) })
      return retryPeriod
    }
    let holder = view.record?["holderIdentity"]?.string ?? ""
    if !holder.isEmpty, holder != identity { leadership.giveUp() }
    // Not later than the lease lapses, if it lapses.
    let rest = view.since + duration - now()
    return rest > .zero ? min(retryPeriod, rest) : retryPeriod
  }

  /// Takes or renews the lease if it is ours, free or lapsed. A holder writes what it wrote last with a new time; it
  /// reads the lease again only if that is refused.
  func tryAcquire(_ view: inout View) async -> Bool {
    if let held = view.held, now() - view.since < duration {
      do {
        try await write(held, &view)
        return true
      } catch {
        slowPaths.increment()
        view.held = nil
        logger.debug("lease is read again", metadata: ["lease": "\(lease)", "error": "\(error)"])
      }
    }
    do {
      return try await readAndAcquire(&view)
    } catch {
      logger.debug("lease not written", metadata: ["lease": "\(lease)", "error": "\(error)"])
      return false
    }
  }

  private func readAndAcquire(_ view: inout View) async throws -> Bool {
    let object: JSON
    do {
      object = try await api.get(.leases, namespace: lease.namespace, name: lease.name)
    } catch let error as APIStatusError where error.isNotFound {
      let time = JSON(Timestamp.nowMicroText())
      let began = now()
      let fresh: JSON = [
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": ["namespace": JSON(lease.namespace), "name": JSON(lease.name)],
        "spec": [
          "holderIdentity": JSON(identity), "leaseDurationSeconds": JSON(duration.components.seconds),
          "acquireTime": time, "renewTime": time, "leaseTransitions": 0,
        ],
      ]
      let made = try await api.create(.leases, fresh, options: WriteOptions())
      view = View(record: made.spec, since: began, held: made)
      return true
    }
    if view.record != object.spec {
      view.record = object.spec
      view.since = now()
    }
    let holder = object.at("spec", "holderIdentity")?.string ?? ""
    if holder != identity, !holder.isEmpty, now() - view.since < duration { return false }
    try await write(object, &view)
    return true
  }

  /// Writes the lease as ours from now on, based on what it was.
  private func write(_ object: JSON, _ view: inout View) async throws {
    var object = object
    let time = JSON(Timestamp.nowMicroText())
    if object.at("spec", "holderIdentity")?.string != identity {
      object.set(time, at: "spec", "acquireTime")
      let transitions = object.at("spec", "leaseTransitions")?.int ?? 0
      object.set(JSON(transitions + 1), at: "spec", "leaseTransitions")
    }
    object.set(JSON(identity), at: "spec", "holderIdentity")
    object.set(JSON(duration.components.seconds), at: "spec", "leaseDurationSeconds")
    object.set(time, at: "spec", "renewTime")
    // Counted from before the write: others count from when they see it.
    let began = now()
    let written = try await api.update(.leases, object, subresource: nil, options: WriteOptions())
    view = View(record: written.spec, since: began, held: written)
  }

  private func release() async {
    let api = api
    let lease = lease
    let identity = identity
    // Also when this task was cancelled: the next leader should not have to wait for the lease to lapse.
    await Task.detached {
      _ = try? await api.modify(.leases, lease) { current in
        guard current.at("spec", "holderIdentity")?.string == identity else { return nil }
        var changed = current
        changed.set("", at: "spec", "holderIdentity")
        return changed
      }
    }.value
  }
}
