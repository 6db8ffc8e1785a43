// The v2 document in protobuf, the only form of it that kubectl takes. Field numbers: openapiv2/OpenAPIv2.proto of
// google/gnostic.

extension OpenAPIv2 {
  /// What `Accept` calls this form: old clients write `@`, which is no valid media type, newer ones a dot.
  public static let acceptedProtobufTypes = [
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf", protobufType,
  ]
  /// What an answer calls it.
  public static let protobufType = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"

  /// The bytes of a v2 document as `openapi.v2.Document`.
  public static func protobuf(_ document: JSON) -> [UInt8] {
    var out = ProtobufWriter()
    encode(document, as: "Document", into: &out)
    return out.bytes
  }

  /// How a field is written.
  private indirect enum Form {
    case text, flag, integer, double
    /// Text or texts, in a message of repeated text.
    case types
    case texts
    case message(String)
    case messages(String)
    /// An object whose names are free: a message of repeated (name, value).
    case named(String)
    /// Any JSON, as text of YAML.
    case any
    case anys
    /// A schema within a message that lets something else stand there too.
    case choice(String)
  }

  private struct Message {
    var fields: [String: (number: Int, form: Form)]
    /// Where fields that begin with `x-` go.
    var extensions: Int?
  }

  private static let messages: [String: Message] = [
    "Document": Message(fields: [
      "swagger": (1, .text), "info": (2, .message("Info")), "paths": (8, .message("Paths")),
      "definitions": (9, .named("Schema")),
    ]),
    "Info": Message(fields: ["title": (1, .text), "version": (2, .text)]),
    "PathItem": Message(
      fields: [
        "get": (2, .message("Operation")), "put": (3, .message("Operation")),
        "post": (4, .message("Operation")), "delete": (5, .message("Operation")),
        "patch": (8, .message("Operation")), "parameters": (9, .messages("ParametersItem")),
      ], extensions: 10),
    "Operation": Message(
      fields: [
        "tags": (1, .texts), "description": (3, .text), "operationId": (5, .text), "produces": (6, .texts),
        "consumes": (7, .texts), "parameters": (8, .messages("ParametersItem")),
        "responses": (9, .named("ResponseValue")), "deprecated": (11, .flag),
      ], extensions: 13),
    "BodyParameter": Message(
      fields: [
        "description": (1, .text), "name": (2, .text), "in": (3, .text), "required": (4, .flag),
        "schema": (5, .message("Schema")),
      ], extensions: 6),
    "QueryParameterSubSchema": Message(
      fields: [
        "required": (1, .flag), "in": (2, .text), "description": (3, .text), "name": (4, .text),
        "type": (6, .text), "format": (7, .text), "uniqueItems": (20, .flag),
      ], extensions: 23),
    "PathParameterSubSchema": Message(
      fields: [
        "required": (1, .flag), "in": (2, .text), "description": (3, .text), "name": (4, .text),
        "type": (5, .text), "format": (6, .text), "uniqueItems": (19, .flag),
      ], extensions: 22),
    "Response": Message(
      fields: ["description": (1, .text), "schema": (2, .choice("Schema"))], extensions: 5),
    "Schema": Message(
      fields: [
        "$ref": (1, .text), "format": (2, .text), "title": (3, .text), "description": (4, .text),
        "default": (5, .any), "multipleOf": (6, .double), "maximum": (7, .double),
        "exclusiveMaximum": (8, .flag), "minimum": (9, .double), "exclusiveMinimum": (10, .flag),
        "maxLength": (11, .integer), "minLength": (12, .integer), "pattern": (13, .text),
        "maxItems": (14, .integer), "minItems": (15, .integer), "uniqueItems": (16, .flag),
        "maxProperties": (17, .integer), "minProperties": (18, .integer), "required": (19, .texts),
        "enum": (20, .anys), "additionalProperties": (21, .choice("Schema")), "type": (22, .types),
        "items": (23, .choice("Schema")), "allOf": (24, .messages("Schema")),
        "properties": (25, .named("Schema")), "example": (30, .any),
      ], extensions: 31),
  ]

  private static func encode(_ tree: JSON, as name: String, into out: inout ProtobufWriter) {
    switch name {
    case "Paths":
      for (path, item) in tree.object ?? [:] {
        out.message(2) { pair in
          pair.text(1, path)
          pair.message(2) { encode(item, as: "PathItem", into: &$0) }
        }
      }
    case "ParametersItem":
      // ParametersItem.parameter; Parameter.body_parameter, or NonBodyParameter by where it stands.
      let place = tree["in"]?.string ?? ""
      out.message(1) { parameter in
        if place == "body" {
          parameter.message(1) { encode(tree, as: "BodyParameter", into: &$0) }
        } else {
          parameter.message(2) { other in
            other.message(place == "path" ? 4 : 3) {
              encode(
                tree, as: place == "path" ? "PathParameterSubSchema" : "QueryParameterSubSchema", into: &$0)
            }
          }
        }
      }
    case "ResponseValue": out.message(1) { encode(tree, as: "Response", into: &$0) }
    default:
      guard let message = messages[name] else { return }
      for (key, value) in tree.object ?? [:] {
        if let field = message.fields[key] {
          encode(value, field.number, field.form, into: &out)
        } else if key.hasPrefix("x-"), let number = message.extensions {
          out.message(number) { pair in
            pair.text(1, key)
            pair.message(2) { $0.text(2, value.text) }
          }
        }
      }
    }
  }

  private static func encode(_ value: JSON, _ number: Int, _ form: Form, into out: inout ProtobufWriter) {
    switch form {
    case .text: out.text(number, value.string ?? "")
    case .flag: if value.bool == true { out.integer(number, 1) }
    case .integer: out.integer(number, value.integer ?? 0)
    case .double: out.double(number, Double(value.text) ?? 0)
    case .types:
      out.message(number) { types in
        for text in value.string.map({ [$0] }) ?? value.elements.compactMap(\.string) { types.text(1, text) }
      }
    case .texts: for text in value.elements.compactMap(\.string) { out.text(number, text) }
    case .message(let name): out.message(number) { encode(value, as: name, into: &$0) }
    case .messages(let name):
      for element in value.elements { out.message(number) { encode(element, as: name, into: &$0) } }
    case .named(let name):
      out.message(number) { map in
        for (key, element) in value.object ?? [:] {
          map.message(1) { pair in
            pair.text(1, key)
            pair.message(2) { encode(element, as: name, into: &$0) }
          }
        }
      }
    case .any: out.message(number) { $0.text(2, value.text) }
    case .anys: for element in value.elements { out.message(number) { $0.text(2, element.text) } }
    case .choice(let name):
      out.message(number) { item in
        if let flag = value.bool {
          item.integer(2, flag ? 1 : 0)
        } else {
          item.message(1) { encode(value, as: name, into: &$0) }
        }
      }
    }
  }
}
