// Schemas of custom resources: what is kept, what is filled in, what is refused, in upstream's words.

import ClusterObjects
import Testing

private func schema(_ text: String) throws -> StructuralSchema { StructuralSchema(try JSON(parsing: text)) }

private let crontab = """
  {"type":"object","properties":{"spec":{"type":"object","required":["cronSpec"],"properties":{
    "cronSpec":{"type":"string","pattern":"^(\\\\d+|\\\\*)(/\\\\d+)?(\\\\s+(\\\\d+|\\\\*)(/\\\\d+)?){4}$"},
    "replicas":{"type":"integer","minimum":1,"maximum":10,"default":1},
    "port":{"x-kubernetes-int-or-string":true},
    "mode":{"type":"string","enum":["fast","slow"],"default":"fast"},
    "tags":{"type":"array","x-kubernetes-list-type":"set","maxItems":3,"items":{"type":"string","minLength":2}},
    "ports":{"type":"array","x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["name"],
      "items":{"type":"object","required":["name"],"properties":{"name":{"type":"string"},
        "number":{"type":"integer","format":"int32"},"protocol":{"type":"string","default":"TCP"}}}},
    "labels":{"type":"object","additionalProperties":{"type":"string"},"maxProperties":2},
    "note":{"type":"string","nullable":true},
    "free":{"type":"object","x-kubernetes-preserve-unknown-fields":true,
      "properties":{"known":{"type":"object","properties":{"a":{"type":"integer"}}}}},
    "template":{"type":"object","x-kubernetes-embedded-resource":true,
      "x-kubernetes-preserve-unknown-fields":true}
  }}}}
  """

@Suite struct StructuralTests {
  @Test func `undeclared fields are dropped and told by their path`() throws {
    var object = try JSON(
      parsing: """
        {"apiVersion":"e.x/v1","kind":"C","metadata":{"name":"a"},"other":1,"spec":{"cronSpec":"x","bad":{"a":1},
        "ports":[{"name":"a","size":1}],"labels":{"any":"x"},"free":{"kept":{"x":1},"known":{"a":1,"b":2}},
        "template":{"apiVersion":"v1","kind":"Pod","metadata":{"name":"x"},"spec":{"x":1}}}}
        """)
    var unknown: [String] = []
    try schema(crontab).prune(&object) { unknown.append($0) }
    #expect(Set(unknown) == ["other", "spec.bad", "spec.ports[0].size", "spec.free.known.b"])
    #expect(object.at("spec", "free", "kept", "x") == 1)
    #expect(object.at("spec", "template", "spec", "x") == 1)
    #expect(object.at("spec", "labels", "any") == "x")
    #expect(object["other"] == nil && object.at("spec", "bad") == nil && object.name == "a")
  }

  @Test func `defaults fill what was not said, and null where null may not be`() throws {
    var object: JSON = ["spec": ["cronSpec": "x", "mode": .null, "note": .null, "ports": [["name": "a"]]]]
    try schema(crontab).applyDefaults(&object)
    #expect(object.at("spec", "replicas") == 1)
    #expect(object.at("spec", "mode") == "fast")
    #expect(object.at("spec", "note")?.isNull == true)
    #expect(object.at("spec", "ports")?[0]?["protocol"] == "TCP")
    let once = object
    try schema(crontab).applyDefaults(&object)
    #expect(object == once)
    var empty: JSON = ["metadata": [:]]
    try schema(crontab).applyDefaults(&empty)
    #expect(empty["spec"] == nil, "an object that is not there has no defaults below it")
  }

