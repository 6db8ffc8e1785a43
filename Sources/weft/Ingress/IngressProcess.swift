// The ingress data plane as a child: it parses strangers' bytes, so it has no credentials and, once it runs, no capabilities.
// We keep its listeners: when it dies, the next one takes them over and no connection attempt is refused meanwhile. When we make way
// for another program it gets them from us, in the same process.

import Addresses
import CLinux
import Diagnostics
import Glibc
import Ingress
import KernelSockets
import Logging
import Reactor
import Synchronization

/// The listening addresses, one child, fed with routes and certificates.
final class IngressProcess: Sendable {
  /// The hidden command under which the child runs. Descriptor 3 brings routes, the next listen, each for what an argument
  /// says.
  static let command = "ingress-data-plane"
  /// Stands before format and file of the access log.
  static let logWord = "access-log="
  /// Stands before the networks whose PROXY protocol headers are believed.
  static let proxyWord = "proxy-protocol="
  /// The descriptor that metrics are asked over.
  static let metricsWord = "metrics"
  /// A child that has lived for long is started again at once; one that dies young, after this long.
  private static let restartMilliseconds: UInt32 = 200
  private static let youthNanoseconds: UInt64 = 5_000_000_000

  /// One data plane.
  final class Child: Sendable {
    let pid: pid_t
    let feeder: IngressFeeder
    let metrics: IngressMetricsPipe
    let generation: Int
    let begin = Reactor.monotonicNanoseconds()
    init(_ pid: pid_t, _ feeder: IngressFeeder, _ metrics: IngressMetricsPipe, generation: Int) {
      self.pid = pid
      self.feeder = feeder
      self.metrics = metrics
      self.generation = generation
    }
  }

  struct State {
    var current: Child?
    /// Those that were started and do not serve alone yet. They get what the current one gets.
    var incoming: [Child] = []
    /// Those of the program that was here before, which serve by its last tables until ours does. They get nothing.
    var former: [Child] = []
    /// Those that end with their last connection.
    var leaving: [Child] = []
    /// All that have not been waited for.
    var alive: Set<pid_t> = []
    var table: RouteTable?
    var tls: TLSTable?
    var streams: StreamTable?
    /// Sockets that came later, ours to close.
    var sockets: [IngressListener: Int32] = [:]
    /// Children that were started.
    var generation = 0
    /// How often another program has taken over.
    var replacements: UInt64 = 0
    var isStopping = false

    /// Those that have to know of every change.
    var fed: [Child] { [current].compactMap(\.self) + incoming }
    var all: [Child] { fed + former + leaving }
  }

  /// What was sent, for who wants to know when it is in force.
  struct Sent {
    /// Listeners that could not be opened, and why.
    var refused: [IngressListener: String] = [:]
    fileprivate var generation = 0
    fileprivate var frames: UInt32 = 0
  }

  /// In the order of `endpoints`: HTTP, then HTTPS.
  let listeners: [Int32]
  let endpoints: [SocketEndpoint]
  private let kinds: [String]
  /// Where it listens from the beginning: ports of Ingresses, and the address for those of Gateways.
  let ports: Set<UInt16>
  let address: IPAddress
  /// Of HTTPS, from the beginning.
  let securePort: UInt16?
  private let proxy: ProxyAcceptance?
  private let accessLog: AccessLogConfiguration?
  let state = Mutex(State())
  let log = Logger(label: "ingress")
  private let restarts = Metrics.shared.counter(
    "weft_ingress_restarts_total", "Times the ingress data plane was started anew."
  ).child()
  let replacements = Metrics.shared.counter(
    "weft_ingress_replacements_total", "Times another program has taken over."
  ).child()

  /// Listens and starts the child; or goes on with the sockets of the program that was here before, whose data planes serve until
  /// ours does. Throws `NET0012` for a port that is taken.
  static func start(
    http: SocketEndpoint, https: SocketEndpoint?, accessLog: AccessLogConfiguration?,
    proxy: ProxyAcceptance? = nil
  ) throws(WeftError) -> IngressProcess {
    var handed = Upgrade.takeHandover()
    let kept = handed.http.removeValue(forKey: http)
    let plain = if let kept { kept } else { try StatusPages.listen(http, "--http") }
    var listeners = [plain]
    if let https {
      do throws(WeftError) {
        let kept = handed.https.removeValue(forKey: https)
        let secure = if let kept { kept } else { try StatusPages.listen(https, "--https") }
        listeners.append(secure)
      } catch {
        close(plain)
        throw error
      }
    }
    let process = IngressProcess(listeners, [http, https].compactMap(\.self), accessLog, proxy)
    process.adopt(handed)
    let child = try process.launch()
    _ = process.adopt(child)
    process.takeOver()
    Metrics.shared.include { [weak process] in process?.metricsTexts() ?? [] }
    StopSignal.on(SIGUSR1) { [weak process] in process?.reopenLog() }
    StopSignal.on(SIGUSR2) { [weak process] in
      guard let process, process.mayLeave() else { return }
      Upgrade.ask()
    }
    return process
  }

