// Access reviews over HTTP: a body in, the same with its status out.

import ClusterClient
import ClusterObjects

extension Router {
  func reviewAccess(_ request: HTTPRequest, _ kind: ResourceKind, _ namespace: String) async throws
    -> HTTPResponse
  {
    let form = try Form.negotiate(request)
    // A review is an answer, not an object: there is no table of it and nothing that has its metadata alone.
    guard form.isFull else { throw Failure.notAcceptable }
    let decoded = try Bodies.object(request, kind.schema, as: kind.gvk)
    var review = decoded.object
    review["apiVersion"] = JSON(kind.apiVersion)
    review["kind"] = JSON(kind.kind)
    if kind.isNamespaced {
      guard review.namespace.isEmpty || review.namespace == namespace else {
        throw Failure.badRequest(
          "the namespace of the provided object does not match the namespace sent on the request")
      }
      review.set(JSON(namespace), at: "metadata", "namespace")
    }
    if kind.kind == "SelfSubjectRulesReview" {
      review["status"] = try rules(request.identity, review.spec)
    } else {
      review = try await AccessReview.answer(review, kind, namespace, asker: request.identity, access)
    }
    return Answer.json(
      201, RESTCore.ordered(review), contentType: form.contentType,
      headers: Answer.warnings(decoded.warnings))
  }

  private func rules(_ identity: Identity, _ spec: JSON) throws -> JSON {
    let namespace = spec["namespace"]?.string ?? ""
    if namespace.isEmpty { throw Failure.badRequest("no namespace on request") }
    var resources: [JSON] = []
    var paths: [JSON] = []
    var errors: [String] = []
    for authorizer in access.authorizers {
      guard let resolver = authorizer as? any RuleResolver else { continue }
      let answer = resolver.rules(for: identity, namespace: namespace)
      for rule in answer.rules {
        if !rule.resources.isEmpty {
          var json = rule.json
          json["nonResourceURLs"] = nil
          resources.append(json)
        }
        if !rule.nonResourceURLs.isEmpty {
          paths.append(["verbs": JSON(rule.verbs), "nonResourceURLs": JSON(rule.nonResourceURLs)])
        }
      }
      if !answer.error.isEmpty { errors.append(answer.error) }
    }
    var status: JSON = [
      "resourceRules": .array(resources), "nonResourceRules": .array(paths),
      "incomplete": JSON(!errors.isEmpty),
    ]
    if !errors.isEmpty { status["evaluationError"] = JSON(errors.joined(separator: ", ")) }
    return status
  }
}

/// An authorizer that can say everything somebody may.
protocol RuleResolver {
  /// `error` names what could not be found out; the list is incomplete then.
  func rules(for identity: Identity, namespace: String) -> (rules: [PolicyRule], error: String)
}

extension RBACAuthorizer: RuleResolver {
  func rules(for identity: Identity, namespace: String) -> (rules: [PolicyRule], error: String) {
    snapshot.rules(for: identity, namespace: namespace)
  }
}
