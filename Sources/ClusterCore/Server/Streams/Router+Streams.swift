// `log`, `exec`, `attach` and `portforward` of a pod: checked here, then passed on to the node where the pod runs.

import ClusterClient
import ClusterObjects
import ClusterStreams
import NIOCore
import NIOHTTP1

extension Router {
  static let streamSubresources: Set<String> = ["attach", "exec", "log", "portforward", "proxy"]

  func serveStream(
    _ request: HTTPRequest, _ kind: ResourceKind, _ namespace: String, _ name: String, _ subresource: String
  ) async throws -> HTTPResponse {
    if subresource == "proxy" { return try await serveProxy(request, kind, namespace, name) }
    guard kind.kind == "Pod" else { throw Failure.notServed }
    guard request.method == .GET || (request.method == .POST && subresource != "log") else {
      throw Failure.methodNotAllowed
    }
    let pod = try await core.get(kind, namespace: namespace, name: name).tree
    if subresource == "log" { return try await serveLog(request, pod) }

    guard RequestStream.isUpgrade(request.headers) else {
      throw Failure.badRequest("Upgrade request required")
    }
    try await requireCreate(request, namespace, name, subresource)
    try await admitConnect(request, kind, namespace, name, subresource)
    let path: String
    if subresource == "portforward" {
      path =
        "/portForward/\(escaped(namespace))/\(escaped(name))" + query(request, keeping: ["ports": "port"])
    } else {
      let container = try containerName(request.parameter("container"), of: pod)
      // The node's names for the same.
      let names = [
        "command": "command", "stdin": "input", "stdout": "output", "stderr": "error", "tty": "tty",
      ]
      path =
        "/\(subresource)/\(escaped(namespace))/\(escaped(name))/\(escaped(container))"
        + query(request, keeping: names)
    }
    return try await relay(request, toNodeOf: pod, uri: path)
  }

  private func serveLog(_ request: HTTPRequest, _ pod: JSON) async throws -> HTTPResponse {
    try checkLogOptions(request)
    let container = try containerName(request.parameter("container"), of: pod)
    // Nothing runs yet, so nothing was said.
    if pod.spec["nodeName"]?.string ?? "" == "" { return .text(200, "") }
    let kept = [
      "follow", "previous", "timestamps", "tailLines", "sinceSeconds", "sinceTime", "limitBytes", "stream",
    ]
    let uri =
      "/containerLogs/\(escaped(pod.namespace))/\(escaped(pod.name))/\(escaped(container))"
      + query(request, keeping: Dictionary(uniqueKeysWithValues: kept.map { ($0, $0) }))
    return try await relay(request, toNodeOf: pod, uri: uri)
  }

  private func relay(_ request: HTTPRequest, toNodeOf pod: JSON, uri: String) async throws -> HTTPResponse {
    guard let nodeName = pod.spec["nodeName"]?.string, !nodeName.isEmpty else {
      throw Failure.badRequest("pod \(pod.name) does not have a host assigned")
    }
    let node = try await core.get(try core.kind(.nodes), namespace: "", name: nodeName).tree
    return try await relay(request, toAgentOf: node, uri: uri)
  }

  func relay(_ request: HTTPRequest, toAgentOf node: JSON, uri: String) async throws -> HTTPResponse {
    guard let nodes else {
      throw APIStatusError(
        code: 503, reason: "ServiceUnavailable", message: "this server does not talk to nodes")
    }
    return try await Relay.send(
      request, to: try nodes.target(node, method: request.method.rawValue, uri: uri))
  }

  /// A WebSocket begins with GET, which "get" allows; what it opens is as strong as POST.
  func requireCreate(
    _ request: HTTPRequest, _ namespace: String, _ name: String, _ subresource: String
  ) async throws {
    guard request.method == .GET else { return }
    try await access.require(
      AccessAttributes(
        identity: request.identity, verb: "create", group: "", version: "v1", resource: "pods",
        subresource: subresource, namespace: namespace, name: name))
  }

