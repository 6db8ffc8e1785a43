// Clients of the node's port that are not the API server: who they are and what they may is the API server's to say (TokenReview,
// SubjectAccessReview), and its answers are kept for a while, as kubelet keeps them.

import ClusterClient
import ClusterObjects
import Crypto
import Diagnostics
import NIOHTTP1
import Synchronization

final class NodeReviews: Sendable {
  /// Asks the API server: a review goes in, and comes back with its status.
  typealias Ask = @Sendable (GroupVersionResource, JSON) async throws -> JSON

  /// Answers kept of each kind; when full, those that are over go, else the one that is over first.
  static let answersMax = 1024
  /// kubelet's: `authentication.webhook.cacheTTL`, `authorization.webhook.cacheAuthorizedTTL` and `…UnauthorizedTTL`.
  private static let times: (user: Duration, allowed: Duration, denied: Duration) = (
    .seconds(120), .seconds(300), .seconds(30)
  )
  /// Whom the agent obeys without asking, besides `system:masters`: the API server, by its client certificate.
  static let apiServer = "kube-apiserver-kubelet-client"
  private static let tokenReviews = GroupVersionResource("authentication.k8s.io", "v1", "tokenreviews")
  private static let accessReviews = GroupVersionResource(
    "authorization.k8s.io", "v1", "subjectaccessreviews")

  private struct Question: Hashable, Sendable {
    var peer: NodeRequest.Peer
    var verb: String
    var subresource: String
  }
  private let nodeName: String
  private let ask: Ask
  private let users = Mutex(ExpiringAnswers<[UInt8], NodeRequest.Peer?>(countMax: answersMax))
  private let leaves = Mutex(ExpiringAnswers<Question, Bool>(countMax: answersMax))
  private let asked: MetricFamily<Counter>

  init(nodeName: String, metrics: Metrics, ask: @escaping Ask) {
    self.nodeName = nodeName
    self.ask = ask
    asked = metrics.counter(
      "weft_node_reviews_total", "Questions to the API server about clients of the node's port, by kind.",
      labels: ["kind"])
  }

  /// Whose the token is; nil when it is nobody's. Throws what the API server cannot say.
  func user(token: String) async throws -> NodeRequest.Peer? {
    let key = Array(SHA256.hash(data: Array(token.utf8)))
    if let known = users.withLock({ $0.value(key) }) { return known }
    asked.child("token").increment()
    let status = try await ask(
      Self.tokenReviews,
      [
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": ["token": JSON(token)],
      ]
    ).status
    var peer: NodeRequest.Peer?
    let user = status["user"] ?? [:]
    if status["authenticated"]?.bool == true, let name = user["username"]?.string, !name.isEmpty {
      var found = NodeRequest.Peer(
        user: name, groups: (user["groups"]?.elements ?? []).compactMap(\.string))
      found.uid = user["uid"]?.string ?? ""
      for (key, values) in user["extra"]?.object ?? JSONObject() {
        found.extra[key] = values.elements.compactMap(\.string)
      }
      peer = found
    }
    let answer = peer
    users.withLock { $0.keep(answer, for: key, Self.times.user) }
    return answer
  }

  /// Whether the client may do so with one of these parts of this node; any is enough. Throws what the API server cannot say.
  func allows(_ peer: NodeRequest.Peer, verb: String, anyOf subresources: [String]) async throws -> Bool {
    for subresource in subresources {
      if try await allows(Question(peer: peer, verb: verb, subresource: subresource)) { return true }
    }
    return false
  }

  private func allows(_ question: Question) async throws -> Bool {
    if let known = leaves.withLock({ $0.value(question) }) { return known }
    asked.child("access").increment()
    var spec: JSON = [
      "user": JSON(question.peer.user), "groups": JSON(question.peer.groups),
      "resourceAttributes": [
        "verb": JSON(question.verb), "version": "v1", "resource": "nodes",
        "subresource": JSON(question.subresource), "name": JSON(nodeName),
      ],
    ]
    if !question.peer.uid.isEmpty { spec["uid"] = JSON(question.peer.uid) }
    if !question.peer.extra.isEmpty {
      spec["extra"] = .object(
        JSONObject(question.peer.extra.sorted { $0.key < $1.key }.map { ($0.key, JSON($0.value)) }))
    }
    let status = try await ask(
      Self.accessReviews,
      ["apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec]
    ).status
    let isAllowed = status["allowed"]?.bool == true && status["denied"]?.bool != true
    leaves.withLock {
      $0.keep(isAllowed, for: question, isAllowed ? Self.times.allowed : Self.times.denied)
    }
    return isAllowed
  }
}

/// What somebody without a right to it is told; nil for everybody else.
func refusal(of request: NodeRequest, _ reviews: NodeReviews?) async -> NodeAnswer? {
  let peer: NodeRequest.Peer
  if let shown = request.peer, !shown.user.isEmpty {
    peer = shown
  } else if let reviews, let token = request.bearer,
    let owner = (try? await reviews.user(token: token)).flatMap({ $0 })
  {
    peer = owner
  } else {
    return .text(401, "Unauthorized")
  }
  if peer.user == NodeReviews.apiServer || peer.groups.contains("system:masters") { return nil }
  let subresources = planSubresources(request.path)
  let who = "(user=\(peer.user), verb=\(request.verb), resource=nodes, "
  do {
    if try await reviews?.allows(peer, verb: request.verb, anyOf: subresources) == true { return nil }
    return .text(403, "Forbidden \(who)subresource(s)=[\(subresources.joined(separator: " "))])")
  } catch {
    return .text(500, "Authorization error \(who)subresource=\(subresources[0]))")
  }
}

/// The parts of a node that a path is of, as kubelet's authorizer names them; the first that somebody has a right to is enough. Pure.
func planSubresources(_ path: [String]) -> [String] {
  switch path.first {
  case "stats": ["stats"]
  case "metrics": ["metrics"]
  case "logs": ["log"]
  case "pods", "runningpods": ["pods", "proxy"]
  case "healthz": ["healthz", "proxy"]
  case "configz": ["configz", "proxy"]
  default: ["proxy"]
  }
}

extension NodeRequest {
  /// Of `Authorization: Bearer …`.
  var bearer: String? {
    guard let value = headers.first(name: "authorization") else { return nil }
    let words = value.split(separator: " ", maxSplits: 1)
    guard words.count == 2, words[0].lowercased() == "bearer" else { return nil }
    let token = words[1].trimmingPrefix { $0 == " " }
    return token.isEmpty ? nil : String(token)
  }

  /// What a request is, in the words of an authorizer.
  var verb: String {
    switch method {
    case .POST: "create"
    case .PUT: "update"
    case .PATCH: "patch"
    case .DELETE: "delete"
    default: "get"
    }
  }
}
