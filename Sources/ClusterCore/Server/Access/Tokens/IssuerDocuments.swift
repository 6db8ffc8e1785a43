// What others need to believe our tokens without asking us: OpenID Connect discovery and the public keys.

import ClusterObjects
import NIOCore

struct IssuerDocuments: Sendable {
  static let paths = ["/.well-known/openid-configuration", "/openid/v1/jwks"]

  private let configuration: ByteBuffer
  private let keys: ByteBuffer

  /// `keysURL` is where others find the keys; usually `https://ADDRESS/openid/v1/jwks`.
  init(tokens: ServiceAccountTokens, keysURL: String) {
    let algorithms = Set(tokens.keys.keys.map(\.algorithm)).sorted()
    let document: JSON = [
      "issuer": JSON(tokens.settings.issuers[0]), "jwks_uri": JSON(keysURL),
      "response_types_supported": ["id_token"], "subject_types_supported": ["public"],
      "id_token_signing_alg_values_supported": JSON(algorithms),
    ]
    configuration = ByteBuffer(bytes: document.bytes)
    keys = ByteBuffer(bytes: tokens.keys.jwks.bytes)
  }

  /// Nil for other paths.
  func answer(_ request: HTTPRequest) -> HTTPResponse? {
    let cached = [("cache-control", "public, max-age=3600")]
    switch request.rawPath {
    case Self.paths[0]: return HTTPResponse(200, headers: cached, .bytes(configuration))
    case Self.paths[1]:
      return HTTPResponse(200, contentType: "application/jwk-set+json", headers: cached, .bytes(keys))
    default: return nil
    }
  }
}
