// `proxy` of pods, Services and nodes: any method and path, to their port.
//
//   …/pods/[http|https:]NAME[:PORT]/proxy/PATH      …/services/[SCHEME:]NAME[:PORT]/proxy/PATH
//   …/nodes/[SCHEME:]NAME[:PORT]/proxy/PATH          without a port: the node agent itself

import Addresses
import ClusterClient
import ClusterObjects
import ClusterStreams
import NIOCore
import NIOHTTP1
import NIOSSL

extension Router {
  func serveProxy(
    _ request: HTTPRequest, _ kind: ResourceKind, _ namespace: String, _ text: String
  ) async throws -> HTTPResponse {
    guard let asked = ProxyName(text) else {
      throw Failure.badRequest("invalid \(kind.kind.lowercased()) request \"\(text)\"")
    }
    guard let rest = ProxyPath(request) else { throw Failure.notServed }
    if rest.path.isEmpty, request.method == .GET || request.method == .HEAD,
      !RequestStream.isUpgrade(request.headers)
    {
      // Relative links need the slash.
      let query = rest.query.map { "?" + $0 } ?? ""
      return HTTPResponse(
        301, contentType: "text/plain", headers: [("location", request.rawPath + "/" + query)],
        .bytes(ByteBuffer()))
    }
    try await admitConnect(request, kind, namespace, text, "proxy", path: rest.path)
    let uri = (rest.path.isEmpty ? "/" : rest.path) + (rest.query.map { "?" + $0 } ?? "")
    if kind.kind == "Node" {
      let node = try await core.get(kind, namespace: "", name: asked.name).tree
      let agentPort = node.status.at("daemonEndpoints", "kubeletEndpoint", "Port")?.int ?? 10250
      if asked.port.isEmpty || asked.port == String(agentPort) {
        return try await relay(request, toAgentOf: node, uri: uri)
      }
      let host = node.status["addresses"]?.elements.first { $0["type"]?.string == "InternalIP" }
      return try await relay(
        request, host: host?["address"]?.string ?? "", port: Int(asked.port), asked, uri, rest)
    }
    let (host, port) =
      kind.kind == "Pod"
      ? try await podEndpoint(kind, namespace, asked) : try await serviceEndpoint(kind, namespace, asked)
    return try await relay(request, host: host, port: port, asked, uri, rest)
  }

  private func relay(
    _ request: HTTPRequest, host: String, port: Int?, _ asked: ProxyName, _ uri: String, _ rest: ProxyPath
  ) async throws -> HTTPResponse {
    guard let port, (1...65535).contains(port) else {
      throw Failure.badRequest("invalid port \"\(asked.port)\"")
    }
    // Nobody reaches the control plane's own loopback, or a cloud's metadata, through us.
    guard let address = IPAddress(host), !address.isLoopback, !address.isUnproxyable else {
      throw Failure.badRequest("address not allowed")
    }
    var target = RelayTarget(host: host, port: port, uri: uri, method: request.method)
    target.locationPrefix = rest.prefix
    if asked.scheme == "https", let context = PlainTLS.context {
      target.tls = { try NIOSSLClientHandler(context: context, serverHostname: nil) }
    }
    return try await Relay.send(request, to: target)
  }

  private func podEndpoint(_ kind: ResourceKind, _ namespace: String, _ asked: ProxyName) async throws
    -> (String, Int?)
  {
    let pod = try await core.get(kind, namespace: namespace, name: asked.name).tree
    let address = pod.status["podIP"]?.string ?? ""
    if !asked.port.isEmpty { return (address, Int(asked.port)) }
    let ports = pod.spec["containers"]?.elements.flatMap { $0["ports"]?.elements ?? [] } ?? []
    return (address, ports.first?["containerPort"]?.int ?? (asked.scheme == "https" ? 443 : 80))
  }

