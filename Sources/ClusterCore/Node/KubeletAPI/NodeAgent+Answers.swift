// What the node agent serves on its port, in the paths of Kubernetes' kubelet.
//
//   GET       /healthz /metrics /metrics/{resource,cadvisor,probes} /pods /runningpods /stats/summary /configz /logs/[PATH]
//   GET       /containerLogs/NS/POD/CONTAINER?follow&previous&tailLines&sinceSeconds&sinceTime&timestamps&limitBytes&stream
//   GET POST  /exec/NS/POD[/UID]/CONTAINER?command&input&output&error&tty      /attach/… the same
//   GET POST  /portForward/NS/POD[/UID]
//   GET       /weft/…   pages of the node's network (`NodePages`)

import ClusterClient
import ClusterObjects
import ClusterStreams
import Diagnostics
import GRPCCore
import NIOCore
import NIOHTTP1

extension NodeAgent {
  /// Never throws: what went wrong is in the answer, as a Status.
  nonisolated func answer(_ request: NodeRequest) async -> NodeAnswer {
    if let refusal = await refusal(of: request, reviews) { return refusal }
    do {
      return try await serve(request)
    } catch let error as APIStatusError {
      return Self.status(error)
    } catch let error as RPCError {
      return Self.status(
        APIStatusError(
          code: error.code == .notFound ? 404 : 500,
          reason: error.code == .notFound ? "NotFound" : "InternalError",
          message: error.message))
    } catch let error as WeftError {
      return Self.status(APIStatusError(code: 503, reason: "ServiceUnavailable", message: error.cause))
    } catch {
      return Self.status(APIStatusError(code: 500, reason: "InternalError", message: "\(error)"))
    }
  }

  private static func status(_ error: APIStatusError) -> NodeAnswer {
    .bytes(error.code, contentType: "application/json", ByteBuffer(bytes: error.status.bytes))
  }

  private nonisolated func serve(_ request: NodeRequest) async throws -> NodeAnswer {
    let path = request.path
    let reads = request.method == .GET || request.method == .HEAD
    switch path.first {
    case "exec" where path.count == 4 || path.count == 5: return try await exec(request, isAttach: false)
    case "attach" where path.count == 4 || path.count == 5: return try await exec(request, isAttach: true)
    case "portForward" where path.count == 3 || path.count == 4: return try await portForward(request)
    case _ where !reads: return .text(405, "method not allowed")
    case "containerLogs" where path.count == 4: return try await containerLogs(request)
    case "healthz" where path.count == 1 || path == ["healthz", "ping"]: return .text(200, "ok")
    case "metrics" where path.count == 1:
      return .metrics(metricsText)
    case "pods" where path.count == 1: return .json(try await podList())
    case "logs": return NodeLogFiles.answer(settings.logDirectory, Array(path.dropFirst()))
    case Self.pagesRoot: return try await page(request) ?? .text(404, "404 page not found")
    default: return try await usageAnswer(path) ?? .text(404, "404 page not found")
    }
  }

  // MARK: exec and attach

  private nonisolated func exec(_ request: NodeRequest, isAttach: Bool) async throws -> NodeAnswer {
    guard request.method == .GET || request.method == .POST else { return .text(405, "method not allowed") }
    let path = request.path
    var streams = Streams()
    streams.stdin = request.flag("input", "stdin")
    streams.stdout = request.flag("output", "stdout")
    streams.stderr = request.flag("error", "stderr")
    streams.tty = request.flag("tty")
    guard streams.stdin || streams.stdout || streams.stderr else {
      throw APIStatusError(
        code: 400, reason: "BadRequest", message: "you must specify at least 1 of stdin, stdout, stderr")
    }
    if streams.tty { streams.stderr = false }
    // What the client speaks is looked at before anything is started.
    let isWebSocket = WebSocketHandshake.isRequest(request.headers)
    var kind = ChannelProtocol.v4
    var headers = HTTPHeaders()
    if isWebSocket {
      let offered = WebSocketHandshake.offered(request.headers)
      guard let chosen = ChannelProtocol.choose(offered),
        let answer = WebSocketHandshake.answer(
          request.headers, subprotocol: offered.isEmpty ? "" : chosen.rawValue)
      else {
        throw APIStatusError(
          code: 403, reason: "Forbidden",
          message: "unable to upgrade: unable to negotiate protocol: client supports \(offered), "
            + "server accepts \(ChannelProtocol.allCases.map(\.rawValue))")
      }
      (kind, headers) = (chosen, answer)
    } else if !Self.asksForSPDY(request.headers) {
      throw APIStatusError(code: 400, reason: "BadRequest", message: "Upgrade request required")
    }
    let (namespace, pod, container) = (path[1], path[2], path[path.count - 1])
    let command = request.target.query.filter { $0.name == "command" }.map(\.value)
    if !isAttach, command.isEmpty {
      throw APIStatusError(code: 400, reason: "BadRequest", message: "you must specify a command")
    }
    let url =
      isAttach
      ? try await attachURL(namespace: namespace, pod: pod, container: container, streams: streams)
      : try await execURL(
        namespace: namespace, pod: pod, container: container, command: command, streams: streams)
    let offered = request.headers[canonicalForm: "x-stream-protocol-version"].map(String.init)
    let runtime = try await RuntimeConnection.open(
      url, protocols: isWebSocket ? [ChannelProtocol.v4.rawValue] : offered, on: request.channel.eventLoop,
      netnsPath: settings.netnsPath)
    guard runtime.isUpgraded else {
      let code = Int(runtime.answer.status.code)
      throw APIStatusError(
        code: code < 400 ? 500 : code, reason: code == 403 ? "Forbidden" : "InternalError",
        message: await runtime.refusal())
    }
    if !isWebSocket {
      // One SPDY on both sides: bytes go through untouched.
      headers = ["connection": "Upgrade", "upgrade": "SPDY/3.1"]
      if let chosen = runtime.answer.headers.first(name: "x-stream-protocol-version") {
        headers.add(name: "x-stream-protocol-version", value: chosen)
      }
    }
    let (chosen, wanted) = (kind, streams)
    return .upgrade(headers) { link in
      guard let taken = try? runtime.call.takeOver() else { return link.close() }
      taken.whenComplete { result in
        guard case .success(let other) = result else { return link.close() }
        guard isWebSocket else { return ByteLink.join(link, other) }
        guard let bridge = try? ExecBridge(client: link, runtime: other, kind: chosen, streams: wanted) else {
          other.close()
          return link.close()
        }
        bridge.start()
      }
    }
  }

