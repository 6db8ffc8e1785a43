// Reads routes out of their trees. What the API server has validated is readable; of another's objects the first field that is
// not is named.

import Addresses
import ClusterObjects

extension GatewayRoute {
  /// Cost: the size of the route. Throws the first field that cannot be read.
  public init(_ kind: Kind, _ tree: JSON) throws(UnreadableObject) {
    let reader = RouteReader(reader: TreeReader(kind.rawValue, tree))
    name = Name(kind, tree.key)
    generation = tree.generation
    creationTimestamp = tree.creationTimestamp
    hostnames = (tree.at("spec", "hostnames")?.elements ?? []).compactMap { $0.string?.lowercased() }
    parents = []
    for (index, parent) in (tree.at("spec", "parentRefs")?.elements ?? []).enumerated() {
      let port = try reader.optionalPort(parent["port"], "spec.parentRefs[\(index)].port")
      let found = Parent(
        reference: ObjectReference(parent, group: GatewayObjects.group, kind: "Gateway"),
        section: parent["sectionName"]?.string ?? "", port: port, tree: parent)
      // Said twice it is said once.
      if !parents.contains(found) { parents.append(found) }
    }
    rules = []
    for (index, rule) in (tree.at("spec", "rules")?.elements ?? []).enumerated() {
      rules.append(try reader.rule(rule, kind, "spec.rules[\(index)]"))
    }
  }

  /// A Gateway API duration (GEP-2257), such as `1h30m` or `500ms`, in milliseconds; nil: none.
  public static func milliseconds(_ text: String) -> Int? {
    var total = 0
    var number: Int?
    var rest = text.utf8[...]
    while let byte = rest.popFirst() {
      if (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) {
        number = (number ?? 0) * 10 + Int(byte - UInt8(ascii: "0"))
        if number ?? 0 > 99_999 { return nil }
        continue
      }
      guard let value = number else { return nil }
      number = nil
      switch byte {
      case UInt8(ascii: "h"): total += value * 3_600_000
      case UInt8(ascii: "s"): total += value * 1000
      case UInt8(ascii: "m"):
        if rest.first == UInt8(ascii: "s") {
          rest.removeFirst()
          total += value
        } else {
          total += value * 60_000
        }
      default: return nil
      }
      // Four parts at most.
      if total > 4 * 99_999 * 3_600_000 { return nil }
    }
    return number == nil && !text.isEmpty ? total : nil
  }
}

private struct RouteReader {
  typealias Filter = GatewayRoute.Filter
  let reader: TreeReader

  func optionalPort(_ tree: JSON?, _ path: String) throws(UnreadableObject) -> UInt16? {
    guard let tree, !tree.isNull else { return nil }
    return try reader.port(tree, path)
  }

  func rule(_ tree: JSON, _ kind: GatewayRoute.Kind, _ path: String) throws(UnreadableObject)
    -> GatewayRoute.Rule
  {
    var matches: [GatewayRoute.Match] = []
    for (index, match) in (tree["matches"]?.elements ?? []).enumerated() {
      matches.append(try self.match(match, kind, "\(path).matches[\(index)]"))
    }
    var backends: [GatewayRoute.Backend] = []
    for (index, backend) in (tree["backendRefs"]?.elements ?? []).enumerated() {
      backends.append(try self.backend(backend, "\(path).backendRefs[\(index)]"))
    }
    var unreadable: [String] = []
    func time(_ object: String, _ field: String) -> Int? {
      guard let text = tree.at(object, field)?.string else { return nil }
      let found = GatewayRoute.milliseconds(text)
      if found == nil { unreadable.append("\(path).\(object).\(field)") }
      return found
    }
    let request = time("timeouts", "request")
    let backend = time("timeouts", "backendRequest")
    let backoff = time("retry", "backoff")
    let retry = tree["retry"].flatMap { $0.isNull ? nil : $0 }.map { retry in
      GatewayRoute.Retry(
        attempts: retry["attempts"]?.integer.map { Int(clamping: $0) },
        codes: (retry["codes"]?.elements ?? []).compactMap { $0.integer.map { UInt16(clamping: $0) } },
        backoffMilliseconds: backoff)
    }
    return GatewayRoute.Rule(
      name: tree["name"]?.string ?? "", matches: matches,
      filters: try filters(tree["filters"], "\(path).filters"), backends: backends,
      requestMilliseconds: request, backendMilliseconds: backend, retry: retry, unreadable: unreadable)
  }

  private func match(_ tree: JSON, _ kind: GatewayRoute.Kind, _ path: String) throws(UnreadableObject)
    -> GatewayRoute.Match
  {
    var match = GatewayRoute.Match()
    match.headers = try values(tree["headers"], "\(path).headers", isField: true)
    if kind == .grpc {
      match.call = try tree["method"].map { method throws(UnreadableObject) in
        GatewayRoute.Call(
          comparison: try reader.choice(method["type"], "\(path).method.type", default: .exact),
          service: method["service"]?.string ?? "", method: method["method"]?.string ?? "")
      }
    } else {
      match.method = tree["method"]?.string
      match.query = try values(tree["queryParams"], "\(path).queryParams", isField: false)
      match.path = try tree["path"].map { found throws(UnreadableObject) in
        GatewayRoute.Path(
          try reader.choice(found["type"], "\(path).path.type", default: .prefix),
          found["value"]?.string ?? "/")
      }
    }
    return match
  }

