// What the API answers when it says no: upstream's reasons, codes and texts, which clients print and
// scripts look for.

import ClusterClient
import ClusterObjects
import ClusterStore
import Diagnostics

enum Failure {
  static func notFound(_ kind: ResourceKind, _ name: String) -> APIStatusError {
    APIStatusError(
      code: 404, reason: "NotFound", message: "\(kind.qualifiedResource) \"\(name)\" not found",
      details: details(kind, name))
  }

  static let notServed = APIStatusError(
    code: 404, reason: "NotFound", message: "the server could not find the requested resource",
    details: [:])

  static func alreadyExists(_ kind: ResourceKind, _ name: String) -> APIStatusError {
    APIStatusError(
      code: 409, reason: "AlreadyExists", message: "\(kind.qualifiedResource) \"\(name)\" already exists",
      details: details(kind, name))
  }

  static func conflict(
    _ kind: ResourceKind, _ name: String,
    _ why: String =
      "the object has been modified; please apply your changes to the latest version and try again"
  ) -> APIStatusError {
    APIStatusError(
      code: 409, reason: "Conflict",
      message: "Operation cannot be fulfilled on \(kind.qualifiedResource) \"\(name)\": \(why)",
      details: details(kind, name))
  }

  static func badRequest(_ message: String) -> APIStatusError {
    APIStatusError(code: 400, reason: "BadRequest", message: message)
  }

  /// A body that was not read: 400, or 422 for one that nests too deeply to be looked at.
  static func unreadable(_ error: DecodeError) -> APIStatusError {
    error.isTooDeep
      ? APIStatusError(code: 422, reason: "Invalid", message: error.message) : badRequest(error.message)
  }

  static func invalid(_ kind: ResourceKind, _ name: String, _ errors: [FieldError]) -> APIStatusError {
    var details: JSON = ["name": JSON(name), "kind": JSON(kind.kind)]
    if !kind.group.isEmpty { details["group"] = JSON(kind.group) }
    details["causes"] = .array(errors.map(\.cause))
    return APIStatusError(
      code: 422, reason: "Invalid",
      message: "\(kind.kind)\(kind.group.isEmpty ? "" : "." + kind.group) \"\(name)\" is invalid: "
        + FieldError.summary(errors), details: details)
  }

  /// A patch whose outcome cannot be read as an object of its kind. Clients say "The request is invalid".
  static func invalidPatch(_ patch: Patch, _ outcome: JSON, _ error: DecodeError) -> APIStatusError {
    let told =
      switch patch {
      case .strategicMerge(let changes): changes
      default: outcome
      }
    let finding = FieldError.invalid("patch", .string(told.text), error.reason)
    return APIStatusError(
      code: 422, reason: "Invalid", message: " \"\" is invalid: \(finding.description)",
      details: ["causes": [finding.cause]])
  }

  /// Options that contradict each other, such as `sendInitialEvents` without its match.
  static func invalidOptions(_ errors: [FieldError]) -> APIStatusError {
    RequestOptions.invalid("ListOptions", errors)
  }

  static func forbidden(_ kind: ResourceKind, _ name: String, _ why: String, cause: JSON? = nil)
    -> APIStatusError
  {
    var details = details(kind, name)
    if let cause { details["causes"] = [cause] }
    return APIStatusError(
      code: 403, reason: "Forbidden", message: "\(kind.qualifiedResource) \"\(name)\" is forbidden: \(why)",
      details: details)
  }

  /// What an authorizer refused, in upstream's words: people and scripts read them.
  static func forbidden(_ asked: AccessAttributes, reason: String) -> APIStatusError {
    var why = "User \"\(asked.identity.user)\" cannot \(asked.verb) "
    var subject = "forbidden"
    var details: JSON = [:]
    if asked.isResource {
      let resource = asked.subresource.isEmpty ? asked.resource : "\(asked.resource)/\(asked.subresource)"
      let scope = asked.namespace.isEmpty ? "at the cluster scope" : "in the namespace \"\(asked.namespace)\""
      why += "resource \"\(resource)\" in API group \"\(asked.group)\" \(scope)"
      let qualified = asked.group.isEmpty ? asked.resource : "\(asked.resource).\(asked.group)"
      subject =
        asked.name.isEmpty ? "\(qualified) is forbidden" : "\(qualified) \"\(asked.name)\" is forbidden"
      if !asked.name.isEmpty { details["name"] = JSON(asked.name) }
      if !asked.group.isEmpty { details["group"] = JSON(asked.group) }
      details["kind"] = JSON(asked.resource)
    } else {
      why += "path \"\(asked.path)\""
    }
    // A browser must not take a name for markup.
    why = why.replacing("&", with: "&amp;").replacing("<", with: "&lt;").replacing(">", with: "&gt;")
    return APIStatusError(
      code: 403, reason: "Forbidden", message: "\(subject): \(why)\(reason.isEmpty ? "" : ": \(reason)")",
      details: details)
  }

