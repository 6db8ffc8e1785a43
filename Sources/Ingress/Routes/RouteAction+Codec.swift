// Actions as bytes, for the route table's frame. Every text is checked on reading as it was on planning: what a damaged frame
// says can be wrong, but it can inject nothing.
//
//   list: u32 count, elements | option: u8 0 or 1, value | text: u16 length, UTF-8

import Addresses

extension FrameWriter {
  mutating func list<Element>(_ elements: [Element], _ body: (Element, inout FrameWriter) -> Void) {
    integer(UInt32(elements.count))
    for element in elements { body(element, &self) }
  }
  mutating func option<Value>(_ value: Value?, _ body: (Value, inout FrameWriter) -> Void) {
    integer(UInt8(value == nil ? 0 : 1))
    if let value { body(value, &self) }
  }
  mutating func truth(_ value: Bool) { integer(UInt8(value ? 1 : 0)) }
  /// -1 and up.
  mutating func index(_ value: Int) { integer(UInt32(value + 1)) }
}

extension FrameReader {
  mutating func list<Element>(
    each: Int = 1, _ body: (inout FrameReader) throws(RouteTableUnreadable) -> Element
  ) throws(RouteTableUnreadable) -> [Element] {
    var elements: [Element] = []
    for _ in 0..<(try count(each: each)) { elements.append(try body(&self)) }
    return elements
  }
  mutating func option<Value>(
    _ body: (inout FrameReader) throws(RouteTableUnreadable) -> Value
  ) throws(RouteTableUnreadable) -> Value? {
    try truth() ? try body(&self) : nil
  }
  mutating func truth() throws(RouteTableUnreadable) -> Bool {
    let value = try integer(UInt8.self)
    guard value <= 1 else { throw failure("no truth value") }
    return value == 1
  }
  /// -1 up to, not including, `end`.
  mutating func index(below end: Int) throws(RouteTableUnreadable) -> Int {
    let value = Int(try integer(UInt32.self)) - 1
    guard value < end else { throw failure("index beyond the end") }
    return value
  }
  /// A value that its own rules may refuse.
  func allowed<Value>(_ value: Value?) throws(RouteTableUnreadable) -> Value {
    guard let value else { throw failure("a text that no head can hold") }
    return value
  }
}

extension RouteTemplate {
  func write(_ out: inout FrameWriter) {
    out.list(pieces) { piece, out in
      switch piece {
      case .text(let bytes):
        out.integer(UInt8(0))
        out.text(bytes)
      case .group(let number):
        out.integer(UInt8(1))
        out.integer(number)
      default: out.integer(UInt8(2 + (Self.simple.firstIndex(of: piece) ?? 0)))
      }
    }
  }

  private static let simple: [Piece] = [
    .host, .target, .escapedTarget, .path, .query, .scheme, .method, .source,
  ]

  init(_ reader: inout FrameReader) throws(RouteTableUnreadable) {
    let pieces = try reader.list { (reader) throws(RouteTableUnreadable) -> Piece in
      switch try reader.integer(UInt8.self) {
      case 0:
        let bytes = Array(try reader.bytes(Int(try reader.integer(UInt16.self))))
        guard Self.isAllowed(bytes) else { throw reader.failure("a text that no head can hold") }
        return .text(bytes)
      case 1:
        let number = try reader.integer(UInt8.self)
        guard (1...9).contains(number) else { throw reader.failure("no group") }
        return .group(number)
      case let code:
        guard Int(code) - 2 < Self.simple.count else { throw reader.failure("no variable that is known") }
        return Self.simple[Int(code) - 2]
      }
    }
    self.init(pieces: pieces)
  }
}

extension RoutePathRewrite {
  func write(_ out: inout FrameWriter) {
    switch self {
    case .whole(let template):
      out.truth(false)
      template.write(&out)
    case .prefix(let bytes):
      out.truth(true)
      out.text(bytes)
    }
  }
  init(_ reader: inout FrameReader) throws(RouteTableUnreadable) {
    guard try reader.truth() else {
      self = .whole(try RouteTemplate(&reader))
      return
    }
    let bytes = Array(try reader.bytes(Int(try reader.integer(UInt16.self))))
    guard RouteTemplate.isAllowed(bytes) else { throw reader.failure("a text that no head can hold") }
    self = .prefix(bytes)
  }
}

