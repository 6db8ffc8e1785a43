// A Kubernetes API server far away, spoken to in HTTP/1.1 and JSON. Works against Weft's own server and any
// other.

import ClusterObjects
import Diagnostics
import NIOCore
import NIOHTTP1

/// `ClusterAPI` over HTTP. Thread-safe; connections are kept and shared. Reads are sent again when a kept
/// connection turns out closed, writes never are.
public final class RemoteClient: ClusterAPI {
  private let transport: HTTPTransport
  private let fixedAuthorization: String?
  private let tokenFile: TokenFile?
  private let userAgent: String
  private let requests: MetricFamily<Counter>
  private let durations: MetricFamily<Histogram>
  private let waits: MetricFamily<Histogram>?
  private let gate: RequestGate?

  /// Opens no connection yet.
  /// - Parameters:
  ///   - limits: how fast requests leave, and how many at once; watches count until their answer begins.
  ///   - metricPrefix: what the names of its metrics begin with.
  public init(
    kubeconfig: Kubeconfig, userAgent: String = "weft", metrics: Metrics = .shared,
    limits: RequestLimits = RequestLimits(), metricPrefix: String = ""
  ) throws(WeftError) {
    let isLimited = limits != RequestLimits()
    gate = isLimited ? RequestGate(limits) : nil
    waits =
      isLimited || !metricPrefix.isEmpty
      ? metrics.histogram(
        metricPrefix + "rest_client_rate_limiter_duration_seconds",
        "Time that a request waited here for its turn.", labels: ["verb", "host"], bounds: Self.bounds) : nil
    transport = try HTTPTransport(kubeconfig)
    self.userAgent = userAgent
    tokenFile = kubeconfig.tokenFile.map { TokenFile(path: $0, token: kubeconfig.token ?? "") }
    if let token = kubeconfig.token {
      fixedAuthorization = "Bearer \(token)"
    } else if let user = kubeconfig.user {
      fixedAuthorization = "Basic " + Base64.encode(Array("\(user):\(kubeconfig.password ?? "")".utf8))
    } else {
      fixedAuthorization = nil
    }
    requests = metrics.counter(
      metricPrefix + "rest_client_requests_total", "Requests to the API server.",
      labels: ["code", "method", "host"])
    durations = metrics.histogram(
      metricPrefix + "rest_client_request_duration_seconds",
      "Time to a whole answer; of lists and watches that are read piece by piece, to its head.",
      labels: ["verb", "host"], bounds: metricPrefix.isEmpty ? Histogram.defaultBounds : Self.bounds)
  }

  /// Prometheus's own.
  private static let bounds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

  /// Waits for this request's turn.
  private func enter(_ verb: String) async throws {
    guard gate != nil || waits != nil else { return }
    let wait = try await gate?.enter() ?? .zero
    waits?.child(verb, transport.server).observe(wait)
  }

  /// From now on new connections show this client certificate (PEM), without a request lost. Errors: `CLI0105` it cannot be used.
  public func show(certificate: [UInt8], key: [UInt8]) throws(WeftError) {
    try transport.show(certificate: certificate, key: key)
  }

  // MARK: ClusterAPI

  public func get(_ resource: GroupVersionResource, namespace: String, name: String) async throws -> JSON {
    try await call(.GET, path(resource, namespace, name))
  }

  public func list(_ resource: GroupVersionResource, namespace: String, options: ListOptions) async throws
    -> ObjectList
  {
    let tree = try await call(.GET, path(resource, namespace), query: Self.query(options))
    // Items of a typed list carry no kind of their own.
    let kind = tree.kind.hasSuffix("List") ? String(tree.kind.dropLast(4)) : ""
    let items = (tree["items"]?.elements ?? []).map { item in
      guard item.kind.isEmpty, !kind.isEmpty else { return item }
      var object = JSONObject([("apiVersion", JSON(tree.apiVersion)), ("kind", JSON(kind))])
      for (key, value) in item.object ?? [:] { object[key] = value }
      return JSON.object(object)
    }
    return ObjectList(
      resourceVersion: tree.resourceVersion, continueToken: tree.at("metadata", "continue")?.string,
      items: items)
  }

  public func watch(_ resource: GroupVersionResource, namespace: String, options: ListOptions) async throws
    -> AsyncThrowingStream<WatchEvent, any Error>
  {
    let watch = try await open(resource, namespace, options)
    return AsyncThrowingStream { try await watch.reader.nextEvent() }
  }

