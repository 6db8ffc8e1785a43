// Two parts of an action that need more words: certificates of clients, and errors that another backend tells.

import Patterns

/// A certificate that clients of a rule show (`auth-tls-*`). Connections whose name is not one that asks for it are sent away (421):
/// who asked for another host has shown nothing for this one.
public struct RouteClientCertificate: Sendable, Hashable {
  public enum Need: UInt8, Sendable {
    /// A good one (`on`); else 400.
    case required
    /// None, or a good one (`optional`).
    case optional
    /// None, a good one, or one of somebody who is not known here (`optional_no_ca`).
    case optionalUnknown
    /// Whatever it is; the endpoint is told (Gateway API's `AllowInsecureFallback`).
    case nothing
  }
  /// `TLSAuthority.id`.
  public var authority: UInt64
  public var need: Need
  /// Where a client is sent (302) whose certificate is missing or not good; nil: 400.
  public var errorPage: RouteTemplate?
  /// The endpoint gets the certificate (`ssl-client-cert`).
  public var passes: Bool
  /// What the subject's distinguished name has to hold; else 403.
  public var subject: BytePattern?

  public init(
    authority: UInt64, need: Need = .required, errorPage: RouteTemplate? = nil, passes: Bool = false,
    subject: BytePattern? = nil
  ) {
    self.authority = authority
    self.need = need
    self.errorPage = errorPage
    self.passes = passes
    self.subject = subject
  }

  /// What is told of a client to endpoints: nobody else's to say.
  static let fields = [
    "ssl-client-cert", "ssl-client-issuer-dn", "ssl-client-subject-dn", "ssl-client-verify",
  ]

  /// - Parameter space: the worker's.
  /// - Returns: nil when the request may go on.
  func refusal(_ origin: RequestOrigin, _ space: MatchSpace) -> Int? {
    if need == .nothing { return nil }
    guard let shown = origin.shown, shown.asked == authority else {
      if origin.isSecure { return 421 }
      // Without TLS there is nothing to show.
      return need == .required || subject != nil ? 400 : nil
    }
    switch (need, shown.kind) {
    case (_, .trusted), (.optional, .nothing), (.optionalUnknown, .nothing), (.optionalUnknown, .unknown):
      break
    default: return 400
    }
    let isNamed = shown.subject.withUnsafeBytes { bytes in subject?.matches(bytes, in: space.patterns) ?? true
    }
    return isNamed ? nil : 403
  }

  /// Lines for the endpoint.
  func lines(_ origin: RequestOrigin) -> [UInt8] {
    guard let shown = origin.shown, shown.asked == authority else {
      return Array("ssl-client-verify: NONE\r\n".utf8)
    }
    return shown.lines + (passes && shown.kind != .nothing ? shown.certificateLine : [])
  }
}

/// Statuses that another backend answers in place of the endpoint, or of ourselves (`custom-http-errors`). It is asked with GET, or HEAD for
/// HEAD, for `/`, and is told what happened: X-Code, X-Format, X-Original-URI, X-Namespace, X-Ingress-Name, X-Service-Name,
/// X-Service-Port, X-Request-ID. Its status is the client's.
public struct RouteErrors: Sendable, Hashable {
  /// 300 to 599, sorted, 64 at most.
  public let statuses: [UInt16]
  /// Index into `RouteTable.backends`.
  public var backend: Int

  static let statusesMax = 64

  /// Nil for no statuses, for too many and for numbers that are none.
  public init?(statuses: [UInt16], backend: Int) {
    guard !statuses.isEmpty, statuses.count <= Self.statusesMax, backend >= 0,
      statuses.allSatisfy({ (300...599).contains($0) })
    else { return nil }
    self.statuses = statuses.sorted()
    self.backend = backend
  }
}

extension RouteClientCertificate {
  func write(_ out: inout FrameWriter) {
    out.integer(authority)
    out.integer(need.rawValue)
    out.option(errorPage) { $0.write(&$1) }
    out.truth(passes)
    out.option(subject) { $1.text($0.text.utf8) }
  }

  init(_ reader: inout FrameReader) throws(RouteTableUnreadable) {
    authority = try reader.integer(UInt64.self)
    guard authority != 0, let need = Need(rawValue: try reader.integer(UInt8.self)) else {
      throw reader.failure("no certificate of clients that is known")
    }
    self.need = need
    errorPage = try reader.option { (reader) throws(RouteTableUnreadable) in try RouteTemplate(&reader) }
    passes = try reader.truth()
    subject = try reader.option { (reader) throws(RouteTableUnreadable) in
      try reader.pattern(try reader.text(), foldsCase: false)
    }
  }
}

extension RouteErrors {
  func write(_ out: inout FrameWriter) {
    out.list(statuses) { $1.integer($0) }
    out.index(backend)
  }

  init(_ reader: inout FrameReader, backends: Int) throws(RouteTableUnreadable) {
    let statuses = try reader.list(each: 2) { (reader) throws(RouteTableUnreadable) in
      try reader.integer(UInt16.self)
    }
    self = try reader.allowed(RouteErrors(statuses: statuses, backend: try reader.index(below: backends)))
  }
}