extension HeaderEdit {
  func write(_ out: inout FrameWriter) {
    out.list(remove) { $1.text($0.utf8) }
    for fields in [set, add] {
      out.list(fields) {
        $1.text($0.name.utf8)
        $1.text($0.value.utf8)
      }
    }
  }
  init(_ reader: inout FrameReader) throws(RouteTableUnreadable) {
    let remove = try reader.list { (reader) throws(RouteTableUnreadable) in try reader.text() }
    let field = { (reader: inout FrameReader) throws(RouteTableUnreadable) -> HeaderField in
      try reader.allowed(HeaderField(try reader.text(), try reader.text()))
    }
    self.init(remove: remove, set: try reader.list(field), add: try reader.list(field))
  }
}

extension RouteRedirect {
  func write(_ out: inout FrameWriter) {
    out.integer(status)
    switch place {
    case .location(let template):
      out.truth(false)
      template.write(&out)
    case .parts(let scheme, let host, let port, let path):
      out.truth(true)
      out.option(scheme) { $1.text($0.utf8) }
      out.option(host) { $1.text($0.utf8) }
      out.integer(port)
      out.option(path) { $0.write(&$1) }
    }
  }
  init(_ reader: inout FrameReader) throws(RouteTableUnreadable) {
    let status = try reader.integer(UInt16.self)
    guard Self.statuses.contains(status) else { throw reader.failure("no status of a redirect") }
    guard try reader.truth() else {
      self.init(status: status, place: .location(try RouteTemplate(&reader)))
      return
    }
    let text = { (reader: inout FrameReader) throws(RouteTableUnreadable) -> String in
      let text = try reader.text()
      guard text.utf8.allSatisfy({ $0 > 32 && $0 < 127 }) else {
        throw reader.failure("no part of an address")
      }
      return text
    }
    self.init(
      status: status,
      place: .parts(
        scheme: try reader.option(text), host: try reader.option(text), port: try reader.integer(UInt16.self),
        path: try reader.option { (reader) throws(RouteTableUnreadable) in try RoutePathRewrite(&reader) }))
  }
}

private func write(_ prefixes: [IPPrefix], _ out: inout FrameWriter) {
  out.list(prefixes) { $1.text($0.description.utf8) }
}
private func prefixes(_ reader: inout FrameReader) throws(RouteTableUnreadable) -> [IPPrefix] {
  try reader.list { (reader) throws(RouteTableUnreadable) in
    try reader.allowed(IPPrefix(try reader.text()))
  }
}

extension RouteAction {
  func write(_ out: inout FrameWriter) {
    out.option(clientCertificate) { $0.write(&$1) }
    out.truth(satisfiesAny)
    out.option(errors) { $0.write(&$1) }
    out.list(targets) {
      $1.index($0.backend)
      $1.integer($0.weight)
      $1.index($0.action)
    }
    out.option(sources) {
      Ingress.write($0.allowed, &$1)
      Ingress.write($0.denied, &$1)
    }
    out.option(credentials) {
      $1.text($0.realm.utf8)
      $1.list($0.users.sorted { $0.key < $1.key }) {
        $1.text($0.key.utf8)
        $1.text($0.value.utf8)
      }
    }
    out.option(authorization) {
      $1.index($0.backend)
      $1.text($0.host.utf8)
      $0.target.write(&$1)
      $1.text($0.method.utf8)
      $1.list($0.forwarded) { $1.text($0.utf8) }
      $1.option($0.signIn) { $0.write(&$1) }
      $1.truth($0.alwaysSetsCookie)
    }
    out.list(limits) {
      $1.text($0.name.utf8)
      for value in [$0.perMinute, $0.burst, $0.atOnce] { $1.integer(value) }
      Ingress.write($0.exempt, &$1)
    }
    out.option(cors) {
      $1.list($0.origins) { $1.text($0.utf8) }
      for text in [$0.methods, $0.headers, $0.exposed] { $1.text(text.utf8) }
      $1.integer($0.maxAge)
      $1.truth($0.allowsCredentials)
      $1.truth($0.answersEveryOptions)
    }
    out.option(redirect) { $0.write(&$1) }
    out.integer(answer)
    out.option(rewrite) {
      $1.option($0.host) { $0.write(&$1) }
      $1.option($0.path) { $0.write(&$1) }
    }
    request.write(&out)
    response.write(&out)
    out.option(cookie) {
      $1.text($0.name.utf8)
      $1.text($0.attributes.utf8)
      $1.truth($0.isSecure)
    }
    out.option(bodyBytesMax) { $1.integer($0) }
  }

