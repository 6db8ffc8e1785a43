// A request through the action of its rule: the same for every version of HTTP. Called only for rules that have one.

import Patterns
import Reactor

extension Exchange {
  /// Does what the rule's action says, in the order in which nginx would: answers of its own, redirects, CORS, limits, sources,
  /// credentials; then chooses the backend by weight. What the endpoint is to see otherwise is left in `edit`.
  /// - Returns: an answer of ours, and then no endpoint sees the request; nil to go on.
  /// - Parameter client: the lines that are the same for every request of the connection.
  func applyAction(
    _ request: RouteRequest, _ origin: RequestOrigin, client: [UInt8], _ edit: inout RequestEdit
  ) -> OwnAnswer? {
    var runtime = snapshot.actions[match.action]
    if let (backend, own) = runtime.choose(random: worker.nextRequestID().0) {
      runtime = own
      action = own
      // A reference that is not valid (HTTPRoute backendRefs).
      if backend >= 0 { match.backend = backend }
      if backend < 0, own.action.redirect == nil, own.action.answer == 0 { return OwnAnswer(500) }
    }
    action = runtime
    let rule = runtime.action
    if rule.errors != nil { originalTarget = Array(request.target) }
    if rule.answer != 0 { return OwnAnswer(Int(rule.answer)) }
    if let asked = rule.clientCertificate {
      if let status = asked.refusal(origin, worker.matchSpace) {
        guard status == 400, let page = asked.errorPage else { return OwnAnswer(status) }
        return redirect(RouteRedirect(status: 302, place: .location(page)), request, origin)
      }
      edit.lines = asked.lines(origin)
    }
    if let redirect = rule.redirect { return self.redirect(redirect, request, origin) }
    if let cors = runtime.cors {
      switch cors.take(request) {
      case .none: break
      case .lines(let lines): answerLines = lines
      case .answer(let answer): return answer
      }
    }
    for limit in rule.limits {
      switch worker.meter.enter(limit, origin.address, now: worker.reactor.now / 1_000_000) {
      case .refused: return OwnAnswer(503, answerLines)
      case .admitted(let ticket): if let ticket { tickets.append(ticket) }
      }
    }
    let (refusal, asksOthers) = admit(request, origin, rule)
    if let refusal { return refusal }
    if let most = rule.bodyBytesMax {
      bodyBytesMax = most == 0 ? .max : most
      if case .length(let length) = request.reader.facts.framing, length > bodyBytesMax {
        return OwnAnswer(413, answerLines)
      }
    }
    if asksOthers, let authorization = rule.authorization {
      guardian = AuthorizationExchange(self, authorization, request, origin, client: client + edit.lines)
      if guardian == nil { return OwnAnswer(503, answerLines) }
    }
    // Last: what they write lies where the ones before write too.
    if let rewrite = rule.rewrite, !apply(rewrite, request, origin, &edit) {
      letGuardianGo()
      return OwnAnswer(414)
    }
    if let cookie = rule.cookie { bind(cookie, request, origin) }
    edit.fields = runtime.request
    return nil
  }

  /// Who may come: by address, by password; with `satisfiesAny` one of them or the one who is asked is enough.
  /// - Returns: an answer for who may not, and whether somebody else has to be asked.
  private func admit(
    _ request: RouteRequest, _ origin: RequestOrigin, _ rule: RouteAction
  ) -> (refusal: OwnAnswer?, asksOthers: Bool) {
    let isNear = rule.sources.map { $0.admits(origin.address) }
    if rule.satisfiesAny, isNear == true { return (nil, false) }
    if !rule.satisfiesAny, isNear == false { return (OwnAnswer(403, answerLines), false) }
    if let credentials = rule.credentials {
      if worker.credentials.admits(request, credentials) { return (nil, !rule.satisfiesAny) }
      if !rule.satisfiesAny || rule.authorization == nil {
        let line = FieldEdit.line("WWW-Authenticate", "Basic realm=\"\(credentials.realm)\"")
        return (OwnAnswer(401, answerLines + line), false)
      }
    }
    let isRefused = rule.satisfiesAny && isNear == false && rule.authorization == nil
    return (isRefused ? OwnAnswer(403, answerLines) : nil, true)
  }

  /// What fills a rule's templates, and the bytes of its prefix.
  private func writer(_ request: RouteRequest, _ origin: RequestOrigin) -> (TemplateWriter, prefix: Int) {
    var groups: PatternSpace?
    var prefix = 0
    if match.host >= 0 {
      let path = snapshot.table.hosts[match.host].paths[match.path]
      if path.kind != .pattern { prefix = path.path.count }
      if let pattern = path.pattern, pattern.match(request.path, in: worker.matchSpace.patterns) {
        groups = worker.matchSpace.patterns
      }
    }
    return (TemplateWriter(request: request, origin: origin, groups: groups), prefix)
  }

