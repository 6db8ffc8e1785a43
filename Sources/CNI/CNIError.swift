// What the plugin tells the runtime when it cannot: a code of the CNI specification and words that name the
// object.
import KernelNetlink

/// An error as the CNI specification frames it (section 5, "Error"). Codes from 100 are ours.
public struct CNIError: Error, Sendable, Hashable {
  public enum Code: Int64, Sendable {
    case incompatibleVersion = 1
    case unsupportedField = 2
    case unknownContainer = 3
    case invalidEnvironment = 4
    case inputOutput = 5
    case undecodable = 6
    case invalidConfiguration = 7
    case tryAgainLater = 11
    case unavailable = 50
    case unavailableAndLimited = 51
    /// The container already has this interface from us.
    case alreadyAttached = 100
    /// The namespace already has a link of that name.
    case interfaceExists = 101
    /// What CHECK found differs from what ADD made.
    case differs = 102
    /// The bridge has another address of the subnet, and `forceAddress` is not set.
    case foreignAddress = 103
    /// Another pod has the host port.
    case hostPortTaken = 104
  }

  public var code: Code
  /// One line: what failed, on which object.
  public var message: String
  /// The cause, and what to do where that is known.
  public var details: String

  public init(_ code: Code, _ message: String, details: String = "") {
    self.code = code
    self.message = message
    self.details = details
  }

  /// The error as the runtime reads it from standard output.
  public func json(version: String) -> JSONValue {
    .object([
      "cniVersion": .string(version), "code": .integer(code.rawValue), "msg": .string(message),
      "details": details.isEmpty ? nil : .string(details),
    ])
  }
}

extension CNIError: CustomStringConvertible {
  public var description: String {
    "CNI error \(code.rawValue): \(message)" + (details.isEmpty ? "" : ": \(details)")
  }
}

extension CNIError {
  /// Any error as one of ours; what the kernel said goes into the details.
  static func wrapping(_ error: any Error, _ message: String) -> CNIError {
    if let known = error as? CNIError { return known }
    if let refused = error as? NetlinkError {
      return CNIError(refused.isRetryable ? .tryAgainLater : .inputOutput, message, details: "\(refused)")
    }
    return CNIError(.inputOutput, message, details: "\(error)")
  }
}
