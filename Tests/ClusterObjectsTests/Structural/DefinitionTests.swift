// CustomResourceDefinitions: which are refused and in which words, whose names are accepted, what they serve.

import ClusterObjects
import Testing

private let kind = KindRegistry.builtin[CustomResourceDefinition.resource]

private func findings(_ schema: String) throws -> [String] {
  var definition = widgets
  definition.set(
    [
      [
        "name": "v1", "served": true, "storage": true,
        "schema": ["openAPIV3Schema": try JSON(parsing: schema)],
      ]
    ],
    at: "spec", "versions")
  return try #require(kind).validateCreate(definition).map(\.description)
}

@Suite struct DefinitionTests {
  @Test func `a right definition has no findings`() throws {
    #expect(try #require(kind).validateCreate(widgets).isEmpty)
  }

  @Test(arguments: [
    (
      #"{"properties":{"spec":{"type":"object"}}}"#,
      "spec.validation.openAPIV3Schema.type: Required value: must not be empty at the root"
    ),
    (
      #"{"type":"object","properties":{"spec":{"properties":{"a":{"type":"string"}}}}}"#,
      "spec.validation.openAPIV3Schema.properties[spec].type: Required value: must not be empty for specified object fields"
    ),
    (
      #"{"type":"object","properties":{"a":{"type":"array"}}}"#,
      "spec.validation.openAPIV3Schema.properties[a].items: Required value: must be specified"
    ),
    (
      #"{"type":"object","properties":{"a":{"type":"text"}}}"#,
      #"spec.validation.openAPIV3Schema.properties[a].type: Unsupported value: "text": supported values: "array", "boolean", "integer", "number", "object", "string""#
    ),
    (
      #"{"type":"object","anyOf":[{"properties":{"a":{"minimum":1}}}]}"#,
      "spec.validation.openAPIV3Schema.properties[a]: Required value: because it is defined in "
        + "spec.validation.openAPIV3Schema.anyOf[0].properties[a]"
    ),
    (
      #"{"type":"object","properties":{"a":{"type":"string","anyOf":[{"type":"string"}]}}}"#,
      "spec.validation.openAPIV3Schema.properties[a].anyOf[0].type: Forbidden: must be empty to be structural"
    ),
    (
      #"{"type":"object","properties":{"a":{"type":"object","additionalProperties":false}}}"#,
      "spec.validation.openAPIV3Schema.properties[a].additionalProperties: Forbidden: additionalProperties cannot be set to false"
    ),
    (
      #"{"type":"object","properties":{"a":{"type":"string","pattern":"("}}}"#,
      #"spec.validation.openAPIV3Schema.properties[a].pattern: Invalid value: "(": must be a valid regular expression, but isn't: error parsing regexp: missing closing ): `(`"#
    ),
    (
      #"{"type":"object","properties":{"a":{"type":"integer","default":"x"}}}"#,
      #"spec.validation.openAPIV3Schema.properties[a].default: Invalid value: "string":  in body must be of type integer: "string""#
    ),
    (
      #"{"type":"object","properties":{"a":{"type":"object","x-kubernetes-int-or-string":true}}}"#,
      #"spec.validation.openAPIV3Schema.properties[a].type: Invalid value: "object": must be empty if x-kubernetes-int-or-string is true"#
    ),
  ])
  func `a schema that is not structural is refused in upstream's words`(schema: String, message: String)
    throws
  {
    #expect(try findings(schema) == [message])
  }

