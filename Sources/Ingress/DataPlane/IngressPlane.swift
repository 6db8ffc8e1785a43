// The workers of one data plane, each on a reactor's thread: started together, given tables and listeners, stopped together.
//
//   frames --> IngressPlane --submit--> [worker] [worker] ... --> confirmed when each has done what was asked

import Addresses
import CLinux
import Diagnostics
import Glibc
import Logging
import Reactor
import Synchronization

/// The workers of one data plane. A worker lives on its reactor's thread; other threads reach it through
/// `submit`.
final class IngressPlane {
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

  // MARK: - Orders

  func obey(_ word: DataPlaneWord) {
    switch word {
    case .leave: isLeaving = true
    case .reopenLog: log?.reopen()
    }
  }

  // MARK: - Listeners that come and go

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
