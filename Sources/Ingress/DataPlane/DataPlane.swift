// The ingress as a process of its own: it has listening sockets and a stream of route tables, and nothing
// else.
//
//   parent (knows the cluster) --IngressFeeder--> [socket pair] --runIngressDataPlane--> child (meets strangers)
//   frame: u32 little-endian length | encoded RouteTable or StreamTable, or a frame of TLSTable, of IngressListener, of DataPlaneWord
//   back:  u32 little-endian, how many frames are in force

import Addresses
import CLinux
import Diagnostics
import Glibc
import Logging
import Reactor
import Synchronization

/// What the data plane is started with. Descriptors are owned by `runIngressDataPlane` from then on.
public struct IngressDataPlaneConfiguration: Sendable {
  /// Listening TCP sockets for plain HTTP, opened by whoever may.
  public var listeners: [Int32]
  /// The same for HTTPS.
  public var secureListeners: [Int32] = []
  /// Connections for HTTP begin with a header of the PROXY protocol; nil: they do not. Of streams those do whose listener in the
  /// table says so.
  public var proxy: ProxyAcceptance?
  /// A listening TCP socket for /metrics and /healthz.
  public var status: Int32?
  /// The child's end of the socket pair.
  public var snapshots: Int32
  /// The child's end of an `IngressMetricsPipe`.
  public var metrics: Int32?
  public var workers: Int
  public var limits = IngressLimits()
  /// Nil: none is written. The file is opened anew on SIGUSR1.
  public var accessLog: AccessLogConfiguration?
  /// Give up all capabilities before the first stranger's byte.
  public var dropsPrivileges = true
  /// Time for running requests once the parent is gone.
  public var drain = Duration.seconds(30)
  /// Time for connections that are there when another data plane takes over: `worker-shutdown-timeout` of ingress-nginx.
  public var leave = Duration.seconds(240)

  public init(
    listeners: [Int32], status: Int32? = nil, snapshots: Int32, workers: Int = ReactorThread.processorCount
  ) {
    self.listeners = listeners
    self.status = status
    self.snapshots = snapshots
    self.workers = workers
  }
}

/// Serves until the parent closes the socket pair, then lets running requests end and returns. Blocks the
/// calling thread, which should be the process's only one: capabilities belong to threads.
/// - Throws: `WeftError` ING0001 when a thread or a listener cannot be set up, ING0002 for a frame that is no
///   table, ING0020 when the access log cannot be written.
public func runIngressDataPlane(_ configuration: IngressDataPlaneConfiguration) throws(WeftError) {
  var snapshots = FrameSource(Descriptor(owning: configuration.snapshots))
  // Workers write to it until they have stopped.
  defer { _ = snapshots.raw }
  if configuration.dropsPrivileges {
    let result = weft_drop_privileges()
    if result < 0 { throw setUpFailure(SocketError("capset", -result)) }
  }
  let logger = Logger(label: "ingress")
  var log: AccessLog?
  // Before there are other threads: the log's own takes the signal, and without a log it must not end the process.
  var set = sigset_t()
  sigemptyset(&set)
  sigaddset(&set, SIGUSR1)
  pthread_sigmask(SIG_BLOCK, &set, nil)
  if let wanted = configuration.accessLog { log = try AccessLog(wanted, reopensOnSignal: true) }
  if let metrics = configuration.metrics {
    do throws(SocketError) { try MetricsAnswerer(metrics) } catch { throw setUpFailure(error) }
  }
  // The last lines are written when nobody makes new ones.
  defer { log?.stop() }
  let plane = IngressPlane(configuration, log)
  defer { plane.stop() }
  var certificates = TLSReceiver()
  if !configuration.secureListeners.isEmpty { plane.install(certificates.empty()) }
  var count: UInt32 = 0
  while true {
    let frame: [UInt8]?
    do throws(SnapshotStreamError) { frame = try snapshots.next() } catch {
      throw WeftError(
        "ING0002", object: "route snapshots", cause: "\(error)",
        next: "restart the ingress; report this with its log",
        exit: .unreachable)
    }
    guard let frame else {
      logger.info("no more routes will come: draining")
      return
    }
    let order: Order
    do throws(RouteTableUnreadable) { order = try Order(frame, &certificates) } catch {
      throw WeftError(
        "ING0002", object: "route snapshots", cause: "\(error.reason) at byte \(error.offset)",
        next: "parent and child are of different versions; restart the ingress", exit: .unreachable)
    }
    switch order {
    case .routes(let table) where plane.isServing: plane.install(table)
    case .routes(let table):
      // Ready only with routes: before that, connections wait in the kernel's backlog instead of getting a 404.
      do throws(SocketError) { try plane.start(table) } catch { throw setUpFailure(error) }
      logger.info(
        "serving", metadata: ["hosts": "\(table.hosts.count)", "backends": "\(table.backends.count)"])
    case .streams(let table): plane.install(table)
    case .certificates(let tls): if let tls { plane.install(tls) }
    case .open(let listener):
      if listener.serves != .http, !plane.hasCertificates { plane.install(certificates.empty()) }
      plane.open(listener, Descriptor(owning: snapshots.takeDescriptor()))
    case .close(let listener): plane.close(listener)
    case .word(let word): plane.obey(word)
    }
    count &+= 1
    plane.confirm(count, to: snapshots.raw)
  }
}

