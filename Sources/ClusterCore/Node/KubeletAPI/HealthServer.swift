// Port 10248 on the node's loopback: `/healthz` for whoever looks after the agent's process, as kubelet answers it.

import CLinux
import ClusterStreams
import Glibc
import Logging
import NIOCore
import NIOHTTP1
import NIOPosix

final class HealthServer: Sendable {
  private let channel: any Channel

  private init(_ channel: any Channel) { self.channel = channel }

  /// Nil when the port is off or taken: a node does not fail for that, but says so.
  static func start(_ settings: NodeSettings) async -> HealthServer? {
    guard let port = UInt16(exactly: settings.healthzPort), port > 0 else { return nil }
    let socket = await NetnsThread.run(settings.netnsPath) { listenOnLoopback(port) } ?? -ENOENT
    guard socket >= 0 else {
      Logger(label: "node").warning(
        "nobody can ask for the agent's health here",
        metadata: ["port": "\(port)", "error": "\(String(cString: strerror(-socket)))"])
      return nil
    }
    let limit = TimeAmount(settings.requestHeadTimeout)
    let bootstrap = ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
      .childChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          let timer = HeadTimer(channel: channel, limit: limit)
          try channel.pipeline.syncOperations.addHandler(timer)
          try HTTPServerCodec.add(to: channel)
          try channel.pipeline.syncOperations.addHandler(
            NodeHandler(timer: timer, streamIdleLimit: limit, respond: answer, identify: { _ in nil }))
        }
      }
    return (try? await bootstrap.withBoundSocket(socket).get()).map { HealthServer($0) }
  }

  private static func answer(_ request: NodeRequest) async -> NodeAnswer {
    guard request.method == .GET || request.method == .HEAD else { return .text(405, "method not allowed") }
    return request.path.first == "healthz" ? .text(200, "ok") : .text(404, "404 page not found\n")
  }

  func stop() async { try? await channel.close().get() }
}

/// A listening socket of 127.0.0.1 in this thread's network namespace; or a negative errno.
private func listenOnLoopback(_ port: UInt16) -> Int32 {
  let type = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
  let descriptor = socket(AF_INET, type, 0)
  guard descriptor >= 0 else { return -errno }
  var yes: Int32 = 1
  setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &yes, socklen_t(MemoryLayout<Int32>.size))
  var name = sockaddr_in()
  name.sin_family = sa_family_t(AF_INET)
  name.sin_port = port.bigEndian
  name.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
  let result = withUnsafePointer(to: &name) {
    $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
    }
  }
  guard result == 0, listen(descriptor, 64) == 0 else {
    let code = errno
    close(descriptor)
    return -code
  }
  return descriptor
}
