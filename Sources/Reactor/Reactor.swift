// The event loop of the data path. One thread, one epoll, edge-triggered; everything but `submit` and `stop`
// belongs to that thread.
//
//   epoll_wait -> handlers of ready channels -> channels that asked to be called again -> timers -> mailbox
//
// An event carries slot and generation. A slot's generation grows when its channel closes, so an event that
// was queued for a closed connection never reaches the next owner of the descriptor number.

import CLinux
import Diagnostics
import Glibc
import Synchronization

/// What a channel is ready for. Edge-triggered: reported once, until a read or write would block.
public struct Readiness: OptionSet, Sendable {
  public let rawValue: UInt32
  public init(rawValue: UInt32) { self.rawValue = rawValue }
  public static let readable = Readiness(rawValue: 0x1)
  public static let writable = Readiness(rawValue: 0x4)
  public static let error = Readiness(rawValue: 0x8)
  /// Both directions are closed.
  public static let hangUp = Readiness(rawValue: 0x10)
  /// The peer has finished sending; unread bytes may remain.
  public static let peerFinished = Readiness(rawValue: 0x2000)
}

/// Owner of a channel: called on the reactor's thread.
public protocol ReadinessHandler: AnyObject {
  /// Read or write until it would block, or until a read returns less than was asked for.
  func ready(_ readiness: Readiness)
  /// The reactor is stopping: take no new work, finish what runs, then close the channel. Without an own
  /// version: `cancel`.
  func drain()
  /// Time for draining is over: close the channel now.
  func cancel()
}

extension ReadinessHandler {
  public func drain() { cancel() }
}

/// Bounds of one reactor.
public struct ReactorLimits: Sendable {
  /// Open channels.
  public var channelsMax = 131_072
  /// Set timers.
  public var timersMax = 262_144
  /// Closures waiting in the mailbox.
  public var mailboxMax = 4096
  /// Events taken from the kernel at once.
  public var eventsPerWait = 256
  /// Bytes of the scratch space that reads go through.
  public var scratchBytes = 256 << 10
  public init() {}
}

/// An event loop. Make one per core, each run by its own `ReactorThread`.
///
/// `@unchecked Sendable`: `submit`, `stop` and `name` may be used from any thread, everything else only on
/// the reactor's own thread (or before it runs). An assertion in debug builds says so.
public final class Reactor: @unchecked Sendable {
  public let name: String
  public let limits: ReactorLimits
  let metrics: ReactorMetrics
  private let epoll: Descriptor
  private let wakeUp: Descriptor

  private struct Slot {
    var generation: UInt32 = 0
    var handler: (any ReadinessHandler)?
  }
  private var slots: [Slot] = []
  private var freeSlots: [UInt32] = []
  private var again: [(token: UInt64, readiness: Readiness)] = []
  private var againRunning: [(token: UInt64, readiness: Readiness)] = []
  private var timers: Timers
  private let events: UnsafeMutablePointer<epoll_event>

  /// Monotonic time of the last wake-up, nanoseconds. Reading it costs nothing.
  public private(set) var now: UInt64
  /// Open channels.
  public private(set) var channelCount = 0
  /// Space that any handler may use during one call; its contents do not survive the call.
  public let scratch: UnsafeMutableRawBufferPointer
  /// 16 KiB buffers for bytes that must wait.
  public let buffers: BufferPool
  /// Whether `stop` was called: new work should not begin.
  public private(set) var isDraining = false

  private struct Mailbox {
    var items: [@Sendable (Reactor) -> Void] = []
    var isOpen = true
    var drainNanoseconds: UInt64?
  }
  private let mailbox = Mutex(Mailbox())
  private var drainDeadline: UInt64 = .max
  private let thread = Atomic<UInt>(0)

  private static let wakeUpToken = UInt64.max