  public func watchLines(_ resource: GroupVersionResource, namespace: String, options: ListOptions)
    async throws -> WatchLines?
  {
    let watch = try await open(resource, namespace, options)
    return WatchLines(
      read: { try await watch.reader.nextLines() }, giveBack: { watch.reader.giveBack($0) })
  }

  private func open(_ resource: GroupVersionResource, _ namespace: String, _ options: ListOptions)
    async throws -> WatchHandle
  {
    try await openLines(
      path(resource, namespace), query: [("watch", "true")] + Self.query(options), verb: "WATCH")
  }

  /// An answer that goes on. Throws `APIStatusError` for what the server refuses.
  func openLines(_ path: String, query: [(String, String)], verb: String = "GET") async throws -> WatchHandle
  {
    let head = request(.GET, path, query: query, body: nil, contentType: nil)
    try await enter(verb)
    let began = ContinuousClock.now
    let (status, watch): (Int, WatchHandle)
    do {
      defer { gate?.leave() }
      (status, watch) = try await transport.stream(head)
    }
    requests.child("\(status)", verb, transport.server).increment()
    durations.child(verb, transport.server).observe(ContinuousClock.now - began)
    if status == 401 { tokenFile?.expire() }
    guard status == 200 else {
      var body: [UInt8] = []
      while let line = try await watch.reader.nextLine(), body.count < 1 << 20 { body += line }
      throw APIStatusError(status: (try? JSON(parsing: body)) ?? .null, httpCode: status)
    }
    return watch
  }

  public func create(_ resource: GroupVersionResource, _ object: JSON, options: WriteOptions) async throws
    -> JSON
  { try await call(.POST, path(resource, object.namespace), query: Self.query(options), body: object) }

  public func update(
    _ resource: GroupVersionResource, _ object: JSON, subresource: String?, options: WriteOptions
  ) async throws -> JSON {
    try await call(
      .PUT, path(resource, object.namespace, object.name, subresource), query: Self.query(options),
      body: object)
  }

  public func patch(
    _ resource: GroupVersionResource, namespace: String, name: String, patch: Patch, subresource: String?,
    options: WriteOptions
  ) async throws -> JSON {
    var query = Self.query(options)
    if case .apply = patch { query.append(("force", options.force ? "true" : "false")) }
    return try await call(
      .PATCH, path(resource, namespace, name, subresource), query: query, body: patch.body,
      contentType: patch.contentType)
  }

  public func createSubresource(
    _ resource: GroupVersionResource, namespace: String, name: String, subresource: String, _ body: JSON
  ) async throws -> JSON {
    try await call(.POST, path(resource, namespace, name, subresource), body: body)
  }

  public func delete(
    _ resource: GroupVersionResource, namespace: String, name: String, options: DeleteOptions
  ) async throws {
    var body: JSON = ["kind": "DeleteOptions", "apiVersion": "v1"]
    if let grace = options.gracePeriodSeconds { body["gracePeriodSeconds"] = JSON(grace) }
    if let policy = options.propagationPolicy { body["propagationPolicy"] = JSON(policy) }
    if let uid = options.uid { body.set(JSON(uid), at: "preconditions", "uid") }
    if let revision = options.resourceVersion {
      body.set(JSON(revision), at: "preconditions", "resourceVersion")
    }
    _ = try await call(.DELETE, path(resource, namespace, name), body: body)
  }

  public func read(path: [String], query: [(name: String, value: String)]) async throws -> JSON {
    // `*` stands for all objects, in paths of metrics.
    try await call(
      .GET, path.map { "/" + ($0 == "*" ? $0 : Self.escaped($0)) }.joined(),
      query: query.map { ($0.name, $0.value) })
  }

  /// Reads a path as it is, such as `/readyz` or `/version`: the status and the bytes.
  public func raw(_ path: String) async throws -> (status: Int, body: [UInt8]) {
    let answer = try await transport.send(
      request(.GET, path, query: [], body: nil, contentType: nil), body: nil)
    return (answer.status, answer.body)
  }

  /// POSTs JSON to a path below the server's and reads a JSON answer: webhooks and extenders speak so.
  public func post(_ path: String, _ body: JSON) async throws -> JSON {
    try await call(.POST, path, body: body)
  }

  // MARK: Requests

