// What an API server answers when it says no (metav1.Status), as an error to decide on.

import ClusterObjects

/// A refusal by the API server. `reason` is upstream's word: NotFound, AlreadyExists, Conflict, Invalid,
/// Forbidden, Expired, TooManyRequests, Timeout and so on.
public struct APIStatusError: Error, Sendable, Hashable, CustomStringConvertible {
  public var code: Int
  public var reason: String
  public var message: String
  /// `details` of the Status object: name, group, kind, causes, retryAfterSeconds.
  public var details: JSON
  /// With `Expired`: the token with which a list goes on in the present state (`metadata.continue`).
  public var continueToken: String?

  public init(code: Int, reason: String, message: String, details: JSON = .null) {
    self.code = code
    self.reason = reason
    self.message = message
    self.details = details
  }

  public var isNotFound: Bool { reason == "NotFound" }
  public var isAlreadyExists: Bool { reason == "AlreadyExists" }
  public var isConflict: Bool { reason == "Conflict" }
  public var isExpired: Bool { code == 410 }
  public var description: String { message }

  /// Reads a Status object; for anything else the HTTP code alone speaks.
  public init(status: JSON, httpCode: Int) {
    code = status["code"]?.int ?? httpCode
    reason = status["reason"]?.string ?? ""
    message = status["message"]?.string ?? "the server answered \(httpCode)"
    details = status["details"] ?? .null
    continueToken = status.at("metadata", "continue")?.string
  }

  /// The Status object that says this.
  public var status: JSON {
    var status: JSON = [
      "kind": "Status", "apiVersion": "v1", "metadata": [:], "status": "Failure", "message": JSON(message),
    ]
    if let continueToken { status["metadata"] = ["continue": JSON(continueToken)] }
    if !reason.isEmpty { status["reason"] = JSON(reason) }
    if !details.isNull { status["details"] = details }
    status["code"] = JSON(code)
    return status
  }
}
