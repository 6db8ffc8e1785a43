// The pods that wait for a node: who is next, who waits out a failure, who waits for something to change.
//
//   add -> [gated]  -> active (priority, then age) -> pop -> in flight -> bound
//                        ^   ^                                  |
//                        |   +-- back-off (1 s ... 10 s) <------+ failed, something changed meanwhile
//                        +------ unschedulable <----------------+ failed
//            an event that may help, or five minutes
//
// A value without a clock: every call says what time it is.

import ClusterObjects

/// A pod in the queue, with its history.
struct QueuedPod: Sendable {
  var pod: PodInfo
  /// When it entered the queue it is in.
  var since: ContinuousClock.Instant
  /// When it was first seen.
  let arrived: ContinuousClock.Instant
  var attempts = 0
  /// Failures that were nobody's lack of room: an API that does not answer.
  var isAfterError = false
  /// The plugins that rejected it last; an event that none of them cares for does not wake it.
  var plugins: Set<String> = []
  var backoffEnd: ContinuousClock.Instant?
  /// The last event that it has been considered with.
  var eventsSeen = 0
}

struct SchedulingQueue {
  enum Place: Equatable {
    case gated, active, backoff, unschedulable, inFlight
  }
  struct Settings: Sendable {
    var initialBackoff: Duration = .seconds(1)
    var maximumBackoff: Duration = .seconds(10)
    var flushPeriod: Duration = .seconds(300)
    /// With nothing else to do, a pod's back-off is cut short, unless it is for an error.
    var popsFromBackoff = true
  }
  /// Events kept for pods in flight; when more happen, whatever failed meanwhile is tried again.
  static let recentEventsMax = 1024

  let settings: Settings
  private var pods: [ObjectKey: (place: Place, entry: QueuedPod, ticket: Int)] = [:]
  private var active: Heap<(priority: Int64, since: ContinuousClock.Instant, ticket: Int, key: ObjectKey)>
  private var backoff: Heap<(end: ContinuousClock.Instant, ticket: Int, key: ObjectKey)>
  /// Those in back-off that may leave it early, the most important first.
  private var early: Heap<(priority: Int64, end: ContinuousClock.Instant, ticket: Int, key: ObjectKey)>
  private var waiting: Set<ObjectKey> = []
  private var nextTicket = 0
  private var inFlight = 0
  private var recentEvents: [ClusterEvent] = []
  private var eventsTotal = 0
  private(set) var counts: [Place: Int] = [:]

  init(_ settings: Settings = Settings()) {
    self.settings = settings
    active = Heap { a, b in
      if a.priority != b.priority { return a.priority > b.priority }
      return (a.since, a.ticket) < (b.since, b.ticket)
    }
    backoff = Heap { ($0.end, $0.ticket) < ($1.end, $1.ticket) }
    early = Heap { a, b in
      if a.priority != b.priority { return a.priority > b.priority }
      return (a.end, a.ticket) < (b.end, b.ticket)
    }
  }

  // MARK: What is known of pods

  /// A pod without a node, new or different. `isGated`: a PreEnqueue plugin keeps it out.
  mutating func add(_ pod: PodInfo, isGated: Bool = false, now: ContinuousClock.Instant) {
    guard let known = pods[pod.key] else {
      put(QueuedPod(pod: pod, since: now, arrived: now), isGated ? .gated : .active)
      return
    }
    var entry = known.entry
    let isDifferent = pod.differsForScheduling(from: entry.pod)
    let isReplaced = pod.uid != entry.pod.uid
    if isReplaced { entry = QueuedPod(pod: pod, since: now, arrived: now) }
    entry.pod = pod
    switch known.place {
    case .gated:
      entry.since = now
      put(entry, isGated ? .gated : .active)
    case .active: put(entry, isGated ? .gated : .active)
    case .inFlight: pods[pod.key]?.entry.pod = pod
    case .backoff, .unschedulable:
      if isGated {
        put(entry, .gated)
      } else if isDifferent || isReplaced {
        wake(entry, now)
      } else {
        pods[pod.key]?.entry = entry
      }
    }
  }

  /// Gone, bound, or somebody else's.
  mutating func remove(_ key: ObjectKey) {
    guard let known = pods[key] else { return }
    leave(known.place)
    pods[key] = nil
    waiting.remove(key)
    if known.place == .inFlight { endFlight() }
  }

  func place(of key: ObjectKey) -> Place? { pods[key]?.place }
  /// The newest state known of a pod in the queue.
  func pod(_ key: ObjectKey) -> PodInfo? { pods[key]?.entry.pod }

  // MARK: Taking and giving back

  /// The next pod to place; it is in flight until `remove` or `failed`.
  mutating func pop(now: ContinuousClock.Instant) -> QueuedPod? {
    endBackoffs(now)
    var entry = popActive()
    if entry == nil, settings.popsFromBackoff { entry = popBackoff() }
    guard var entry else { return nil }
    entry.attempts += 1
    entry.isAfterError = false
    entry.eventsSeen = eventsTotal
    put(entry, .inFlight)
    inFlight += 1
    return entry
  }

