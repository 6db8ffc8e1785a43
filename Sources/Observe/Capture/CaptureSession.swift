// One capture in the node process: frames out of a ring, names and notes put to them, pcapng to whoever asked.
//
//   links ──> ring ──a block, held back for as long as verdicts take──> names, notes ──> writer ──> socket
//                        conntrack events, flows ──────────────────────────┘
//
// Its thread is its own: a capture that cannot keep up loses packets in its ring, and nobody else waits.

import Addresses
import ClusterObjects
import ClusterView
import Diagnostics
import Glibc
import KernelNetlink
import KernelNftables
import KernelSockets
import Policy
import Synchronization

/// Where a capture takes its knowledge from.
public struct CaptureSource: Sendable {
  public var nodeName: String
  public var view: @Sendable () -> ClusterView
  /// This node's pods, as the CNI plugin reported them.
  public var attachments: @Sendable () -> [PodAttachment]
  /// Verdicts; nil: the node keeps none.
  public var flows: FlowKeeper?
  public init(
    nodeName: String, view: @escaping @Sendable () -> ClusterView,
    attachments: @escaping @Sendable () -> [PodAttachment], flows: FlowKeeper?
  ) {
    self.nodeName = nodeName
    self.view = view
    self.attachments = attachments
    self.flows = flows
  }

  /// The node as it is now, seen from the network namespace of the calling thread.
  func ground() throws(WeftError) -> CaptureGround {
    let links: [Link]
    do throws(NetlinkError) {
      var session = try RouteSession()
      links = try session.links()
    } catch {
      throw WeftError(
        "CAP0006", object: "node \(nodeName)", cause: "its links cannot be read (\(error))",
        next: "run as root",
        underlying: error)
    }
    return CaptureGround(
      nodeName: nodeName, view: view(), attachments: attachments(),
      // A bridge shows once more what its ports show.
      links: links.filter { $0.kind != "bridge" }.map { ($0.index, $0.name) })
  }
}

/// Runs on the thread that calls `run`, until the asker is satisfied or gone, or nothing is left to capture.
final class CaptureSession {
  /// Blocks are held back for so long: a refusal is told up to 50 ms after its packet, a connection once its first packet has passed.
  static let holdNanoseconds: UInt64 = 250_000_000
  /// With more blocks waiting none is held back.
  static let heldMax = PacketRing.blocks / 2
  /// Whether links are still there, and names that were not known, are looked after so often.
  static let lookSeconds: UInt64 = 1
  /// Addresses that are remembered as named or nameless.
  static let addressesMax = 65_536
  private static let flowsMax = 1024

  private let question: CaptureQuestion
  private let source: CaptureSource
  private let connection: Int32
  private let plan: CapturePlan
  private let ring: PacketRing
  private let writer = PcapngWriter()
  private let places: [Int32: (number: UInt32, isPod: Bool)]
  private var names: FlowNames
  private var notes = CaptureNotes()
  private var known: Set<IPAddress> = []
  private var nameless: Set<IPAddress> = []
  private var nextNames: UInt64 = 0
  private var namesPause: UInt64 = 2
  private var nextFlow: UInt64
  private let tracker: ConnectionTracker?
  private var isReaderGone = false

  /// Throws `CAP0001` to `CAP0003`, `CAP0006` without the right to capture, `CAP0007` for a filter that the kernel refuses.
  init(_ question: CaptureQuestion, source: CaptureSource, connection: Int32) throws(WeftError) {
    self.question = question
    self.source = source
    self.connection = connection
    if question.isDroppedOnly, source.flows == nil {
      throw WeftError(
        "CAP0013", object: "--dropped-only", cause: "this node keeps no verdicts",
        next: "start it without --no-flows")
    }
    let targets = try CaptureTarget.read(question.targets, namespace: question.namespace)
    let ground = try source.ground()
    var plan = try planCapture(targets, on: ground)
    names = FlowNames(ground.view, ground.attachments, now: Self.now())
    nextFlow = source.flows?.end ?? 0
    tracker = ConnectionTracker()
    if tracker == nil { plan.remarks.append("connections are not read: translations are not noted") }
    var filter = question.filter ?? .all(snapLength: question.snapLength)
    if !plan.ends.isEmpty { filter = PacketFilter.endpoints(plan.ends).joined(with: filter) }
    let single = plan.links.count == 1 ? plan.links[0].index : 0
    if single == 0 { filter = PacketFilter.links(plan.links.map(\.index)).joined(with: filter) }
    let ring: PacketRing
    do throws(PacketRingError) {
      ring = try PacketRing(link: single, filter: filter)
    } catch {
      throw Self.failure(error, single)
    }
    self.ring = ring
    // Links of tunnels have frames of other kinds, which the filter would misread.
    let strange = plan.links.filter { ring.isEthernet($0.name) == false }
    plan.links.removeAll { strange.contains($0) }
    if !strange.isEmpty {
      plan.remarks.append(
        "left out, for their frames are not Ethernet's: \(strange.map(\.name).joined(separator: ", "))")
    }
    if question.isOneOfSeveral {
      for index in plan.links.indices where !plan.links[index].isPod {
        plan.links[index].title = "node/\(source.nodeName) \(plan.links[index].name)"
      }
    }
    places = Dictionary(
      uniqueKeysWithValues: plan.links.enumerated().map { ($1.index, (UInt32($0), $1.isPod)) })
    self.plan = plan
  }

