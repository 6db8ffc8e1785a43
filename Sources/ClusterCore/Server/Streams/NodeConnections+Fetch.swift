// A question of this server itself to a node's agent, whose answer is small.

import ClusterClient
import ClusterObjects
import ClusterStreams
import NIOCore
import NIOHTTP1
import NIOPosix

extension NodeConnections {
  /// The body of the answer to a GET. Throws `APIStatusError` for a node without address and for an answer that is not
  /// 200, `HTTPCall.Closed` when none came in time or it was too long, and what the connection failed of.
  func fetch(_ node: JSON, uri: String, bytesMax: Int, timeout: TimeAmount) async throws -> [UInt8] {
    let target = try target(node, method: "GET", uri: uri)
    let loop = MultiThreadedEventLoopGroup.singleton.next()
    let call = try await HTTPCall.connect(.address(target.host, port: target.port), on: loop, tls: target.tls)
    let timer = loop.scheduleTask(in: timeout) { call.close() }
    defer {
      timer.cancel()
      call.close()
    }
    let headers = HTTPHeaders([
      ("host", target.authority), ("accept", "application/json"), ("connection", "close"),
    ])
    call.begin(HTTPRequestHead(version: .http1_1, method: .GET, uri: uri, headers: headers))
    call.finish()
    let head = try await call.answer()
    guard head.status == .ok else {
      throw APIStatusError(
        code: Int(head.status.code), reason: "Unknown", message: "\(uri) of \(node.name): \(head.status)")
    }
    return try await call.body(bytesMax: bytesMax)
  }
}