  /// A ready endpoint of the Service, any one.
  private func serviceEndpoint(_ kind: ResourceKind, _ namespace: String, _ asked: ProxyName) async throws
    -> (String, Int?)
  {
    let service = try await core.get(kind, namespace: namespace, name: asked.name).tree
    func unavailable(_ message: String) -> APIStatusError {
      APIStatusError(code: 503, reason: "ServiceUnavailable", message: message)
    }
    let ports = service.spec["ports"]?.elements ?? []
    let port: JSON?
    if asked.port.isEmpty {
      port = ports.count == 1 ? ports[0] : nil
    } else {
      port = ports.first {
        $0["name"]?.string == asked.port || $0["port"]?.int.map { "\($0)" } == asked.port
      }
    }
    guard let port else {
      throw unavailable("no service port \"\(asked.port)\" found for service \"\(asked.name)\"")
    }
    var options = ListOptions()
    options.labelSelector = "kubernetes.io/service-name=\(asked.name)"
    let slices = try await core.list(try core.kind(.endpointSlices), namespace: namespace, options: options)
    var found: [(String, Int)] = []
    for slice in slices.objects.map(\.tree) {
      let number = slice["ports"]?.elements.first {
        $0["name"]?.string ?? "" == port["name"]?.string ?? ""
      }?["port"]?.int
      guard let number else { continue }
      for endpoint in slice["endpoints"]?.elements ?? []
      where endpoint.at("conditions", "ready")?.bool ?? true {
        if let address = endpoint["addresses"]?.elements.first?.string { found.append((address, number)) }
      }
    }
    guard let chosen = found.randomElement() else {
      throw unavailable("no endpoints available for service \"\(asked.name)\"")
    }
    return (chosen.0, chosen.1)
  }
}

/// `[SCHEME:]NAME[:PORT]`.
struct ProxyName: Sendable, Hashable {
  var scheme = ""
  var name: String
  var port = ""

  init?(_ text: String) {
    let parts = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
    switch parts.count {
    case 1: name = parts[0]
    case 2: (name, port) = (parts[0], parts[1])
    case 3:
      (scheme, name, port) = (parts[0], parts[1], parts[2])
      guard ["", "http", "https"].contains(scheme) else { return nil }
    default: return nil
    }
    if name.isEmpty { return nil }
  }
}

/// What follows `/proxy`, as the client wrote it.
struct ProxyPath: Sendable, Hashable {
  /// Up to and with `/proxy`.
  var prefix: String
  /// Empty, or from its slash on.
  var path: String
  var query: String?

  init?(_ request: HTTPRequest) {
    // /api/v1/nodes/NAME/proxy, or /api/v1/namespaces/NS/RESOURCE/NAME/proxy
    let depth = request.path.count > 2 && request.path[2] == "namespaces" ? 7 : 5
    guard request.path.count >= depth else { return nil }
    var seen = 0
    var isInside = false
    var index = request.rawPath.utf8.startIndex
    let bytes = request.rawPath.utf8
    while index < bytes.endIndex {
      if bytes[index] == UInt8(ascii: "/") {
        if seen == depth { break }
        isInside = false
      } else if !isInside {
        isInside = true
        seen += 1
      }
      index = bytes.index(after: index)
    }
    prefix = String(request.rawPath[..<index])
    path = String(request.rawPath[index...])
    let mark = request.uri.firstIndex(of: "?")
    query = mark.map { String(request.uri[request.uri.index(after: $0)...]) }
  }
}

extension IPAddress {
  fileprivate var isUnproxyable: Bool {
    switch self {
    case .v4(let four): four.isLinkLocal || four.isMulticast || four.isUnspecified
    case .v6(let six): six.isLinkLocal || six.isMulticast || six.isUnspecified
    }
  }
}

/// TLS to pods and Services: encrypted, not verified, as upstream does; their certificates are their own.
private enum PlainTLS {
  static let context: NIOSSLContext? = {
    var tls = TLSConfiguration.makeClientConfiguration()
    tls.certificateVerification = .none
    tls.applicationProtocols = ["http/1.1"]
    return try? NIOSSLContext(configuration: tls)
  }()
}
