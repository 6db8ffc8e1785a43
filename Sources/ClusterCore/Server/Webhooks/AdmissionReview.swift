// What is sent to an admission webhook and what its answer means (admission.k8s.io/v1 AdmissionReview).

import ClusterClient
import ClusterObjects

/// A webhook's verdict.
struct AdmissionVerdict: Sendable {
  var isAllowed: Bool
  /// `response.status` of a refusal.
  var status: JSON = .null
  /// JSON patch operations.
  var patch: JSON?
  var warnings: [String] = []
  var annotations: [String: String] = [:]
}

enum AdmissionReview {
  /// Warnings taken of one webhook, and their length.
  static let warningsMax = 32
  static let warningBytesMax = 4_096

  static func make(
    _ request: AdmissionRequest, _ shown: Webhook.Shown, uid: String, version: String, object: JSON?,
    old: JSON?
  ) -> JSON {
    var fields = JSONObject()
    fields["uid"] = JSON(uid)
    fields["kind"] = gvk(shown.kind)
    fields["resource"] = gvr(shown.resource)
    if !request.subresource.isEmpty { fields["subResource"] = JSON(request.subresource) }
    fields["requestKind"] = gvk(request.gvk)
    fields["requestResource"] = gvr(request.kind.gvr)
    if !request.subresource.isEmpty { fields["requestSubResource"] = JSON(request.subresource) }
    if !request.name.isEmpty { fields["name"] = JSON(request.name) }
    let isNamespace = request.kind.kind == "Namespace" && request.kind.group.isEmpty
    let namespace = isNamespace ? request.name : request.kind.isNamespaced ? request.namespace : ""
    if !namespace.isEmpty { fields["namespace"] = JSON(namespace) }
    fields["operation"] = JSON(request.operation.rawValue)
    fields["userInfo"] = user(request.identity)
    fields["object"] = object ?? .null
    fields["oldObject"] = old ?? .null
    fields["dryRun"] = JSON(request.isDryRun)
    fields["options"] = options(request)
    return [
      "kind": "AdmissionReview", "apiVersion": JSON("admission.k8s.io/\(version)"),
      "request": .object(fields),
    ]
  }

  private static func gvk(_ gvk: GroupVersionKind) -> JSON {
    ["group": JSON(gvk.group), "version": JSON(gvk.version), "kind": JSON(gvk.kind)]
  }

  private static func gvr(_ gvr: GroupVersionResource) -> JSON {
    ["group": JSON(gvr.group), "version": JSON(gvr.version), "resource": JSON(gvr.resource)]
  }

  private static func user(_ identity: Identity) -> JSON {
    var user: JSON = ["username": JSON(identity.user)]
    if !identity.uid.isEmpty { user["uid"] = JSON(identity.uid) }
    if !identity.groups.isEmpty { user["groups"] = JSON(identity.groups) }
    if !identity.extra.isEmpty {
      user["extra"] = .object(
        JSONObject(identity.extra.sorted { $0.key < $1.key }.map { ($0.key, JSON($0.value)) }))
    }
    return user
  }

  private static func options(_ request: AdmissionRequest) -> JSON {
    var out = JSONObject()
    switch (request.options, request.operation) {
    case (.write(let options), let operation):
      out["kind"] = operation == .create ? "CreateOptions" : "UpdateOptions"
      out["apiVersion"] = "meta.k8s.io/v1"
      if let manager = options.fieldManager { out["fieldManager"] = JSON(manager) }
      if let validation = options.fieldValidation { out["fieldValidation"] = JSON(validation) }
      if options.dryRun { out["dryRun"] = ["All"] }
    case (.delete(let options), _):
      out["kind"] = "DeleteOptions"
      out["apiVersion"] = "meta.k8s.io/v1"
      if let grace = options.gracePeriodSeconds { out["gracePeriodSeconds"] = JSON(grace) }
      if let policy = options.propagationPolicy { out["propagationPolicy"] = JSON(policy) }
      var conditions = JSONObject()
      if let uid = options.uid { conditions["uid"] = JSON(uid) }
      if let version = options.resourceVersion { conditions["resourceVersion"] = JSON(version) }
      if !conditions.isEmpty { out["preconditions"] = .object(conditions) }
      if request.isDryRun { out["dryRun"] = ["All"] }
    case (.none, _): return .null
    }
    return .object(out)
  }

