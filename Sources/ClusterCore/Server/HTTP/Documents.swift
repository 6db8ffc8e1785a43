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
  private let remotes: RemoteAPIs?
  /// Documents by group version, with the hash of their bytes. Made when first asked for, made again when the
  /// kinds changed.
  private struct Made {
    var generation: UInt64 = 0
    var openAPI: OpenAPIv3?
    var documents: [String: (bytes: ByteBuffer, hash: String)] = [:]
    var registry = KindRegistry()
  }
  private let made = Mutex(Made())

  init(
    kinds: ServedKinds, address: String, remotes: RemoteAPIs? = nil, isReady: @escaping @Sendable () -> Bool
  ) {
    self.remotes = remotes
    self.kinds = kinds
    self.address = address
    self.isReady = isReady
  }

  /// Subresources that are answered; discovery names no others.
  private static let served: Set<String> = [
    "approval", "attach", "binding", "ephemeralcontainers", "eviction", "exec", "finalize", "log",
    "portforward", "proxy", "resize", "scale", "status", "token",
  ]

  private static func serves(_ kind: ResourceKind, _ path: String) -> Bool {
    let parts = path.split(separator: "/")
    return parts.count < 2 || served.contains(String(parts[1]))
  }

  func answer(_ request: HTTPRequest) throws -> HTTPResponse {
    switch request.path.first {
    case "api", "apis": return try discovery(request)
    case "version":
      // Indented, as people read it with `kubectl get --raw /version`.
      return HTTPResponse(
        200, contentType: "application/json", .bytes(ByteBuffer(string: Self.version.indentedText(by: 2))))
    case "healthz", "livez", "readyz": return health(request)
    case "metrics":
      return HTTPResponse(
        200, contentType: "text/plain; version=0.0.4; charset=utf-8",
        .bytes(ByteBuffer(string: Metrics.shared.text())))
    case "openapi": return try openAPI(request)
    case nil:
      let paths =
        [
          "/api", "/apis", "/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3", "/readyz",
          "/version",
        ] + IssuerDocuments.paths
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
          var list = registry.aggregatedDiscovery(core: isCore, serves: Self.serves)
          if !isCore, let remotes = remotes?.all, !remotes.isEmpty {
            RemoteDiscovery.add(remotes, toAggregated: &list)
          }
          return Answer.json(
            200, list,
            contentType: "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
            headers: [("vary", "Accept")])
        }
        if parts.contains("application/json"), parts.count == 1 { break }
      }
      return Answer.json(
        200, isCore ? registry.apiVersions(serverAddress: address) : groupList(),
        headers: [("vary", "Accept")])
    }
    if isCore {
      guard path.count == 2, let list = registry.apiResourceList(groupVersion: path[1], serves: Self.serves)
      else { throw Failure.notServed }
      return Answer.json(200, list)
    }
    if path.count == 2,
      var group = groupList()["groups"]?.elements.first(where: { $0["name"]?.string == path[1] })
    {
      group["kind"] = "APIGroup"
      group["apiVersion"] = "v1"
      return Answer.json(200, group)
    }
    guard path.count == 3,
      let list = registry.apiResourceList(groupVersion: "\(path[1])/\(path[2])", serves: Self.serves)
    else { throw Failure.notServed }
    return Answer.json(200, list)
  }

  private func groupList() -> JSON {
    var list = registry.apiGroupList()
    if let remotes = remotes?.all, !remotes.isEmpty { RemoteDiscovery.add(remotes, toLegacy: &list) }
    return list
  }

  // MARK: OpenAPI

  private func openAPI() -> (OpenAPIv3, generation: UInt64) {
    let (registry, generation) = kinds.versioned
    return made.withLock { made in
      if let openAPI = made.openAPI, made.generation == generation { return (openAPI, generation) }
      let openAPI = OpenAPIv3(registry)
      // One definition changes one document; the others stay good.
      let old = made.registry
      let kept = made.documents.filter { groupVersion, _ in
        let kinds = registry.kinds(groupVersion: groupVersion)
        return !kinds.isEmpty && Self.isSame(kinds, old.kinds(groupVersion: groupVersion))
      }
      made = Made(generation: generation, openAPI: openAPI, documents: kept, registry: registry)
      return (openAPI, generation)
    }
  }

  private static func isSame(_ a: [ResourceKind], _ b: [ResourceKind]) -> Bool {
    a.count == b.count
      && zip(a, b).allSatisfy { a, b in
        a.gvr == b.gvr && a.custom?.form === b.custom?.form
          && a.custom?.selectableFields == b.custom?.selectableFields && a.isNamespaced == b.isNamespaced
          && a.subresources.map(\.name) == b.subresources.map(\.name)
      }
  }

  private func document(
    _ groupVersion: String, _ openAPI: OpenAPIv3, _ generation: UInt64
  ) -> (bytes: ByteBuffer, hash: String)? {
    let found = made.withLock { $0.generation == generation ? $0.documents[groupVersion] : nil }
    if let found { return found }
    guard let tree = openAPI.document(groupVersion: groupVersion) else { return nil }
    let bytes = tree.bytes
    let document = (ByteBuffer(bytes: bytes), Self.hash(bytes))
    made.withLock { made in
      if made.generation == generation { made.documents[groupVersion] = document }
    }
    return document
  }

  /// One document for all, in the form asked for; made at the first question after the kinds changed.
  private func openAPIv2(_ request: HTTPRequest) -> HTTPResponse {
    let (openAPI, generation) = openAPI()
    let accept = request.headers["accept"].joined(separator: ",")
    let isProtobuf = OpenAPIv2.acceptedProtobufTypes.contains { accept.contains($0) }
    let type = isProtobuf ? OpenAPIv2.protobufType : "application/json"
    let found = made.withLock { $0.generation == generation ? $0.documents[type] : nil }
    let document =
      found
      ?? {
        let tree = OpenAPIv2.document(
          from: kinds.current.groupVersions.compactMap { openAPI.document(groupVersion: $0) })
        let bytes = isProtobuf ? OpenAPIv2.protobuf(tree) : tree.bytes
        let document = (bytes: ByteBuffer(bytes: bytes), hash: Self.hash(bytes))
        made.withLock { made in
          if made.generation == generation { made.documents[type] = document }
        }
        return document
      }()
    return tagged(document, type: type, request, headers: [("vary", "Accept")])
  }

  private static func hash(_ bytes: [UInt8]) -> String {
    String(Names.fnv1a(bytes), radix: 16, uppercase: true) + String(bytes.count, radix: 16, uppercase: true)
  }

  /// 304 for who has it already.
  private func tagged(
    _ document: (bytes: ByteBuffer, hash: String), type: String, _ request: HTTPRequest,
    headers: [(String, String)]
  ) -> HTTPResponse {
    let tag = "\"\(document.hash)\""
    let headers = headers + [("etag", tag)]
    if request.headers["if-none-match"].contains(where: { $0.contains(tag) }) {
      return HTTPResponse(304, contentType: type, headers: headers, .bytes(ByteBuffer()))
    }
    return HTTPResponse(200, contentType: type, headers: headers, .bytes(document.bytes))
  }

  private func openAPI(_ request: HTTPRequest) throws -> HTTPResponse {
    if request.path.count == 2, request.path[1] == "v2" { return openAPIv2(request) }
    guard request.path.count > 1, request.path[1] == "v3" else { throw Failure.notServed }
    let (openAPI, generation) = openAPI()
    if request.path.count == 2 {
      var index = openAPI.index { self.document($0, openAPI, generation)?.hash ?? "" }
      for (path, entry) in remotes?.openAPIPaths ?? [] { index.set(entry, at: ["paths", path]) }
      return Answer.json(200, index)
    }
    let rest = Array(request.path[2...])
    let groupVersion: String
    switch (rest.first, rest.count) {
    case ("api", 2): groupVersion = rest[1]
    case ("apis", 3): groupVersion = "\(rest[1])/\(rest[2])"
    default: throw Failure.notServed
    }
    guard let document = document(groupVersion, openAPI, generation) else { throw Failure.notServed }
    var headers = [("vary", "Accept")]
    // An address with the right hash never changes its answer.
    if request.parameter("hash") == document.hash { headers.append(("cache-control", "public, immutable")) }
    return tagged(document, type: "application/json", request, headers: headers)
  }
}
