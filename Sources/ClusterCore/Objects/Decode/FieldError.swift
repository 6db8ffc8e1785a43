// What is wrong with a field, in the words of the API: kubectl prints them, tests and people grep them.

/// A finding of validation.
public struct FieldError: Sendable, Hashable, Error {
  public enum Kind: String, Sendable {
    case required = "FieldValueRequired"
    case invalid = "FieldValueInvalid"
    case duplicate = "FieldValueDuplicate"
    case notSupported = "FieldValueNotSupported"
    case forbidden = "FieldValueForbidden"
    case notFound = "FieldValueNotFound"
    case tooLong = "FieldValueTooLong"
    case tooMany = "FieldValueTooMany"
    case typeInvalid = "FieldValueTypeInvalid"
    case internalError = "InternalError"

    var text: String {
      switch self {
      case .required: "Required value"
      case .invalid: "Invalid value"
      case .duplicate: "Duplicate value"
      case .notSupported: "Unsupported value"
      case .forbidden: "Forbidden"
      case .notFound: "Not found"
      case .tooLong: "Too long"
      case .tooMany: "Too many"
      case .typeInvalid: "Invalid value"
      case .internalError: "Internal error"
      }
    }
  }

  public var kind: Kind
  public var field: String
  public var badValue: JSON?
  public var detail: String

  public init(_ kind: Kind, _ path: FieldPath, _ badValue: JSON? = nil, _ detail: String = "") {
    self.kind = kind
    field = path.description
    self.badValue = badValue
    self.detail = detail
  }

  public static func required(_ path: FieldPath, _ detail: String = "") -> Self {
    Self(.required, path, nil, detail)
  }
  public static func invalid(_ path: FieldPath, _ value: JSON, _ detail: String) -> Self {
    Self(.invalid, path, value, detail)
  }
  public static func duplicate(_ path: FieldPath, _ value: JSON) -> Self { Self(.duplicate, path, value) }
  public static func forbidden(_ path: FieldPath, _ detail: String) -> Self {
    Self(.forbidden, path, nil, detail)
  }
  public static func notSupported(_ path: FieldPath, _ value: JSON, _ supported: [String]) -> Self {
    Self(
      .notSupported, path, value,
      "supported values: " + supported.sorted().map { "\"\($0)\"" }.joined(separator: ", "))
  }
  public static func tooLong(_ path: FieldPath, _ most: Int) -> Self {
    Self(.tooLong, path, nil, "may not be more than \(most) bytes")
  }

  public static func tooMany(_ path: FieldPath, _ count: Int, _ most: Int) -> Self {
    Self(.tooMany, path, JSON(count), "must have at most \(most) items")
  }

  /// Without the field: `Invalid value: "x": detail`. What a Status cause carries.
  public var message: String {
    var text = kind.text
    switch kind {
    case .required, .forbidden, .tooLong, .internalError: break
    default: if let badValue { text += ": \(badValue.text)" }
    }
    if !detail.isEmpty { text += ": \(detail)" }
    return text
  }

  /// `spec.ports[0].port: Invalid value: 0: …`.
  public var description: String { field.isEmpty ? message : "\(field): \(message)" }

  /// An entry of a Status' `details.causes`.
  public var cause: JSON {
    ["reason": .string(kind.rawValue), "message": .string(message), "field": .string(field)]
  }

  /// The text of a Status for these findings: one alone, several in brackets.
  public static func summary(_ errors: [FieldError]) -> String {
    var seen: Set<String> = []
    let texts = errors.map(\.description).filter { seen.insert($0).inserted }
    return texts.count == 1 ? texts[0] : "[\(texts.joined(separator: ", "))]"
  }
}
