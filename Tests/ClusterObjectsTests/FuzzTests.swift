// Strangers' bytes: every parser of this target meets mutants of a corpus. Nothing traps, and what is accepted can be
// printed and read again as the same.

import ClusterObjects
import FuzzLab
import Testing

private let deployments = KindRegistry.builtin[GroupVersionResource.deployments]!

private let objects = [
  #"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web","labels":{"a":"b"},"annotations":{"k":"\u00e9\ud83d\ude00"}},"spec":{"replicas":2,"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i:1","ports":[{"containerPort":80,"protocol":"TCP"}],"resources":{"limits":{"cpu":"1500m","memory":"64Mi"}},"livenessProbe":{"httpGet":{"port":"http"}}}],"tolerations":[{"key":"x","operator":"Exists"}]}},"strategy":{"rollingUpdate":{"maxSurge":"25%"}}}}"#,
  #"{"metadata":{"finalizers":["a/b"],"creationTimestamp":"2026-11-21T05:00:00Z","generation":-9223372036854775808},"spec":{"x":[[],{},"",null,true,1e308,-0.0]}}"#,
  #"[1,{"a":{"b":[{"c":"\\\"\/\b\f\n\r\t"}]}}]"#,
]
private let words = [
  "null", "{", "}", "[", "]", "\"", "\\u", "\\ud800", "-", "1e999", "9223372036854775808", ":", ",", "\u{0}",
  "$patch",
  "99999999999999999999", "true",
]

