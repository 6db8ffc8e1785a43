// Told packets and connections that begin and end, read by one thread from two netlink sockets.
//
//   rule `log … group 5` ──> nfnetlink_log ─┐
//   conntrack NEW, DESTROY ──> ctnetlink ───┴─> this thread ─> handler, a batch at a time
//
// The sockets' receive buffers are the only queues: what does not fit is lost, and counted.

import CLinux
import CNetfilter
import Glibc
import Synchronization

/// Reads until `stop`. One reader an nflog group and network namespace; any number may read connections.
public final class NetfilterEvents: Sendable {
  /// What one wake-up found, in the kernel's order within each kind.
  public struct Batch: Sendable {
    public var flows: [FlowRecord] = []
    public var packets: [LoggedPacket] = []
    public var isEmpty: Bool { flows.isEmpty && packets.isEmpty }
  }

  /// What the kernel dropped for want of room, since the start.
  public struct Losses: Sendable, Hashable {
    /// Events of connections.
    public var flows: UInt64 = 0
    /// Told packets.
    public var packets: UInt64 = 0
  }

  /// Bound on records of a batch: what is left in the sockets comes with the next.
  public static let batchMax = 4096
  /// Room in the kernel for each socket: at 20,000 connections a second, half a second of both their events.
  public static let receiveBytes: Int32 = 16 << 20
  /// While events stream in they are gathered for so long: fewer and larger batches.
  static let pauseMicroseconds: UInt32 = 2000

  // Of the one thread that reads.
  nonisolated(unsafe) private let log: NftablesSocket?
  nonisolated(unsafe) private let tracking: NftablesSocket?
  private let wakeUp: Int32
  private let isStopping = Atomic<Bool>(false)
  private let lost = Mutex(Losses())
  private let thread = Mutex<pthread_t?>(nil)

  /// Opens the sockets in the network namespace of the calling thread; `start` reads them.
  /// - Parameters:
  ///   - group: the nflog group of told packets; nil: none are read. Throws EBUSY when another program reads it.
  ///   - withFlows: whether events of connections are read.
  public init(group: UInt16?, withFlows: Bool) throws(NftablesError) {
    wakeUp = eventfd(0, Int32(EFD_CLOEXEC) | Int32(EFD_NONBLOCK))
    guard wakeUp >= 0 else { throw NftablesError(operation: "make an event descriptor", errno: errno) }
    do throws(NftablesError) {
      var log: NftablesSocket?
      if let group {
        let socket = try NftablesSocket()
        try socket.bindLog(group: group)
        log = socket
      }
      var tracking: NftablesSocket?
      if withFlows {
        let socket = try NftablesSocket()
        try socket.joinFlowEvents()
        tracking = socket
      }
      self.log = log
      self.tracking = tracking
    } catch {
      close(wakeUp)
      throw error
    }
  }

  deinit { close(wakeUp) }

  /// Starts the thread. `handler` runs on it: what it takes long for waits in the kernel. Once.
  public func start(_ handler: @escaping @Sendable (Batch) -> Void) throws(NftablesError) {
    let body = EventThread { [self] in read(handler) }
    var started = pthread_t()
    let status = pthread_create(
      &started, nil,
      { raw in
        if let raw { Unmanaged<EventThread>.fromOpaque(raw).takeRetainedValue().body() }
        return nil
      }, Unmanaged.passRetained(body).toOpaque())
    guard status == 0 else {
      Unmanaged.passUnretained(body).release()
      throw NftablesError(operation: "start the thread of events", errno: status)
    }
    thread.withLock { $0 = started }
  }

  /// Ends the thread and waits for it. Never from the handler.
  public func stop() {
    isStopping.store(true, ordering: .releasing)
    var one: UInt64 = 1
    _ = withUnsafeBytes(of: &one) { write(wakeUp, $0.baseAddress, 8) }
    let running = thread.withLock { thread in
      defer { thread = nil }
      return thread
    }
    if let running { pthread_join(running, nil) }
  }

  public var losses: Losses { lost.withLock { $0 } }

  private func read(_ handler: (Batch) -> Void) {
    var gap = SequenceGap()
    while !isStopping.load(ordering: .acquiring) {
      var descriptors = [pollfd(fd: wakeUp, events: Int16(POLLIN), revents: 0)]
      for socket in [log, tracking].compactMap({ $0 }) {
        descriptors.append(pollfd(fd: socket.descriptor, events: Int16(POLLIN), revents: 0))
      }
      if poll(&descriptors, nfds_t(descriptors.count), -1) < 0, errno != EINTR { return }
      var batch = Batch()
      if let log {
        Self.drain(log, UInt16(NFNL_SUBSYS_ULOG)) { _, _, attributes in
          guard let packet = LoggedPacket(attributes: attributes) else { return false }
          batch.packets.append(packet)
          if let number = packet.sequence {
            let missing = gap.take(number)
            if missing > 0 { lost.withLock { $0.packets += UInt64(missing) } }
          }
          return batch.packets.count < Self.batchMax
        }
      }
      if let tracking {
        Self.drain(tracking, UInt16(NFNL_SUBSYS_CTNETLINK)) { type, flags, attributes in
          if let record = FlowRecord(Self.event(type, flags), attributes: attributes) {
            batch.flows.append(record)
          }
          return batch.flows.count < Self.batchMax
        }
        if let dropped = tracking.droppedMessages {
          lost.withLock { $0.flows = max($0.flows, UInt64(dropped)) }
        }
      }
      if !batch.isEmpty { handler(batch) }
      if batch.flows.count > 16 { usleep(Self.pauseMicroseconds) }
    }
  }

  private static func event(_ type: UInt16, _ flags: UInt16) -> FlowRecord.Event {
    if type == UInt16(IPCTNL_MSG_CT_DELETE.rawValue) { return .end }
    return flags & UInt16(NLM_F_CREATE) != 0 ? .new : .update
  }

  /// Takes messages of a subsystem until there are none, or `body` says that it has enough: what a datagram still holds then is
  /// taken all the same.
  private static func drain(
    _ socket: NftablesSocket, _ subsystem: UInt16,
    _ body: (_ type: UInt16, _ flags: UInt16, _ attributes: UnsafeRawBufferPointer) -> Bool
  ) {
    var wantsMore = true
    while wantsMore {
      let bytes: UnsafeRawBufferPointer?
      do throws(NftablesError) {
        bytes = try socket.receive(waiting: false)
      } catch {
        // What was lost is counted by number; the socket goes on.
        if error.errno == ENOBUFS { continue }
        return
      }
      guard let bytes else { return }
      for message in Messages(bytes: bytes) where message.type >> 8 == subsystem && message.payload.count >= 4
      {
        let attributes = UnsafeRawBufferPointer(rebasing: message.payload[4...])
        if !body(message.type & 0xff, message.flags, attributes) { wantsMore = false }
      }
    }
  }
}

/// Numbers that should follow each other. The first is taken as it is; the count begins again at 0 after 2^32 - 1.
struct SequenceGap {
  private var next: UInt32?

  /// How many are missing before `number`. A number that is behind the expected one is a new beginning.
  mutating func take(_ number: UInt32) -> UInt32 {
    defer { next = number &+ 1 }
    guard let next else { return 0 }
    let missing = number &- next
    return missing < 1 << 31 ? missing : 0
  }
}

private final class EventThread {
  let body: () -> Void
  init(_ body: @escaping () -> Void) { self.body = body }
}
