// The node agent's port: HTTPS, only for the API server. 10250, as on every Kubernetes node.

import CLinux
import ClusterStreams
import Diagnostics
import Glibc
import Logging
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
import SwiftASN1
import Synchronization
import X509

final class NodeServer: Sendable {
  /// Connections at once; more are closed.
  static let connectionsMax = 4096

  private let channel: any Channel
  private let open: OpenConnections
  private let identity: ServingIdentity
  var port: Int { channel.localAddress?.port ?? 0 }

  private init(channel: any Channel, open: OpenConnections, identity: ServingIdentity) {
    self.channel = channel
    self.open = open
    self.identity = identity
  }

  /// From now on new connections are shown this one; those that are open stay as they are. Throws when TLS cannot use it.
  func show(_ certificate: ServingCertificate) throws { try identity.set(certificate) }

  /// Listens in the node's network namespace. Errors: `API0050` the port cannot be had.
  static func start(
    _ settings: NodeSettings, authority: String, certificate: ServingCertificate,
    respond: @escaping @Sendable (NodeRequest) async -> NodeAnswer
  ) async throws -> NodeServer {
    let identity = try ServingIdentity(authority: authority, certificate)

    let port = settings.kubeletPort
    let socket = await NetnsThread.run(settings.netnsPath) { listen(port: port) } ?? -ENOENT
    guard socket >= 0 else {
      throw WeftError(
        "API0050", object: "port \(port) of node \(settings.nodeName)",
        cause: "cannot be listened on: \(String(cString: strerror(-socket)))",
        next: "see who holds it: ss -ltnp 'sport = :\(port)'")
    }
    let open = OpenConnections()
    let headLimit = TimeAmount(settings.requestHeadTimeout)
    let idleLimit = TimeAmount(settings.streamingConnectionIdleTimeout)
    let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
      .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
      .childChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          guard open.add(channel) else { throw ChannelError.operationUnsupported }
          try channel.pipeline.syncOperations.addHandler(NIOSSLServerHandler(context: identity.context))
          let timer = HeadTimer(channel: channel, limit: headLimit)
          try channel.pipeline.syncOperations.addHandler(timer)
          try HTTPServerCodec.add(to: channel)
          try channel.pipeline.syncOperations.addHandler(
            NodeHandler(timer: timer, streamIdleLimit: idleLimit, respond: respond, identify: peer(of:)))
        }
      }
      .withBoundSocket(socket).get()
    return NodeServer(channel: channel, open: open, identity: identity)
  }

  /// Closes the port and every connection.
  func stop() async {
    try? await channel.close().get()
    for channel in open.all { try? await channel.close().get() }
  }

  /// CN is the user, each O a group. The chain was verified by the TLS library.
  private static func peer(of channel: any Channel) -> NodeRequest.Peer? {
    guard let handler = try? channel.pipeline.syncOperations.handler(type: NIOSSLServerHandler.self),
      let shown = handler.peerCertificate, let bytes = try? shown.toDERBytes(),
      let certificate = try? Certificate(derEncoded: bytes)
    else { return nil }
    var peer = NodeRequest.Peer(user: "", groups: [])
    for part in certificate.subject {
      for attribute in part {
        if attribute.type == .RDNAttributeType.commonName { peer.user = "\(attribute.value)" }
        if attribute.type == .RDNAttributeType.organizationName { peer.groups.append("\(attribute.value)") }
      }
    }
    return peer
  }
}

/// What handshakes are made with.
private final class ServingIdentity: Sendable {
  private let authority: [NIOSSLCertificate]
  private let current: Mutex<NIOSSLContext>
  var context: NIOSSLContext { current.withLock { $0 } }

  init(authority: String, _ certificate: ServingCertificate) throws {
    let authority = try NIOSSLCertificate.fromPEMBytes(Array(authority.utf8))
    self.authority = authority
    current = Mutex(try Self.context(authority, certificate))
  }

  func set(_ certificate: ServingCertificate) throws {
    let next = try Self.context(authority, certificate)
    current.withLock { $0 = next }
  }

  private static func context(
    _ authority: [NIOSSLCertificate], _ certificate: ServingCertificate
  ) throws -> NIOSSLContext {
    var tls = TLSConfiguration.makeServerConfiguration(
      certificateChain: certificate.chain.map { .certificate($0) }, privateKey: .privateKey(certificate.key))
    tls.trustRoots = .certificates(authority)
    tls.certificateVerification = .optionalVerification
    tls.applicationProtocols = ["http/1.1"]
    tls.minimumTLSVersion = .tlsv12
    return try NIOSSLContext(configuration: tls)
  }
}

private final class OpenConnections: Sendable {
  private let channels = Mutex<[ObjectIdentifier: any Channel]>([:])
  var all: [any Channel] { channels.withLock { Array($0.values) } }

  func add(_ channel: any Channel) -> Bool {
    let id = ObjectIdentifier(channel)
    let isRoom = channels.withLock { channels in
      guard channels.count < NodeServer.connectionsMax else { return false }
      channels[id] = channel
      return true
    }
    if isRoom {
      channel.closeFuture.whenComplete { _ in self.channels.withLock { _ = $0.removeValue(forKey: id) } }
    }
    return isRoom
  }
}

/// A listening socket of both families on all addresses of this thread's network namespace; or a negative errno.
private func listen(port: Int) -> Int32 {
  func bound(_ family: Int32, _ name: (Int32) -> Int32) -> Int32 {
    let type = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
    let descriptor = socket(family, type, 0)
    guard descriptor >= 0 else { return -errno }
    var yes: Int32 = 1
    setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &yes, socklen_t(MemoryLayout<Int32>.size))
    guard name(descriptor) == 0, Glibc.listen(descriptor, 1024) == 0 else {
      let code = errno
      close(descriptor)
      return -code
    }
    return descriptor
  }
  let port = UInt16(truncatingIfNeeded: port)
  let both = bound(AF_INET6) { descriptor in
    var no: Int32 = 0
    setsockopt(
      descriptor, Int32(IPPROTO_IPV6), IPV6_V6ONLY, &no, socklen_t(MemoryLayout<Int32>.size))
    var name = sockaddr_in6()
    name.sin6_family = sa_family_t(AF_INET6)
    name.sin6_port = port.bigEndian
    return withUnsafePointer(to: &name) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in6>.size))
      }
    }
  }
  // A machine without IPv6.
  guard both == -EAFNOSUPPORT || both == -EADDRNOTAVAIL else { return both }
  return bound(AF_INET) { descriptor in
    var name = sockaddr_in()
    name.sin_family = sa_family_t(AF_INET)
    name.sin_port = port.bigEndian
    return withUnsafePointer(to: &name) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
  }
}