  private static func failure(_ error: PacketRingError, _ link: Int32) -> WeftError {
    switch error.errno {
    case EPERM, EACCES:
      WeftError(
        "CAP0006", object: "node process", cause: "may not capture: it lacks CAP_NET_RAW",
        next: "run it as root, or give it the capability", underlying: error)
    case EINVAL:
      WeftError(
        "CAP0007", object: "filter", cause: "the kernel refuses its program", next: "shorten it",
        underlying: error)
    case ENODEV, ENXIO:
      WeftError(
        "CAP0010", object: "link \(link)", cause: "went away", next: "try again", underlying: error)
    default:
      WeftError(
        "CAP0006", object: "node process", cause: "cannot capture (\(error))",
        next: "look at: dmesg; free -m", underlying: error)
    }
  }

  static func now() -> UInt64 {
    let clock = Timestamp.now()
    return UInt64(clock.seconds) * 1_000_000_000 + UInt64(clock.nanoseconds)
  }

  /// - Parameter isStopping: asked now and then: the node process ends.
  func run(isStopping: () -> Bool) {
    writer.section(application: "weft", system: "Linux, node \(source.nodeName)")
    for link in plan.links {
      writer.interface(
        name: link.title, description: link.isPod ? "pod \(link.title) at \(link.name)" : link.name,
        snapLength: question.snapLength)
    }
    say([
      "links": .array(plan.links.map { JSON($0.title) }), "remarks": .array(plan.remarks.map { JSON($0) }),
    ])
    flush()
    if question.isOneOfSeveral { notes.keepNews() }
    tracker?.readAll { notes.take($0, names: names) }
    var failure: WeftError?
    var nextLook = Self.now()
    var isEnding = false
    while !isReaderGone {
      // At the end what is on its way is waited for: as long as a block may be held, and the ring's own patience.
      if !isEnding, hasEnded(waitMilliseconds: ring.newestOfNext == nil ? 0 : 10) || isStopping() {
        isEnding = true
        usleep((PacketRing.patienceMilliseconds + 10) * 1000)
      }
      if !isEnding, ring.newestOfNext == nil { waitForPackets() }
      takeNotes()
      // No more than the ring holds: what comes while it is read must not keep a capture from its end.
      for _ in 0..<PacketRing.blocks {
        guard let newest = ring.newestOfNext, !isReaderGone else { break }
        let now = Self.now()
        if !isEnding, now < newest &+ Self.holdNanoseconds, ring.waiting < Self.heldMax { break }
        _ = ring.readBlock(write)
        if writer.count > writer.roomWanted { flush() }
      }
      if writer.count > 0 { flush() }
      if isEnding { break }
      if Self.now() >= nextLook {
        nextLook = Self.now() + Self.lookSeconds * 1_000_000_000
        lookAfterNames()
        if let gone = whatIsGone() {
          failure = gone
          isEnding = true
          continue
        }
      }
    }
    finish(failure)
  }

  // MARK: Waiting

  /// Whether the asker has said that it is enough, or has gone.
  private func hasEnded(waitMilliseconds: Int32) -> Bool {
    var watched = pollfd(fd: connection, events: Int16(POLLIN), revents: 0)
    return poll(&watched, 1, waitMilliseconds) > 0
  }

  private func waitForPackets() {
    var watched = [
      pollfd(fd: ring.descriptor, events: Int16(POLLIN), revents: 0),
      pollfd(fd: connection, events: Int16(POLLIN), revents: 0),
    ]
    _ = poll(&watched, 2, 200)
    if Int32(watched[0].revents) & POLLERR != 0 {
      // The link went down. Reading the error takes it away; whether the link is gone is looked after below.
      var code: Int32 = 0
      var size = socklen_t(4)
      getsockopt(ring.descriptor, SOL_SOCKET, SO_ERROR, &code, &size)
      usleep(20_000)
    }
  }