  private var authorization: String? { tokenFile.map { "Bearer \($0.token())" } ?? fixedAuthorization }

  private func call(
    _ method: HTTPMethod, _ path: String, query: [(String, String)] = [], body: JSON? = nil,
    contentType: String = "application/json"
  ) async throws -> JSON {
    let bytes = body?.bytes
    try await enter(method.rawValue)
    defer { gate?.leave() }
    let began = ContinuousClock.now
    let answer = try await transport.send(
      request(method, path, query: query, body: bytes, contentType: body == nil ? nil : contentType),
      body: bytes)
    requests.child("\(answer.status)", method.rawValue, transport.server).increment()
    if answer.status == 401 { tokenFile?.expire() }
    durations.child(method.rawValue, transport.server).observe(ContinuousClock.now - began)
    let tree = try? JSON(parsing: answer.body)
    guard (200..<300).contains(answer.status) else {
      throw APIStatusError(status: tree ?? .null, httpCode: answer.status)
    }
    guard let tree else {
      throw WeftError(
        "API0104", object: transport.server, cause: "the answer to \(method.rawValue) \(path) is not JSON",
        next: "check that the address is that of an API server", exit: .unreachable)
    }
    return tree
  }

  private func request(
    _ method: HTTPMethod, _ path: String, query: [(String, String)], body: [UInt8]?, contentType: String?
  ) -> HTTPRequestHead {
    var uri = transport.pathPrefix + path
    for (position, pair) in query.enumerated() {
      uri += (position == 0 ? "?" : "&") + pair.0 + "=" + Self.escaped(pair.1)
    }
    var headers = HTTPHeaders([
      ("Host", transport.server), ("User-Agent", userAgent), ("Accept", "application/json"),
    ])
    if let authorization { headers.add(name: "Authorization", value: authorization) }
    if let contentType { headers.add(name: "Content-Type", value: contentType) }
    if let body { headers.add(name: "Content-Length", value: "\(body.count)") }
    return HTTPRequestHead(version: .http1_1, method: method, uri: uri, headers: headers)
  }

  private func path(
    _ resource: GroupVersionResource, _ namespace: String, _ name: String? = nil, _ subresource: String? = nil
  ) -> String {
    var path = resource.group.isEmpty ? "/api/\(resource.version)" : "/apis/\(resource.groupVersion)"
    // The kinds are looked at only where it matters: to read all of them in takes milliseconds of a start.
    if !namespace.isEmpty, KindRegistry.builtin[resource]?.isNamespaced ?? true {
      path += "/namespaces/\(Self.escaped(namespace))"
    }
    path += "/\(resource.resource)"
    if let name { path += "/\(Self.escaped(name))" }
    if let subresource { path += "/\(subresource)" }
    return path
  }

  private static func query(_ options: ListOptions) -> [(String, String)] {
    var query: [(String, String)] = []
    func add(_ name: String, _ value: String?) { if let value { query.append((name, value)) } }
    add("labelSelector", options.labelSelector)
    add("fieldSelector", options.fieldSelector)
    add("resourceVersion", options.resourceVersion)
    add("resourceVersionMatch", options.resourceVersionMatch)
    add("limit", options.limit.map { "\($0)" })
    add("continue", options.continueToken)
    add("allowWatchBookmarks", options.allowBookmarks ? "true" : nil)
    add("sendInitialEvents", options.sendInitialEvents ? "true" : nil)
    add("timeoutSeconds", options.timeoutSeconds.map { "\($0)" })
    return query
  }

  private static func query(_ options: WriteOptions) -> [(String, String)] {
    var query: [(String, String)] = []
    if let manager = options.fieldManager { query.append(("fieldManager", manager)) }
    if options.dryRun { query.append(("dryRun", "All")) }
    if let validation = options.fieldValidation { query.append(("fieldValidation", validation)) }
    return query
  }

  /// RFC 3986: everything but unreserved characters.
  static func escaped(_ text: String) -> String {
    var out = ""
    for byte in text.utf8 {
      switch byte {
      case 48...57, 65...90, 97...122, 45, 46, 95, 126: out.unicodeScalars.append(Unicode.Scalar(byte))
      default:
        let digits = Array("0123456789ABCDEF")
        out += "%\(digits[Int(byte >> 4)])\(digits[Int(byte & 15)])"
      }
    }
    return out
  }
}
