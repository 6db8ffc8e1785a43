// One member of etcd and the HTTP/2 connection to it.

import ClusterStore
import Diagnostics
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import GRPCWindowProbe
import NIOCore
import NIOSSL

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
