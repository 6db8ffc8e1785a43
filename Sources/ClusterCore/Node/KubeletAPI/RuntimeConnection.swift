// The way to containerd's streaming server: an address on the node's loopback that is good for one connection.

import CLinux
import ClusterClient
import ClusterStreams
import Glibc
import NIOCore
import NIOHTTP1
import NIOPosix

/// Connects to one of the runtime's one-time addresses and upgrades to SPDY.
struct RuntimeConnection: Sendable {
  let call: HTTPCall
  let answer: HTTPResponseHead

  var isUpgraded: Bool { answer.status == .switchingProtocols }

  /// - Parameters:
  ///   - url: `http://127.0.0.1:PORT/exec/TOKEN`.
  ///   - protocols: what is offered as `X-Stream-Protocol-Version`.
  ///   - loop: the client's, so that bytes go across without changing threads.
  static func open(
    _ url: String, protocols: [String], on loop: any EventLoop, netnsPath: String?
  ) async throws -> RuntimeConnection {
    guard url.hasPrefix("http://"), let slash = url.dropFirst(7).firstIndex(of: "/") else {
      throw failure("its address is not understood: \(url)")
    }
    let authority = url.dropFirst(7)[..<slash]
    guard let colon = authority.lastIndex(of: ":"),
      let port = Int(authority[authority.index(after: colon)...])
    else { throw failure("its address has no port: \(url)") }
    let host = String(authority[..<colon].filter { $0 != "[" && $0 != "]" })
    let place: HTTPCall.Place
    if netnsPath == nil {
      place = .address(host, port: port)
    } else {
      let (descriptor, problem) =
        await NetnsThread.run(netnsPath) {
          Dial.connected(host, port: port, timeoutMilliseconds: 5000)
        } ?? (-1, "the node's network namespace is gone")
      guard descriptor >= 0 else { throw failure(problem ?? "cannot be reached") }
      place = .socket(descriptor)
    }
    var headers: HTTPHeaders = [
      "host": String(authority), "connection": "Upgrade", "upgrade": "SPDY/3.1", "content-length": "0",
    ]
    for name in protocols { headers.add(name: "x-stream-protocol-version", value: name) }
    let head = HTTPRequestHead(version: .http1_1, method: .POST, uri: String(url[slash...]), headers: headers)
    do {
      let call = try await HTTPCall.connect(place, on: loop)
      call.begin(head)
      call.finish()
      return RuntimeConnection(call: call, answer: try await call.answer())
    } catch {
      throw failure("\(error)")
    }
  }

  /// What the runtime said instead of 101, at most 4 KiB.
  func refusal() async -> String {
    let promise = call.channel.eventLoop.makePromise(of: String.self)
    call.channel.eventLoop.execute {
      var text = ByteBuffer()
      call.start(
        onBody: { bytes in if text.readableBytes < 4096 { text.writeImmutableBuffer(bytes) } },
        onEnd: { _ in promise.succeed(String(buffer: text)) })
    }
    defer { call.close() }
    return (try? await promise.futureResult.get()) ?? ""
  }

  private static func failure(_ cause: String) -> APIStatusError {
    APIStatusError(
      code: 500, reason: "InternalError",
      message: "the container runtime's streams cannot be reached: \(cause)")
  }
}
