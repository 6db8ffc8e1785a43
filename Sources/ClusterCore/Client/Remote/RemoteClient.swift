// Any Kubernetes API server over HTTP, as `ClusterAPI`.

import ClusterObjects
import Diagnostics
import NIOCore
import NIOHTTP1

/// A client of an API server. Sends and reads JSON.
public final class RemoteClient: ClusterAPI {
  /// The longest line of a watch: one object and its frame.
  static let eventBytesMax = 16 << 20

  private let transport: HTTPTransport
  private let basePath: String
  private let token: String?

  /// Throws `CLI0023` when the certificates are unusable. Connects at the first request.
  public init(_ configuration: ClientConfiguration) throws(WeftError) {
    transport = try HTTPTransport(configuration)
    token = configuration.token
    let afterScheme = configuration.server.split(separator: "/", maxSplits: 2).dropFirst()
    basePath = afterScheme.count > 1 ? "/" + (afterScheme.last.map(String.init) ?? "") : ""
  }

  public func close() { transport.close() }

  public func get(_ resource: GroupVersionResource, namespace: String, name: String) async throws -> JSON {
    try await call(.GET, path(resource, namespace, name))
  }

  public func list(_ resource: GroupVersionResource, namespace: String, options: ListOptions) async throws
    -> ObjectList
  {
    let tree = try await call(.GET, path(resource, namespace) + query(options, isWatch: false))
    return ObjectList(
      resourceVersion: tree.at("metadata", "resourceVersion")?.string ?? "",
      continueToken: tree.at("metadata", "continue")?.string.flatMap { $0.isEmpty ? nil : $0 },
      items: tree["items"]?.elements ?? [])
  }

  public func watch(_ resource: GroupVersionResource, namespace: String, options: ListOptions) async throws
    -> AsyncThrowingStream<WatchEvent, any Error>
  {
    let (status, pieces) = try await transport.stream(
      head(.GET, path(resource, namespace) + query(options, isWatch: true)))
    guard status == 200 else {
      var body: [UInt8] = []
      for try await piece in pieces where body.count < 1 << 20 { body += piece }
      throw Self.failure(status, body)
    }
    return AsyncThrowingStream { output in
      let task = Task.detached {
        do {
          var lines = LineSplitter(bytesMax: Self.eventBytesMax)
          for try await piece in pieces {
            for line in try lines.take(piece) { output.yield(try Self.event(line)) }
          }
          output.finish()
        } catch {
          output.finish(throwing: error)
        }
      }
      output.onTermination = { _ in task.cancel() }
    }
  }

  public func create(_ resource: GroupVersionResource, _ object: JSON, options: WriteOptions) async throws
    -> JSON
  {
    try await call(.POST, path(resource, object.namespace) + query(options), object)
  }

  public func update(
    _ resource: GroupVersionResource, _ object: JSON, subresource: String?, options: WriteOptions
  ) async throws -> JSON {
    try await call(.PUT, path(resource, object.namespace, object.name, subresource) + query(options), object)
  }

  public func patch(
    _ resource: GroupVersionResource, namespace: String, name: String, patch: Patch, subresource: String?,
    options: WriteOptions
  ) async throws -> JSON {
    try await call(
      .PATCH, path(resource, namespace, name, subresource) + query(options), patch.body,
      contentType: patch.contentType)
  }

  public func createSubresource(
    _ resource: GroupVersionResource, namespace: String, name: String, subresource: String, _ body: JSON
  ) async throws -> JSON {
    try await call(.POST, path(resource, namespace, name, subresource), body)
  }

  public func delete(
    _ resource: GroupVersionResource, namespace: String, name: String, options: DeleteOptions
  ) async throws {
    var body: JSON = ["kind": "DeleteOptions", "apiVersion": "v1"]
    if let seconds = options.gracePeriodSeconds { body["gracePeriodSeconds"] = JSON(seconds) }
    if let policy = options.propagationPolicy { body["propagationPolicy"] = JSON(policy) }
    if let uid = options.uid { body.set(JSON(uid), at: "preconditions", "uid") }
    if let version = options.resourceVersion {
      body.set(JSON(version), at: "preconditions", "resourceVersion")
    }
    _ = try await call(.DELETE, path(resource, namespace, name), body)
  }

  // MARK: - Requests

  private func call(
    _ method: HTTPMethod, _ path: String, _ body: JSON? = nil, contentType: String = "application/json"
  )
    async throws -> JSON
  {
    var head = head(method, path)
    if body != nil { head.headers.add(name: "content-type", value: contentType) }
    let answer = try await transport.send(head, body?.bytes)
    guard (200..<300).contains(answer.status) else { throw Self.failure(answer.status, answer.body) }
    return try JSON(parsing: answer.body)
  }

