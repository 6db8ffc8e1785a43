// The public keys of an OpenID Connect issuer: from a file, or from the issuer's server, asked again when a
// token names a key that is not known.

import ClusterClient
import ClusterObjects
import Diagnostics
import Logging

actor OpenIDKeys {
  /// The issuer's server is asked at most this often, whatever tokens strangers make up.
  static let intervalMin: Duration = .seconds(10)
  /// Keys are asked for anew after this long: one that was withdrawn is believed no longer.
  static let ageMax: Duration = .seconds(3600)
  private static let documentBytesMax = 1 << 20

  private let issuer: String
  private let authority: [UInt8]?
  private var keys: VerifyingKeys?
  private var askedAt: ContinuousClock.Instant?
  private var asking: Task<VerifyingKeys?, Never>?
  private let isFixed: Bool
  private let log = Logger(label: "apiserver.oidc")

  init(issuer: String, authority: [UInt8]?) {
    self.issuer = issuer
    self.authority = authority
    isFixed = false
  }

  /// Errors: `API0015`.
  init(file: String) throws(WeftError) {
    issuer = ""
    authority = nil
    isFixed = true
    guard let text = try PrivateFile.read(file), let read = VerifyingKeys(jwks: Array(text.utf8)),
      !read.keys.isEmpty
    else {
      throw WeftError(
        "API0015", object: file, cause: "is no set of keys of P-256, P-384 or RSA",
        next: "give a file of the form {\"keys\": [...]}, as the issuer's jwks_uri answers it")
    }
    keys = read
  }

  /// Throws unless one of the issuer's keys signed the token.
  func verify(_ token: JSONWebToken) async throws(TokenProblem) {
    let isOld = askedAt.map { ContinuousClock.now - $0 > Self.ageMax } ?? true
    if !isFixed, isOld { await refresh() }
    guard let keys else { throw TokenProblem("oidc: the issuer's keys are not known yet") }
    do throws(TokenProblem) {
      try keys.verify(token)
    } catch {
      // A key made lately, or an unnamed one.
      guard !isFixed, token.keyID.isEmpty || !keys.contains(id: token.keyID) else { throw error }
      await refresh()
      try (self.keys ?? keys).verify(token)
    }
  }

  private func refresh() async {
    if let asking {
      _ = await asking.value
      return
    }
    if let askedAt, ContinuousClock.now - askedAt < Self.intervalMin { return }
    let task = Task { await Self.fetch(issuer: issuer, authority: authority, log) }
    asking = task
    let found = await task.value
    asking = nil
    askedAt = .now
    // While the issuer does not answer, what is known goes on.
    if let found { keys = found }
  }

  private static func fetch(issuer: String, authority: [UInt8]?, _ log: Logger) async -> VerifyingKeys? {
    do {
      let base = issuer.hasSuffix("/") ? String(issuer.dropLast()) : issuer
      let document = try await get(base + "/.well-known/openid-configuration", authority)
      guard let tree = try? JSON(parsing: document), tree["issuer"]?.string == issuer,
        let address = tree["jwks_uri"]?.string
      else { throw TokenProblem("the issuer's configuration names another issuer, or no keys") }
      guard let keys = VerifyingKeys(jwks: try await get(address, authority)) else {
        throw TokenProblem("\(address) answers with no set of keys")
      }
      return keys
    } catch {
      log.error("the issuer's keys cannot be had", metadata: ["issuer": "\(issuer)", "error": "\(error)"])
      return nil
    }
  }

  private static func get(_ address: String, _ authority: [UInt8]?) async throws -> [UInt8] {
    guard address.hasPrefix("https://") else { throw TokenProblem("\(address) is no https address") }
    let rest = address.dropFirst("https://".count)
    let host = rest.prefix { $0 != "/" }
    var config = ClusterClient.Kubeconfig(server: "https://\(host)")
    config.certificateAuthority = authority
    let answer = try await RemoteClient(kubeconfig: config).raw(
      host.count == rest.count ? "/" : String(rest.dropFirst(host.count)))
    guard answer.status == 200, answer.body.count <= documentBytesMax else {
      throw TokenProblem("\(address) answers \(answer.status) with \(answer.body.count) bytes")
    }
    return answer.body
  }
}
