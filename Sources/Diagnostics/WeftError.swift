// What a person reads when something went wrong: a stable code, the object, the likely cause, the next command.

/// A stable name for one kind of failure, such as `NET0012`: three letters for the part, four digits.
///
/// Parts: `CLI` command line, `API` server, `STO` store, `NOD` node agent, `NET` kernel network, `PRX` proxy,
/// `POL` policy, `FLW` flows, `DNS`, `ING` ingress, `CNI`. A number, once given, is never given again: scripts rely on it.
public struct ErrorCode: Hashable, Sendable, CustomStringConvertible, ExpressibleByStringLiteral {
  public let text: String
  public init(stringLiteral value: String) { text = value }
  public var description: String { text }
}

/// Process exit codes that scripts may rely on.
public enum ExitStatus: Int32, Sendable {
  case success = 0
  /// The command ran; what it looked for was found wanting.
  case finding = 1
  /// What was asked for cannot be done as asked: a flag, a file, a privilege, a port.
  case usage = 2
  /// Something it needs does not answer.
  case unreachable = 3
  case timedOut = 124
}

/// An error for people and programs. One line by default; `detail` and `underlying` show with `-v` or in JSON.
public struct WeftError: Error, Sendable {
  public var code: ErrorCode
  /// What it happened to: a file, a port, `service demo/web`.
  public var object: String
  /// What went wrong, and why as far as known. Lower case, no full stop.
  public var cause: String
  /// What to type or do next.
  public var next: String
  public var exit: ExitStatus
  /// Whether the same call may succeed later without anyone changing anything.
  public var isRetryable: Bool
  public var underlying: (any Error)?

  public init(
    _ code: ErrorCode, object: String, cause: String, next: String, exit: ExitStatus = .usage,
    isRetryable: Bool = false, underlying: (any Error)? = nil
  ) {
    self.code = code
    self.object = object
    self.cause = cause
    self.next = next
    self.exit = exit
    self.isRetryable = isRetryable
    self.underlying = underlying
  }
}

extension WeftError: CustomStringConvertible {
  public var description: String { "\(code) \(object): \(cause); \(next)" }
  /// The long form: the line above and the error underneath.
  public var fullDescription: String {
    guard let underlying else { return description }
    return "\(description)\n  underneath: \(underlying)"
  }
}