  public init(name: String = "reactor", limits: ReactorLimits = ReactorLimits()) throws(SocketError) {
    let epoll = Descriptor(owning: epoll_create1(Int32(EPOLL_CLOEXEC)))
    guard epoll.isOpen else { throw SocketError("epoll_create1", errno) }
    let wakeUp = Descriptor(owning: eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK)))
    guard wakeUp.isOpen else { throw SocketError("eventfd", errno) }
    var event = epoll_event()
    event.events = EPOLLIN.rawValue
    event.data.u64 = Self.wakeUpToken
    guard epoll_ctl(epoll.raw, EPOLL_CTL_ADD, wakeUp.raw, &event) == 0 else {
      throw SocketError("epoll_ctl", errno)
    }
    self.name = name
    self.limits = limits
    self.epoll = epoll
    self.wakeUp = wakeUp
    metrics = ReactorMetrics(reactor: name)
    timers = Timers(countMax: limits.timersMax)
    events = .allocate(capacity: limits.eventsPerWait)
    scratch = .allocate(byteCount: limits.scratchBytes, alignment: 16)
    buffers = BufferPool(bufferBytes: 16 << 10, buffersMax: 65_536, keptMax: 1024)
    now = Self.monotonicNanoseconds()
  }

  deinit {
    events.deallocate()
    scratch.deallocate()
  }

  /// CLOCK_MONOTONIC in nanoseconds.
  public static func monotonicNanoseconds() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }

  /// Whether the caller is on this reactor's thread.
  public var isCurrent: Bool { thread.load(ordering: .relaxed) == UInt(pthread_self()) }

  private func assertCurrent() {
    assert(thread.load(ordering: .relaxed) == 0 || isCurrent, "\(name) used off its thread; use submit")
  }

  // MARK: - From other threads

  /// Runs `body` on the reactor's thread soon. False when the mailbox is full or the reactor has stopped:
  /// `body` will not run. Any thread.
  @discardableResult
  public func submit(_ body: @escaping @Sendable (Reactor) -> Void) -> Bool {
    let (accepted, wasEmpty) = mailbox.withLock { box -> (Bool, Bool) in
      guard box.isOpen, box.items.count < limits.mailboxMax else { return (false, false) }
      box.items.append(body)
      return (true, box.items.count == 1)
    }
    if !accepted { metrics.mailboxFull.increment() }
    if wasEmpty { wake() }
    return accepted
  }

  /// Asks the loop to end: handlers drain, at most for `duration`, then what is left is cancelled. Any
  /// thread; called twice, the shorter time wins.
  public func stop(draining duration: Duration = .zero) {
    mailbox.withLock { $0.drainNanoseconds = min($0.drainNanoseconds ?? .max, duration.nanoseconds) }
    wake()
  }

  private func wake() {
    var one: UInt64 = 1
    _ = write(wakeUp.raw, &one, 8)
  }

  // MARK: - Channels

  /// Registers a non-blocking descriptor for edge-triggered readiness, in both directions unless told otherwise.
  /// - Parameters:
  ///   - exclusive: for a listener that several reactors share: the kernel wakes one of them.
  ///   - readsOnly: nobody waits until it can be written again. A datagram socket becomes writable anew whenever somebody has read
  ///     what it sent, so that each answer would wake the loop a second time.
  /// - Throws: `SocketError` with `EMFILE` when `channelsMax` channels are open; the descriptor is closed
  ///   then.
  public func register(
    _ descriptor: consuming Descriptor, handler: any ReadinessHandler, exclusive: Bool = false,
    readsOnly: Bool = false
  ) throws(SocketError) -> Channel {
    assertCurrent()
    let index: UInt32
    if let free = freeSlots.popLast() {
      index = free
    } else if slots.count < limits.channelsMax {
      index = UInt32(slots.count)
      slots.append(Slot())
    } else {
      metrics.channelsFull.increment()
      throw SocketError("register", EMFILE)
    }
    let token = UInt64(slots[Int(index)].generation) << 32 | UInt64(index)
    var event = epoll_event()
    event.events = EPOLLIN.rawValue | EPOLLET.rawValue
    if exclusive {
      event.events |= EPOLLEXCLUSIVE.rawValue
    } else if !readsOnly {
      event.events |= EPOLLOUT.rawValue | EPOLLRDHUP.rawValue
    }
    event.data.u64 = token
    guard epoll_ctl(epoll.raw, EPOLL_CTL_ADD, descriptor.raw, &event) == 0 else {
      let code = errno
      freeSlots.append(index)
      throw SocketError("epoll_ctl", code)
    }
    slots[Int(index)].handler = handler
    channelCount += 1
    metrics.channels.add(1)
    return Channel(descriptor: descriptor, reactor: self, token: token)
  }

  func unregister(_ token: UInt64, raw: Int32) {
    assertCurrent()
    // A duplicate of the descriptor elsewhere would keep the registration alive after close(2).
    var event = epoll_event()
    _ = epoll_ctl(epoll.raw, EPOLL_CTL_DEL, raw, &event)
    let index = Int(token & 0xffff_ffff)
    slots[index].generation &+= 1
    // Released after the slot is consistent: the handler's end may close further channels.
    let handler = slots[index].handler
    slots[index].handler = nil
    freeSlots.append(UInt32(index))
    channelCount -= 1
    metrics.channels.add(-1)
    withExtendedLifetime(handler) {}
  }

  /// Has those handlers drain that are chosen, as `stop` has all of them. Cost: all slots.
  public func drain(where isChosen: (any ReadinessHandler) -> Bool) {
    assertCurrent()
    for index in slots.indices {
      guard let handler = slots[index].handler, isChosen(handler) else { continue }
      handler.drain()
    }
  }

  func callAgain(_ token: UInt64, _ readiness: Readiness) { again.append((token, readiness)) }

  private func dispatch(_ token: UInt64, _ readiness: Readiness) {
    let index = Int(token & 0xffff_ffff)
    guard index < slots.count, slots[index].generation == UInt32(token >> 32) else {
      metrics.staleEvents.increment()
      return
    }
    let handler = slots[index].handler
    handler?.ready(readiness)
  }

  // MARK: - Timers

  /// Calls `handler` once after `nanoseconds`. `.none` when `timersMax` timers are set (counted).
  public func setTimer(after nanoseconds: UInt64, tag: Int = 0, handler: any TimerHandler) -> TimerToken {
    assertCurrent()
    if let token = timers.set(deadline: now &+ nanoseconds, tag: tag, handler: handler) { return token }
    metrics.timersFull.increment()
    return .none
  }

  /// Calls `body` once after `duration`. Allocates; on a hot path give a handler.
  @discardableResult
  public func setTimer(after duration: Duration, _ body: @escaping () -> Void) -> TimerToken {
    setTimer(after: duration.nanoseconds, handler: ClosureTimer(body))
  }

  /// Forgets a timer. False when it has ended already.
  @discardableResult
  public func cancelTimer(_ token: TimerToken) -> Bool {
    assertCurrent()
    return timers.cancel(token)
  }

  // MARK: - The loop

  /// Runs until `stop`. The calling thread becomes the reactor's thread.
  public func run() {
    thread.store(UInt(pthread_self()), ordering: .relaxed)
    while true {
      let count = Int(epoll_wait(epoll.raw, events, Int32(limits.eventsPerWait), waitMilliseconds()))
      now = Self.monotonicNanoseconds()
      metrics.iterations.increment()
      var isWoken = false
      for index in 0..<max(0, count) {
        let token = events[index].data.u64
        if token == Self.wakeUpToken {
          isWoken = true
        } else {
          dispatch(token, Readiness(rawValue: events[index].events))
        }
      }
      if !again.isEmpty {
        swap(&again, &againRunning)
        for entry in againRunning { dispatch(entry.token, entry.readiness) }
        againRunning.removeAll(keepingCapacity: true)
      }
      while let (handler, tag) = timers.popEnded(now: now) { handler.timerEnded(tag: tag) }
      if isWoken { takeMail() }
      if isDraining, channelCount == 0 || now >= drainDeadline { break }
    }
    finish()
  }

  private func waitMilliseconds() -> Int32 {
    if !again.isEmpty { return 0 }
    var deadline = timers.nextDeadline ?? .max
    if isDraining { deadline = min(deadline, drainDeadline) }
    if deadline == .max { return -1 }
    if deadline <= now { return 0 }
    return Int32(min((deadline - now + 999_999) / 1_000_000, 3_600_000))
  }

  private func takeMail() {
    var discarded: UInt64 = 0
    _ = read(wakeUp.raw, &discarded, 8)
    let (items, drain) = mailbox.withLock { box in
      let items = box.items
      box.items = []
      return (items, box.drainNanoseconds)
    }
    for item in items { item(self) }
    guard let drain else { return }
    drainDeadline = min(drainDeadline, now &+ min(drain, 1 << 62))
    if !isDraining {
      isDraining = true
      for index in slots.indices {
        let handler = slots[index].handler
        handler?.drain()
      }
    }
  }

  private func finish() {
    for index in slots.indices {
      let handler = slots[index].handler
      handler?.cancel()
    }
    timers.removeAll()
    let left = mailbox.withLock { box in
      box.isOpen = false
      defer { box.items = [] }
      return box.items
    }
    for item in left { item(self) }
    thread.store(0, ordering: .relaxed)
  }
}

extension Duration {
  /// Whole nanoseconds, 0 for a negative duration.
  var nanoseconds: UInt64 {
    let (seconds, attoseconds) = components
    if seconds < 0 { return 0 }
    return UInt64(seconds) &* 1_000_000_000 &+ UInt64(max(0, attoseconds) / 1_000_000_000)
  }
}