  private func values(_ tree: JSON?, _ path: String, isField: Bool) throws(UnreadableObject)
    -> [GatewayRoute.Value]
  {
    var values: [GatewayRoute.Value] = []
    for (index, value) in (tree?.elements ?? []).enumerated() {
      let name = value["name"]?.string ?? ""
      values.append(
        GatewayRoute.Value(
          name: isField ? name.lowercased() : name,
          comparison: try reader.choice(value["type"], "\(path)[\(index)].type", default: .exact),
          value: value["value"]?.string ?? ""))
    }
    // Of one name the first counts.
    var seen: Set<String> = []
    return values.filter { seen.insert($0.name).inserted }
  }

  private func backend(_ tree: JSON, _ path: String) throws(UnreadableObject) -> GatewayRoute.Backend {
    GatewayRoute.Backend(
      reference: ObjectReference(tree, kind: "Service"),
      port: try optionalPort(tree["port"], "\(path).port"),
      weight: Int(max(0, min(tree["weight"]?.integer ?? 1, 1_000_000))),
      filters: try filters(tree["filters"], "\(path).filters"))
  }

  private func filters(_ tree: JSON?, _ path: String) throws(UnreadableObject) -> [Filter] {
    var filters: [Filter] = []
    for (index, filter) in (tree?.elements ?? []).enumerated() {
      filters.append(try self.filter(filter, "\(path)[\(index)]"))
    }
    return filters
  }

  private func filter(_ tree: JSON, _ path: String) throws(UnreadableObject) -> Filter {
    let type = tree["type"]?.string ?? ""
    switch type {
    case "RequestHeaderModifier": return .requestHeaders(change(tree["requestHeaderModifier"]))
    case "ResponseHeaderModifier": return .responseHeaders(change(tree["responseHeaderModifier"]))
    case "RequestRedirect":
      let redirect = tree["requestRedirect"] ?? [:]
      return .redirect(
        GatewayRoute.Redirect(
          scheme: redirect["scheme"]?.string, hostname: redirect["hostname"]?.string?.lowercased(),
          path: pathChange(redirect["path"]),
          port: try optionalPort(redirect["port"], "\(path).requestRedirect.port"),
          status: redirect["statusCode"]?.int ?? 302))
    case "URLRewrite":
      let rewrite = tree["urlRewrite"]
      return .rewrite(
        hostname: rewrite?["hostname"]?.string?.lowercased(), path: pathChange(rewrite?["path"]))
    case "RequestMirror":
      let mirror = tree["requestMirror"] ?? [:]
      let percent = mirror["percent"]?.int
      let denominator = max(1, mirror.at("fraction", "denominator")?.int ?? 100)
      let numerator = percent ?? mirror.at("fraction", "numerator")?.int
      return .mirror(
        GatewayRoute.Mirror(
          backend: try backend(mirror["backendRef"] ?? [:], "\(path).requestMirror.backendRef"),
          numerator: max(0, numerator ?? 100), denominator: percent == nil ? denominator : 100))
    case "CORS":
      let cors = tree["cors"] ?? [:]
      func texts(_ field: String) -> [String] { cors[field]?.elements.compactMap(\.string) ?? [] }
      return .cors(
        GatewayRoute.CORS(
          origins: texts("allowOrigins"), methods: texts("allowMethods"), headers: texts("allowHeaders"),
          exposed: texts("exposeHeaders"), allowsCredentials: cors["allowCredentials"]?.bool ?? false,
          maxAgeSeconds: cors["maxAge"]?.int ?? 5))
    default: return .unknown(type)
    }
  }

  private func change(_ tree: JSON?) -> GatewayRoute.HeaderChange {
    func fields(_ name: String) -> [GatewayRoute.Field] {
      (tree?[name]?.elements ?? []).map {
        GatewayRoute.Field(name: $0["name"]?.string ?? "", value: $0["value"]?.string ?? "")
      }
    }
    return GatewayRoute.HeaderChange(
      set: fields("set"), add: fields("add"),
      remove: (tree?["remove"]?.elements ?? []).compactMap { $0.string?.lowercased() })
  }

  private func pathChange(_ tree: JSON?) -> GatewayRoute.PathChange? {
    switch tree?["type"]?.string {
    case "ReplaceFullPath": .full(tree?["replaceFullPath"]?.string ?? "")
    case "ReplacePrefixMatch": .prefix(tree?["replacePrefixMatch"]?.string ?? "")
    default: nil
    }
  }
}
