// Rules, hosts and listeners as bytes, for the route table's frame.
//
//   listener: port u16, addresses (length u8 and bytes each), name, overlap u8, default backend + 1, default action + 1 (u32 each), hosts
//   host:     name, secured u8, keeps patterns u8, rules
//   rule:     flags u8 (kind 0-2, 4 redirects, 8 conditions), backend u32, action + 1 u32, path (u16 length + bytes)
//             [pattern, folds case u8] [method, fields, query, cookies]

import Patterns

extension FieldMatch {
  func write(_ out: inout FrameWriter) {
    out.text(name)
    switch value {
    case .present: out.integer(UInt8(0))
    case .exact(let bytes):
      out.integer(UInt8(1))
      out.text(bytes)
    case .pattern(let pattern):
      out.integer(UInt8(pattern.foldsCase ? 3 : 2))
      out.text(pattern.text.utf8)
    }
  }

  init(_ reader: inout FrameReader) throws(RouteTableUnreadable) {
    name = Array(try reader.bytes(Int(try reader.integer(UInt16.self))))
    switch try reader.integer(UInt8.self) {
    case 0: value = .present
    case 1: value = .exact(Array(try reader.bytes(Int(try reader.integer(UInt16.self)))))
    case let kind where kind <= 3:
      value = .pattern(try reader.pattern(try reader.text(), foldsCase: kind == 3))
    default: throw reader.failure("no comparison that is known")
    }
  }
}

extension FrameReader {
  func pattern(_ text: String, foldsCase: Bool) throws(RouteTableUnreadable) -> BytePattern {
    do throws(BytePatternError) { return try BytePattern(text, foldsCase: foldsCase) } catch {
      throw failure("a pattern that cannot be read: \(error)")
    }
  }
}

extension RouteConditions {
  func write(_ out: inout FrameWriter) {
    out.text(method)
    for matches in [fields, query, cookies] { out.list(matches) { $0.write(&$1) } }
  }

  init(_ reader: inout FrameReader) throws(RouteTableUnreadable) {
    self.init(method: try reader.text())
    let read = { (reader: inout FrameReader) throws(RouteTableUnreadable) -> FieldMatch in
      try FieldMatch(&reader)
    }
    fields = try reader.list(read)
    query = try reader.list(read)
    cookies = try reader.list(read)
    guard !isEmpty else { throw reader.failure("conditions that ask for nothing") }
  }
}

extension RoutePath {
  func write(_ out: inout FrameWriter) {
    let flags = kind.rawValue | (redirectsToHTTPS ? 4 : 0) | (conditions == nil ? 0 : 8)
    out.integer(flags)
    out.integer(UInt32(backend))
    out.index(action)
    out.text(path)
    if let pattern {
      out.text(pattern.text.utf8)
      out.truth(pattern.foldsCase)
    }
    conditions?.write(&out)
  }

  init(_ reader: inout FrameReader, backends: Int, actions: Int) throws(RouteTableUnreadable) {
    let flags = try reader.integer(UInt8.self)
    let backend = Int(try reader.integer(UInt32.self))
    guard flags <= 15, let kind = RoutePathKind(rawValue: flags & 3), backend < backends else {
      throw reader.failure("path of no backend")
    }
    let action = try reader.index(below: actions)
    let redirects = flags & 4 == 4
    let path = Array(try reader.bytes(Int(try reader.integer(UInt16.self))))
    if kind == .pattern {
      let text = try reader.text()
      self.init(
        pattern: try reader.pattern(text, foldsCase: try reader.truth()), backend: backend, action: action,
        redirectsToHTTPS: redirects)
      self.path = path
    } else {
      guard path.isEmpty || path[0] == UInt8(ascii: "/") else {
        throw reader.failure("a path that does not begin with /")
      }
      self.init(path: path, kind: kind, backend: backend, action: action, redirectsToHTTPS: redirects)
    }
    if flags & 8 == 8 { conditions = try RouteConditions(&reader) }
  }
}

extension RouteListener {
  func write(_ out: inout FrameWriter) {
    out.integer(port)
    out.addresses(addresses)
    out.text(hostname.utf8)
    out.truth(hostsOverlap)
    out.index(defaultBackend ?? -1)
    out.index(defaultAction)
    out.list(hosts) {
      $1.text($0.name.utf8)
      $1.truth($0.isSecured)
      $1.truth($0.keepsPatterns)
      $1.list($0.paths) { $0.write(&$1) }
    }
  }

  init(_ reader: inout FrameReader, backends: Int, actions: Int) throws(RouteTableUnreadable) {
    let port = try reader.integer(UInt16.self)
    let addresses = try reader.addresses()
    let hostname = try reader.text()
    let overlaps = try reader.truth()
    let defaultBackend = try reader.index(below: backends)
    let defaultAction = try reader.index(below: actions)
    var names: Set<String> = []
    let hosts = try reader.list(each: 8) { (reader) throws(RouteTableUnreadable) in
      let name = try reader.text()
      guard names.insert(name).inserted else { throw reader.failure("host \(name) twice") }
      let isSecured = try reader.truth()
      let keepsPatterns = try reader.truth()
      let paths = try reader.list(each: 11) { (reader) throws(RouteTableUnreadable) in
        try RoutePath(&reader, backends: backends, actions: actions)
      }
      return RouteHost(name: name, paths: paths, isSecured: isSecured, keepsPatterns: keepsPatterns)
    }
    self.init(
      port: port, addresses: addresses, hostname: hostname, hosts: hosts, hostsOverlap: overlaps,
      defaultBackend: defaultBackend < 0 ? nil : defaultBackend, defaultAction: defaultAction)
  }
}
