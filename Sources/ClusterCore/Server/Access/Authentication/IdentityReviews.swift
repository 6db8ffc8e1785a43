// Questions about identity, answered and not kept: TokenReview ("whose token is this?") and SelfSubjectReview
// ("who am I?", `kubectl auth whoami`).

import ClusterClient
import ClusterObjects
import Diagnostics

struct IdentityReviews: Sendable {
  static let group = "authentication.k8s.io"

  let authentication: Authentication

  /// Nil for other kinds.
  func answer(_ kind: String, _ body: JSON, asker: Identity) async throws -> JSON? {
    switch kind {
    case "TokenReview": try await review(token: body)
    case "SelfSubjectReview": whoAmI(body, asker)
    default: nil
    }
  }

  private func whoAmI(_ body: JSON, _ asker: Identity) -> JSON {
    [
      "kind": "SelfSubjectReview", "apiVersion": JSON(apiVersion(body)),
      "metadata": ["creationTimestamp": JSON(Timestamp.nowText())],
      "status": ["userInfo": asker.userInfo],
    ]
  }

  private func review(token body: JSON) async throws -> JSON {
    let token = body.at("spec", "token")?.string ?? ""
    guard !token.isEmpty else {
      throw Failure.badRequest("token is required for TokenReview in authentication")
    }
    var audiences = body.at("spec", "audiences")?.elements.compactMap(\.string) ?? []
    if audiences.isEmpty { audiences = authentication.audiences }
    var status: JSON = [:]
    do throws(TokenProblem) {
      if let found = try await authentication.authenticate(token: token, audiences: audiences) {
        status["authenticated"] = true
        status["user"] = found.identity.userInfo
        if !found.audiences.isEmpty { status["audiences"] = JSON(found.audiences) }
      } else {
        status = ["user": [:], "error": "[invalid bearer token]"]
      }
    } catch {
      status = ["user": [:], "error": JSON(error.text)]
    }
    return [
      "kind": "TokenReview", "apiVersion": JSON(apiVersion(body)),
      "metadata": body["metadata"] ?? ["creationTimestamp": .null], "spec": body["spec"] ?? [:],
      "status": status,
    ]
  }

  private func apiVersion(_ body: JSON) -> String {
    body.apiVersion.isEmpty ? "\(Self.group)/v1" : body.apiVersion
  }
}

extension Identity {
  /// `UserInfo` of authentication.k8s.io.
  var userInfo: JSON {
    var info: JSON = [:]
    if !user.isEmpty { info["username"] = JSON(user) }
    if !uid.isEmpty { info["uid"] = JSON(uid) }
    if !groups.isEmpty { info["groups"] = JSON(groups) }
    if !extra.isEmpty {
      info["extra"] = .object(
        JSONObject(extra.sorted { $0.key < $1.key }.map { ($0.key, JSON($0.value)) }))
    }
    return info
  }
}
