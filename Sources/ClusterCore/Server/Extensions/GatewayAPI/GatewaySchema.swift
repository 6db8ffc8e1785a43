// What the schemas of Gateway API (gateway.networking.k8s.io) are put together from, in our own words: fields, bounds and defaults
// are the API's. What the API says by CEL is said here by alternatives, which every API server evaluates, as far as they can.

import ClusterObjects

enum GatewaySchema {
  // MARK: Patterns

  static let label = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
  static let subdomain = #"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"#
  static let hostPattern = #"^(\*\.)?"# + subdomain + "$"
  static let domainPath = subdomain + #"\/[A-Za-z0-9\/\-._~%!$&'()*+,;=:]+"#
  static let token = #"^[A-Za-z0-9!#$%&'*+\-.^_\x60|~]+$"#

  // MARK: Values

  static func text(
    _ description: String, from least: Int? = 1, to most: Int? = nil, pattern: String? = nil,
    default value: JSON? = nil, only values: [JSON]? = nil, format: String? = nil
  ) -> JSON {
    var schema: JSON = ["type": "string", "description": JSON(description)]
    if let most {
      schema["maxLength"] = JSON(most)
      if let least { schema["minLength"] = JSON(least) }
    }
    if let pattern { schema["pattern"] = JSON(pattern) }
    if let value { schema["default"] = value }
    if let values { schema["enum"] = .array(values) }
    if let format { schema["format"] = JSON(format) }
    return schema
  }

  static func number(
    _ description: String, from least: Int? = nil, to most: Int? = nil, default value: Int? = nil,
    format: String = "int32", only values: [JSON]? = nil
  ) -> JSON {
    var schema: JSON = ["type": "integer", "format": JSON(format), "description": JSON(description)]
    if let least { schema["minimum"] = JSON(least) }
    if let most { schema["maximum"] = JSON(most) }
    if let value { schema["default"] = JSON(value) }
    if let values { schema["enum"] = .array(values) }
    return schema
  }

  static func object(
    _ description: String, _ fields: JSON, required: [String] = [], default value: JSON? = nil,
    more: JSON = [:]
  ) -> JSON {
    var schema: JSON = ["type": "object", "description": JSON(description), "properties": fields]
    if !required.isEmpty { schema["required"] = JSON(required) }
    if let value { schema["default"] = value }
    return merge(schema, more)
  }

  enum ListForm {
    case atomic, set
    case map(String)
  }

  static func list(
    _ description: String, of item: JSON, from least: Int? = nil, to most: Int?, _ form: ListForm = .atomic,
    default value: JSON? = nil, more: JSON = [:]
  ) -> JSON {
    var schema: JSON = ["type": "array", "description": JSON(description), "items": item]
    if let least { schema["minItems"] = JSON(least) }
    if let most { schema["maxItems"] = JSON(most) }
    switch form {
    case .atomic: schema["x-kubernetes-list-type"] = "atomic"
    case .set: schema["x-kubernetes-list-type"] = "set"
    case .map(let key):
      schema["x-kubernetes-list-type"] = "map"
      schema["x-kubernetes-list-map-keys"] = [JSON(key)]
    }
    if let value { schema["default"] = value }
    return merge(schema, more)
  }

  /// Free keys and values, such as options.
  static func map(_ description: String, of value: JSON, to most: Int) -> JSON {
    [
      "type": "object", "description": JSON(description), "additionalProperties": value,
      "maxProperties": JSON(most),
    ]
  }

  static func merge(_ schema: JSON, _ more: JSON) -> JSON {
    var schema = schema
    for (key, value) in more.object ?? [:] { schema[key] = value }
    return schema
  }

  // MARK: Rules

  /// The field is there and has one of these values.
  static func has(_ field: String, _ values: JSON...) -> JSON {
    ["properties": .object([field: ["enum": .array(values)]]), "required": [JSON(field)]]
  }

  static func has(_ field: String) -> JSON { ["required": [JSON(field)]] }

  /// Both hold.
  static func both(_ a: JSON, _ b: JSON) -> JSON { ["allOf": [a, b]] }

  static func not(_ rule: JSON) -> JSON { ["not": rule] }

  /// Every rule holds.
  static func all(_ rules: JSON...) -> JSON { ["allOf": .array(rules)] }

  static func any(_ rules: JSON...) -> JSON { ["anyOf": .array(rules)] }

  /// `type` names the one other field that is there.
  static func union(_ fields: KeyValuePairs<String, String>, others: Int = 0) -> JSON {
    [
      "maxProperties": JSON(2 + others),
      "oneOf": .array(fields.map { both(has("type", JSON($0.key)), has($0.value)) }),
    ]
  }

  // MARK: Names

  static func group(_ description: String, default value: JSON? = nil) -> JSON {
    text(description, from: nil, to: 253, pattern: "^$|^\(subdomain)$", default: value)
  }

  static func kind(_ description: String, default value: JSON? = nil) -> JSON {
    text(
      description, to: 63, pattern: "^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$", default: value)
  }

  static func name(_ description: String) -> JSON { text(description, to: 253) }

  static func namespace(_ description: String) -> JSON {
    text(description, to: 63, pattern: "^\(label)$")
  }

  static func section(_ description: String) -> JSON {
    text(description, to: 253, pattern: "^\(subdomain)$")
  }

  static func hostname(_ description: String, isExact: Bool = false) -> JSON {
    text(description, to: 253, pattern: isExact ? "^\(subdomain)$" : hostPattern)
  }

  static func port(_ description: String) -> JSON { number(description, from: 1, to: 65_535) }

  static func controllerName(_ description: String) -> JSON {
    text(description, to: 253, pattern: "^\(domainPath)$")
  }

  /// An object by group, kind and name; `elsewhere`: also of another namespace.
  static func reference(
    _ description: String, group groupDefault: JSON? = nil, kind kindDefault: JSON? = nil,
    elsewhere: Bool = false
  ) -> JSON {
    var fields: JSON = [
      "group": group("Its API group; the core group has an empty name.", default: groupDefault),
      "kind": kind("Its kind.", default: kindDefault), "name": name("Its name."),
    ]
    if elsewhere { fields["namespace"] = namespace("Its namespace; without it, that of this object.") }
    return object(
      description, fields, required: groupDefault == nil ? ["group", "kind", "name"] : ["name"])
  }

  static func secret(_ description: String) -> JSON {
    reference(description, group: "", kind: "Secret", elsewhere: true)
  }

  static let options = map(
    "What controllers understand beyond the API, under names of theirs.",
    of: text("The value.", from: 0, to: 4096), to: 16)

  static func selector(_ description: String) -> JSON {
    object(
      description,
      [
        "matchLabels": [
          "type": "object", "description": "Labels that all must be there.",
          "additionalProperties": ["type": "string"],
        ],
        "matchExpressions": list(
          "Requirements that all must hold.",
          of: object(
            "One requirement on a label.",
            [
              "key": text("The label."), "operator": text("In, NotIn, Exists or DoesNotExist."),
              "values": list("For In and NotIn.", of: ["type": "string"], to: nil),
            ], required: ["key", "operator"]), to: nil),
      ], more: ["x-kubernetes-map-type": "atomic"])
  }
}