  // MARK: Answers

  /// Reads an answer. Throws `WebhookError` when it is none that can be used.
  static func verdict(_ answer: JSON, uid: String, version: String, mayPatch: Bool) throws(WebhookError)
    -> AdmissionVerdict
  {
    func invalid(_ why: String) -> WebhookError {
      WebhookError(.badAnswer, "received invalid webhook response: \(why)")
    }
    guard answer.kind == "AdmissionReview", answer.apiVersion == "admission.k8s.io/\(version)" else {
      throw invalid(
        "expected webhook response of admission.k8s.io/\(version), Kind=AdmissionReview, got "
          + "\(answer.apiVersion), Kind=\(answer.kind)")
    }
    guard let response = answer["response"], response.object != nil else {
      throw WebhookError(.badAnswer, "webhook response was absent")
    }
    let told = response["uid"]?.string ?? ""
    // The older version let the server fill it in.
    guard told == uid || version == "v1beta1" else {
      throw invalid("expected response.uid=\"\(uid)\", got \"\(told)\"")
    }
    guard let isAllowed = response["allowed"]?.bool else { throw invalid("response.allowed is missing") }
    var verdict = AdmissionVerdict(isAllowed: isAllowed)
    verdict.status = response["status"] ?? .null
    verdict.warnings = (response["warnings"]?.elements ?? []).prefix(warningsMax).compactMap(\.string).map {
      String(decoding: $0.utf8.prefix(warningBytesMax), as: UTF8.self)
    }
    verdict.annotations = response["auditAnnotations"]?.stringMap ?? [:]
    let text = response["patch"]?.string ?? ""
    let type = response["patchType"]?.string
    if text.isEmpty {
      if let type, version == "v1", !type.isEmpty { throw invalid("response.patch is missing for \(type)") }
      return verdict
    }
    guard mayPatch else { throw invalid("webhook response may not contain patch") }
    guard type == "JSONPatch" || (type == nil && version == "v1beta1") else {
      throw invalid("response.patchType must be \"JSONPatch\" for v1, got \"\(type ?? "")\"")
    }
    guard let bytes = Base64.decode(text), let patch = try? JSON(parsing: bytes), patch.array != nil else {
      throw invalid("response.patch is no JSON patch")
    }
    if !patch.elements.isEmpty { verdict.patch = patch }
    return verdict
  }

  /// A refusal in the webhook's name, with its code, reason and message.
  static func refusal(_ webhook: String, _ status: JSON) -> APIStatusError {
    let head = "admission webhook \"\(webhook)\" denied the request"
    let reason = status["reason"]?.string ?? ""
    let told = status["message"]?.string ?? ""
    let message =
      !told.isEmpty
      ? "\(head): \(told)" : !reason.isEmpty ? "\(head): \(reason)" : "\(head) without explanation"
    var code = status["code"]?.int ?? 0
    if !(400...599).contains(code) { code = 400 }
    return APIStatusError(code: code, reason: reason, message: message, details: status["details"] ?? .null)
  }

  /// A webhook that did not answer and whose failure counts.
  static func failure(_ webhook: String, _ error: WebhookError) -> APIStatusError {
    let message = "failed calling webhook \"\(webhook)\": \(error.description)"
    return APIStatusError(
      code: 500, reason: "InternalError", message: "Internal error occurred: \(message)",
      details: ["causes": [["message": JSON(message)]]])
  }
}