  private func redirect(
    _ redirect: RouteRedirect, _ request: RouteRequest, _ origin: RequestOrigin
  ) -> OwnAnswer {
    let (writer, prefix) = writer(request, origin)
    var out = HeadSpace(worker.matchSpace.target)
    out.write("Location: ")
    writer.writeLocation(redirect, prefix: prefix, to: &out)
    out.write("\r\n")
    return out.isFull ? OwnAnswer(414) : OwnAnswer(Int(redirect.status), Array(out.bytes))
  }

  /// False for a target or host that is too long.
  private func apply(
    _ rewrite: RouteRewrite, _ request: RouteRequest, _ origin: RequestOrigin, _ edit: inout RequestEdit
  ) -> Bool {
    let (writer, prefix) = writer(request, origin)
    if let path = rewrite.path {
      var out = HeadSpace(worker.matchSpace.target)
      writer.writeTarget(path, prefix: prefix, to: &out)
      if out.isFull { return false }
      edit.target = out.bytes
    }
    if let host = rewrite.host {
      var out = HeadSpace(worker.matchSpace.host)
      writer.write(host, to: &out)
      if out.isFull { return false }
      edit.host = out.bytes
    }
    return true
  }

  /// Gives a client its cookie if it has none.
  private func bind(_ cookie: RouteCookie, _ request: RouteRequest, _ origin: RequestOrigin) {
    let known = request.cookie(Array(cookie.name.utf8))
    let backend = snapshot.backends[match.backend]
    let value: String
    if backend.policy.namesEndpoints {
      let none = UnsafeRawBufferPointer(start: nil, count: 0)
      guard let pin = backend.newPin(known ?? none, now: worker.reactor.now) else { return }
      value = String(pin, radix: 16)
      boundKey = pin
    } else {
      if known != nil { return }
      let id = worker.nextRequestID()
      value = String(id.0, radix: 16) + String(id.1, radix: 16)
      // This request goes where the next ones will.
      boundKey = Chooser.hash(value.utf8)
    }
    let secure = cookie.isSecure && origin.isSecure ? "; Secure" : ""
    answerLines += FieldEdit.line("Set-Cookie", "\(cookie.name)=\(value)\(cookie.attributes)\(secure)")
  }

  /// The endpoint has answered: cookies of the one who let the request pass go with it, as nginx has it.
  func takeGrantedCookies() {
    let isFit =
      action?.action.authorization?.alwaysSetsCookie == true
      || RouteAuthorization.cookieStatuses.contains(status)
    if isFit { answerLines += grantedCookies }
    grantedCookies = []
  }

  /// Whoever is asked need not answer any more.
  func letGuardianGo() {
    guardian?.cancel()
    guardian = nil
  }

  /// Forgets the last request's action.
  func forgetAction() {
    action = nil
    boundKey = nil
    ownError = 0
    isErrorAnswer = false
    if !originalTarget.isEmpty { originalTarget = [] }
    bodyBytesMax = worker.limits.bodyBytesMax
    if !answerLines.isEmpty { answerLines = [] }
    if !grantedCookies.isEmpty { grantedCookies = [] }
    if !tickets.isEmpty { tickets = [] }
    letGuardianGo()
  }

  /// Whether a line of the endpoint's answer gives way to one of ours.
  @inline(__always)
  func dropsAnswerLine(_ line: FieldLine, _ bytes: UnsafeRawBufferPointer) -> Bool {
    guard let action else { return false }
    let name = line.start..<line.nameEnd
    if let edit = action.answer, edit.drops(bytes, name) { return true }
    return action.cors != nil && !answerLines.isEmpty && CORSRuntime.drops?.drops(bytes, name) == true
  }
}

extension HeadSpace {
  /// Field lines as HTTP/2 has them. - Parameter lines: `Name: value` CR LF each.
  mutating func writeFields(_ lines: [UInt8]) {
    lines.withUnsafeBytes { bytes in
      var at = 0
      while at < bytes.count, let colon = bytes[at...].firstIndex(of: UInt8(ascii: ":")),
        let end = bytes[colon...].firstIndex(of: 13)
      {
        writeField(bytes, name: at..<colon, value: min(colon + 2, end)..<end)
        at = end + 2
      }
    }
  }
}