  /// - Parameters:
  ///   - backends: how many the table has.
  ///   - actions: the same of actions.
  init(_ reader: inout FrameReader, backends: Int, actions: Int) throws(RouteTableUnreadable) {
    clientCertificate = try reader.option { (reader) throws(RouteTableUnreadable) in
      try RouteClientCertificate(&reader)
    }
    satisfiesAny = try reader.truth()
    errors = try reader.option { (reader) throws(RouteTableUnreadable) in
      try RouteErrors(&reader, backends: backends)
    }
    targets = try reader.list { (reader) throws(RouteTableUnreadable) in
      RouteTarget(
        backend: try reader.index(below: backends), weight: try reader.integer(UInt32.self),
        action: try reader.index(below: actions))
    }
    sources = try reader.option { (reader) throws(RouteTableUnreadable) in
      RouteSources(allowed: try prefixes(&reader), denied: try prefixes(&reader))
    }
    credentials = try reader.option { (reader) throws(RouteTableUnreadable) in
      let realm = try reader.text()
      var users: [String: String] = [:]
      for _ in 0..<(try reader.count(each: 4)) { users[try reader.text()] = try reader.text() }
      return try reader.allowed(RouteCredentials(realm: realm, users: users))
    }
    authorization = try reader.option { (reader) throws(RouteTableUnreadable) in
      let backend = try reader.index(below: backends)
      guard backend >= 0 else { throw reader.failure("nobody to ask") }
      return try reader.allowed(
        RouteAuthorization(
          backend: backend, host: try reader.text(), target: try RouteTemplate(&reader),
          method: try reader.text(),
          forwarded: try reader.list { (reader) throws(RouteTableUnreadable) in try reader.text() },
          signIn: try reader.option { (reader) throws(RouteTableUnreadable) in try RouteTemplate(&reader) },
          alwaysSetsCookie: try reader.truth()))
    }
    limits = try reader.list { (reader) throws(RouteTableUnreadable) in
      RouteLimit(
        name: try reader.text(), perMinute: try reader.integer(UInt32.self),
        burst: try reader.integer(UInt32.self), atOnce: try reader.integer(UInt32.self),
        exempt: try prefixes(&reader))
    }
    cors = try reader.option { (reader) throws(RouteTableUnreadable) in
      let cors = RouteCORS(
        origins: try reader.list { (reader) throws(RouteTableUnreadable) in try reader.text() },
        methods: try reader.text(), headers: try reader.text(), exposed: try reader.text(),
        maxAge: try reader.integer(UInt32.self), allowsCredentials: try reader.truth(),
        answersEveryOptions: try reader.truth())
      return try reader.allowed(cors.isAllowed ? cors : nil)
    }
    redirect = try reader.option { (reader) throws(RouteTableUnreadable) in try RouteRedirect(&reader) }
    answer = try reader.integer(UInt16.self)
    guard answer == 0 || (200...599).contains(answer) else { throw reader.failure("no status") }
    rewrite = try reader.option { (reader) throws(RouteTableUnreadable) in
      RouteRewrite(
        host: try reader.option { (reader) throws(RouteTableUnreadable) in try RouteTemplate(&reader) },
        path: try reader.option { (reader) throws(RouteTableUnreadable) in try RoutePathRewrite(&reader) })
    }
    request = try HeaderEdit(&reader)
    response = try HeaderEdit(&reader)
    cookie = try reader.option { (reader) throws(RouteTableUnreadable) in
      try reader.allowed(
        RouteCookie(name: try reader.text(), attributes: try reader.text(), isSecure: try reader.truth()))
    }
    bodyBytesMax = try reader.option { (reader) throws(RouteTableUnreadable) in
      try reader.integer(UInt64.self)
    }
  }
}