/// What a frame asks for.
private enum Order {
  case routes(RouteTable)
  case streams(StreamTable)
  /// Nil: one of the certificates of a table that is still to come.
  case certificates(LoadedTLS?)
  case open(IngressListener)
  case close(IngressListener)
  case word(DataPlaneWord)

  init(_ frame: [UInt8], _ certificates: inout TLSReceiver) throws(RouteTableUnreadable) {
    self =
      if frame.starts(with: RouteTable.magic) {
        .routes(try RouteTable(encoded: frame))
      } else if frame.starts(with: StreamTable.magic) {
        .streams(try StreamTable(encoded: frame))
      } else if frame.starts(with: IngressListener.openMagic) {
        .open(try IngressListener(frame: frame))
      } else if frame.starts(with: IngressListener.closeMagic) {
        .close(try IngressListener(frame: frame))
      } else if frame.starts(with: DataPlaneWord.magic) {
        .word(try DataPlaneWord(frame: frame))
      } else {
        .certificates(try certificates.take(frame))
      }
  }
}

private func setUpFailure(_ error: SocketError) -> WeftError {
  WeftError(
    "ING0001", object: "ingress data plane", cause: "\(error)",
    next: "look at limits of descriptors and threads",
    exit: .unreachable, underlying: error)
}

/// The workers of one data plane. A worker lives on its reactor's thread; other threads reach it through
/// `submit`.
private final class IngressPlane {
  private let configuration: IngressDataPlaneConfiguration
  private var threads: [(thread: ReactorThread, worker: WorkerBox)] = []

  /// Holds a worker for closures that run on its own thread only.
  private final class WorkerBox: @unchecked Sendable {
    var worker: IngressWorker?
    /// The tables to put in force next: only the newest counts when several wait.
    let next = Mutex(Tables())
  }
  private struct Tables {
    var routes: RouteTable?
    var tls: LoadedTLS?
    var streams: StreamTable?
    var isEmpty: Bool { routes == nil && tls == nil && streams == nil }
  }
  private let ticketKeys = TicketKeys()
  private let meter = ClientMeter()
  private var tls = LoadedTLS(certificates: [], names: [], fallback: nil)
  private(set) var hasCertificates = false
  private var streams = StreamTable()
  /// Sockets that came since the start, and before there were workers.
  private var opened: Set<IngressListener> = []
  private var waiting: [IngressListener: Int32] = [:]
  /// The number of frames that came.
  private let newest = FrameCount()

