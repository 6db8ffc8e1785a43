// Which origins' scripts may read answers (https://fetch.spec.whatwg.org, CORS protocol).

final class CORSRuntime {
  private let cors: RouteCORS
  private let origins: [[UInt8]]
  private let isOpen: Bool
  /// Lines of every answer to an allowed origin, and those of a preflight's besides.
  private let common: [UInt8]
  private let preflight: [UInt8]
  /// The endpoint's own lines give way.
  static let drops = FieldEdit(
    HeaderEdit(remove: [
      "access-control-allow-origin", "access-control-allow-credentials", "access-control-expose-headers",
      "access-control-allow-methods", "access-control-allow-headers", "access-control-max-age",
    ]))

  init(_ cors: RouteCORS) {
    self.cors = cors
    origins = cors.origins.map { Array($0.lowercased().utf8) }
    isOpen = cors.origins.contains("*")
    var common: [UInt8] = []
    if cors.allowsCredentials { common += FieldEdit.line("Access-Control-Allow-Credentials", "true") }
    if !cors.exposed.isEmpty { common += FieldEdit.line("Access-Control-Expose-Headers", cors.exposed) }
    self.common = common
    preflight = FieldEdit.line("Access-Control-Max-Age", String(cors.maxAge))
  }

  private static let originName = Array("origin".utf8)
  private static let methodName = Array("access-control-request-method".utf8)
  private static let headersName = Array("access-control-request-headers".utf8)

  enum Outcome {
    /// No origin, or one that is not allowed: nothing is added.
    case none
    /// Lines for the endpoint's answer.
    case lines([UInt8])
    /// A preflight, answered here.
    case answer(OwnAnswer)
  }

  func take(_ request: RouteRequest) -> Outcome {
    let origin = request.field(Self.originName)
    let isOptions = request.reader.method == .options
    let asked = request.field(Self.methodName)
    let isPreflight = isOptions && (asked != nil || cors.answersEveryOptions)
    guard let origin, allows(origin) else {
      // A browser takes the missing lines for a no; ingress-nginx lets the endpoint answer.
      return isPreflight && !cors.answersEveryOptions && origin != nil ? .answer(OwnAnswer(204)) : .none
    }
    // With credentials `*` is no answer that a browser takes.
    var lines = Array("Access-Control-Allow-Origin: ".utf8)
    let isAny = isOpen && !cors.allowsCredentials
    if isAny { lines.append(UInt8(ascii: "*")) } else { lines += origin }
    lines += [13, 10]
    if !isAny { lines += Array("Vary: Origin\r\n".utf8) }
    lines += common
    guard isPreflight else {
      if cors.answersEveryOptions { lines += allowed(nil, nil) }
      return .lines(lines)
    }
    lines += allowed(asked, request.field(Self.headersName)) + preflight
    return .answer(OwnAnswer(204, lines))
  }

  private func allowed(_ method: UnsafeRawBufferPointer?, _ headers: UnsafeRawBufferPointer?) -> [UInt8] {
    var lines: [UInt8] = []
    func add(_ name: String, _ value: String, _ asked: UnsafeRawBufferPointer?) {
      if value == "*", cors.allowsCredentials {
        guard let asked else { return }
        lines += Array("\(name): ".utf8) + asked + [13, 10]
      } else if !value.isEmpty {
        lines += FieldEdit.line(name, value)
      }
    }
    add("Access-Control-Allow-Methods", cors.methods, method)
    add("Access-Control-Allow-Headers", cors.headers, headers)
    return lines
  }

  private func allows(_ origin: UnsafeRawBufferPointer) -> Bool {
    if isOpen { return true }
    return origins.contains { Self.matches(origin, $0) }
  }

  /// `https://*.example.com`: one or more labels (Gateway API's HTTPCORSFilter and ingress-nginx agree on that much).
  static func matches(_ origin: UnsafeRawBufferPointer, _ pattern: [UInt8]) -> Bool {
    guard let star = pattern.firstIndex(of: UInt8(ascii: "*")) else {
      return origin.count == pattern.count && zip(origin, pattern).allSatisfy { lowercase($0) == $1 }
    }
    let (before, behind) = (pattern[..<star], pattern[(star + 1)...])
    guard origin.count > before.count + behind.count else { return false }
    return zip(origin, before).allSatisfy { lowercase($0) == $1 }
      && zip(origin.suffix(behind.count), behind).allSatisfy { lowercase($0) == $1 }
      // What the star stands for is part of a host name.
      && origin.dropFirst(before.count).dropLast(behind.count).allSatisfy { byte in
        lowercase(byte) &- 97 < 26 || byte &- 48 < 10 || byte == UInt8(ascii: "-")
          || byte == UInt8(ascii: ".")
      }
  }
}
