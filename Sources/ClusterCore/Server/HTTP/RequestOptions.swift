// What a request's parameters may say. Checked before anything is done: a `dryRun` that is misspelt must not write.

import ClusterClient
import ClusterObjects
import NIOCore
import NIOHTTP1

enum RequestOptions {
  private static let managerMax = 128

  /// Throws 422 for options of a write that mean nothing, in upstream's words.
  static func check(_ request: HTTPRequest) throws {
    let kind: String
    switch request.method {
    case .POST: kind = "CreateOptions"
    case .PUT: kind = "UpdateOptions"
    case .PATCH: kind = "PatchOptions"
    case .DELETE: kind = "DeleteOptions"
    default: return
    }
    if request.query.isEmpty { return }
    var errors = dryRun(request.query.filter { $0.name == "dryRun" }.map(\.value))
    if let manager = request.parameter("fieldManager") {
      if manager.utf8.count > managerMax { errors.append(.tooLong("fieldManager", managerMax)) }
      if manager.unicodeScalars.contains(where: { !$0.properties.isPrintable }) {
        errors.append(.invalid("fieldManager", JSON(manager), "should only contain printable characters"))
      }
    }
    if request.method == .PATCH, !request.isApply, request.parameter("force") != nil {
      errors.append(.forbidden("force", "may not be specified for non-apply patch"))
    }
    if !errors.isEmpty { throw invalid(kind, errors) }
  }

  /// `All` is the only thing that may be left out.
  static func dryRun(_ values: [String]) -> [FieldError] {
    let values = values.filter { !$0.isEmpty }
    if values.allSatisfy({ $0 == "All" }) { return [] }
    return [.notSupported("dryRun", .array(values.map { JSON($0) }), ["All"])]
  }

  static func invalid(_ kind: String, _ errors: [FieldError]) -> APIStatusError {
    APIStatusError(
      code: 422, reason: "Invalid",
      message: "\(kind).meta.k8s.io \"\" is invalid: " + FieldError.summary(errors),
      details: ["group": "meta.k8s.io", "kind": JSON(kind), "causes": .array(errors.map(\.cause))])
  }

  /// Which version a list is asked to show; watches have rules of their own.
  static func checkVersion(_ options: ListOptions) throws {
    let match = options.resourceVersionMatch ?? ""
    let version = options.resourceVersion ?? ""
    let isContinued = !(options.continueToken ?? "").isEmpty
    var errors: [FieldError] = []
    if !match.isEmpty {
      let field: FieldPath = "resourceVersionMatch"
      if version.isEmpty {
        errors.append(
          .forbidden(field, "resourceVersionMatch is forbidden unless resourceVersion is provided"))
      }
      if isContinued {
        errors.append(.forbidden(field, "resourceVersionMatch is forbidden when continue is provided"))
      }
      if match != "Exact", match != "NotOlderThan" {
        errors.append(.notSupported(field, JSON(match), ["Exact", "NotOlderThan", ""]))
      }
      if match == "Exact", version == "0" {
        errors.append(
          .forbidden(field, "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\""))
      }
    }
    if !errors.isEmpty { throw invalid("ListOptions", errors) }
    if isContinued, !version.isEmpty, version != "0" {
      throw Failure.badRequest("specifying resource version is not allowed when using continue")
    }
  }
}

extension Unicode.Scalar.Properties {
  /// Letters, marks, numbers, punctuation, symbols and the plain blank.
  fileprivate var isPrintable: Bool {
    switch generalCategory {
    case .control, .format, .surrogate, .privateUse, .unassigned, .lineSeparator, .paragraphSeparator: false
    case .spaceSeparator: name == "SPACE"
    default: true
    }
  }
}

extension HTTPRequest {
  /// Who reads with their eyes: asked for by `pretty`, else a browser.
  var wantsIndented: Bool {
    if let asked = parameter("pretty") { return ["1", "t", "T", "true", "TRUE", "True", ""].contains(asked) }
    return headers.first(name: "user-agent")?.hasPrefix("Mozilla/5.0") ?? false
  }

  /// `/api/v1/watch/…` is how watches were asked for before `?watch=true`; old programs still do.
  var withoutWatchPrefix: HTTPRequest {
    let place = path.first == "api" ? 2 : path.first == "apis" ? 3 : -1
    guard place > 0, path.count > place + 1, path[place] == "watch", method == .GET else { return self }
    var request = self
    request.path.remove(at: place)
    request.query.removeAll { $0.name == "watch" }
    request.query.append(("watch", "true"))
    return request
  }
}

extension HTTPResponse {
  /// Larger answers are not for reading.
  private static let indentedMax = 4 << 20

  /// The body of a form that is YAML, which it is not yet.
  var asYAML: HTTPResponse {
    guard contentType == Form.yaml.contentType, let bytes,
      let tree = try? JSON(parsing: Array(bytes.readableBytesView))
    else { return self }
    var copy = self
    copy.body = .bytes(.init(string: YAML.text(tree)))
    return copy
  }

  /// JSON with a field a line.
  var indented: HTTPResponse {
    guard contentType.hasPrefix("application/json"), let bytes, bytes.readableBytes <= Self.indentedMax,
      let tree = try? JSON(parsing: Array(bytes.readableBytesView))
    else { return self }
    var copy = self
    copy.body = .bytes(.init(string: tree.indentedText(by: 2) + "\n"))
    return copy
  }
}