  private let log: AccessLog?
  /// Another data plane has taken over: clients are not hurried.
  private var isLeaving = false

  func obey(_ word: DataPlaneWord) {
    switch word {
    case .leave: isLeaving = true
    case .reopenLog: log?.reopen()
    }
  }
  private let logger = Logger(label: "ingress")

  var isServing: Bool { !threads.isEmpty }

  init(_ configuration: IngressDataPlaneConfiguration, _ log: AccessLog?) {
    self.configuration = configuration
    self.log = log
  }

  func start(_ table: RouteTable) throws(SocketError) {
    let isShared = configuration.workers > 1
    for index in 0..<configuration.workers {
      let listeners = try own(configuration.listeners, index)
      let secureListeners = try own(configuration.secureListeners, index)
      let box = WorkerBox()
      let (ticketKeys, tls, meter, streams) = (ticketKeys, tls, meter, streams)
      let proxy = configuration.proxy
      let limits = configuration.limits
      let log = log
      let status = index == 0 ? configuration.status : nil
      let setUp = SetUp()
      let thread = try ReactorThread(name: "ingress-\(index)") { reactor in
        let worker = IngressWorker(
          reactor: reactor, limits: limits, metrics: .shared, ticketKeys: ticketKeys, tls: tls, meter: meter)
        worker.install(table)
        if !streams.isEmpty { worker.install(streams) }
        if let log { worker.tell(log) }
        box.worker = worker
        do throws(SocketError) {
          for raw in listeners { try worker.listen(Descriptor(owning: raw), shared: isShared, proxy: proxy) }
          for raw in secureListeners {
            try worker.listen(Descriptor(owning: raw), shared: isShared, isSecure: true, proxy: proxy)
          }
          if let status { try serveStatus(Descriptor(owning: status), reactor) }
          setUp.finish(nil)
        } catch { setUp.finish(error) }
      }
      threads.append((thread, box))
      if let error = setUp.wait() { throw error }
    }
    for (listener, raw) in waiting { serve(listener, raw) }
    waiting = [:]
  }

  // MARK: Listeners that come and go

  /// Serves a socket from now on. One that is served already, or that is one too many, is closed again.
  func open(_ listener: IngressListener, _ descriptor: consuming Descriptor) {
    guard descriptor.isOpen, opened.count < IngressListener.countMax, opened.insert(listener).inserted else {
      return logger.warning("listener not taken", metadata: ["listener": "\(listener)"])
    }
    let raw = descriptor.release()
    if isServing { serve(listener, raw) } else { waiting[listener] = raw }
  }

  private func serve(_ listener: IngressListener, _ raw: Int32) {
    let isShared = configuration.workers > 1
    let proxy = configuration.proxy
    if listener.transport == .udp {
      // A client's datagrams have to come to one worker: the socket is one's.
      let (thread, box) = threads[Int(listener.endpoint.port) % threads.count]
      let isTaken = thread.reactor.submit { _ in try? box.worker?.open(listener, Descriptor(owning: raw)) }
      if !isTaken { _ = Descriptor(owning: raw) }
      return
    }
    for (index, (thread, box)) in threads.enumerated() {
      guard let own = try? own([raw], index).first else { continue }
      let isTaken = thread.reactor.submit { _ in
        try? box.worker?.open(listener, Descriptor(owning: own), shared: isShared, proxy: proxy)
      }
      if !isTaken { _ = Descriptor(owning: own) }
    }
  }

  func close(_ listener: IngressListener) {
    guard opened.remove(listener) != nil else { return }
    if let raw = waiting.removeValue(forKey: listener) { _ = Descriptor(owning: raw) }
    for (thread, box) in threads { thread.reactor.submit { _ in box.worker?.close(listener) } }
  }

