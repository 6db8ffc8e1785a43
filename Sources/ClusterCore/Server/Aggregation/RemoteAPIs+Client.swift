// Objects of other API servers for parts of this process: listing and deleting them, which is what emptying a
// namespace needs.

import ClusterClient
import ClusterObjects
import NIOHTTP1

extension RemoteAPIs {
  /// Objects of one page of a list.
  static let pageSize = 500

  /// The API of another server that a resource belongs to.
  func remote(of resource: GroupVersionResource) -> RemoteAPI? {
    remote(["apis", resource.group, resource.version])
  }

  /// What an API serves that can be listed and deleted: plural, kind, whether in namespaces. Nil when it is no other
  /// server's, or has not said since it last answered.
  func deletable(_ groupVersion: String) -> [(
    resource: GroupVersionResource, kind: String, isNamespaced: Bool
  )]? {
    let parts = groupVersion.split(separator: "/").map(String.init)
    guard parts.count == 2, let remote = remote(["apis"] + parts), remote.isAvailable, remote.isFresh else {
      return nil
    }
    return remote.resources.compactMap { entry in
      let verbs = entry["verbs"]?.elements.compactMap(\.string) ?? []
      guard let resource = entry["resource"]?.string, verbs.contains("list"), verbs.contains("delete") else {
        return nil
      }
      let kind = entry.at("responseKind", "kind")?.string ?? ""
      return (
        GroupVersionResource(remote.group, remote.version, resource), kind,
        entry["scope"]?.string == "Namespaced"
      )
    }
  }

  /// Everything in a namespace, page by page.
  func list(
    _ remote: RemoteAPI, _ resource: GroupVersionResource, namespace: String, as identity: Identity
  ) async throws -> ObjectList {
    var list = ObjectList(resourceVersion: "", items: [])
    var token = ""
    repeat {
      var query = "?limit=\(Self.pageSize)"
      if !token.isEmpty { query += "&continue=" + PercentEncoding.encode(token) }
      let page = try await ask(remote, .GET, path(resource, namespace) + query, as: identity)
      list.items += page["items"]?.elements ?? []
      list.resourceVersion = page.at("metadata", "resourceVersion")?.string ?? ""
      token = page.at("metadata", "continue")?.string ?? ""
    } while !token.isEmpty
    return list
  }

  func delete(
    _ remote: RemoteAPI, _ resource: GroupVersionResource, namespace: String, name: String,
    _ options: DeleteOptions, as identity: Identity
  ) async throws {
    var body: JSON = ["kind": "DeleteOptions", "apiVersion": "v1"]
    if let policy = options.propagationPolicy { body["propagationPolicy"] = JSON(policy) }
    if let seconds = options.gracePeriodSeconds { body["gracePeriodSeconds"] = JSON(seconds) }
    if let uid = options.uid { body["preconditions"] = ["uid": JSON(uid)] }
    _ = try await ask(
      remote, .DELETE, path(resource, namespace) + "/" + PercentEncoding.encode(name), body: body,
      as: identity)
  }

  /// A GET of a path there, in parts that are not encoded.
  func read(
    _ remote: RemoteAPI, _ path: [String], _ query: [(name: String, value: String)], as identity: Identity
  ) async throws -> JSON {
    // `*` stands for all objects, in paths of metrics.
    var uri = path.map { "/" + ($0 == "*" ? $0 : PercentEncoding.encode($0)) }.joined()
    for (index, pair) in query.enumerated() {
      uri += (index == 0 ? "?" : "&") + pair.name + "=" + PercentEncoding.encode(pair.value)
    }
    return try await ask(remote, .GET, uri, as: identity)
  }

  private func path(_ resource: GroupVersionResource, _ namespace: String) -> String {
    let place = namespace.isEmpty ? "" : "/namespaces/\(PercentEncoding.encode(namespace))"
    return "/apis/\(resource.group)/\(resource.version)\(place)/\(resource.resource)"
  }

  /// The answer's object. Throws what the other server refuses with, and 503 when it does not answer.
  private func ask(
    _ remote: RemoteAPI, _ method: HTTPMethod, _ uri: String, body: JSON? = nil, as identity: Identity
  ) async throws -> JSON {
    guard remote.isAvailable else { throw Self.unavailable }
    let answer: Answered
    do {
      answer = try await send(remote, method, uri, body: body?.bytes, as: identity)
    } catch let error as APIStatusError { throw error } catch { throw Self.unavailable }
    let object = answer.json ?? .null
    guard (200..<300).contains(answer.status) else {
      throw APIStatusError(status: object, httpCode: answer.status)
    }
    return object
  }
}