  @Test func `names, versions and paths are checked`() throws {
    func finding(_ change: (inout JSON) -> Void) throws -> [String] {
      var definition = widgets
      change(&definition)
      return try #require(kind).validateCreate(definition).map(\.description)
    }
    #expect(
      try finding { $0.set("other.example.com", at: "metadata", "name") } == [
        #"metadata.name: Invalid value: "other.example.com": must be spec.names.plural+"."+spec.group"#
      ])
    #expect(
      try finding { $0.set("Everywhere", at: "spec", "scope") } == [
        #"spec.scope: Unsupported value: "Everywhere": supported values: "Cluster", "Namespaced""#
      ])
    #expect(
      try finding {
        var version = $0.at("spec", "versions")?[0] ?? [:]
        version["storage"] = false
        $0.set([version], at: "spec", "versions")
      } == [#"spec.versions: Invalid value: ["v1"]: must have exactly one version marked as storage version"#]
    )
    #expect(
      try finding {
        var version = $0.at("spec", "versions")?[0] ?? [:]
        version["subresources"] = [
          "scale": ["specReplicasPath": ".status.x", "statusReplicasPath": ".status.y"]
        ]
        $0.set([version], at: "spec", "versions")
      } == [
        #"spec.subresources.scale.specReplicasPath: Invalid value: ".status.x": should be a json path under .spec"#
      ])
  }

  @Test func `of two that ask for one name the first has it`() {
    var first = CustomResourceDefinition(widgets)
    let isFirstChanged = first.acceptNames(others: [], now: KubeTime(seconds: 0))
    #expect(isFirstChanged)
    #expect(first.isEstablished && first.isTrue("NamesAccepted"))
    let isChangedAgain = first.acceptNames(others: [], now: KubeTime(seconds: 9))
    #expect(!isChangedAgain, "a second look changes nothing")
    var second = CustomResourceDefinition(widgets)
    second.tree.set("gadgets", at: "spec", "names", "plural")
    let accepted = first.tree.at("status", "acceptedNames") ?? [:]
    let isSecondChanged = second.acceptNames(others: [accepted], now: KubeTime(seconds: 0))
    #expect(isSecondChanged)
    #expect(!second.isEstablished && !second.isTrue("NamesAccepted"))
    let condition = second.tree.at("status", "conditions")?[0]
    #expect(condition?["reason"] == "ListKindConflict")
    #expect(condition?["message"] == "\"WidgetList\" is already in use")
  }

  @Test(arguments: [
    (".spec.replicas", "3"), (".spec.list[0].name", "\"a\""), (".spec.list[-1].name", "\"b\""),
    (".spec.list[?(@.name==\"b\")].size", "2"), (".spec.list[?(@.size>1)].name", "\"b\""),
    (".spec['replicas']", "3"), (".metadata.labels.app\\.kubernetes\\.io/name", "\"x\""),
    (".spec.list[*].name", "\"a\""), ("..size", "1"), (".spec.none", "null"), ("{.spec.replicas}", "3"),
  ])
  func `a path finds what kubectl's finds`(path: String, value: String) throws {
    let object: JSON = [
      "metadata": ["labels": ["app.kubernetes.io/name": "x"]],
      "spec": ["replicas": 3, "list": [["name": "a", "size": 1], ["name": "b", "size": 2]]],
    ]
    #expect((try JSONPath(path).values(in: object).first ?? .null) == (try JSON(parsing: value)))
  }

  @Test(arguments: [".spec[", ".spec[?(@.a", ".a[x]", "spec", ".a['b", ".a[1:2:0]", "{.a"])
  func `a broken path is refused`(path: String) {
    #expect(throws: JSONPathError.self) { try JSONPath(path) }
  }

  @Test func `versions are ordered as clients prefer them`() {
    let sorted = ["v1alpha1", "foo", "v2", "v1beta2", "v10", "v1", "v1beta1", "bar"].sorted {
      KubeVersion.isPreferred($0, to: $1)
    }
    #expect(sorted == ["v10", "v2", "v1", "v1beta2", "v1beta1", "v1alpha1", "bar", "foo"])
  }

  @Test func `an object of a definition is applied by the schema's lists`() throws {
    var definition = widgets
    definition.set(
      [
        [
          "name": "v1", "served": true, "storage": true,
          "schema": [
            "openAPIV3Schema": [
              "type": "object",
              "properties": [
                "spec": [
                  "type": "object",
                  "properties": [
                    "ports": [
                      "type": "array", "x-kubernetes-list-type": "map",
                      "x-kubernetes-list-map-keys": ["name"],
                      "items": [
                        "type": "object",
                        "properties": ["name": ["type": "string"], "n": ["type": "integer"]],
                      ],
                    ],
                    "free": ["type": "object", "x-kubernetes-preserve-unknown-fields": true],
                  ],
                ]
              ],
            ]
          ],
        ]
      ], at: "spec", "versions")
    let kind = try #require(CustomResourceDefinition(definition).kinds().first)
    func applied(_ name: String, _ free: String, over live: JSON?) throws -> JSON {
      let intent: JSON = [
        "apiVersion": "example.com/v1", "kind": "Widget", "metadata": ["name": "w"],
        "spec": ["ports": [["name": JSON(name), "n": 1]], "free": [free: ["x": 1]]],
      ]
      return try kind.apply(intent, over: live, manager: name, now: KubeTime(seconds: 0))
    }
    let both = try applied("b", "two", over: try applied("a", "one", over: nil))
    #expect(both.at("spec", "ports")?.elements.count == 2)
    #expect(both.at("spec", "free", "one", "x") == 1 && both.at("spec", "free", "two", "x") == 1)
  }
}