  /// Says that this many frames are in force, when every worker has done what they ask for and no newer one has come.
  func confirm(_ count: UInt32, to socket: Int32) {
    newest.value.store(count, ordering: .relaxed)
    let (left, newest) = (Confirmation(workers: threads.count), newest)
    for (thread, _) in threads {
      thread.reactor.submit { _ in
        guard left.countDown(), newest.value.load(ordering: .relaxed) == count else { return }
        var number = count.littleEndian
        // A parent that does not listen misses nothing but this.
        _ = Glibc.send(socket, &number, 4, Int32(MSG_DONTWAIT | MSG_NOSIGNAL))
      }
    }
  }

  /// A worker's share of the listening descriptors: duplicates, and for the last worker the descriptors themselves.
  private func own(_ listeners: [Int32], _ index: Int) throws(SocketError) -> [Int32] {
    if index == configuration.workers - 1 { return listeners }
    var copies: [Int32] = []
    for raw in listeners {
      let copy = fcntl(raw, F_DUPFD_CLOEXEC, 3)
      guard copy >= 0 else { throw SocketError("fcntl", errno) }
      copies.append(copy)
    }
    return copies
  }

  func install(_ table: RouteTable) { install { $0.routes = table } }

  func install(_ tls: LoadedTLS) {
    self.tls = tls
    hasCertificates = true
    install { $0.tls = tls }
  }

  func install(_ streams: StreamTable) {
    self.streams = streams
    install { $0.streams = streams }
  }

  private func install(_ change: (inout Tables) -> Void) {
    for (thread, box) in threads {
      let isFirst = box.next.withLock { next in
        defer { change(&next) }
        return next.isEmpty
      }
      guard isFirst else { continue }
      thread.reactor.submit { _ in
        let next = box.next.withLock { next in
          defer { next = Tables() }
          return next
        }
        if let tls = next.tls { box.worker?.install(tls) }
        if let streams = next.streams { box.worker?.install(streams) }
        if let table = next.routes { box.worker?.install(table) }
      }
    }
  }

  func stop() {
    let isLeaving = isLeaving
    for (thread, box) in threads {
      if isLeaving { thread.reactor.submit { _ in box.worker?.isPatient = true } }
      thread.reactor.stop(draining: isLeaving ? configuration.leave : configuration.drain)
    }
    for (thread, box) in threads {
      thread.join()
      box.worker = nil
    }
    threads = []
  }
}

/// The outcome of a set-up on another thread, which this one waits for.
private final class SetUp: @unchecked Sendable {
  private var semaphore = sem_t()
  private let error = Mutex<SocketError?>(nil)
  init() { sem_init(&semaphore, 0, 0) }
  deinit { sem_destroy(&semaphore) }
  func finish(_ failure: SocketError?) {
    error.withLock { $0 = failure }
    sem_post(&semaphore)
  }
  func wait() -> SocketError? {
    while sem_wait(&semaphore) != 0 {}
    return error.withLock { $0 }
  }
}

private func serveStatus(_ descriptor: consuming Descriptor, _ reactor: Reactor) throws(SocketError) {
  _ = try HTTPStatusServer(descriptor, reactor: reactor) { path in
    switch path {
    case "/metrics": .metrics(Metrics.shared.text())
    case "/healthz", "/readyz", "/livez": .init(text: "ok\n")
    default: nil
    }
  }
}

/// The parent's side: writes whole route tables, each time the newest.
public final class IngressFeeder: Sendable {
  let state: Mutex<State>
  struct State: ~Copyable {
    var descriptor: Descriptor
    var last: RouteTable?
    var lastTLS: TLSTable?
    var lastStreams: StreamTable?
    /// Certificates that the child has, by the names they were given.
    var sent: [TLSCertificate: UInt32] = [:]
    var nextID: UInt32 = 0

    /// Frames that were sent, and how many of them the child has said to work by.
    private(set) var framesSent: UInt32 = 0
    private(set) var framesConfirmed: UInt32 = 0