  @Test(arguments: [
    (
      #"{"cronSpec":"* * * * *","replicas":"three"}"#,
      #"spec.replicas: Invalid value: "string": spec.replicas in body must be of type integer: "string""#
    ),
    (
      #"{"cronSpec":"* * * * *","replicas":1.5}"#,
      #"spec.replicas: Invalid value: "number": spec.replicas in body must be of type integer: "number""#
    ),
    (#"{"replicas":1}"#, "spec.cronSpec: Required value"),
    (
      #"{"cronSpec":"* * *"}"#,
      #"spec.cronSpec: Invalid value: "* * *": spec.cronSpec in body should match '^(\d+|\*)(/\d+)?(\s+(\d+|\*)(/\d+)?){4}$'"#
    ),
    (
      #"{"cronSpec":"* * * * *","replicas":11}"#,
      "spec.replicas: Invalid value: 11: spec.replicas in body should be less than or equal to 10"
    ),
    (
      #"{"cronSpec":"* * * * *","replicas":0}"#,
      "spec.replicas: Invalid value: 0: spec.replicas in body should be greater than or equal to 1"
    ),
    (
      #"{"cronSpec":"* * * * *","mode":"odd"}"#,
      #"spec.mode: Unsupported value: "odd": supported values: "fast", "slow""#
    ),
    (
      #"{"cronSpec":"* * * * *","tags":["aa","b"]}"#,
      #"spec.tags[1]: Invalid value: "b": spec.tags[1] in body should be at least 2 chars long"#
    ),
    (#"{"cronSpec":"* * * * *","tags":["aa","aa"]}"#, #"spec.tags[1]: Duplicate value: "aa""#),
    (
      #"{"cronSpec":"* * * * *","tags":["aa","bb","cc","dd"]}"#,
      "spec.tags: Too many: 4: must have at most 3 items"
    ),
    (
      #"{"cronSpec":"* * * * *","ports":[{"name":"a"},{"name":"a"}]}"#,
      #"spec.ports[1]: Duplicate value: {"name":"a"}"#
    ),
    (
      #"{"cronSpec":"* * * * *","note":"x","port":true}"#,
      #"spec.port: Invalid value: "boolean": spec.port in body must be of type integer,string: "boolean""#
    ),
    (
      #"{"cronSpec":null}"#,
      #"spec.cronSpec: Invalid value: "null": spec.cronSpec in body must be of type string: "null""#
    ),
  ])
  func `a wrong value is refused in upstream's words`(spec: String, message: String) throws {
    let errors = try schema(crontab).validate(["spec": try JSON(parsing: spec)])
    #expect(errors.map(\.description) == [message])
  }

  @Test func `values that fit pass`() throws {
    let spec = #"""
      {"cronSpec":"*/5 * * * *","replicas":3,"port":"http","mode":"slow","tags":["aa","bb"],"labels":{"a":"b"},
      "note":null,"ports":[{"name":"a","number":80},{"name":"b"}],"template":{"apiVersion":"v1","kind":"Pod"}}
      """#
    #expect(try schema(crontab).validate(["spec": try JSON(parsing: spec)]).isEmpty)
  }

  @Test(arguments: [
    (#"{"type":"integer","oneOf":[{"minimum":5},{"multipleOf":2}]}"#, "5", 0),
    (#"{"type":"integer","oneOf":[{"minimum":5},{"multipleOf":2}]}"#, "6", 1),
    (#"{"type":"integer","anyOf":[{"minimum":5},{"multipleOf":2}]}"#, "6", 0),
    (#"{"type":"integer","allOf":[{"minimum":5},{"multipleOf":2}]}"#, "6", 0),
    (#"{"type":"integer","allOf":[{"minimum":5},{"multipleOf":2}]}"#, "7", 2),
    (#"{"type":"integer","not":{"enum":[7]}}"#, "7", 1), (#"{"type":"number","multipleOf":0.1}"#, "0.3", 0),
    (#"{"type":"number","minimum":0,"exclusiveMinimum":true}"#, "0", 1),
    (#"{"type":"integer"}"#, "1.0", 0),
    (#"{"type":"string","format":"date-time"}"#, "\"2026-11-21T07:00:00Z\"", 0),
    (#"{"type":"string","format":"date-time"}"#, "\"yesterday\"", 1),
    (#"{"type":"string","format":"ipv4"}"#, "\"1.2.3\"", 1),
    (#"{"type":"string","format":"uuid"}"#, "\"123e4567-e89b-12d3-a456-426614174000\"", 0),
    (#"{"type":"string","format":"duration"}"#, "\"1h30m\"", 0),
    (#"{"type":"string","format":"nonsense"}"#, "\"x\"", 0),
    (#"{"type":"string","format":"cidr"}"#, "\"10.0.0.0/33\"", 1),
    (#"{"type":"string","maxLength":2}"#, "\"äöü\"", 1),
  ])
  func `combinations, numbers and formats are checked`(schema text: String, value: String, findings: Int)
    throws
  {
    #expect(try schema(text).validate(try JSON(parsing: value)).count == findings)
  }

  @Test func `what was wrong before and did not change is tolerated`() throws {
    let before: JSON = [
      "spec": ["cronSpec": "bad", "replicas": 99, "ports": [["name": "a", "number": "x"]]]
    ]
    var after = before
    after.set("note", at: "spec", "note")
    #expect(try schema(crontab).validate(after, old: before).isEmpty)
    after.set(98, at: "spec", "replicas")
    #expect(try schema(crontab).validate(after, old: before).count == 1)
    after = before
    after.set([["name": "b"], ["name": "a", "number": "x"]], at: "spec", "ports")
    #expect(try schema(crontab).validate(after, old: before).isEmpty, "elements with keys are told apart")
  }

  @Test func `broken schemas neither trap nor hang`() throws {
    var random = Random(seed: 7)
    let source = Array(crontab.utf8)
    let value = try JSON(
      parsing: #"{"spec":{"cronSpec":"x","ports":[{"name":1}],"free":{"known":[]},"tags":[[]]}}"#)
    for _ in 0..<1_500 {
      var bytes = source
      for _ in 0..<Int.random(in: 1...8, using: &random) {
        let at = Int.random(in: 0..<bytes.count, using: &random)
        switch Int.random(in: 0..<3, using: &random) {
        case 0: bytes[at] = UInt8.random(in: 32...126, using: &random)
        case 1: bytes.remove(at: at)
        default: bytes.insert(Array("{}[]\",:0ant".utf8).randomElement(using: &random)!, at: at)
        }
      }
      guard let tree = try? JSON(parsing: bytes) else { continue }
      let schema = StructuralSchema(tree)
      var object = value
      schema.prune(&object)
      schema.applyDefaults(&object)
      _ = schema.validate(object)
      var definition = widgets
      definition.set(
        [["name": "v1", "served": true, "storage": true, "schema": ["openAPIV3Schema": tree]]], at: "spec",
        "versions")
      _ = CustomResourceDefinition(definition).kinds()
    }
  }
}

/// A definition in normal form.
let widgets: JSON = [
  "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
  "metadata": ["name": "widgets.example.com"],
  "spec": [
    "group": "example.com", "scope": "Namespaced",
    "names": ["plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"],
    "conversion": ["strategy": "None"],
    "versions": [
      [
        "name": "v1", "served": true, "storage": true,
        "schema": [
          "openAPIV3Schema": [
            "type": "object",
            "properties": ["spec": ["type": "object", "properties": ["size": ["type": "integer"]]]],
          ]
        ],
      ]
    ],
  ],
]
