// A TCP connection to a pod's own loopback, dialled within the pod's network namespace.

import CLinux
import ClusterStreams
import Glibc
import NIOCore
import NIOPosix

/// Where forwarded connections go.
struct ForwardedPod: Sendable {
  var sandbox: String
  /// Nil: the agent's own, for pods on the host's network.
  var netnsPath: String?
}

enum PodDial {
  static let timeoutMilliseconds = 10_000

  /// Why there is no connection, in the words of the runtime.
  struct Problem: Error { var text: String }

  /// Calls back on `loop` with a link that is not started yet.
  static func open(
    _ port: Int, in pod: ForwardedPod, on loop: any EventLoop,
    then: @escaping @Sendable (Result<ByteLink, Problem>) -> Void
  ) {
    Task {
      let (descriptor, problem) =
        await NetnsThread.run(pod.netnsPath) { connect(port, pod) }
        ?? (-1, "failed to find sandbox \"\(pod.sandbox)\": its network namespace is gone")
      guard descriptor >= 0 else {
        let text =
          "error forwarding port \(port) to pod \(pod.sandbox), uid : \(problem ?? "connection refused")"
        return loop.execute { then(.failure(Problem(text: text))) }
      }
      loop.execute { adopt(descriptor, port, pod, loop, then) }
    }
  }

  private static func adopt(
    _ descriptor: Int32, _ port: Int, _ pod: ForwardedPod, _ loop: any EventLoop,
    _ then: @escaping @Sendable (Result<ByteLink, Problem>) -> Void
  ) {
    ClientBootstrap(group: loop)
      .channelOption(.allowRemoteHalfClosure, value: true)
      .channelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.addHandler(ByteLink(channel: channel))
        }
      }
      .withConnectedSocket(descriptor)
      .whenComplete { result in
        then(
          Result { try result.get().pipeline.syncOperations.handler(type: ByteLink.self) }.mapError {
            Problem(text: "error forwarding port \(port) to pod \(pod.sandbox), uid : \($0)")
          })
      }
  }

  /// As the runtime does: IPv4 first, then IPv6, in the words of its errors.
  private static func connect(_ port: Int, _ pod: ForwardedPod) -> (Int32, String?) {
    let (four, problem) = Dial.connected("127.0.0.1", port: port, timeoutMilliseconds: timeoutMilliseconds)
    if four >= 0 { return (four, nil) }
    let (six, problem6) = Dial.connected("::1", port: port, timeoutMilliseconds: timeoutMilliseconds)
    if six >= 0 { return (six, nil) }
    func words(_ text: String?, _ family: String, _ host: String) -> String {
      "dial \(family) \(host):\(port): connect: "
        + (text?.split(separator: ": ").last.map { $0.lowercased() } ?? "unreachable")
    }
    return (
      -1,
      "failed to execute portforward in network namespace \"\(pod.netnsPath ?? "host")\": failed to connect to "
        + "localhost:\(port) inside namespace \"\(pod.sandbox)\", IPv4: "
        + words(problem, "tcp4", "127.0.0.1") + " IPv6 " + words(problem6, "tcp6", "[::1]") + " "
    )
  }
}
