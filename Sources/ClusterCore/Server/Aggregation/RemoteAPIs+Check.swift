// Does another API server answer, and what does it serve? The questions that are asked of it every few seconds.

import ClusterClient
import ClusterObjects
import ClusterStreams
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL

extension RemoteAPIs {
  /// What the condition `Available` says.
  struct Finding: Sendable {
    var isAvailable: Bool
    var reason: String
    var message: String
  }

  struct Answered: Sendable {
    var status: Int
    var contentType: String
    var body: [UInt8]
    var json: JSON? { try? JSON(parsing: body) }
  }

  /// As upstream asks: the Service and its port are there, somebody is behind it, and it answers.
  func check(_ remote: RemoteAPI) async -> Finding {
    func failed(_ reason: String, _ message: String) -> Finding {
      Finding(isAvailable: false, reason: reason, message: message)
    }
    let place = "service/\(remote.service) in \"\(remote.namespace)\""
    guard let kind = core.registry[.services],
      let service = core.cache(kind)[RESTCore.key(kind, remote.namespace, remote.service)]?.tree
    else { return failed("ServiceNotFound", "\(place) is not present") }
    let isExternal = service.at("spec", "type")?.string == "ExternalName"
    if !isExternal,
      !(service.at("spec", "ports")?.elements ?? []).contains(where: { $0["port"]?.int == remote.port })
    {
      return failed("ServicePortError", "\(place) is not listening on port \(remote.port)")
    }
    do throws(WebhookError) {
      _ = try resolver.resolve(remote.namespace, remote.service, remote.port)
    } catch {
      return failed(
        "MissingEndpoints",
        "endpointslices for \(place) have no addresses with port name \"\(portName(service, remote.port))\"")
    }
    let path = "/apis/\(remote.groupVersion)"
    let url = "https://\(remote.host):\(remote.port)\(path)"
    do {
      let answer = try await get(remote, path)
      if (200..<300).contains(answer.status) {
        return Finding(isAvailable: true, reason: "Passed", message: "all checks passed")
      }
      return failed(
        "FailedDiscoveryCheck",
        "failing or missing response from \(url): bad status from \(url): \(answer.status)")
    } catch let error as APIStatusError {
      return failed("FailedDiscoveryCheck", "failing or missing response from \(url): \(error.message)")
    } catch {
      return failed("FailedDiscoveryCheck", "failing or missing response from \(url): \(Self.text(error))")
    }
  }

  private func portName(_ service: JSON, _ port: Int) -> String {
    service.at("spec", "ports")?.elements.first { $0["port"]?.int == port }?["name"]?.string ?? ""
  }

  /// Its resources, from aggregated discovery or from the list of its group version, and its OpenAPI's hash.
  func discover(_ remote: RemoteAPI) async -> (resources: [JSON], hash: String?)? {
    let aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    var resources: [JSON]?
    if let answer = try? await get(remote, "/apis", accept: "\(aggregated),application/json"),
      answer.status == 200, let list = answer.json, list.kind == "APIGroupDiscoveryList"
    {
      resources = remote.resources(ofAggregated: list)
    }
    if resources == nil, let answer = try? await get(remote, "/apis/\(remote.groupVersion)"),
      answer.status == 200, let list = answer.json, list.kind == "APIResourceList"
    {
      resources = remote.resources(ofLegacy: list)
    }
    guard let resources else { return nil }
    var hash: String?
    if let answer = try? await get(remote, "/openapi/v3"), answer.status == 200,
      let url = answer.json?["paths"]?["apis/\(remote.groupVersion)"]?["serverRelativeURL"]?.string
    {
      hash =
        url.split(separator: "?").last?.split(separator: "&").first { $0.hasPrefix("hash=") }
        .map { String($0.dropFirst("hash=".count)) } ?? ""
    }
    return (resources, hash)
  }

  /// One small question, asked as the aggregator itself.
  func get(_ remote: RemoteAPI, _ path: String, accept: String = "application/json") async throws -> Answered
  {
    try await send(remote, .GET, path, accept: accept, as: Self.own)
  }

  /// One request with a small answer, on a connection of its own.
  func send(
    _ remote: RemoteAPI, _ method: HTTPMethod, _ path: String, accept: String = "application/json",
    body bytes: [UInt8]? = nil, as identity: Identity
  ) async throws -> Answered {
    let target = try target(remote, uri: path, method: method, as: identity)
    let loop = MultiThreadedEventLoopGroup.singleton.next()
    let call = try await HTTPCall.connect(.address(target.host, port: target.port), on: loop, tls: target.tls)
    let timer = loop.scheduleTask(in: Self.timeout) { call.close() }
    defer {
      timer.cancel()
      call.close()
    }
    var headers = HTTPHeaders([("host", target.authority), ("accept", accept), ("connection", "close")])
    headers.add(contentsOf: target.headers)
    if let bytes {
      headers.add(name: "content-type", value: "application/json")
      headers.add(name: "content-length", value: String(bytes.count))
    }
    call.begin(HTTPRequestHead(version: .http1_1, method: method, uri: path, headers: headers))
    if let bytes { call.send(ByteBuffer(bytes: bytes)) }
    call.finish()
    let head = try await call.answer()
    return Answered(
      status: Int(head.status.code), contentType: head.headers.first(name: "content-type") ?? "",
      body: try await call.body(bytesMax: Self.answerBytesMax))
  }

  private static let own = Identity(
    user: "system:kube-aggregator", groups: ["system:masters", "system:authenticated"])

  private static func text(_ error: any Error) -> String {
    switch error {
    case let error as NIOConnectionError:
      error.connectionErrors.first.map {
        "\($0.error)".contains("refused") ? "connect: connection refused" : "\($0.error)"
      } ?? "no such host"
    case is HTTPCall.Closed: "the connection was closed, or no answer came in time"
    case is NIOSSLError, is NIOSSLExtraError, is BoringSSLError: "tls: failed to verify certificate: \(error)"
    default: "\(error)"
    }
  }
}