  private func head(_ method: HTTPMethod, _ path: String) -> HTTPRequestHead {
    var headers: HTTPHeaders = ["accept": "application/json", "user-agent": "weft"]
    if let token { headers.add(name: "authorization", value: "Bearer \(token)") }
    return HTTPRequestHead(version: .http1_1, method: method, uri: basePath + path, headers: headers)
  }

  static func failure(_ status: Int, _ body: [UInt8]) -> APIStatusError {
    if let tree = try? JSON(parsing: body), tree.kind == "Status" {
      return APIStatusError(status: tree, httpCode: status)
    }
    return APIStatusError(
      code: status, reason: status == 404 ? "NotFound" : status == 401 ? "Unauthorized" : "",
      message: "the server answered \(status)")
  }

  static func event(_ line: [UInt8]) throws -> WatchEvent {
    let tree = try JSON(parsing: line)
    let object = tree["object"] ?? .null
    switch tree["type"]?.string {
    case "ADDED": return .added(object)
    case "MODIFIED": return .modified(object)
    case "DELETED": return .deleted(object)
    case "BOOKMARK":
      return .bookmark(
        resourceVersion: object.resourceVersion,
        isInitialEventsEnd: object.annotations["k8s.io/initial-events-end"] == "true")
    default: throw APIStatusError(status: object, httpCode: 500)
    }
  }

  private func path(
    _ resource: GroupVersionResource, _ namespace: String, _ name: String? = nil, _ subresource: String? = nil
  ) -> String {
    var path =
      resource.group.isEmpty ? "/api/\(resource.version)" : "/apis/\(resource.group)/\(resource.version)"
    if !namespace.isEmpty { path += "/namespaces/\(Self.escaped(namespace))" }
    path += "/\(resource.resource)"
    if let name { path += "/\(Self.escaped(name))" }
    if let subresource { path += "/\(subresource)" }
    return path
  }

  private func query(_ options: ListOptions, isWatch: Bool) -> String {
    var pairs: [(String, String?)] = [
      ("labelSelector", options.labelSelector), ("fieldSelector", options.fieldSelector),
      ("resourceVersion", options.resourceVersion), ("resourceVersionMatch", options.resourceVersionMatch),
      ("limit", options.limit.map { "\($0)" }), ("continue", options.continueToken),
      ("timeoutSeconds", options.timeoutSeconds.map { "\($0)" }),
    ]
    if options.allowBookmarks { pairs.append(("allowWatchBookmarks", "true")) }
    if options.sendInitialEvents { pairs.append(("sendInitialEvents", "true")) }
    if isWatch { pairs.append(("watch", "true")) }
    return Self.text(pairs)
  }

  private func query(_ options: WriteOptions) -> String {
    Self.text([
      ("fieldManager", options.fieldManager), ("fieldValidation", options.fieldValidation),
      ("dryRun", options.dryRun ? "All" : nil), ("force", options.force ? "true" : nil),
    ])
  }

  private static func text(_ pairs: [(String, String?)]) -> String {
    let present = pairs.compactMap { name, value in value.map { "\(name)=\(escaped($0))" } }
    return present.isEmpty ? "" : "?" + present.joined(separator: "&")
  }

  /// Percent-encoding of everything but RFC 3986's unreserved characters.
  static func escaped(_ text: String) -> String {
    var out = ""
    for byte in text.utf8 {
      switch byte {
      case 48...57, 65...90, 97...122, 45, 46, 95, 126: out.unicodeScalars.append(Unicode.Scalar(byte))
      default: out += "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true)
      }
    }
    return out
  }
}

/// Splits pieces of a stream into lines. A line past the bound is an error.
struct LineSplitter {
  private var rest: [UInt8] = []
  private let bytesMax: Int

  init(bytesMax: Int) { self.bytesMax = bytesMax }

  mutating func take(_ piece: [UInt8]) throws -> [[UInt8]] {
    var lines: [[UInt8]] = []
    var start = 0
    for position in piece.indices where piece[position] == UInt8(ascii: "\n") {
      let line = rest + piece[start..<position]
      rest = []
      start = position + 1
      if !line.isEmpty { lines.append(line) }
    }
    rest += piece[start...]
    guard rest.count <= bytesMax else { throw AnswerTooLarge() }
    return lines
  }
}