  private static func asksForSPDY(_ headers: HTTPHeaders) -> Bool {
    headers[canonicalForm: "upgrade"].contains { $0.lowercased() == "spdy/3.1" }
  }

  // MARK: port-forward

  private nonisolated func portForward(_ request: NodeRequest) async throws -> NodeAnswer {
    guard request.method == .GET || request.method == .POST else { return .text(405, "method not allowed") }
    let plain = "portforward.k8s.io"
    let tunnel = "SPDY/3.1+portforward.k8s.io"
    let carrier: PortForwardSession.Carrier
    let headers: HTTPHeaders
    if WebSocketHandshake.isRequest(request.headers) {
      let offered = WebSocketHandshake.offered(request.headers)
      if !offered.contains(tunnel), let kind = ForwardChannels.choose(offered) {
        return try await portForward(request, by: kind, isOffered: !offered.isEmpty)
      }
      guard offered.contains(tunnel),
        let answer = WebSocketHandshake.answer(request.headers, subprotocol: tunnel)
      else {
        throw APIStatusError(
          code: 403, reason: "Forbidden",
          message: "unable to upgrade: unable to negotiate protocol: client supports \(offered), "
            + "server accepts \([tunnel] + ChannelProtocol.allCases.map(\.rawValue))")
      }
      (carrier, headers) = (.webSocket, answer)
    } else if Self.asksForSPDY(request.headers) {
      let offered = request.headers[canonicalForm: "x-stream-protocol-version"].map(String.init)
      guard offered.isEmpty || offered.contains(plain) else {
        throw APIStatusError(
          code: 403, reason: "Forbidden",
          message: "unable to upgrade: unable to negotiate protocol: client supports \(offered), "
            + "server accepts [\(plain)]")
      }
      carrier = .plain
      headers = [
        "connection": "Upgrade", "upgrade": "SPDY/3.1", "x-stream-protocol-version": plain,
      ]
    } else {
      throw APIStatusError(code: 400, reason: "BadRequest", message: "Upgrade request required")
    }
    let pod = try await forwardingPod(namespace: request.path[1], pod: request.path[2])
    return .upgrade(headers) { link in
      guard let session = try? PortForwardSession(client: link, pod: pod, carrier: carrier) else {
        return link.close()
      }
      session.start()
    }
  }

  /// The ports are in the query: `port=80&port=81` or `port=80,81`.
  private nonisolated func portForward(
    _ request: NodeRequest, by kind: ChannelProtocol, isOffered: Bool
  ) async throws -> NodeAnswer {
    let texts = request.target.query.filter { $0.name == "port" }.flatMap { $0.value.split(separator: ",") }
    guard !texts.isEmpty else {
      throw APIStatusError(
        code: 400, reason: "BadRequest", message: "query parameter \"port\" is required")
    }
    guard texts.count <= ForwardChannels.portsMax else {
      throw APIStatusError(
        code: 400, reason: "BadRequest", message: "at most \(ForwardChannels.portsMax) ports")
    }
    let ports = try texts.map { text in
      guard let port = UInt16(text), port > 0 else {
        throw APIStatusError(
          code: 400, reason: "BadRequest", message: "unable to parse \"\(text)\" as a port")
      }
      return port
    }
    guard
      let headers = WebSocketHandshake.answer(request.headers, subprotocol: isOffered ? kind.rawValue : "")
    else {
      throw APIStatusError(code: 400, reason: "BadRequest", message: "no WebSocket of version 13")
    }
    let pod = try await forwardingPod(namespace: request.path[1], pod: request.path[2])
    return .upgrade(headers) { link in
      ChannelForwardSession(client: link, pod: pod, kind: kind, ports: ports).start()
    }
  }

  // MARK: Logs and lists

  private nonisolated func containerLogs(_ request: NodeRequest) async throws -> NodeAnswer {
    var options = LogOptions()
    func number(_ name: String, atLeast least: Int) throws -> Int? {
      guard let text = request.parameter(name), !text.isEmpty else { return nil }
      guard let number = Int(text), number >= least else {
        throw APIStatusError(code: 400, reason: "BadRequest", message: "invalid \(name): \"\(text)\"")
      }
      return number
    }
    options.follow = request.flag("follow")
    options.previous = request.flag("previous")
    options.timestamps = request.flag("timestamps")
    options.tailLines = try number("tailLines", atLeast: 0)
    options.sinceSeconds = try number("sinceSeconds", atLeast: 1)
    options.limitBytes = try number("limitBytes", atLeast: 1)
    options.sinceTime = request.parameter("sinceTime")
    options.stream = request.parameter("stream")
    let pieces = try await readLogs(
      namespace: request.path[1], pod: request.path[2], container: request.path[3], options: options)
    return .body(contentType: "text/plain") { body in
      for await piece in pieces { try await body.write(piece) }
    }
  }
}
