// Who asks: the ways to say so, in upstream's order. The first that knows the credential decides.
//
//   front proxy ─► client certificate ─► bearer token ─► anonymous
//                                               file, ServiceAccount, OIDC, bootstrap, webhook

import ClusterClient
import ClusterObjects
import Diagnostics
import Logging
import NIOHTTP1

/// All ways to say who one is.
final class Authentication: Authenticator {
  private let frontProxy: FrontProxy?
  let certificates: ClientCertificates?
  private let tokens: [any TokenAuthenticator]
  /// Audiences that a token for this server may have.
  let audiences: [String]
  private let log = Logger(label: "apiserver.authentication")
  private let metrics = AuthenticationMetrics()

  init(
    frontProxy: FrontProxy? = nil, certificates: ClientCertificates?, tokens: [any TokenAuthenticator],
    audiences: [String]
  ) {
    self.frontProxy = frontProxy
    self.certificates = certificates
    self.tokens = tokens
    self.audiences = audiences
  }

  /// PEM of all authorities of clients, to be named to them.
  var authoritiesPEM: String {
    (certificates?.authorities.pem ?? "") + (frontProxy?.authorities.pem ?? "")
  }

  func authenticate(_ request: HTTPRequest) async throws -> Identity? {
    let start = ContinuousClock.now
    var problems: [String] = []
    let found = await find(request, &problems)
    metrics.note(found, failed: !problems.isEmpty, ContinuousClock.now - start)
    if let found { return found }
    if problems.isEmpty { return nil }
    // The text may tell an attacker something: it stays here.
    log.debug(
      "unable to authenticate the request", metadata: ["error": "\(problems.joined(separator: ", "))"])
    throw Self.unauthorized
  }

  static let unauthorized = APIStatusError(code: 401, reason: "Unauthorized", message: "Unauthorized")

  private func find(_ request: HTTPRequest, _ problems: inout [String]) async -> Identity? {
    if let peer = request.peer {
      if let frontProxy {
        switch await frontProxy.identity(request, peer) {
        case .found(let identity): return identity
        case .wrong(let problem): problems.append(problem)
        case .notMine: break
        }
      }
      if let certificates {
        switch await certificates.identity(peer) {
        case .found(let identity): return identity
        case .wrong(let problem): problems.append(problem)
        case .notMine: break
        }
      }
    }
    guard let token = BearerToken.of(request) else { return nil }
    do throws(TokenProblem) {
      if let found = try await authenticate(token: token, audiences: audiences) { return found.identity }
      problems.append("invalid bearer token")
    } catch {
      problems.append(error.text)
    }
    return nil
  }

  /// Whose token it is, `system:authenticated` among the groups. Nil: nobody knows it.
  func authenticate(token: String, audiences: [String]) async throws(TokenProblem) -> TokenIdentity? {
    var problems: [String] = []
    for authenticator in tokens {
      do throws(TokenProblem) {
        if var found = try await authenticator.authenticate(token, audiences: audiences) {
          found.identity = found.identity.authenticated
          return found
        }
      } catch {
        // Another may know it: an ID token can look like one of ours.
        problems.append(error.text)
      }
    }
    if problems.isEmpty { return nil }
    throw TokenProblem("[" + (["invalid bearer token"] + problems).joined(separator: ", ") + "]")
  }
}

/// What one way makes of a request.
enum Finding: Sendable {
  case found(Identity)
  case wrong(String)
  case notMine
}

extension Identity {
  /// With `system:authenticated` among the groups, unless it says already which of the two it is.
  var authenticated: Identity {
    if groups.contains("system:authenticated") || groups.contains("system:unauthenticated") { return self }
    var copy = self
    copy.groups.append("system:authenticated")
    return copy
  }
}

enum BearerToken {
  private static let protocolPrefix = "base64url.bearer.authorization.k8s.io."

  /// The token of `Authorization: Bearer …`, or of a WebSocket's subprotocols, where browsers can put one.
  /// Nil when there is none.
  static func of(_ request: HTTPRequest) -> String? {
    for value in request.headers["authorization"] {
      let parts = value.split(separator: " ", maxSplits: 1, omittingEmptySubsequences: true)
      guard parts.count == 2, parts[0].lowercased() == "bearer" else { continue }
      let token = parts[1].drop { $0 == " " }
      if !token.isEmpty { return String(token) }
    }
    guard request.headers.first(name: "upgrade")?.lowercased() == "websocket" else { return nil }
    for value in request.headers["sec-websocket-protocol"] {
      for name in value.split(separator: ",") {
        let name = name.drop { $0 == " " }
        guard name.hasPrefix(protocolPrefix) else { continue }
        let coded = name.dropFirst(protocolPrefix.count).utf8
        if let bytes = Base64URL.decode(coded), !bytes.isEmpty {
          return String(validating: bytes, as: UTF8.self)
        }
      }
    }
    return nil
  }
}
