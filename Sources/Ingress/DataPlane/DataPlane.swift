// The ingress as a process of its own: it has listening sockets and a stream of route tables, and nothing
// else.
//
//   parent (knows the cluster) --IngressFeeder--> [socket pair] --runIngressDataPlane--> child (meets strangers)
//   frame: u32 little-endian length | encoded RouteTable or StreamTable, or a frame of TLSTable, of IngressListener, of DataPlaneWord
//   back:  u32 little-endian, how many frames are in force

import CLinux
import Diagnostics
import Glibc
import Logging
import Reactor

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
  Descriptor.raiseLimit()
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
  let room = MemoryRoom.observe()
  var fitting = configuration
  fitting.limits = configuration.limits.fitting(room, workers: configuration.workers)
  if let bytes = room.bytes {
    let limits = fitting.limits
    logger.info(
      "limits fit memory",
      metadata: [
        "bytes": "\(bytes)", "clients": "\(limits.clientsMax)", "requests": "\(limits.requestBuffersMax)",
        "slowReaders": "\(limits.bulkBuffersMax)",
      ])
  }
  let plane = IngressPlane(fitting, log)
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
    let order: DataPlaneOrder
    do throws(RouteTableUnreadable) { order = try DataPlaneOrder(frame, &certificates) } catch {
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

private func setUpFailure(_ error: SocketError) -> WeftError {
  WeftError(
    "ING0001", object: "ingress data plane", cause: "\(error)",
    next: "look at limits of descriptors and threads",
    exit: .unreachable, underlying: error)
}
