// An action at work: everything that is the same for all requests of a rule is put together when a table is put in force, so
// that a request copies bytes and allocates nothing.

/// Changes of fields, ready: which lines go, and the lines that come.
final class FieldEdit: Sendable {
  /// Lower case: removed, or replaced.
  let drops: [[UInt8]]
  /// `Name: value` CR LF each.
  let lines: [UInt8]
  /// It drops a field that the ingress sets itself.
  let touchesOwn: Bool
  let setsRequestID: Bool

  init?(_ edit: HeaderEdit) {
    if edit.isEmpty { return nil }
    let names = edit.remove + edit.set.map { $0.name.lowercased() }
    drops = names.map { Array($0.utf8) }
    lines = (edit.set + edit.add).flatMap { Self.line($0.name, $0.value) }
    touchesOwn = names.contains { $0.hasPrefix("x-") }
    setsRequestID = edit.set.contains { $0.name.lowercased() == "x-request-id" }
  }

  static func line(_ name: String, _ value: String) -> [UInt8] { Array("\(name): \(value)\r\n".utf8) }

  /// Whether a line with this name goes.
  func drops(_ bytes: UnsafeRawBufferPointer, _ name: Range<Int>) -> Bool {
    for drop in drops where drop.count == name.count {
      var isEqual = true
      for index in 0..<drop.count where lowercase(bytes[name.lowerBound + index]) != drop[index] {
        isEqual = false
        break
      }
      if isEqual { return true }
    }
    return false
  }
}

/// One action of a table on one worker.
final class ActionRuntime {
  let action: RouteAction
  let request: FieldEdit?
  let answer: FieldEdit?
  let cors: CORSRuntime?
  /// With each target its own action, this one's and the target's together; nil for this one.
  private let targets: [(target: RouteTarget, action: ActionRuntime?)]
  private let weight: UInt64

  init(_ action: RouteAction, of actions: [RouteAction], depth: Int = 0) {
    self.action = action
    // What the one who decides says of a client is not the client's to say.
    let shown = action.clientCertificate == nil ? [] : RouteClientCertificate.fields
    let claimed = HeaderEdit(remove: (action.authorization?.forwarded ?? []) + shown)
    request = FieldEdit(claimed.joined(action.request))
    answer = FieldEdit(action.response)
    cors = action.cors.map { CORSRuntime($0) }
    targets = action.targets.map { target in
      // A target's action has no targets of its own.
      guard depth == 0, target.action >= 0 else { return (target, nil) }
      return (target, ActionRuntime(action.joined(actions[target.action]), of: actions, depth: 1))
    }
    weight = action.targets.reduce(0) { $0 + UInt64($1.weight) }
  }

  /// The backend for one request and what is done on the way there; backend -1 for nobody. Nil: the rule's own.
  /// - Parameter random: any number.
  func choose(random: UInt64) -> (backend: Int, action: ActionRuntime)? {
    if targets.isEmpty { return nil }
    // Weights that are all zero let nothing through (HTTPRoute backendRefs.weight).
    if weight == 0 { return (-1, self) }
    var at = random.multipliedFullWidth(by: weight).high
    for (target, action) in targets {
      if at < UInt64(target.weight) { return (target.backend, action ?? self) }
      at -= UInt64(target.weight)
    }
    return (-1, self)
  }
}

extension HeaderEdit {
  /// This one, then another.
  func joined(_ next: HeaderEdit) -> HeaderEdit {
    let gone = Set(next.remove + next.set.map { $0.name.lowercased() })
    let isKept = { (field: HeaderField) in !gone.contains(field.name.lowercased()) }
    return HeaderEdit(
      remove: remove + next.remove, set: set.filter(isKept) + next.set, add: add.filter(isKept) + next.add)
  }
}

extension RouteAction {
  /// This one, and on the way to a backend another.
  func joined(_ next: RouteAction) -> RouteAction {
    var joined = self
    joined.targets = []
    joined.request = request.joined(next.request)
    joined.response = response.joined(next.response)
    joined.rewrite = next.rewrite ?? rewrite
    joined.redirect = next.redirect ?? redirect
    return joined
  }
}

/// What a client is told by ourselves.
struct OwnAnswer {
  var status: Int
  /// `Name: value` CR LF each.
  var lines: [UInt8] = []

  init(_ status: Int, _ lines: [UInt8] = []) {
    self.status = status
    self.lines = lines
  }
}

/// What is different in a request as it goes on. Points into a worker's space; valid until the next request.
struct RequestEdit {
  var fields: FieldEdit?
  /// More lines, made for this request.
  var lines: [UInt8] = []
  var target: UnsafeRawBufferPointer?
  var host: UnsafeRawBufferPointer?
}
