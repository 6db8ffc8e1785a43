// Passes a request on to a node, a pod or a Service, and its answer back: bodies as they come, upgrades as bytes.
//
//   client ── HTTPHandler ── RequestStream ──► HTTPCall ── node, pod, Service
//                    ◄── BodyWriter, or ByteLink after status 101 ──

import ClusterClient
import ClusterStreams
import Diagnostics
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL

/// Where a request goes.
struct RelayTarget: Sendable {
  var host: String
  var port: Int
  var tls: (@Sendable () throws -> NIOSSLClientHandler)?
  /// Path and query there.
  var uri: String
  var method: HTTPMethod
  /// What the answer's `Location` is put behind, where it is a path or an address of the target.
  var locationPrefix: String?
  /// Said of the asker to who believes it; the client's own of the same names are dropped.
  var headers: [(String, String)] = []
  /// A redirection is answered with 502.
  var refusesRedirects = false

  var authority: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
  var scheme: String { tls == nil ? "http" : "https" }
}

enum Relay {
  /// Credentials and assertions of the client, which are for this server alone.
  private static let ownHeaders = [
    "authorization", "impersonate-user", "impersonate-group", "impersonate-uid",
  ]
  private static let ownPrefixes = ["impersonate-extra-", "x-remote-"]

  private static let open = Metrics.shared.gauge(
    "apiserver_relayed_requests", "Requests that are being passed on to nodes, pods and Services."
  ).child()

  /// Throws `APIStatusError` when the target cannot be reached.
  static func send(_ request: HTTPRequest, to target: RelayTarget) async throws -> HTTPResponse {
    guard let stream = request.stream else { throw Failure.badRequest("this request cannot be passed on") }
    let loop = stream.channel.eventLoop
    let call: HTTPCall
    do {
      call = try await HTTPCall.connect(.address(target.host, port: target.port), on: loop, tls: target.tls)
    } catch {
      throw unreachable(target, error)
    }
    let isUpgrade = RequestStream.isUpgrade(request.headers)
    let head = HTTPRequestHead(
      version: .http1_1, method: target.method, uri: target.uri, headers: headers(request, target, isUpgrade))
    open.add(1)
    try await loop.submit {
      call.channel.closeFuture.whenComplete { _ in open.add(-1) }
      stream.whenClosed { call.close() }
      call.begin(head)
      call.whenWritable { stream.hold(false) }
      stream.start(
        onBody: { bytes in
          call.send(bytes)
          if !call.isWritable { stream.hold(true) }
        }, onEnd: { call.finish() })
    }.get()
    let answer: HTTPResponseHead
    do { answer = try await call.answer() } catch { throw unreachable(target, error) }
    if target.refusesRedirects, (300..<400).contains(answer.status.code), answer.status != .notModified {
      call.close()
      throw APIStatusError(
        code: 502, reason: "BadGateway",
        message: "the backend attempted to redirect this request, which is not permitted")
    }
    return response(answer, call, target, isUpgrade: isUpgrade)
  }

  private static func headers(
    _ request: HTTPRequest, _ target: RelayTarget, _ isUpgrade: Bool
  ) -> HTTPHeaders {
    var headers = request.headers
    let upgrade = headers["upgrade"]
    HTTPServerCodec.removeHopByHop(&headers)
    for (name, _) in request.headers {
      let name = name.lowercased()
      if ownHeaders.contains(name) || ownPrefixes.contains(where: { name.hasPrefix($0) }) {
        headers.remove(name: name)
      }
    }
    for (name, value) in target.headers { headers.add(name: name, value: value) }
    let host = headers.first(name: "host")
    headers.replaceOrAdd(name: "host", value: target.authority)
    if let host { headers.replaceOrAdd(name: "x-forwarded-host", value: host) }
    headers.replaceOrAdd(name: "x-forwarded-proto", value: "https")
    headers.replaceOrAdd(name: "x-forwarded-uri", value: request.rawPath)
    if !request.remoteAddress.isEmpty {
      let before = headers["x-forwarded-for"] + [request.remoteAddress]
      headers.replaceOrAdd(name: "x-forwarded-for", value: before.joined(separator: ", "))
    }
    if isUpgrade {
      headers.add(name: "connection", value: "Upgrade")
      for value in upgrade { headers.add(name: "upgrade", value: value) }
    } else {
      // A connection carries one request.
      headers.add(name: "connection", value: "close")
    }
    if request.headers.contains(name: "transfer-encoding"), headers.first(name: "content-length") == nil {
      headers.add(name: "transfer-encoding", value: "chunked")
    }
    return headers
  }

  private static func response(
    _ answer: HTTPResponseHead, _ call: HTTPCall, _ target: RelayTarget, isUpgrade: Bool
  ) -> HTTPResponse {
    var headers = answer.headers
    let upgrade = headers["upgrade"]
    HTTPServerCodec.removeHopByHop(&headers)
    var response: HTTPResponse
    if answer.status == .switchingProtocols, isUpgrade {
      headers.replaceOrAdd(name: "connection", value: "Upgrade")
      for value in upgrade { headers.add(name: "upgrade", value: value) }
      response = HTTPResponse(
        101, contentType: "",
        .upgrade { link in
          guard let other = try? call.takeOver() else { return link.close() }
          other.whenComplete { result in
            if case .success(let other) = result { ByteLink.join(link, other) } else { link.close() }
          }
        })
    } else {
      response = HTTPResponse(
        Int(answer.status.code), contentType: "",
        .relay { writer in
          writer.onWritable = { call.hold(false) }
          writer.onClose = { call.close() }
          call.start(
            onBody: { bytes in
              writer.write(bytes)
              if !writer.isWritable { call.hold(true) }
            },
            onEnd: { isWhole in
              writer.end(isWhole: isWhole)
              call.close()
            })
        })
    }
    response.status = answer.status
    response.headers = headers.map { name, value in
      name.lowercased() == "location" ? (name, location(value, target)) : (name, value)
    }
    return response
  }

  /// A redirection within the target stays within the proxy.
  static func location(_ value: String, _ target: RelayTarget) -> String {
    guard let prefix = target.locationPrefix else { return value }
    let origin = "\(target.scheme)://\(target.authority)"
    if value.hasPrefix(origin + "/") { return prefix + value.dropFirst(origin.count) }
    return value.hasPrefix("/") && !value.hasPrefix("//") ? prefix + value : value
  }

  private static func unreachable(_ target: RelayTarget, _ error: any Error) -> APIStatusError {
    let cause: String
    switch error {
    case let error as NIOConnectionError:
      cause =
        error.connectionErrors.first.map {
          "\($0.error)".contains("refused") ? "connection refused" : "\($0.error)"
        }
        ?? "no such host"
    case ChannelError.connectTimeout: cause = "i/o timeout"
    case is HTTPCall.Closed: cause = "the connection was closed before an answer came"
    case is NIOSSLError, is BoringSSLError, is NIOSSLExtraError:
      cause = "the certificate is not the expected one"
    default: cause = "\(error)".contains("refused") ? "connection refused" : "\(error)"
    }
    return APIStatusError(
      code: 503, reason: "ServiceUnavailable",
      message: "error dialing backend: dial tcp \(target.authority): connect: \(cause)")
  }
}