    /// - Parameter beside: a descriptor that the child gets a copy of; -1 for none.
    /// - Throws: `SocketError`, EPIPE when the child has gone.
    mutating func write(_ body: [UInt8], beside: Int32 = -1) throws(SocketError) {
      guard body.count <= RouteTable.encodedBytesMax else { throw SocketError("send", EMSGSIZE) }
      readConfirmations()
      var frame = withUnsafeBytes(of: UInt32(body.count).littleEndian) { Array($0) }
      frame += body
      var done = 0
      let raw = descriptor.raw
      while done < frame.count {
        let count = frame.withUnsafeBytes {
          weft_send_beside(raw, $0.baseAddress.map { $0 + done }, $0.count - done, done == 0 ? beside : -1)
        }
        if count < 0 { throw SocketError("send", Int32(-count)) }
        done += count
      }
      framesSent &+= 1
    }

    /// Takes in what the child has said since.
    mutating func readConfirmations() {
      var number: UInt32 = 0
      while recv(descriptor.raw, &number, 4, Int32(MSG_DONTWAIT)) == 4 {
        framesConfirmed = UInt32(littleEndian: number)
      }
    }
  }

  /// Takes the parent's end of the socket pair. A child that does not read for ten seconds counts as gone.
  public init(_ descriptor: consuming Descriptor) {
    var limit = timeval(tv_sec: 10, tv_usec: 0)
    setsockopt(descriptor.raw, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    state = Mutex(State(descriptor: descriptor))
  }

  /// A connected pair: for the feeder, and for `IngressDataPlaneConfiguration.snapshots`. Both closed on
  /// exec.
  public static func pair() throws(SocketError) -> (feeder: IngressFeeder, child: Int32) {
    var ends: [Int32] = [-1, -1]
    guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0, &ends) == 0 else {
      throw SocketError("socketpair", errno)
    }
    return (IngressFeeder(Descriptor(owning: ends[0])), ends[1])
  }

  /// Puts a table in force in the child. Does nothing when it is the one in force. Blocks while the child
  /// reads.
  /// - Returns: whether anything was sent.
  /// - Throws: `SocketError`, EPIPE when the child has gone: start a new one, with a new feeder.
  @discardableResult
  public func send(_ table: RouteTable) throws(SocketError) -> Bool {
    try state.withLock { (state) throws(SocketError) -> Bool in
      if state.last == table { return false }
      try state.write(table.encoded())
      state.last = table
      return true
    }
  }

  /// Puts other streams in force in the child. Otherwise like routes.
  @discardableResult
  public func send(_ table: StreamTable) throws(SocketError) -> Bool {
    try state.withLock { (state) throws(SocketError) -> Bool in
      if state.lastStreams ?? StreamTable() == table { return false }
      try state.write(table.encoded())
      state.lastStreams = table
      return true
    }
  }

  /// Puts other certificates in force in the child: those that it does not have, then the names. Otherwise like routes.
  /// To be called before routes that redirect to them.
  @discardableResult
  public func send(_ table: TLSTable) throws(SocketError) -> Bool {
    try state.withLock { (state) throws(SocketError) -> Bool in
      if state.lastTLS == table { return false }
      var ids: [UInt32] = []
      var kept: [TLSCertificate: UInt32] = [:]
      for certificate in table.certificates {
        if let id = kept[certificate] ?? state.sent[certificate] {
          kept[certificate] = id
          ids.append(id)
          continue
        }
        let id = state.nextID
        state.nextID += 1
        try state.write(TLSTable.frame(id: id, certificate))
        kept[certificate] = id
        ids.append(id)
      }
      try state.write(table.frame(ids: ids))
      state.sent = kept
      state.lastTLS = table
      return true
    }
  }

  /// Tells the child to drain and end.
  public func close() { state.withLock { $0.descriptor.close() } }
}