  /// Nil as long as one of the links is there.
  private func whatIsGone() -> WeftError? {
    var name = [CChar](repeating: 0, count: Int(IF_NAMESIZE))
    if plan.links.contains(where: { if_indextoname(UInt32($0.index), &name) != nil }) { return nil }
    let titles = plan.links.map(\.title)
    let who = titles.count == 1 ? titles[0] : "\(titles.count) links"
    return WeftError(
      "CAP0010", object: plan.links.allSatisfy(\.isPod) && titles.count == 1 ? "pod \(who)" : who,
      cause: "has gone: the capture ends here, and what was captured is whole",
      next: "see what became of it: kubectl get events -A", exit: .finding)
  }

  // MARK: Knowledge

  private func takeNotes() {
    tracker?.takeNew { notes.take($0, names: names) }
    let news = notes.takeNews()
    if !news.isEmpty { say(["notes": .array(news.map(\.json))]) }
    guard let keeper = source.flows else { return }
    while true {
      let page = keeper.read(from: nextFlow, limit: Self.flowsMax)
      for flow in page.flows { notes.take(flow) }
      if page.next == nextFlow { return }
      nextFlow = page.next
    }
  }

  /// Addresses without a name may have one by now: asked about less and less often.
  private func lookAfterNames() {
    guard !nameless.isEmpty, Self.now() >= nextNames else { return }
    names = FlowNames(source.view(), source.attachments(), now: Self.now())
    known.subtract(nameless)
    nameless.removeAll(keepingCapacity: true)
    nextNames = Self.now() + namesPause * 1_000_000_000
    namesPause = min(2 * namesPause, 64)
  }

  private func name(_ address: IPAddress) {
    guard !known.contains(address), known.count < Self.addressesMax else { return }
    known.insert(address)
    if let name = names.name(of: address) {
      writer.name(address, name)
    } else {
      nameless.insert(address)
    }
  }

  // MARK: Writing

  private func write(_ packet: RingPacket) {
    guard let place = places[packet.link] else { return }
    let headers = PacketHeaders(ethernet: packet.bytes)
    let note = notes.isEmpty ? nil : headers.flatMap { notes.note($0) }
    if question.isDroppedOnly, note?.isDenied != true { return }
    if writer.isFull { flush() }
    if let headers {
      name(headers.source)
      name(headers.destination)
      // Two names take little, and a packet much.
      if writer.isFull { flush() }
    }
    writer.packet(
      interface: place.number, nanoseconds: packet.nanoseconds, bytes: packet.bytes, length: packet.length,
      isInbound: place.isPod ? packet.isOutgoing : !packet.isOutgoing, remark: note?.remark ?? [])
  }

  private func finish(_ failure: WeftError?) {
    let (received, dropped) = ring.count()
    for place in places.values where plan.links.count == 1 || place.number == 0 {
      writer.statistics(
        interface: place.number, nanoseconds: Self.now(), received: received, dropped: dropped)
    }
    flush()
    var line = failure?.captureLine ?? [:]
    line["end"] = JSON(failure == nil ? "asked for" : "nothing left")
    line["received"] = JSON(Int(clamping: received))
    line["lost"] = JSON(Int(clamping: dropped))
    say(.object(line))
  }

  private func flush() {
    send(CaptureFrame.blocks, writer.bytes)
    writer.empty()
  }

  private func say(_ line: JSON) { line.bytes.withUnsafeBytes { send(CaptureFrame.line, $0) } }

  private func send(_ kind: UInt32, _ bytes: UnsafeRawBufferPointer) {
    guard !isReaderGone, !bytes.isEmpty else { return }
    var head = CaptureFrame.head(kind, bytes.count)
    let isSent =
      withUnsafeBytes(of: &head) { UnixSocket.send(connection, $0) } && UnixSocket.send(connection, bytes)
    if !isSent { isReaderGone = true }
  }
}

/// Connections as they begin, for the time of a capture.
private final class ConnectionTracker: Sendable {
  private static let waitingMax = 65_536
  private let events: NetfilterEvents
  private let waiting = Mutex<[FlowRecord]>([])

  /// Nil when the kernel does not let them be read.
  init?() {
    guard let events = try? NetfilterEvents(group: nil, withFlows: true) else { return nil }
    self.events = events
    let started: Void? = try? events.start { [weak self] batch in
      self?.waiting.withLock { waiting in
        // Nobody takes them: a note is missing then, and no memory.
        if waiting.count < Self.waitingMax { waiting += batch.flows.filter { $0.event == .new } }
      }
    }
    if started == nil { return nil }
  }

  deinit { events.stop() }

  /// Those that were there before.
  func readAll(_ body: (FlowRecord) -> Void) {
    guard let socket = try? NftablesSocket() else { return }
    for family in IPFamily.allCases { try? socket.forEachFlow(family, body) }
  }

  func takeNew(_ body: (FlowRecord) -> Void) {
    let taken = waiting.withLock { waiting in
      defer { waiting.removeAll(keepingCapacity: true) }
      return waiting
    }
    for record in taken { body(record) }
  }
}