  /// Admission sees what the query asks for, as the object that upstream makes of it.
  func admitConnect(
    _ request: HTTPRequest, _ kind: ResourceKind, _ namespace: String, _ name: String, _ subresource: String,
    path: String = ""
  ) async throws {
    var options: JSON = [:]
    switch subresource {
    case "exec", "attach":
      for flag in ["stdin", "stdout", "stderr", "tty"] where request.flag(flag) { options[flag] = true }
      if let container = request.parameter("container") { options["container"] = JSON(container) }
      let command = request.query.filter { $0.name == "command" }.map(\.value)
      if !command.isEmpty { options["command"] = JSON(command) }
    case "portforward":
      let ports = request.query.filter { $0.name == "ports" }.flatMap { $0.value.split(separator: ",") }
      if !ports.isEmpty { options["ports"] = .array(ports.compactMap { Int($0).map { JSON($0) } }) }
    default: if !path.isEmpty { options["path"] = JSON(path) }
    }
    try await core.admitConnect(
      kind, namespace: namespace, name: name, subresource: subresource, options: options,
      identity: request.identity)
  }

  /// Upstream's words for a container that was not named, or is not there.
  func containerName(_ asked: String?, of pod: JSON) throws -> String {
    func names(_ field: String) -> [String] {
      pod.spec[field]?.elements.compactMap { $0["name"]?.string } ?? []
    }
    let (plain, initial, ephemeral) = (
      names("containers"), names("initContainers"), names("ephemeralContainers")
    )
    if let asked, !asked.isEmpty {
      guard plain.contains(asked) || initial.contains(asked) || ephemeral.contains(asked) else {
        throw Failure.badRequest("container \(asked) is not valid for pod \(pod.name)")
      }
      return asked
    }
    if plain.count == 1 { return plain[0] }
    var text = "a container name must be specified for pod \(pod.name)"
    if plain.count > 1 { text += ", choose one of: [\(plain.joined(separator: " "))]" }
    if !initial.isEmpty { text += " or one of the init containers: [\(initial.joined(separator: " "))]" }
    if !ephemeral.isEmpty {
      text += " or one of the ephemeral containers: [\(ephemeral.joined(separator: " "))]"
    }
    throw Failure.badRequest(text)
  }

  private func checkLogOptions(_ request: HTTPRequest) throws {
    func invalid(_ field: String, _ value: String, _ why: String) -> APIStatusError {
      let error = "\(field): Invalid value: \(value): \(why)"
      return APIStatusError(
        code: 422, reason: "Invalid", message: "PodLogOptions.core \"\" is invalid: \(error)",
        details: [
          "kind": "PodLogOptions",
          "causes": [
            [
              "reason": "FieldValueInvalid", "message": JSON("Invalid value: \(value): \(why)"),
              "field": JSON(field),
            ]
          ],
        ])
    }
    let least = ["tailLines": 0, "sinceSeconds": 1, "limitBytes": 1]
    for (name, least) in least.sorted(by: { $0.key < $1.key }) {
      guard let text = request.parameter(name), !text.isEmpty else { continue }
      guard let number = Int(text) else {
        throw Failure.badRequest("strconv.ParseInt: parsing \"\(text)\": invalid syntax")
      }
      if number < least {
        throw invalid(
          name, String(number),
          least == 0 ? "must be greater than or equal to 0" : "must be greater than 0")
      }
    }
    if request.parameter("sinceSeconds") ?? "" != "", request.parameter("sinceTime") ?? "" != "" {
      throw APIStatusError(
        code: 422, reason: "Invalid",
        message: "PodLogOptions.core \"\" is invalid: : Forbidden: at most one of `sinceTime` or "
          + "`sinceSeconds` may be specified", details: ["kind": "PodLogOptions"])
    }
  }

  private func query(_ request: HTTPRequest, keeping names: [String: String]) -> String {
    var parts: [String] = []
    for (name, value) in request.query {
      guard let kept = names[name] else { continue }
      parts.append("\(kept)=\(escaped(value))")
    }
    return parts.isEmpty ? "" : "?" + parts.joined(separator: "&")
  }

  private func escaped(_ text: String) -> String { PercentEncoding.encode(text) }
}

enum PercentEncoding {
  /// Everything but unreserved characters.
  static func encode(_ text: String) -> String {
    var out = ""
    for byte in text.utf8 {
      let scalar = Unicode.Scalar(byte)
      switch scalar {
      case "a"..."z", "A"..."Z", "0"..."9", "-", ".", "_", "~": out.unicodeScalars.append(scalar)
      default: out += "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true)
      }
    }
    return out
  }
}