@Suite(.timeLimit(.minutes(5))) struct FuzzTests {
  @Test func `JSON that is accepted prints to JSON that reads back the same`() {
    for bytes in mutants(of: .init(texts: objects), words: words, count: 12_000, seed: 1) {
      guard let tree = try? JSON(parsing: bytes) else { continue }
      let again = try? JSON(parsing: tree.bytes)
      #expect(again == tree, "\(String(decoding: bytes, as: UTF8.self))")
    }
  }

  @Test func `a tape reads what the parser reads, and says the same of every field`() {
    var tape = JSONTape()
    var (read, refused) = (0, 0)
    for bytes in mutants(of: .init(texts: objects), words: words, count: 12_000, seed: 7) {
      let tree = try? JSON(parsing: bytes)
      let isSame = bytes.withUnsafeBufferPointer { buffer in
        tape.read(buffer) { value, count in
          let rest = bytes[count...].allSatisfy { [0x20, 0x0a, 0x0d, 0x09].contains($0) }
          // Something may stand behind the value: then the parser reads the value alone.
          guard let whole = rest ? tree : try? JSON(parsing: Array(bytes[..<count])) else { return false }
          return says(value, whole)
        }
      }
      switch isSame {
      case true?: read += 1
      case false?: Issue.record("\(String(decoding: bytes, as: UTF8.self))")
      // Blanks in front, and names with escapes, are left to the parser.
      case nil:
        refused += 1
        let isOdd = bytes.contains(UInt8(ascii: "\\")) || bytes.first.map { $0 <= 0x20 } ?? true
        #expect(tree == nil || isOdd, "\(String(decoding: bytes, as: UTF8.self))")
      }
    }
    #expect(read > 1000 && refused > 1000, "\(read) \(refused)")
  }

  @Test func `a tape has bounds: depth, and how many marks there are`() {
    var tape = JSONTape()
    func isRead(_ text: String) -> Bool {
      Array(text.utf8).withUnsafeBufferPointer { tape.read($0) { _, _ in true } } ?? false
    }
    func nested(_ levels: Int) -> String {
      String(repeating: "[", count: levels) + "1" + String(repeating: "]", count: levels)
    }
    #expect(isRead(nested(JSON.depthMax - 1)) && !isRead(nested(JSON.depthMax)))
    #expect(!isRead("[" + String(repeating: "1,", count: 1_000_000) + "1]"))
    #expect(isRead("[" + String(repeating: "1,", count: 60_000) + "1]"))
    #expect(!isRead(#"{"a\u0062":1}"#), "names with escapes are not looked up")
    #expect(!isRead("") && !isRead("{\"a\":1") && !isRead("{\"a\":1,}"))
  }

  @Test func `a bomb of brackets is refused at the limit, whatever it is made of`() {
    for (open, close) in [("[", "]"), (#"{"a":"#, "}"), (#"[{"a":"#, "}]")] {
      for levels in [1_000, 200_000] {
        let bomb = String(repeating: open, count: levels) + "1" + String(repeating: close, count: levels)
        let error = #expect(throws: JSONError.self) { try JSON(parsing: bomb) }
        #expect(error?.isTooDeep == true)
      }
    }
  }

  @Test func `objects of any shape are decoded, defaulted, validated and tracked, or refused`() {
    let now = KubeTime("2026-11-21T05:00:00Z")!
    let kinds = KindRegistry.builtin.kinds
    var numbers = SeededNumbers(2)
    for bytes in mutants(of: .init(texts: objects), words: words, count: 4_000, seed: 2) {
      guard let kind = kinds.randomElement(using: &numbers) else { return }
      for one in [deployments, kind] {
        guard let decoded = try? one.schema.decode(json: bytes, as: one.gvk, validation: .warn) else {
          continue
        }
        var object = decoded.object
        one.applyDefaults(&object)
        one.prepareForCreate(&object)
        _ = one.validateCreate(object)
        one.trackUpdate(&object, old: nil, manager: "m", now: now)
        #expect((try? JSON(parsing: object.bytes)) == object)
      }
    }
  }

  @Test func `protobuf of any shape is an object or an error`() throws {
    func field(_ number: UInt8, _ content: [UInt8]) -> [UInt8] {
      [number << 3 | 2, UInt8(content.count & 0x7f | 0x80), UInt8(content.count >> 7)] + content
    }
    func envelope(_ version: String, _ kind: String, _ raw: [UInt8]) -> [UInt8] {
      [0x6b, 0x38, 0x73, 0] + field(1, field(1, Array(version.utf8)) + field(2, Array(kind.utf8)))
        + field(2, raw)
        + field(3, []) + field(4, [])
    }
    let metadata = field(1, field(1, Array("web".utf8)) + field(3, Array("demo".utf8)) + [0x38, 1])
    let container = field(1, Array("c".utf8)) + field(2, Array("i:1".utf8)) + field(6, [0x18, 0x90, 0x3f])
    let template = field(3, metadata + field(2, field(2, container) + [0x20, 30]))
    let corpus = [
      envelope("apps/v1", "Deployment", metadata + field(2, [0x08, 2] + template)),
      envelope("v1", "Pod", metadata + field(2, field(2, container))),
      envelope("v1", "Secret", metadata + field(2, field(1, Array("k".utf8)) + field(2, [0, 255]))),
      envelope("v1", "DeleteOptions", [0x08, 0] + field(4, Array("Background".utf8))),
    ]
    #expect(corpus.allSatisfy { (try? ProtobufEnvelope($0)) != nil })
    for bytes in mutants(of: corpus, words: ["\u{80}", "k8s\u{0}"], count: 12_000, seed: 3) {
      guard let envelope = try? ProtobufEnvelope(bytes) else { continue }
      for gvk in [envelope.gvk, deployments.gvk] {
        guard let schema = KindRegistry.builtin.bodySchema(gvk) else { continue }
        guard let object = try? schema.decode(protobuf: envelope).object else { continue }
        #expect((try? JSON(parsing: object.bytes)) == object)
      }
    }
  }

  @Test func `selectors that are accepted print to selectors that mean the same`() {
    let labels = [
      "a=b,c!=d,e in (f,g),h,!i,n>3,m<9", "x notin (a,b), app.kubernetes.io/name==web", "in in (in)",
      "a in (),b=", "",
      "!x", "a=b=c", "a in (x", "((", "k>99999999999999999999",
    ]
    let grammar = [" in ", " notin ", "(", ")", ",", "=", "!=", "==", "!", ">", "<", "\u{301}", "\\"]
    for bytes in mutants(of: .init(texts: labels), words: grammar, count: 12_000, seed: 4) {
      guard let selector = try? LabelSelector(parsing: String(decoding: bytes, as: UTF8.self)) else {
        continue
      }
      _ = selector.matches(["a": "b", "n": "4", "x": ""])
      let again = try? LabelSelector(parsing: selector.description)
      #expect(again == selector, "\(selector.description)")
    }
    let fields = [
      "metadata.name=a,spec.nodeName!=b", #"metadata.name=a\,b\=c\\"#, "status.phase==Running", "", "=",
      "!=x", ",,",
    ]
    for bytes in mutants(of: .init(texts: fields), words: grammar, count: 12_000, seed: 5) {
      let text = String(decoding: bytes, as: UTF8.self)
      guard let selector = try? FieldSelector(parsing: text) else { continue }
      _ = try? deployments.fieldSelector(parsing: text)
      #expect(selector.terms.allSatisfy { !$0.field.isEmpty }, "\(text)")
    }
  }

  @Test func `patches of every sort end in an object or an error`() throws {
    let object = try deployments.schema.decode(json: Array(objects[0].utf8), as: deployments.gvk).object
    let now = KubeTime("2026-11-21T05:00:00Z")!
    let corpus = [
      #"[{"op":"add","path":"/spec/template/spec/containers/-","value":{"name":"d"}},{"op":"test","path":"/spec/replicas","value":2},{"op":"move","from":"/metadata/labels","path":"/metadata/annotations"},{"op":"copy","from":"","path":"/spec/x"},{"op":"remove","path":"/spec/strategy"},{"op":"replace","path":"/metadata/annotations/k~1~0","value":[]}]"#,
      #"{"spec":{"template":{"spec":{"containers":[{"name":"c","image":"j"},{"$patch":"delete","name":"d"}],"$setElementOrder/containers":[{"name":"c"},{"name":"d"}],"$retainKeys":["containers"]}},"strategy":{"$patch":"replace","type":"Recreate"}},"metadata":{"$deleteFromPrimitiveList/finalizers":["a/b"]}}"#,
      objects[0], #"{"metadata":null,"spec":[],"$patch":"merge"}"#,
    ]
    let grammar =
      words + ["$retainKeys", "$setElementOrder/", "$deleteFromPrimitiveList/", "~0", "~", "/-", "/0", "/-1"]
    for bytes in mutants(of: .init(texts: corpus), words: grammar, count: 8_000, seed: 6) {
      guard let patch = try? JSON(parsing: bytes) else { continue }
      let results = [
        try? object.applying(jsonPatch: patch), object.applying(mergePatch: patch),
        try? deployments.schema.applying(strategicMergePatch: patch, to: object),
        try? deployments.apply(patch, over: object, manager: "m", force: true, now: now),
        try? deployments.apply(patch, over: nil, manager: "m", now: now),
      ]
      for result in results.compactMap(\.self) { #expect((try? JSON(parsing: result.bytes)) == result) }
    }
  }

  @Test func `a patch cannot nest an object deeper than a body may be`() {
    let doubling = JSON.array(
      (0..<20).map { step in
        ["op": "copy", "from": "", "path": JSON(String(repeating: "/a", count: min(1 << step, 200)))]
      })
    let error = #expect(throws: PatchError.self) { try (["a": 1] as JSON).applying(jsonPatch: doubling) }
    #expect(error?.isUnprocessable == true)
    var deep: JSON = 1
    for _ in 0..<250 { deep = ["a": deep] }
    let stacked = JSON.array(
      (0..<4).map {
        ["op": "add", "path": JSON(String(repeating: "/a", count: 1 + $0 * 250)), "value": deep]
      })
    #expect(throws: PatchError.self) { try ([:] as JSON).applying(jsonPatch: stacked) }
  }

  @Test func `definitions of any shape are judged, and what they stand for is published`() throws {
    let definition =
      #"{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"as.x.io"},"spec":{"group":"x.io","scope":"Namespaced","names":{"plural":"as","singular":"a","kind":"A","listKind":"AList","shortNames":["q"]},"versions":[{"name":"v1","served":true,"storage":true,"subresources":{"status":{},"scale":{"specReplicasPath":".spec.n","statusReplicasPath":".status.n"}},"additionalPrinterColumns":[{"name":"N","type":"integer","jsonPath":".spec.n"}],"selectableFields":[{"jsonPath":".spec.c"}],"schema":{"openAPIV3Schema":{"type":"object","properties":{"spec":{"type":"object","required":["n"],"properties":{"n":{"type":"integer","minimum":1,"maximum":10,"default":3},"c":{"type":"string","pattern":"^[a-z]+(-[0-9]{1,3})?$","enum":["a","b"]},"l":{"type":"array","x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["k"],"items":{"type":"object","required":["k"],"properties":{"k":{"type":"string"}}}},"m":{"type":"object","additionalProperties":{"x-kubernetes-int-or-string":true}},"q":{"type":"object","oneOf":[{"required":["a"]}],"not":{"required":["z"]},"nullable":true,"x-kubernetes-preserve-unknown-fields":true}}}}}}}]}}"#
    let kind = try #require(KindRegistry.builtin[CustomResourceDefinition.gvk])
    let grammar =
      words + [
        "\"type\"", "object", "array", "(", "{1,99999999}", "(a*)*", "[[:alpha:]]", "\\\\p{L}", "\"items\":",
        "..", "[*]",
        "[?(@.a==1)]", "\"default\":{},", "\"pattern\":\"(\",",
      ]
    let sample: JSON = [
      "apiVersion": "x.io/v1", "kind": "A", "metadata": ["name": "a"],
      "spec": ["n": 3, "c": "a", "l": [["k": "x"]]],
    ]
    var served = 0
    var base = try kind.schema.decode(json: Array(definition.utf8), as: kind.gvk).object
    kind.applyDefaults(&base)
    #expect(kind.validateCreate(base) == [])
    for bytes in mutants(of: .init(texts: [definition]), words: grammar, count: 5_000, seed: 7) {
      guard var object = try? kind.schema.decode(json: bytes, as: kind.gvk).object else { continue }
      kind.applyDefaults(&object)
      kind.prepareForCreate(&object)
      let errors = kind.validateCreate(object)
      guard errors.isEmpty else { continue }
      let made = CustomResourceDefinition(object)
      for kind in made.kinds() {
        guard var custom = try? kind.schema.decode(tree: sample, as: kind.gvk).object else { continue }
        served += 1
        kind.applyDefaults(&custom)
        _ = kind.validateCreate(custom)
      }
    }
    #expect(served > 100, "mutants that are still definitions: \(served)")
  }

  @Test func `values in text are read as themselves or not at all`() {
    let corpus = [
      "1.5Gi", "100m", "-3e10", "+.5", "12345678901234567890Ei", "2026-11-21T05:00:00.000001Z",
      "2026-02-30T24:00:60+14:00",
      "aGVsbG8=", ".spec.a[0]['b'].c", "..x[?(@.y==\"z\")]", "^(a|b)*c{2,3}[^d-f]\\d$",
    ]
    for bytes in mutants(
      of: .init(texts: corpus), words: ["e", "E", "Ki", "n", "9999999999", "(", "[", "{", "|", "*"],
      count: 20_000, seed: 8)
    {
      let text = String(decoding: bytes, as: UTF8.self)
      if let quantity = Quantity(text) { #expect(Quantity(quantity.description) == quantity, "\(text)") }
      if let time = KubeTime(text) { _ = time.text }
      _ = Base64.decode(text)
      _ = try? JSONPath(text)
      _ = try? Pattern(text)
    }
  }
}

/// Whether a value on a tape is the tree's.
private func says(_ value: TapeValue, _ tree: JSON) -> Bool {
  switch tree {
  case .null: return value.isNull
  case .bool(let bool): return value.bool == bool
  case .integer(let number): return value.integer == number || String(number).utf8.count > 18
  case .number: return value.integer == nil && value.string == nil && !value.isObject && !value.isArray
  case .string(let text): return value.string == text || text.isEmpty == false && value.string == nil
  case .array(let elements):
    var at = 0
    var isSame = value.isArray && value.count == elements.count && value.isEmpty == elements.isEmpty
    value.forEach { element in
      isSame = isSame && at < elements.count && says(element, elements[at])
      at += 1
    }
    return isSame && value.tree == tree
  case .object(let object):
    // Of two fields with one name the last counts.
    var fields: [String: TapeValue] = [:]
    value.forEachField { fields[$0] = $1 }
    return value.isObject && fields.count == object.count && value.tree == tree
      && object.allSatisfy { key, field in fields[key].map { says($0, field) } ?? false }
  }
}