  private init(
    _ listeners: [Int32], _ endpoints: [SocketEndpoint], _ accessLog: AccessLogConfiguration?,
    _ proxy: ProxyAcceptance?
  ) {
    self.proxy = proxy
    securePort = endpoints.count > 1 ? endpoints[1].port : nil
    self.listeners = listeners
    self.endpoints = endpoints
    ports = Set(endpoints.map(\.port))
    address = endpoints[0].address
    self.accessLog = accessLog
    kinds = Array(["http", "https"].prefix(listeners.count))
  }

  deinit {
    for listener in listeners { close(listener) }
    for socket in state.withLock({ $0.sockets.values.map(\.self) }) { close(socket) }
  }

  /// Whether clients can come over HTTPS.
  var servesHTTPS: Bool { listeners.count > 1 }

  /// Sends certificates, streams, routes, and sockets that are to be listened on besides the first ones. Tables equal to the last ones cost
  /// nothing.
  func send(
    _ table: RouteTable, _ tls: TLSTable, _ streams: StreamTable, _ listeners: Set<IngressListener>
  ) -> Sent {
    state.withLock { state in
      var sent = Sent()
      state.tls = tls
      state.streams = streams
      state.table = table
      // A child that just died gets everything when it is replaced. What closes goes first, so that nobody meets other routes there;
      // certificates before the routes that redirect to them; what opens goes last, when its routes are there.
      let before = Set(state.sockets.keys)
      let kept = Self.letGo(&state, except: listeners)
      let freed = before.subtracting(state.sockets.keys)
      for child in state.fed {
        // Nothing is sent twice.
        _ = try? child.feeder.send(tls)
        _ = try? child.feeder.send(streams)
        _ = try? child.feeder.send(table)
      }
      for listener in listeners.sorted() where state.sockets[listener] == nil {
        do throws(SocketError) {
          let isFreed = freed.contains {
            $0.transport == listener.transport && $0.endpoint.port == listener.endpoint.port
          }
          let socket =
            if let old = kept[listener.place] { old } else { try Self.listen(listener, isFreed: isFreed) }
          state.sockets[listener] = socket
          for child in state.fed { _ = try? child.feeder.open(listener, descriptor: socket) }
        } catch {
          sent.refused[listener] = String(cString: strerror(error.errno))
        }
      }
      sent.generation = state.current?.generation ?? 0
      sent.frames = state.current?.feeder.sentCount ?? 0
      return sent
    }
  }

  /// Closes what is not wanted any more. Sockets whose address is wanted for something else are kept, so that nobody takes it.
  private static func letGo(_ state: inout State, except wanted: Set<IngressListener>) -> [IngressListener
    .Place: Int32]
  {
    var kept: [IngressListener.Place: Int32] = [:]
    let places = Set(wanted.map(\.place))
    for (listener, socket) in state.sockets where !wanted.contains(listener) {
      for child in state.fed { _ = try? child.feeder.close(listener) }
      state.sockets[listener] = nil
      if places.contains(listener.place) { kept[listener.place] = socket } else { Glibc.close(socket) }
    }
    return kept
  }

  /// Tries, a millisecond apart, for a port that a child has been told to close.
  private static let listenTriesMax = 200

  /// A socket for all addresses and one for a single address are not open together: where one comes for the other, it waits for the child
  /// to let go.
  private static func listen(_ listener: IngressListener, isFreed: Bool) throws(SocketError) -> Int32 {
    for _ in 0..<(isFreed ? Self.listenTriesMax : 0) {
      do throws(SocketError) { return try listen(listener) } catch  where error.errno == EADDRINUSE {
        usleep(1000)
      }
    }
    return try listen(listener)
  }

  /// Alone on its port: what another program has is not shared with it.
  private static func listen(_ listener: IngressListener) throws(SocketError) -> Int32 {
    if listener.transport == .udp {
      return try Sockets.bindUDP(listener.endpoint, reusePort: false).release()
    }
    return try Sockets.listenTCP(listener.endpoint, reusePort: false).release()
  }

  private static let confirmationMax: Duration = .seconds(5)

  /// Whether the data plane works by what was sent. Waits a few seconds for it.
  func isInForce(_ sent: Sent) async -> Bool {
    let deadline = ContinuousClock.now + Self.confirmationMax
    while true {
      let isInForce = state.withLock { state in
        guard let child = state.current else { return false }
        // A new child was given everything anew, before anything else.
        return child.feeder.isInForce(
          child.generation == sent.generation ? sent.frames : child.feeder.sentCount)
      }
      if isInForce { return true }
      guard ContinuousClock.now < deadline, (try? await Task.sleep(for: .milliseconds(1))) != nil else {
        return false
      }
    }
  }

  /// Has the access log opened anew, as nginx does on SIGUSR1.
  func reopenLog() {
    let children = state.withLock { $0.all }
    for child in children { try? child.feeder.reopenLog() }
  }

