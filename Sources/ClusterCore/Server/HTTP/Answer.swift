// From what the REST core gives to what goes over the wire, in the form the client asked for.

import ClusterClient
import ClusterObjects
import ClusterStore
import NIOCore
import NIOHTTP1

enum Answer {
  static func json(
    _ code: Int, _ tree: JSON, contentType: String = "application/json", headers: [(String, String)] = []
  )
    -> HTTPResponse
  {
    HTTPResponse(code, contentType: contentType, headers: headers, .bytes(ByteBuffer(bytes: tree.bytes)))
  }

  static func status(_ error: APIStatusError) -> HTTPResponse {
    var headers: [(String, String)] = []
    if let seconds = error.details["retryAfterSeconds"]?.integer {
      headers.append(("retry-after", String(seconds)))
    }
    return json(error.code, error.status, headers: headers)
  }

  /// `Warning` headers as RFC 7234 quotes them.
  static func warnings(_ texts: [String]) -> [(String, String)] {
    texts.map { text in
      let quoted = text.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"")
      return ("warning", "299 - \"\(quoted)\"")
    }
  }

  static func object(
    _ code: Int, _ object: CachedObject, _ kind: ResourceKind, _ form: Form, warnings: [String] = []
  )
    -> HTTPResponse
  {
    let headers = Self.warnings(warnings)
    switch form.representation {
    case .full:
      return HTTPResponse(code, contentType: form.contentType, headers: headers, .bytes(object.bytes))
    case .partial:
      return json(code, partialMetadata(of: object.tree), contentType: form.contentType, headers: headers)
    case .table(let include):
      let table = kind.printer.table(
        [object.tree], now: .now, include: include,
        listMetadata: ["resourceVersion": JSON(String(object.revision))])
      return json(code, table, contentType: form.contentType, headers: headers)
    }
  }

  static func list(_ page: RESTCore.Page, _ kind: ResourceKind, _ form: Form) -> HTTPResponse {
    var metadata: JSON = ["resourceVersion": JSON(String(page.revision))]
    if let token = page.continueToken { metadata["continue"] = JSON(token) }
    if let remaining = page.remaining { metadata["remainingItemCount"] = JSON(remaining) }
    switch form.representation {
    case .full:
      var head = ByteBuffer()
      head.writeBytes(
        (["kind": JSON(kind.listKind), "apiVersion": JSON(kind.apiVersion), "metadata": metadata] as JSON)
          .bytes.dropLast())
      head.writeString(",\"items\":[")
      let list = ListBody(head: head, objects: page.objects)
      let isLarge = list.readableBytes > LargeAnswer.partBytes
      return HTTPResponse(200, contentType: form.contentType, isLarge ? .list(list) : .bytes(list.whole))
    case .partial:
      let list: JSON = [
        "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "items": .array(page.objects.map { partialMetadata(of: $0.tree) }),
      ]
      return json(200, list, contentType: form.contentType)
    case .table(let include):
      let table = kind.printer.table(
        page.objects.map(\.tree), now: .now, include: include, listMetadata: metadata)
      return json(200, table, contentType: form.contentType)
    }
  }
}

/// What `Accept` asks for.
struct Form: Sendable {
  var representation: Representation = .full
  var contentType = "application/json"

  static let json = Form()
  /// Made as JSON; written as YAML at the end (`HTTPResponse.asYAML`).
  static let yaml = Form(contentType: "application/yaml")

  /// Neither a table nor metadata alone.
  var isFull: Bool { if case .full = representation { true } else { false } }

  /// The first entry that can be served: JSON, or YAML for those who name only that. Clients that list protobuf list JSON too.
  static func negotiate(_ request: HTTPRequest) throws -> Form {
    let accept = request.headers["accept"].joined(separator: ",")
    if accept.isEmpty { return .json }
    let include = TableObject(rawValue: request.parameter("includeObject") ?? "") ?? .metadata
    for entry in accept.split(separator: ",") {
      let parts = entry.split(separator: ";").map { $0.trimmed }
      guard let type = parts.first?.lowercased() else { continue }
      var parameters: [String: String] = [:]
      for part in parts.dropFirst() {
        let sides = part.split(separator: "=", maxSplits: 1)
        if sides.count == 2 { parameters[String(sides[0])] = String(sides[1]) }
      }
      if type == "application/yaml", parameters["as"] == nil { return .yaml }
      guard ["application/json", "application/*", "*/*"].contains(type) else { continue }
      guard let wanted = parameters["as"] else { return .json }
      guard parameters["g"] == "meta.k8s.io", parameters["v"] == "v1" else { continue }
      let contentType = "application/json;as=\(wanted);v=v1;g=meta.k8s.io"
      switch wanted {
      case "Table": return Form(representation: .table(include), contentType: contentType)
      case "PartialObjectMetadata", "PartialObjectMetadataList":
        return Form(representation: .partial, contentType: contentType)
      default: continue
      }
    }
    throw Failure.notAcceptable
  }
}

extension Substring {
  var trimmed: String {
    var text = self
    while text.first == " " || text.first == "\t" { text.removeFirst() }
    while text.last == " " || text.last == "\t" { text.removeLast() }
    return String(text)
  }
}
