// Webhooks that are asked at admission, and servers that APIs are passed on to.

extension Validator {
  private static let timeoutSeconds: ClosedRange<Int64> = 1...30
  private static let reviewVersions = ["v1", "v1beta1"]

  static let mutatingWebhooks = Rules(create: { $0.webhooks($1) }, checksAlways: true)
  static let validatingWebhooks = Rules(create: { $0.webhooks($1) }, checksAlways: true)

  private mutating func webhooks(_ configuration: JSON) {
    for (position, hook) in (configuration["webhooks"]?.elements ?? []).enumerated() {
      webhook(hook, FieldPath("webhooks").index(position))
    }
  }

  private mutating func webhook(_ hook: JSON, _ path: FieldPath) {
    fullyQualifiedName(hook["name"]?.string ?? "", path.child("name"))
    for (position, rule) in (hook["rules"]?.elements ?? []).enumerated() {
      admissionRule(rule, path.child("rules").index(position))
    }
    let effects = path.child("sideEffects")
    switch hook["sideEffects"]?.string {
    case nil: add(.required(effects, "must specify one of None, NoneOnDryRun"))
    case "None"?, "NoneOnDryRun"?: break
    case let text? where ["Some", "Unknown"].contains(text):
      add(.notSupported(effects, .string(text), ["None", "NoneOnDryRun"]))
    default: break  // Told by the enumeration.
    }
    if let seconds = hook["timeoutSeconds"]?.integer, !Self.timeoutSeconds.contains(seconds) {
      add(
        .invalid(
          path.child("timeoutSeconds"), .integer(seconds),
          "the timeout value must be between 1 and 30 seconds"))
    }
    for field in ["namespaceSelector", "objectSelector"] {
      if let selector = hook[field] { labelSelector(selector, path.child(field)) }
    }
    webhookClient(hook["clientConfig"] ?? [:], path.child("clientConfig"))
    matchConditions(hook["matchConditions"], path.child("matchConditions"))
    reviewVersions(hook["admissionReviewVersions"], path.child("admissionReviewVersions"))
  }

  /// At least three segments: names of webhooks are told apart among everybody's.
  private mutating func fullyQualifiedName(_ name: String, _ path: FieldPath) {
    if name.isEmpty { return }  // Told as required.
    if let problem = Names.subdomainProblem(name) {
      add(.invalid(path, .string(name), problem))
    } else if name.split(separator: ".").count < 3 {
      add(
        .invalid(
          path, .string(name), "should be a domain with at least three segments separated by dots"))
    }
  }

  private mutating func reviewVersions(_ versions: JSON?, _ path: FieldPath) {
    let texts = (versions?.elements ?? []).compactMap(\.string)
    if texts.isEmpty {
      add(.required(path, "must specify one of \(Self.reviewVersions.joined(separator: ", "))"))
      return
    }
    var seen: Set<String> = []
    for (position, text) in texts.enumerated() {
      if !seen.insert(text).inserted {
        add(.invalid(path.index(position), .string(text), "duplicate version"))
      } else {
        check(text, at: path.index(position), Names.label1035Problem)
      }
    }
    if seen.isDisjoint(with: Self.reviewVersions) {
      add(
        .invalid(
          path, versions ?? [],
          "must include at least one of \(Self.reviewVersions.joined(separator: ", "))"))
    }
  }

  // MARK: - Where a webhook is

  /// A URL or a Service. Conversion webhooks of custom resources follow the same rules.
  mutating func webhookClient(_ client: JSON, _ path: FieldPath) {
    switch (client["url"]?.string, client["service"]) {
    case (let url?, nil): webhookURL(url, path.child("url"))
    case (nil, let service?): webhookService(service, path.child("service"))
    default: add(.required(path, "exactly one of url or service is required"))
    }
  }

  mutating func webhookURL(_ text: String, _ path: FieldPath) {
    let form = "; desired format: https://host[/path]"
    let parts = URLText(text)
    if parts.scheme != "https" {
      add(.invalid(path, .string(parts.scheme), "'https' is the only allowed URL scheme\(form)"))
    }
    if parts.host.isEmpty { add(.invalid(path, "", "host must be specified\(form)")) }
    if let user = parts.user {
      add(.invalid(path, .string(user), "user information is not permitted in the URL"))
    }
    if let fragment = parts.fragment, !fragment.isEmpty {
      add(.invalid(path, .string(fragment), "fragments are not permitted in the URL"))
    }
    if let query = parts.query, !query.isEmpty {
      add(.invalid(path, .string(query), "query parameters are not permitted in the URL"))
    }
  }

