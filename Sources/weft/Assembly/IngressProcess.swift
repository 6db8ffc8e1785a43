// The ingress data plane as a child: it parses strangers' bytes, so it has no credentials and, once it runs, no capabilities.
// We keep its listeners: when it dies, the next one takes them over and no connection attempt is refused meanwhile.

import Addresses
import CLinux
import Diagnostics
import Glibc
import Ingress
import Logging
import Reactor
import Synchronization

/// The listening addresses, one child, fed with routes and certificates.
final class IngressProcess: Sendable {
  /// The hidden command under which the child runs. Descriptor 3 brings routes, the next listen, each for what an argument
  /// says.
  static let command = "ingress-data-plane"
  /// Stands before format and file of the access log.
  private static let logWord = "access-log="
  /// Stands before the networks whose PROXY protocol headers are believed.
  private static let proxyWord = "proxy-protocol="
  /// A child that dies at once is started again after this long.
  private static let restartMilliseconds: UInt32 = 200

  private struct State {
    var feeder: IngressFeeder?
    var pid: pid_t = 0
    var table: RouteTable?
    var tls: TLSTable?
    var streams: StreamTable?
    /// Sockets that came later, ours to close.
    var sockets: [IngressListener: Int32] = [:]
    /// Children that were started.
    var generation = 0
    var isStopping = false
  }

  /// What was sent, for who wants to know when it is in force.
  struct Sent {
    /// Listeners that could not be opened, and why.
    var refused: [IngressListener: String] = [:]
    fileprivate var generation = 0
    fileprivate var frames: UInt32 = 0
  }

  private let listeners: [Int32]
  private let kinds: [String]
  /// Where it listens from the beginning: ports of Ingresses, and the address for those of Gateways.
  let ports: Set<UInt16>
  let address: IPAddress
  /// Of HTTPS, from the beginning.
  let securePort: UInt16?
  private let proxy: ProxyAcceptance?
  private let accessLog: AccessLogConfiguration?
  private let state = Mutex(State())
  private let log = Logger(label: "ingress")
  private let restarts = Metrics.shared.counter(
    "weft_ingress_restarts_total", "Times the ingress data plane was started anew."
  ).child()

  /// Listens and starts the child. Throws `NET0012` for a port that is taken.
  static func start(
    http: SocketEndpoint, https: SocketEndpoint?, accessLog: AccessLogConfiguration?,
    proxy: ProxyAcceptance? = nil
  ) throws(WeftError) -> IngressProcess {
    let plain = try StatusPages.listen(http, "--http")
    var listeners = [plain]
    if let https {
      do throws(WeftError) {
        listeners.append(try StatusPages.listen(https, "--https"))
      } catch {
        close(plain)
        throw error
      }
    }
    let process = IngressProcess(listeners, [http, https].compactMap(\.self), accessLog, proxy)
    try process.launch()
    process.watch()
    return process
  }