  static let methodNotAllowed = APIStatusError(
    code: 405, reason: "MethodNotAllowed",
    message: "the server does not allow this method on the requested resource", details: [:])

  static func tooLarge(_ bytesMax: Int) -> APIStatusError {
    APIStatusError(
      code: 413, reason: "RequestEntityTooLarge",
      message: "Request entity too large: limit is \(bytesMax)")
  }

  static func unsupported(_ mediaType: String, allowed: [String]) -> APIStatusError {
    APIStatusError(
      code: 415, reason: "UnsupportedMediaType",
      message: "the body of the request was in an unknown format - accepted media types include: "
        + allowed.joined(separator: ", "))
  }

  static let notAcceptable = APIStatusError(
    code: 406, reason: "NotAcceptable",
    message: "only the following media types are accepted: application/json, application/yaml")

  static func expired(_ message: String, continueToken: String? = nil) -> APIStatusError {
    APIStatusError(code: 410, reason: "Expired", message: message)
  }

  static func tooOld(_ asked: Revision, oldest: Revision) -> APIStatusError {
    expired("too old resource version: \(asked) (\(oldest))")
  }

  static func tooLargeVersion(_ asked: Revision, current: Revision) -> APIStatusError {
    APIStatusError(
      code: 504, reason: "Timeout",
      message: "Timeout: Too large resource version: \(asked), current: \(current)",
      details: [
        "causes": [["reason": "ResourceVersionTooLarge", "message": "Too large resource version"]],
        "retryAfterSeconds": 1,
      ])
  }

  /// The store is closed: the server ends, and a client goes to another.
  static let closing = APIStatusError(
    code: 503, reason: "ServiceUnavailable", message: "the server is shutting down",
    details: ["retryAfterSeconds": 1])

  /// Whether `error` only says that this server ends. Its own loops end then without a word: a warning would stand in
  /// the log of every stop, and beside the one line that says why a start failed.
  static func isClosing(_ error: any Error) -> Bool {
    if error is CancellationError { return true }
    guard let status = error as? APIStatusError else { return false }
    return status.code == closing.code && status.message == closing.message
  }

  static func store(_ error: StoreError) -> APIStatusError {
    switch error {
    case .overloaded:
      APIStatusError(
        code: 429, reason: "TooManyRequests",
        message: "too many writes are waiting for the disk, please try again later",
        details: ["retryAfterSeconds": 1])
    case .closed:
      closing
    // Full: the disk, or etcd's quota. Nothing was written; it goes on by itself when there is room again.
    case .failed(let cause) where ["STO0005", "STO0011"].contains(cause.code):
      APIStatusError(
        code: 507, reason: "InsufficientStorage", message: "the store is full: \(cause)",
        details: ["retryAfterSeconds": 5, "causes": [["message": JSON("\(cause)")]]])
    // Whether a write took place is not known then.
    case .failed(let cause) where ["STO0010", "STO0016"].contains(cause.code):
      APIStatusError(
        code: 504, reason: "Timeout", message: "the store does not answer: \(cause)",
        details: ["causes": [["message": JSON("\(cause)")]]])
    case .failed(let cause) where cause.code == "STO0013":
      APIStatusError(
        code: 413, reason: "RequestEntityTooLarge", message: "the object is too large: \(cause)", details: [:]
      )
    case .failed(let cause):
      APIStatusError(
        code: 500, reason: "InternalError", message: "Internal error occurred: \(cause)",
        details: ["causes": [["message": JSON("\(cause)")]]])
    case .compacted(let oldest):
      expired("The provided resource version is too old; the oldest is \(oldest)")
    case .ended(let term):
      APIStatusError(
        code: 409, reason: "Conflict",
        message: "this process leads no more: the term of \(term.name) that this write belongs to is over")
    case .exists, .conflict, .notFound, .claimed, .future, .slowWatcher:
      APIStatusError(code: 500, reason: "InternalError", message: "Internal error occurred: \(error)")
    }
  }

  static func details(_ kind: ResourceKind, _ name: String) -> JSON {
    var details: JSON = ["name": JSON(name)]
    if !kind.group.isEmpty { details["group"] = JSON(kind.group) }
    details["kind"] = JSON(kind.plural)
    return details
  }
}
