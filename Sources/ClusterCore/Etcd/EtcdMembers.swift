// The connections to etcd's members: one HTTP/2 connection each, and which of them is asked first.

import ClusterStore
import Diagnostics
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import GRPCWindowProbe
import NIOCore
import NIOSSL
import Synchronization

/// One member of the etcd cluster.
struct EtcdMember: Sendable {
  typealias Transport = HTTP2ClientTransport.Posix
  let endpoint: EtcdEndpoint
  let client: GRPCClient<Transport>
  let kv: Etcdserverpb_KV.Client<Transport>
  let watch: Etcdserverpb_Watch.Client<Transport>
  let lease: Etcdserverpb_Lease.Client<Transport>
  let maintenance: Etcdserverpb_Maintenance.Client<Transport>

  init(_ endpoint: EtcdEndpoint, _ settings: EtcdStoreSettings) throws {
    self.endpoint = endpoint
    var config = Transport.Config.defaults
    config.backoff.initial = .milliseconds(50)
    config.backoff.max = .seconds(1)
    config.connection.maxIdleTime = nil
    // A member that vanished without a word is noticed; etcd refuses pings more often than every five seconds.
    config.connection.keepalive = .init(time: .seconds(10), timeout: .seconds(5), allowWithoutCalls: true)
    config.http2.targetWindowSize = 1 << 20
    config.channelDebuggingCallbacks.onCreateTCPConnection = { channel in
      channel.eventLoop.makeCompletedFuture {
        let pipeline = channel.pipeline.syncOperations
        if let tls = try? pipeline.handler(type: NIOSSLClientHandler.self) {
          try pipeline.addHandler(WindowProbeFilter(), position: .after(tls))
        } else {
          try pipeline.addHandler(WindowProbeFilter(), position: .first)
        }
      }
    }
    let security: Transport.TransportSecurity
    if endpoint.isSecure {
      security = .tls(
        .defaults { tls in
          if let file = settings.authorityFile {
            tls.trustRoots = .certificates([.file(path: file, format: .pem)])
          }
          if let certificate = settings.certificateFile, let key = settings.keyFile {
            tls.certificateChain = [.file(path: certificate, format: .pem)]
            tls.privateKey = .file(path: key, format: .pem)
          }
        })
    } else {
      security = .plaintext
    }
    let target: any ResolvableTarget
    if (try? SocketAddress(ipAddress: endpoint.host, port: endpoint.port)) != nil {
      target =
        endpoint.host.contains(":")
        ? .ipv6(address: endpoint.host, port: endpoint.port)
        : .ipv4(address: endpoint.host, port: endpoint.port)
    } else {
      target = .dns(host: endpoint.host, port: endpoint.port)
    }
    client = GRPCClient(
      transport: try .http2NIOPosix(target: target, transportSecurity: security, config: config))
    kv = .init(wrapping: client)
    watch = .init(wrapping: client)
    lease = .init(wrapping: client)
    maintenance = .init(wrapping: client)
  }
}

/// All members. A call goes to the member that answered last, and to the next one when it fails.
final class EtcdMembers: Sendable {
  private let members: [EtcdMember]
  private let connections: [Task<Void, Never>]
  private let preferred = Atomic<Int>(0)
  private let settings: EtcdStoreSettings
  private let closed = Atomic(false)
  let text: String

  init(_ settings: EtcdStoreSettings) throws(WeftError) {
    self.settings = settings
    text = settings.endpoints.map(\.description).joined(separator: ",")
    do {
      members = try settings.endpoints.map { try EtcdMember($0, settings) }
    } catch {
      throw WeftError(
        "STO0012", object: settings.endpoints.map(\.description).joined(separator: ","),
        cause: "the connection cannot be prepared: \(error)",
        next: "check that --etcd-cafile, --etcd-certfile and --etcd-keyfile name readable PEM files",
        underlying: error)
    }
    connections = members.map { member in Task { try? await member.client.runConnections() } }
  }

  func close() {
    closed.store(true, ordering: .relaxed)
    for member in members { member.client.beginGracefulShutdown() }
    for connection in connections { connection.cancel() }
  }

  deinit { close() }

  var isClosed: Bool { closed.load(ordering: .relaxed) }

  /// The member to ask, by its number.
  var current: (index: Int, member: EtcdMember) {
    let index = preferred.load(ordering: .relaxed)
    return (index, members[index])
  }

  /// The next call goes elsewhere, unless another caller turned away from this member already.
  func turnAway(from index: Int) {
    _ = preferred.compareExchange(
      expected: index, desired: (index + 1) % members.count, ordering: .relaxed)
  }

  var options: CallOptions {
    var options = CallOptions.defaults
    options.timeout = settings.callTimeout
    options.waitForReady = true
    // A page of 500 objects of 1.5 MiB.
    options.maxResponseMessageBytes = 1 << 30
    options.maxRequestMessageBytes = 64 << 20
    return options
  }

  /// Runs `body` until it succeeds, fails for good, or `patience` is over. `body` is told how many times it ran before: a
  /// write whose first try failed may have taken place.
  func call<T: Sendable>(
    _ body: (EtcdMember, CallOptions, Int) async throws -> T
  ) async throws(RPCError) -> T {
    let start = ContinuousClock.now
    var tries = 0
    var pause = Duration.milliseconds(20)
    while true {
      if isClosed { throw RPCError(code: .failedPrecondition, message: "the store is closed") }
      let (index, member) = current
      do {
        return try await body(member, options, tries)
      } catch {
        let failure = (error as? RPCError) ?? RPCError(code: .unknown, message: "\(error)", cause: error)
        guard failure.isTransient, !Task.isCancelled, ContinuousClock.now - start + pause < settings.patience
        else { throw failure }
        turnAway(from: index)
      }
      tries += 1
      try? await Task.sleep(for: pause)
      pause = min(pause * 2, .milliseconds(500))
    }
  }
}
