// POST …/serviceaccounts/NAME/token: a token for a while, for an audience, bound to an object.

import ClusterClient
import ClusterObjects
import Diagnostics

extension RESTCore {
  /// Answers a TokenRequest with its status filled in.
  func requestToken(namespace: String, name: String, _ body: JSON, isDryRun: Bool) async throws -> JSON {
    guard let tokens else { throw Failure.notServed }
    let kind = try kind(.serviceAccounts)
    if !body.name.isEmpty, body.name != name {
      throw Failure.badRequest(
        "the name of the object (\(body.name)) does not match the name on the URL (\(name))")
    }
    if !body.namespace.isEmpty, body.namespace != namespace {
      throw Failure.badRequest(
        "the namespace of the provided object does not match the namespace sent on the request")
    }
    let account = try await get(kind, namespace: namespace, name: name).tree
    let asked = body.spec["expirationSeconds"]?.integer ?? 3600
    if let error = Self.checkSeconds(asked) {
      throw APIStatusError(
        code: 422, reason: "Invalid",
        message: "TokenRequest.authentication.k8s.io \"\" is invalid: " + FieldError.summary([error]),
        details: [
          "name": "", "group": "authentication.k8s.io", "kind": "TokenRequest", "causes": [error.cause],
        ])
    }
    let seconds = min(asked, tokens.settings.secondsMax)
    var audiences = body.at("spec", "audiences")?.elements.compactMap(\.string) ?? []
    if audiences.isEmpty { audiences = tokens.settings.audiences }

    var claims = ServiceAccountClaims(namespace: namespace, account: TokenReference(name, account.uid))
    claims.credentialID = Self.uid()
    if let reference = body.at("spec", "boundObjectRef"), reference.object != nil {
      try await bind(&claims, to: reference)
    }
    let (token, end) = try tokens.issue(claims, audiences: audiences, seconds: seconds)
    AuditAnnotation.add("authentication.kubernetes.io/issued-credential-id", "JTI=" + claims.credentialID)

    var answer: JSON = [
      "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1",
      "metadata": [
        "name": JSON(name), "namespace": JSON(namespace), "creationTimestamp": JSON(Timestamp.nowText()),
      ],
    ]
    var spec = body.spec.object == nil ? [:] : body.spec
    spec["audiences"] = JSON(audiences)
    spec["expirationSeconds"] = JSON(seconds)
    if spec["boundObjectRef"] == nil { spec["boundObjectRef"] = .null }
    answer["spec"] = spec
    answer["status"] = [
      "token": JSON(isDryRun ? "" : token), "expirationTimestamp": JSON(Timestamp.text(seconds: end)),
    ]
    return answer
  }

  private static func checkSeconds(_ seconds: Int64) -> FieldError? {
    let path: FieldPath = "spec.expirationSeconds"
    if seconds < 600 {
      return .invalid(path, JSON(seconds), "may not specify a duration less than 10 minutes")
    }
    if seconds > 1 << 32 {
      return .invalid(path, JSON(seconds), "may not specify a duration larger than 2^32 seconds")
    }
    return nil
  }

  /// Finds what the token shall die with.
  private func bind(_ claims: inout ServiceAccountClaims, to reference: JSON) async throws {
    let name = reference["name"]?.string ?? ""
    let gvk = GroupVersionKind(
      apiVersion: reference["apiVersion"]?.string ?? "", kind: reference["kind"]?.string ?? "")
    let resource: GroupVersionResource
    let object: JSON
    switch gvk {
    case GroupVersionKind("", "v1", "Pod"):
      resource = .pods
      object = try await get(try kind(.pods), namespace: claims.namespace, name: name).tree
      let runsAs = object.at("spec", "serviceAccountName")?.string ?? ""
      guard runsAs == claims.account.name || (runsAs.isEmpty && claims.account.name == "default") else {
        throw Failure.badRequest(
          "cannot bind token for serviceaccount \"\(claims.account.name)\" to pod running with different "
            + "serviceaccount name.")
      }
      claims.pod = TokenReference(name, object.uid)
      if let node = object.at("spec", "nodeName")?.string, !node.isEmpty {
        let found = cache(try kind(.nodes))[Self.key(try kind(.nodes), "", node)]
        claims.node = TokenReference(node, found?.tree.uid ?? "")
      }
    case GroupVersionKind("", "v1", "Secret"):
      resource = .secrets
      object = try await get(try kind(.secrets), namespace: claims.namespace, name: name).tree
      claims.secret = TokenReference(name, object.uid)
    case GroupVersionKind("", "v1", "Node"):
      resource = .nodes
      object = try await get(try kind(.nodes), namespace: "", name: name).tree
      claims.node = TokenReference(name, object.uid)
    default:
      throw Failure.badRequest("cannot bind token to object of type \(gvk)")
    }
    if let uid = reference["uid"]?.string, !uid.isEmpty, uid != object.uid {
      throw Failure.conflict(
        try kind(resource), name,
        "the UID in the bound object reference (\(uid)) does not match the UID in record. "
          + "The object might have been deleted and then recreated")
    }
  }
}
