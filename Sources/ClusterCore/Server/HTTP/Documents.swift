// What the server says of itself: discovery, version, health, metrics, OpenAPI.

import ClusterClient
import ClusterObjects
import Diagnostics
import NIOCore
import NIOHTTP1
import Synchronization

final class Documents: Sendable {
  private let kinds: ServedKinds
  private var registry: KindRegistry { kinds.current }
  private let address: String
  private let isReady: @Sendable () -> Bool
  /// Documents by group version, with the hash of their bytes. Made when first asked for, made again when the
  /// kinds changed.
  private struct Made {
    var generation: UInt64 = 0
    var openAPI: OpenAPIv3?
    var documents: [String: (bytes: ByteBuffer, hash: String)] = [:]
  }
  private let made = Mutex(Made())

  init(kinds: ServedKinds, address: String, isReady: @escaping @Sendable () -> Bool) {
    self.kinds = kinds
    self.address = address
    self.isReady = isReady
  }

  /// Subresources that are answered; discovery names no others.
  private static let served: Set<String> = [
    "attach", "binding", "eviction", "exec", "finalize", "log", "portforward", "proxy", "scale", "status",
  ]

  private static func serves(_ kind: ResourceKind, _ path: String) -> Bool {
    let parts = path.split(separator: "/")
    return parts.count < 2 || served.contains(String(parts[1]))
  }

  func answer(_ request: HTTPRequest) throws -> HTTPResponse {
    switch request.path.first {
    case "api", "apis": return try discovery(request)
    case "version": return Answer.json(200, Self.version)
    case "healthz", "livez", "readyz": return health(request)
    case "metrics":
      return HTTPResponse(
        200, contentType: "text/plain; version=0.0.4; charset=utf-8",
        .bytes(ByteBuffer(string: Metrics.shared.text())))
    case "openapi": return try openAPI(request)
    case nil:
      let paths = ["/api", "/apis", "/healthz", "/livez", "/metrics", "/openapi/v3", "/readyz", "/version"]
      return Answer.json(200, ["paths": JSON(paths)])
    default: throw Failure.notServed
    }
  }

  private static let version: JSON = [
    "major": "1", "minor": "37", "gitVersion": "v1.37.0+weft", "gitCommit": "", "gitTreeState": "clean",
    "buildDate": "2026-11-21T00:00:00Z", "goVersion": "", "compiler": "swiftc", "platform": "linux/amd64",
    "emulationMajor": "1", "emulationMinor": "37", "minCompatibilityMajor": "1",
    "minCompatibilityMinor": "36",
  ]

  private func health(_ request: HTTPRequest) -> HTTPResponse {
    let isWell = request.path.first != "readyz" || isReady()
    if request.path.count > 1 {
      guard request.path[1] == "ping" || request.path[1] == "store" else { return .text(404, "not found\n") }
      return .text(isWell ? 200 : 500, isWell ? "ok" : "not ready")
    }
    if !isWell { return .text(500, "[-]store not ready\nreadyz check failed\n") }
    guard request.parameter("verbose") != nil else { return .text(200, "ok") }
    return .text(200, "[+]ping ok\n[+]store ok\n\(request.path[0]) check passed\n")
  }

  private func discovery(_ request: HTTPRequest) throws -> HTTPResponse {
    let path = request.path
    let isCore = path[0] == "api"
    if path.count == 1 {
      let accept = request.headers["accept"].joined(separator: ",").filter { $0 != " " }
      for entry in accept.split(separator: ",") {
        let parts = Set(entry.split(separator: ";").map(String.init))
        if parts.contains("as=APIGroupDiscoveryList"), parts.contains("v=v2"),
          parts.contains("g=apidiscovery.k8s.io")
        {
          return Answer.json(
            200, registry.aggregatedDiscovery(core: isCore, serves: Self.serves),
            contentType: "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
            headers: [("vary", "Accept")])
        }
        if parts.contains("application/json"), parts.count == 1 { break }
      }
      return Answer.json(
        200, isCore ? registry.apiVersions(serverAddress: address) : registry.apiGroupList(),
        headers: [("vary", "Accept")])
    }
    if isCore {
      guard path.count == 2, let list = registry.apiResourceList(groupVersion: path[1], serves: Self.serves)
      else { throw Failure.notServed }
      return Answer.json(200, list)
    }
    if path.count == 2, let group = registry.apiGroup(path[1]) { return Answer.json(200, group) }
    guard path.count == 3,
      let list = registry.apiResourceList(groupVersion: "\(path[1])/\(path[2])", serves: Self.serves)
    else { throw Failure.notServed }
    return Answer.json(200, list)
  }

  // MARK: OpenAPI

  private func openAPI() -> (OpenAPIv3, generation: UInt64) {
    let (registry, generation) = kinds.versioned
    return made.withLock { made in
      if let openAPI = made.openAPI, made.generation == generation { return (openAPI, generation) }
      let openAPI = OpenAPIv3(registry)
      made = Made(generation: generation, openAPI: openAPI)
      return (openAPI, generation)
    }
  }

  private func document(
    _ groupVersion: String, _ openAPI: OpenAPIv3, _ generation: UInt64
  ) -> (bytes: ByteBuffer, hash: String)? {
    let found = made.withLock { $0.generation == generation ? $0.documents[groupVersion] : nil }
    if let found { return found }
    guard let tree = openAPI.document(groupVersion: groupVersion) else { return nil }
    let bytes = tree.bytes
    let text =
      String(Names.fnv1a(bytes), radix: 16, uppercase: true) + String(bytes.count, radix: 16, uppercase: true)
    let document = (ByteBuffer(bytes: bytes), text)
    made.withLock { made in
      if made.generation == generation { made.documents[groupVersion] = document }
    }
    return document
  }

  private func openAPI(_ request: HTTPRequest) throws -> HTTPResponse {
    guard request.path.count > 1, request.path[1] == "v3" else { throw Failure.notServed }
    let (openAPI, generation) = openAPI()
    if request.path.count == 2 {
      return Answer.json(200, openAPI.index { self.document($0, openAPI, generation)?.hash ?? "" })
    }
    let rest = Array(request.path[2...])
    let groupVersion: String
    switch (rest.first, rest.count) {
    case ("api", 2): groupVersion = rest[1]
    case ("apis", 3): groupVersion = "\(rest[1])/\(rest[2])"
    default: throw Failure.notServed
    }
    guard let document = document(groupVersion, openAPI, generation) else { throw Failure.notServed }
    let tag = "\"\(document.hash)\""
    var headers = [("etag", tag), ("vary", "Accept")]
    // An address with the right hash never changes its answer.
    if request.parameter("hash") == document.hash { headers.append(("cache-control", "public, immutable")) }
    if request.headers["if-none-match"].contains(where: { $0.contains(tag) }) {
      return HTTPResponse(304, headers: headers, .bytes(ByteBuffer()))
    }
    return HTTPResponse(200, headers: headers, .bytes(document.bytes))
  }
}
