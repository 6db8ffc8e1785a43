// "May they?", asked by clients: the four kinds of authorization.k8s.io, which are answered and not stored.
// `kubectl auth can-i` and servers that leave decisions to this one ask so.

import ClusterClient
import ClusterObjects

enum AccessReview {
  static let group = "authorization.k8s.io"

  /// The review with its status. Throws what is wrong with it.
  static func answer(
    _ review: JSON, _ kind: ResourceKind, _ namespace: String, asker: Identity, _ access: Access
  ) async throws -> JSON {
    let errors = errors(review.spec, kind: kind.kind, namespace: namespace)
    if !errors.isEmpty { throw Failure.invalid(kind, review.name, errors) }
    let isSelf = kind.kind == "SelfSubjectAccessReview"
    let asked = attributes(review.spec, identity: isSelf ? asker : identity(review.spec))
    var review = review
    review["status"] = status(await access.decide(asked))
    return review
  }

  /// The question of a SubjectAccessReview or one of its relatives, asked about `identity`.
  static func attributes(_ spec: JSON, identity: Identity) -> AccessAttributes {
    func text(_ part: String, _ field: String) -> String { spec.at(part, field)?.string ?? "" }
    guard let resource = spec["resourceAttributes"], resource.object != nil else {
      return AccessAttributes(
        identity: identity, verb: text("nonResourceAttributes", "verb"),
        path: text("nonResourceAttributes", "path"))
    }
    func part(_ field: String) -> String { text("resourceAttributes", field) }
    var asked = AccessAttributes(
      identity: identity, verb: part("verb"), group: part("group"), version: part("version"),
      resource: part("resource"), subresource: part("subresource"), namespace: part("namespace"),
      name: part("name"))
    asked.fieldSelector = fields(resource["fieldSelector"])
    asked.labelSelector = labels(resource["labelSelector"])
    return asked
  }

  /// Whom a SubjectAccessReview is about. Keys of `extra` are compared in lower case, as headers are.
  static func identity(_ spec: JSON) -> Identity {
    var extra: [String: [String]] = [:]
    for (key, values) in spec["extra"]?.object ?? [:] {
      extra[key.lowercased()] = values.elements.compactMap(\.string)
    }
    return Identity(
      user: spec["user"]?.string ?? "", groups: spec["groups"]?.elements.compactMap(\.string) ?? [],
      uid: spec["uid"]?.string ?? "", extra: extra)
  }

  /// A selector narrows a question. What cannot be read narrows nothing: the question is then the wider one,
  /// which fewer may.
  private static func fields(_ json: JSON?) -> FieldSelector? {
    if let raw = json?["rawSelector"]?.string { return try? FieldSelector(parsing: raw) }
    guard let requirements = json?["requirements"]?.elements, !requirements.isEmpty else { return nil }
    let terms: [FieldSelector.Term] = requirements.compactMap { requirement in
      guard let key = requirement["key"]?.string, let value = requirement["values"]?[0]?.string,
        requirement["values"]?.elements.count == 1
      else { return nil }
      switch requirement["operator"]?.string {
      case "In": return FieldSelector.Term(key, value)
      case "NotIn": return FieldSelector.Term(key, value, isEqual: false)
      default: return nil
      }
    }
    return terms.isEmpty ? nil : FieldSelector(terms)
  }

  private static func labels(_ json: JSON?) -> LabelSelector? {
    if let raw = json?["rawSelector"]?.string { return try? LabelSelector(parsing: raw) }
    guard let requirements = json?["requirements"], !requirements.elements.isEmpty else { return nil }
    return try? LabelSelector(["matchExpressions": requirements])
  }

  static func errors(_ spec: JSON, kind: String, namespace: String) -> [FieldError] {
    let resource = spec["resourceAttributes"]?.object != nil
    let path = spec["nonResourceAttributes"]?.object != nil
    var errors: [FieldError] = []
    if resource && path {
      errors.append(
        FieldError.invalid(
          "spec.nonResourceAttributes", spec["nonResourceAttributes"] ?? .null,
          "cannot be specified in combination with resourceAttributes"))
    } else if !resource && !path {
      errors.append(
        FieldError.invalid(
          "spec.resourceAttributes", .null,
          "exactly one of nonResourceAttributes or resourceAttributes must be specified"))
    }
    for part in ["fieldSelector", "labelSelector"] {
      guard let selector = spec.at("resourceAttributes", part), selector.object != nil else { continue }
      let raw = selector["rawSelector"]?.string ?? ""
      let requirements = selector["requirements"]?.elements ?? []
      let at = FieldPath("spec.resourceAttributes").child(part)
      if !raw.isEmpty, !requirements.isEmpty {
        errors.append(
          FieldError.invalid(
            at.child("rawSelector"), JSON(raw), "may not specified at the same time as requirements"))
      } else if raw.isEmpty, requirements.isEmpty {
        errors.append(
          FieldError.required(
            at.child("requirements"), "when \(at) is specified, requirements or rawSelector is required"))
      }
    }
    guard kind != "SelfSubjectAccessReview" else { return errors }
    if (spec["user"]?.string ?? "").isEmpty, (spec["groups"]?.elements ?? []).isEmpty {
      errors.append(
        FieldError.invalid("spec.user", "", "at least one of user or group must be specified"))
    }
    guard kind == "LocalSubjectAccessReview" else { return errors }
    if resource, spec.at("resourceAttributes", "namespace")?.string ?? "" != namespace {
      errors.append(
        FieldError.invalid(
          "spec.resourceAttributes.namespace", spec.at("resourceAttributes", "namespace") ?? "",
          "must match metadata.namespace"))
    }
    if path {
      errors.append(
        FieldError.invalid(
          "spec.nonResourceAttributes", spec["nonResourceAttributes"] ?? .null,
          "disallowed on this kind of request"))
    }
    return errors
  }

  static func status(_ decision: AccessDecision) -> JSON {
    switch decision {
    case .allow(let reason):
      return reason.isEmpty ? ["allowed": true] : ["allowed": true, "reason": JSON(reason)]
    case .deny(let reason):
      return reason.isEmpty
        ? ["allowed": false, "denied": true] : ["allowed": false, "denied": true, "reason": JSON(reason)]
    case .noOpinion(let reason):
      return reason.isEmpty ? ["allowed": false] : ["allowed": false, "reason": JSON(reason)]
    }
  }
}