  private mutating func webhookService(_ service: JSON, _ path: FieldPath) {
    if (service["name"]?.string ?? "").isEmpty {
      add(.required(path.child("name"), "service name is required"))
    }
    if (service["namespace"]?.string ?? "").isEmpty {
      add(.required(path.child("namespace"), "service namespace is required"))
    }
    if let port = service["port"]?.integer, !(1...65535).contains(port) {
      add(
        .invalid(
          path.child("port"), .integer(port), "port is not valid: must be between 1 and 65535, inclusive"))
    }
    guard let text = service["path"]?.string, text != "/" else { return }
    let place = path.child("path")
    guard text.hasPrefix("/") else {
      return add(.invalid(place, .string(text), "must start with a '/'"))
    }
    let steps = text.dropFirst().split(separator: "/", omittingEmptySubsequences: false)
    for (position, step) in steps.enumerated() {
      // A slash at the end is allowed.
      if step.isEmpty, position == steps.count - 1, steps.count > 1 { continue }
      if step.isEmpty {
        add(.invalid(place, .string(text), "segment[\(position)] may not be empty"))
      } else if let problem = Names.subdomainProblem(String(step)) {
        add(.invalid(place, .string(text), "segment[\(position)]: \(problem)"))
      }
    }
  }

  // MARK: - APIServices

  static let apiService = Rules(create: { $0.apiService($1) })

  private mutating func apiService(_ object: JSON) {
    let spec = object.spec
    let path: FieldPath = "spec"
    let group = spec["group"]?.string ?? ""
    let version = spec["version"]?.string ?? ""
    if object.name != "\(version).\(group)" {
      add(
        .invalid(
          "metadata.name", .string(object.name),
          "must be `spec.version+\".\"+spec.group`: \"\(version).\(group)\""))
    }
    if group.isEmpty, version != "v1" {
      add(
        .required(path.child("group"), "only v1 may have an empty group and it better be legacy kube"))
    } else if !group.isEmpty {
      check(group, at: path.child("group"), Names.subdomainProblem)
    }
    check(version, at: path.child("version"), Names.label1035Problem)
    for (field, most) in [("groupPriorityMinimum", 20_000 as Int64), ("versionPriority", 1000)] {
      let value = spec[field]?.integer ?? 0
      if !(1...most).contains(value) {
        add(
          .invalid(path.child(field), .integer(value), "must be positive and less than \(most)"))
      }
    }
    let bundle = spec["caBundle"]?.string ?? ""
    let isInsecure = spec["insecureSkipTLSVerify"]?.bool == true
    guard let service = spec["service"] else {
      if !bundle.isEmpty {
        let size = Base64.decode(bundle)?.count ?? 0
        add(
          .invalid(
            path.child("caBundle"), .string("\(size) bytes"), "local APIServices may not have a caBundle"))
      }
      if isInsecure {
        add(
          .invalid(
            path.child("insecureSkipTLSVerify"), true,
            "local APIServices may not have insecureSkipTLSVerify"))
      }
      return
    }
    for field in ["namespace", "name"] where (service[field]?.string ?? "").isEmpty {
      add(.required(path.child("service", field)))
    }
    if let port = service["port"]?.integer, !(1...65535).contains(port) {
      add(
        .invalid(
          path.child("service", "port"), .integer(port),
          "port is not valid: must be between 1 and 65535, inclusive"))
    }
    if isInsecure, !bundle.isEmpty {
      add(
        .invalid(
          path.child("insecureSkipTLSVerify"), true, "may not be true if caBundle is present"))
    }
  }
}

/// The parts of a URL (RFC 3986), as far as rules ask for them. Any text has some.
struct URLText {
  var scheme = ""
  var user: String?
  /// With its port.
  var host = ""
  var path = ""
  var query: String?
  var fragment: String?

  init(_ text: String) {
    var rest = text[...]
    if let mark = rest.firstIndex(of: "#") {
      fragment = String(rest[rest.index(after: mark)...])
      rest = rest[..<mark]
    }
    if let mark = rest.firstIndex(of: "?") {
      query = String(rest[rest.index(after: mark)...])
      rest = rest[..<mark]
    }
    if let colon = rest.firstIndex(of: ":"), !rest[..<colon].contains("/") {
      scheme = rest[..<colon].lowercased()
      rest = rest[rest.index(after: colon)...]
    }
    if rest.hasPrefix("//") {
      rest = rest.dropFirst(2)
      let authority = rest.prefix { $0 != "/" }
      rest = rest[authority.endIndex...]
      if let at = authority.lastIndex(of: "@") {
        user = String(authority[..<at])
        host = String(authority[authority.index(after: at)...])
      } else {
        host = String(authority)
      }
    }
    path = String(rest)
  }
}