  /// The metrics of every data plane there is, as text. Blocks for about a second when one does not answer.
  func metricsTexts() -> [String] {
    let children = state.withLock { $0.all }
    return children.compactMap { $0.metrics.text() }
  }

  /// Makes a child that was started the one that serves. Returns the one before, which is to be told; the child itself, when it has
  /// died or everything ends.
  private func adopt(_ child: Child) -> Child? {
    state.withLock { state in
      state.incoming.removeAll { $0 === child }
      guard !state.isStopping, state.alive.contains(child.pid) else { return child }
      let old = state.current
      state.current = child
      if let old { state.leaving.append(old) }
      return old
    }
  }

  /// Lets the children answer what they have begun, at most a few seconds, and ends them.
  func stop() {
    let children = state.withLock { state in
      state.isStopping = true
      return state.all
    }
    for child in children { child.feeder.close() }
    for _ in 0..<300 {
      if state.withLock({ $0.alive.isEmpty }) { return }
      usleep(10_000)
    }
    for pid in state.withLock({ $0.alive }) { kill(pid, SIGKILL) }
  }

  private var words: [String] {
    var words: [String] = []
    if let accessLog { words.append("\(Self.logWord)\(accessLog.format.rawValue):\(accessLog.path)") }
    if let proxy { words.append(Self.proxyWord + proxy.sources.map(\.description).joined(separator: ",")) }
    return words
  }

  /// Starts a data plane with the tables there are, and a thread that waits for its end.
  private func launch() throws(WeftError) -> Child {
    let pair: (feeder: IngressFeeder, child: Int32)
    let pipe: (parent: IngressMetricsPipe, child: Int32)
    do {
      pair = try IngressFeeder.pair()
    } catch {
      throw failure("\(error)")
    }
    defer { close(pair.child) }
    do {
      pipe = try IngressMetricsPipe.pair()
    } catch {
      throw failure("\(error)")
    }
    defer { close(pipe.child) }
    let command = [Programs.own, Self.command] + kinds + [Self.metricsWord] + words
    var arguments = command.map { strdup($0) } + [nil]
    defer { for argument in arguments { free(argument) } }
    // It shall know nothing of who may do what in the cluster.
    var environment: [UnsafeMutablePointer<CChar>?] = [nil]
    let descriptors = [pair.child] + listeners + [pipe.child]
    let pid = weft_spawn_child(
      Programs.own, &arguments, &environment, descriptors, Int32(descriptors.count))
    guard pid > 0 else { throw failure(String(cString: strerror(-pid))) }
    let child = state.withLock { state in
      state.generation += 1
      let child = Child(pid, pair.feeder, pipe.parent, generation: state.generation)
      state.alive.insert(pid)
      state.incoming.append(child)
      // Certificates before the routes that redirect to them.
      if let tls = state.tls { _ = try? child.feeder.send(tls) }
      if let streams = state.streams { _ = try? child.feeder.send(streams) }
      if let table = state.table { _ = try? child.feeder.send(table) }
      for (listener, socket) in state.sockets { _ = try? child.feeder.open(listener, descriptor: socket) }
      return child
    }
    guard DetachedThread.start({ self.wait(for: child) }) else {
      state.withLock { $0.incoming.removeAll { $0 === child } }
      kill(pid, SIGKILL)
      throw failure("no thread")
    }
    log.info("data plane started", metadata: ["pid": "\(pid)"])
    return child
  }

  /// Waits for a child's end, and starts the next one when it was the one that serves.
  func wait(for child: Child) {
    var status: Int32 = 0
    while waitpid(child.pid, &status, 0) < 0, errno == EINTR {}
    child.metrics.close()
    let isLost = state.withLock { state in
      state.alive.remove(child.pid)
      let wasLeaving = (state.leaving + state.former).contains { $0 === child }
      state.leaving.removeAll { $0 === child }
      state.former.removeAll { $0 === child }
      state.incoming.removeAll { $0 === child }
      // Without a current one it died before it was made that.
      guard !wasLeaving, state.current === child || state.current == nil, !state.isStopping else {
        return false
      }
      state.current = nil
      return true
    }
    guard isLost else { return }
    log.error("data plane ended", metadata: ["pid": "\(child.pid)", "status": "\(status)"])
    // Clients wait in the sockets' queues meanwhile.
    var isHurried = Reactor.monotonicNanoseconds() - child.begin > Self.youthNanoseconds
    while true {
      restarts.increment()
      if !isHurried { usleep(Self.restartMilliseconds * 1000) }
      isHurried = false
      do throws(WeftError) {
        adopt(try launch())?.feeder.leave()
        return
      } catch { log.error("\(error)") }
      if state.withLock({ $0.isStopping || $0.current != nil }) { return }
    }
  }

  private func failure(_ cause: String) -> WeftError {
    WeftError(
      "ING0001", object: "ingress data plane", cause: "cannot be started (\(cause))",
      next: "run without it: --http none", exit: .usage)
  }
}