  /// The attempt failed. `helps` judges the events that happened meanwhile.
  mutating func failed(
    _ attempt: QueuedPod, plugins: Set<String>, isError: Bool = false, now: ContinuousClock.Instant,
    helps: (ClusterEvent, String, PodInfo) -> Bool
  ) {
    guard let known = pods[attempt.pod.key], known.place == .inFlight else { return }
    defer { endFlight() }
    if known.entry.pod.uid != attempt.pod.uid {
      put(QueuedPod(pod: known.entry.pod, since: now, arrived: now), .active)
      return
    }
    var entry = attempt
    let isDifferent = known.entry.pod.differsForScheduling(from: attempt.pod)
    entry.pod = known.entry.pod
    entry.plugins = plugins
    entry.isAfterError = isError || plugins.isEmpty
    entry.since = now
    entry.backoffEnd = now + delay(after: entry.attempts)
    let missed = eventsTotal - entry.eventsSeen
    let isHelped =
      missed > recentEvents.count
      || recentEvents.suffix(missed).contains { event in plugins.contains { helps(event, $0, entry.pod) } }
    if isError || isDifferent || isHelped || plugins.isEmpty {
      wake(entry, now)
    } else {
      put(entry, .unschedulable)
    }
  }

  /// Something happened; moves the pods that it may help. Returns how many.
  @discardableResult mutating func happened(
    _ event: ClusterEvent, now: ContinuousClock.Instant, helps: (ClusterEvent, String, PodInfo) -> Bool
  ) -> Int {
    if inFlight > 0 {
      if recentEvents.count >= Self.recentEventsMax { recentEvents.removeFirst(Self.recentEventsMax / 2) }
      recentEvents.append(event)
      eventsTotal += 1
    }
    var moved = 0
    for key in waiting {
      guard let entry = pods[key]?.entry else { continue }
      if entry.plugins.contains(where: { helps(event, $0, entry.pod) }) {
        wake(entry, now)
        moved += 1
      }
    }
    return moved
  }

  /// A pod that shall be tried at once, whatever it waits for.
  mutating func activate(_ key: ObjectKey, now: ContinuousClock.Instant) {
    guard var known = pods[key], known.place == .unschedulable || known.place == .backoff else { return }
    known.entry.since = now
    put(known.entry, .active)
  }

  /// Wakes what has waited for something to change for too long.
  mutating func flush(now: ContinuousClock.Instant) {
    for key in waiting {
      guard let entry = pods[key]?.entry, now - entry.since >= settings.flushPeriod else { continue }
      wake(entry, now)
    }
  }

  /// When to call `pop` again though nothing happened; nil: never.
  var nextDeadline: ContinuousClock.Instant? { backoff.first?.end }

  // MARK: Moving

  private func delay(after attempts: Int) -> Duration {
    var delay = settings.initialBackoff
    for _ in 1..<max(1, min(attempts, 64)) {
      delay = delay * 2
      if delay >= settings.maximumBackoff { return settings.maximumBackoff }
    }
    return delay
  }

  private mutating func wake(_ entry: QueuedPod, _ now: ContinuousClock.Instant) {
    var entry = entry
    entry.since = now
    if let end = entry.backoffEnd, end > now { put(entry, .backoff) } else { put(entry, .active) }
  }

  private mutating func put(_ entry: QueuedPod, _ place: Place) {
    let key = entry.pod.key
    if let old = pods[key] { leave(old.place) }
    counts[place, default: 0] += 1
    nextTicket += 1
    // A heap's element whose ticket is not the pod's any more is skipped when it comes up.
    pods[key] = (place, entry, nextTicket)
    waiting.remove(key)
    switch place {
    case .active: active.insert((entry.pod.priority, entry.since, nextTicket, key))
    case .backoff:
      let end = entry.backoffEnd ?? entry.since
      backoff.insert((end, nextTicket, key))
      if settings.popsFromBackoff, !entry.isAfterError {
        early.insert((entry.pod.priority, end, nextTicket, key))
        forgetLeft()
      }
    case .unschedulable: waiting.insert(key)
    case .gated, .inFlight: break
    }
  }

  private mutating func leave(_ place: Place) { counts[place, default: 0] -= 1 }

  private mutating func endFlight() {
    inFlight -= 1
    if inFlight <= 0 {
      inFlight = 0
      recentEvents = []
    }
  }

  private mutating func popActive() -> QueuedPod? {
    while let top = active.popFirst() {
      if let known = pods[top.key], known.ticket == top.ticket, known.place == .active { return known.entry }
    }
    return nil
  }

  private mutating func popBackoff() -> QueuedPod? {
    while let top = early.popFirst() {
      if let known = pods[top.key], known.ticket == top.ticket, known.place == .backoff { return known.entry }
    }
    return nil
  }

  /// Elements of pods that left the back-off otherwise do not pile up.
  private mutating func forgetLeft() {
    guard early.count > 2 * counts[.backoff, default: 0] + 64 else { return }
    var kept: [(priority: Int64, end: ContinuousClock.Instant, ticket: Int, key: ObjectKey)] = []
    while let top = early.popFirst() {
      if let known = pods[top.key], known.ticket == top.ticket, known.place == .backoff { kept.append(top) }
    }
    for element in kept { early.insert(element) }
  }

  private mutating func endBackoffs(_ now: ContinuousClock.Instant) {
    while let top = backoff.first {
      if let known = pods[top.key], known.ticket == top.ticket, known.place == .backoff {
        if top.end > now { return }
        var entry = known.entry
        entry.since = now
        _ = backoff.popFirst()
        put(entry, .active)
      } else {
        _ = backoff.popFirst()
      }
    }
  }
}
