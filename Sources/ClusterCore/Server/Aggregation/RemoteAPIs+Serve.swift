// A request for another server: passed on as it comes, with the front proxy's certificate and the asker's name in
// headers; the answer, a watch too, comes back as it is made.

import ClusterClient
import ClusterObjects
import NIOCore
import NIOHTTP1
import NIOSSL

extension RemoteAPIs {
  /// Nil when the path is not another server's.
  func serve(_ request: HTTPRequest) async throws -> HTTPResponse? {
    guard let remote = remote(request.path) else { return nil }
    guard remote.isAvailable else { throw Self.unavailable }
    let target = try target(remote, uri: request.uri, method: request.method, as: request.identity)
    return try await Relay.send(request, to: target)
  }

  static let unavailable = APIStatusError(
    code: 503, reason: "ServiceUnavailable",
    message: "the server is currently unable to handle the request", details: [:])

  /// Where the remote's Service is answered now.
  func target(_ remote: RemoteAPI, uri: String, method: HTTPMethod, as identity: Identity) throws
    -> RelayTarget
  {
    let place: (host: String, port: Int)
    do throws(WebhookError) {
      place = try resolver.resolve(remote.namespace, remote.service, remote.port)
    } catch {
      throw APIStatusError(code: 503, reason: "ServiceUnavailable", message: error.description)
    }
    let context = try client.context(remote)
    var target = RelayTarget(host: place.host, port: place.port, uri: uri, method: method)
    target.tls = { try NIOSSLClientHandler(context: context, serverHostname: remote.host) }
    target.headers = FrontProxyClient.headers(identity)
    // A redirection would send the client's credentials where this server does not look.
    target.refusesRedirects = true
    return target
  }

  /// Entries for the index at `/openapi/v3`.
  var openAPIPaths: [(path: String, entry: JSON)] {
    all.compactMap { remote in
      guard let hash = remote.openAPIHash else { return nil }
      let path = "apis/\(remote.groupVersion)"
      return (
        path, ["serverRelativeURL": JSON("/openapi/v3/\(path)" + (hash.isEmpty ? "" : "?hash=\(hash)"))]
      )
    }
  }
}