  private init(
    _ listeners: [Int32], _ endpoints: [SocketEndpoint], _ accessLog: AccessLogConfiguration?,
    _ proxy: ProxyAcceptance?
  ) {
    self.proxy = proxy
    securePort = endpoints.count > 1 ? endpoints[1].port : nil
    self.listeners = listeners
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
      let (isNewTLS, isNew) = (state.tls != tls, state.table != table)
      let isNewStreams = state.streams != streams
      state.tls = tls
      state.streams = streams
      state.table = table
      // A child that just died gets everything when it is replaced. What closes goes first, so that nobody meets other routes there;
      // certificates before the routes that redirect to them; what opens goes last, when its routes are there.
      let kept = Self.letGo(&state, except: listeners)
      if isNewTLS { _ = try? state.feeder?.send(tls) }
      if isNewStreams { _ = try? state.feeder?.send(streams) }
      if isNew { _ = try? state.feeder?.send(table) }
      for listener in listeners.sorted() where state.sockets[listener] == nil {
        do throws(SocketError) {
          let socket = if let old = kept[listener.place] { old } else { try Self.listen(listener) }
          state.sockets[listener] = socket
          _ = try? state.feeder?.open(listener, descriptor: socket)
        } catch {
          sent.refused[listener] = String(cString: strerror(error.errno))
        }
      }
      sent.generation = state.generation
      sent.frames = state.feeder?.sentCount ?? 0
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
      _ = try? state.feeder?.close(listener)
      state.sockets[listener] = nil
      if places.contains(listener.place) { kept[listener.place] = socket } else { Glibc.close(socket) }
    }
    return kept
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
        // A new child was given everything anew, before anything else.
        let frames = state.generation == sent.generation ? sent.frames : state.feeder?.sentCount ?? .max
        return state.feeder?.isInForce(frames) ?? false
      }
      if isInForce { return true }
      guard ContinuousClock.now < deadline, (try? await Task.sleep(for: .milliseconds(1))) != nil else {
        return false
      }
    }
  }

  /// Lets the child answer what it has begun, at most a few seconds, and ends it.
  func stop() {
    let pid = state.withLock { state in
      state.isStopping = true
      state.feeder?.close()
      state.feeder = nil
      return state.pid
    }
    guard pid > 0 else { return }
    for _ in 0..<300 {
      if state.withLock({ $0.pid }) == 0 { return }
      usleep(10_000)
    }
    kill(pid, SIGKILL)
  }

  private var words: [String] {
    var words: [String] = []
    if let accessLog { words.append("\(Self.logWord)\(accessLog.format.rawValue):\(accessLog.path)") }
    if let proxy { words.append(Self.proxyWord + proxy.sources.map(\.description).joined(separator: ",")) }
    return words
  }

  private func launch() throws(WeftError) {
    let pair: (feeder: IngressFeeder, child: Int32)
    do {
      pair = try IngressFeeder.pair()
    } catch {
      throw failure("\(error)")
    }
    defer { close(pair.child) }
    var arguments = ([Programs.own, Self.command] + kinds + words).map { strdup($0) } + [nil]
    defer { for argument in arguments { free(argument) } }
    let descriptors = [pair.child] + listeners
    let pid = weft_spawn_child(Programs.own, &arguments, environ, descriptors, Int32(descriptors.count))
    guard pid > 0 else { throw failure(String(cString: strerror(-pid))) }
    state.withLock { state in
      state.feeder = pair.feeder
      state.pid = pid
      state.generation += 1
      if let tls = state.tls { _ = try? pair.feeder.send(tls) }
      if let streams = state.streams { _ = try? pair.feeder.send(streams) }
      if let table = state.table { _ = try? pair.feeder.send(table) }
      for (listener, socket) in state.sockets { _ = try? pair.feeder.open(listener, descriptor: socket) }
    }
    log.info("data plane started", metadata: ["pid": "\(pid)"])
  }

  /// A thread that waits for the child and starts the next one.
  private func watch() {
    let thread = Unmanaged.passRetained(self)
    var handle = pthread_t()
    pthread_create(
      &handle, nil,
      { raw in
        guard let raw else { return nil }
        Unmanaged<IngressProcess>.fromOpaque(raw).takeRetainedValue().waitForever()
        return nil
      }, thread.toOpaque())
    pthread_detach(handle)
  }

  private func waitForever() {
    while true {
      let pid = state.withLock { $0.pid }
      var status: Int32 = 0
      while waitpid(pid, &status, 0) < 0, errno == EINTR {}
      let isStopping = state.withLock { state in
        state.pid = 0
        return state.isStopping
      }
      if isStopping { return }
      log.error("data plane ended", metadata: ["pid": "\(pid)", "status": "\(status)"])
      restarts.increment()
      usleep(Self.restartMilliseconds * 1000)
      do throws(WeftError) { try launch() } catch { log.error("\(error)") }
    }
  }

  private func failure(_ cause: String) -> WeftError {
    WeftError(
      "ING0001", object: "ingress data plane", cause: "cannot be started (\(cause))",
      next: "run without it: --http none", exit: .usage)
  }

  /// The child's whole life. Called before any other thread exists: capabilities belong to threads.
  static func runChild() -> Never {
    bootstrapLogging(level: .info)
    var configuration = IngressDataPlaneConfiguration(listeners: [], snapshots: 3, workers: 2)
    for (index, kind) in CommandLine.arguments.dropFirst(2).enumerated() {
      if kind.hasPrefix(logWord) {
        configuration.accessLog = AccessLogConfiguration(argument: kind.dropFirst(logWord.count))
        continue
      }
      if kind.hasPrefix(proxyWord) {
        configuration.proxy = ProxyAcceptance(
          sources: kind.dropFirst(proxyWord.count).split(separator: ",").compactMap { IPPrefix($0) })
        continue
      }
      let descriptor = Int32(4 + index)
      if kind == "https" {
        configuration.secureListeners.append(descriptor)
      } else {
        configuration.listeners.append(descriptor)
      }
    }
    do {
      try runIngressDataPlane(configuration)
      exit(0)
    } catch {
      Terminal.complain("\(error)")
      exit(ExitStatus.usage.rawValue)
    }
  }
}

extension AccessLogConfiguration {
  /// `FORMAT:FILE`.
  fileprivate init?(argument: Substring) {
    let parts = argument.split(separator: ":", maxSplits: 1).map(String.init)
    guard parts.count == 2, let format = AccessLogFormat(rawValue: parts[0]) else { return nil }
    self.init(path: parts[1], format: format)
  }
}
