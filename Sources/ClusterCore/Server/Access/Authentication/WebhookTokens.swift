// Tokens that another server knows: it is asked with a TokenReview, and its answers are kept for a while.

import ClusterClient
import ClusterObjects
import Crypto
import Diagnostics
import Synchronization

/// Another server that knows tokens, as flags say it.
public struct WebhookTokenSettings: Sendable {
  /// A kubeconfig: its cluster is the webhook's address and authority.
  public var configFile: String
  /// How long an answer is kept, yes or no.
  public var cacheSeconds = 120
  public init(configFile: String) { self.configFile = configFile }
}

final class WebhookTokens: TokenAuthenticator {
  /// Answers kept; when full, all that are over go, else the oldest.
  static let answersMax = 4096
  private static let timeout: Duration = .seconds(10)
  private static let triesMax = 3

  private let answers = Mutex(ExpiringAnswers<[UInt8], TokenIdentity?>(countMax: answersMax))
  private let target: WebhookTarget
  private let caller: WebhookCaller
  private let audiences: [String]
  private let cache: Duration

  init(
    target: WebhookTarget, caller: WebhookCaller, audiences: [String], cache: Duration = .seconds(120)
  ) {
    self.target = target
    self.caller = caller
    self.audiences = audiences
    self.cache = cache
  }

  /// Errors: `API0016` what the file says; `CLI01…` that it cannot be read.
  convenience init(_ settings: WebhookTokenSettings, audiences: [String]) throws(WeftError) {
    let config = try ClusterClient.Kubeconfig(path: settings.configFile)
    func refuse(_ cause: String, _ next: String) -> WeftError {
      WeftError("API0016", object: settings.configFile, cause: cause, next: next)
    }
    guard config.clientCertificate == nil, config.token == nil, config.user == nil else {
      throw refuse(
        "names credentials to show to the webhook, and none are shown", "remove the user's credentials")
    }
    var place: JSON = ["url": JSON(config.server)]
    if let authority = config.certificateAuthority { place["caBundle"] = JSON(Base64.encode(authority)) }
    let target: WebhookTarget
    do throws(WebhookError) { target = try WebhookTarget(clientConfig: place) } catch {
      throw refuse("\(error)", "give the webhook's https address as the cluster's server")
    }
    let caller = WebhookCaller { (namespace, name, _) throws(WebhookError) in
      throw WebhookError(.unreachable, "service \"\(namespace)/\(name)\" is no address")
    }
    self.init(
      target: target, caller: caller, audiences: audiences, cache: .seconds(settings.cacheSeconds))
  }

  func authenticate(_ token: String, audiences asked: [String]) async throws(TokenProblem) -> TokenIdentity? {
    let key = Array(SHA256.hash(data: Array((token + "\n" + asked.joined(separator: "\n")).utf8)))
    if let known = answers.withLock({ $0.value(key) }) { return known }
    let identity = try await review(token, asked)
    answers.withLock { $0.keep(identity, for: key, cache) }
    return identity
  }

  private func review(_ token: String, _ asked: [String]) async throws(TokenProblem) -> TokenIdentity? {
    let question: JSON = [
      "kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1",
      "metadata": ["creationTimestamp": .null],
      "spec": ["token": JSON(token), "audiences": JSON(asked)],
    ]
    let status = try await post(question).status
    guard status["authenticated"] == true else {
      if let problem = status["error"]?.string, !problem.isEmpty { throw TokenProblem(problem) }
      return nil
    }
    // One that does not know of audiences speaks for the API server alone.
    let meant = status["audiences"]?.elements.compactMap(\.string) ?? []
    let common = asked.filter((meant.isEmpty ? audiences : meant).contains)
    guard !common.isEmpty else { return nil }
    let user = status["user"] ?? [:]
    var identity = Identity(
      user: user["username"]?.string ?? "", groups: user["groups"]?.elements.compactMap(\.string) ?? [],
      uid: user["uid"]?.string ?? "")
    guard !identity.user.isEmpty else { throw TokenProblem("webhook names no user") }
    for (key, values) in user["extra"]?.object ?? JSONObject() {
      identity.extra[key] = values.elements.compactMap(\.string)
    }
    return TokenIdentity(identity: identity, audiences: common)
  }

  /// Tries again after what may pass by itself.
  private func post(_ question: JSON) async throws(TokenProblem) -> JSON {
    var delay: Duration = .milliseconds(500)
    for attempt in 1... {
      do throws(WebhookError) {
        return try await caller.post(question, to: target, timeout: Self.timeout)
      } catch {
        let mayPass =
          switch error.kind {
          case .unreachable, .overloaded: true
          case .status(let code): code == 429 || code >= 500
          case .timeout, .badAnswer: false
          }
        guard mayPass, attempt < Self.triesMax, !Task.isCancelled else {
          throw TokenProblem("webhook: \(error)")
        }
      }
      try? await Task.sleep(for: delay)
      delay = delay * 3 / 2
    }
    throw TokenProblem("webhook: not asked")
  }
}
