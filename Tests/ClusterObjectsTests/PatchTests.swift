// Patches. The JSON patch and merge patch tables are the examples of RFC 6902 appendix A and RFC 7386 appendix A; the
// strategic ones are what kubectl sends.
import ClusterObjects
import Testing

private func json(_ text: String) throws -> JSON { try JSON(parsing: text) }

@Test(arguments: [
  (#"{"foo":"bar"}"#, #"[{"op":"add","path":"/baz","value":"qux"}]"#, #"{"foo":"bar","baz":"qux"}"#),
  (
    #"{"foo":["bar","baz"]}"#, #"[{"op":"add","path":"/foo/1","value":"qux"}]"#,
    #"{"foo":["bar","qux","baz"]}"#
  ),
  (#"{"baz":"qux","foo":"bar"}"#, #"[{"op":"remove","path":"/baz"}]"#, #"{"foo":"bar"}"#),
  (#"{"foo":["bar","qux","baz"]}"#, #"[{"op":"remove","path":"/foo/1"}]"#, #"{"foo":["bar","baz"]}"#),
  (
    #"{"baz":"qux","foo":"bar"}"#, #"[{"op":"replace","path":"/baz","value":"boo"}]"#,
    #"{"baz":"boo","foo":"bar"}"#
  ),
  (
    #"{"foo":{"bar":"baz","waldo":"fred"},"qux":{"corge":"grault"}}"#,
    #"[{"op":"move","from":"/foo/waldo","path":"/qux/thud"}]"#,
    #"{"foo":{"bar":"baz"},"qux":{"corge":"grault","thud":"fred"}}"#
  ),
  (
    #"{"foo":["all","grass","cows","eat"]}"#, #"[{"op":"move","from":"/foo/1","path":"/foo/3"}]"#,
    #"{"foo":["all","cows","eat","grass"]}"#
  ),
  (
    #"{"baz":"qux","foo":["a",2,"c"]}"#,
    #"[{"op":"test","path":"/baz","value":"qux"},{"op":"test","path":"/foo/1","value":2.0}]"#,
    #"{"baz":"qux","foo":["a",2,"c"]}"#
  ),
  (
    #"{"foo":"bar"}"#, #"[{"op":"add","path":"/child","value":{"g":{}}}]"#, #"{"foo":"bar","child":{"g":{}}}"#
  ),
  (#"{"foo":["bar"]}"#, #"[{"op":"add","path":"/foo/-","value":["abc"]}]"#, #"{"foo":["bar",["abc"]]}"#),
  (
    #"{"/":9,"~1":10}"#, #"[{"op":"test","path":"/~01","value":10},{"op":"remove","path":"/~1"}]"#,
    #"{"~1":10}"#
  ),
  (#"{"a":{"b":1}}"#, #"[{"op":"copy","from":"/a","path":"/c"}]"#, #"{"a":{"b":1},"c":{"b":1}}"#),
  (#"{"a":1}"#, #"[{"op":"replace","path":"","value":{"b":2}}]"#, #"{"b":2}"#),
  (#"{"a":{"":1}}"#, #"[{"op":"replace","path":"/a/","value":2}]"#, #"{"a":{"":2}}"#),
])
func `a JSON patch does what RFC 6902 says`(document: String, patch: String, expected: String) throws {
  #expect(try json(document).applying(jsonPatch: json(patch)) == json(expected))
}

@Test(arguments: [
  #"[{"op":"test","path":"/a","value":2}]"#, #"[{"op":"remove","path":"/x"}]"#,
  #"[{"op":"add","path":"/x/y","value":1}]"#,
  #"[{"op":"add","path":"/l/7","value":1}]"#, #"[{"op":"add","path":"/l/01","value":1}]"#,
  #"[{"op":"replace","path":"/x","value":1}]"#, #"[{"op":"add","path":"/b"}]"#,
  #"[{"op":"jump","path":"/a"}]"#,
  #"[{"path":"/a"}]"#, #"{}"#, #"[{"op":"move","from":"/o","path":"/o/p"}]"#,
  #"[{"op":"remove","path":"a"}]"#,
  #"[{"op":"remove","path":"/l/-"}]"#, #"[{"op":"remove","path":""}]"#,
  #"[{"op":"remove","path":"/l/99999999999999999999"}]"#,
])
func `a JSON patch that cannot be applied is refused`(patch: String) throws {
  let document = try json(#"{"a":1,"l":[1,2],"o":{}}"#)
  #expect(throws: PatchError.self) { try document.applying(jsonPatch: json(patch)) }
}

@Test func `a short JSON patch cannot make a large object`() throws {
  let doubling: [JSON] = (0..<40).map { _ in ["op": "copy", "from": "/a", "path": "/a/-"] }
  #expect(throws: PatchError.self) { try json(#"{"a":[1]}"#).applying(jsonPatch: .array(doubling)) }
}

@Test(arguments: [
  (#"{"a":"b"}"#, #"{"a":"c"}"#, #"{"a":"c"}"#), (#"{"a":"b"}"#, #"{"b":"c"}"#, #"{"a":"b","b":"c"}"#),
  (#"{"a":"b"}"#, #"{"a":null}"#, #"{}"#), (#"{"a":["b"]}"#, #"{"a":"c"}"#, #"{"a":"c"}"#),
  (#"{"a":{"b":"c"}}"#, #"{"a":{"b":"d","c":null}}"#, #"{"a":{"b":"d"}}"#), (#"["a"]"#, #"["c"]"#, #"["c"]"#),
  (#"{"e":null}"#, #"{"a":1}"#, #"{"e":null,"a":1}"#), (#"[1,2]"#, #"{"a":"b","c":null}"#, #"{"a":"b"}"#),
  (#"{}"#, #"{"a":{"bb":{"ccc":null}}}"#, #"{"a":{"bb":{}}}"#), (#"{"a":"foo"}"#, "null", "null"),
])
func `a merge patch does what RFC 7386 says`(document: String, patch: String, expected: String) throws {
  #expect(try json(document).applying(mergePatch: json(patch)) == json(expected))
}

private let deployments = KindRegistry.builtin[GroupVersionResource.deployments]!
private let services = KindRegistry.builtin[GroupVersionResource("", "v1", "services")]!
private let pods = KindRegistry.builtin[GroupVersionResource.pods]!

@Test(arguments: [
  // set image
  (
    #"{"spec":{"containers":[{"name":"a","image":"a:1","env":[{"name":"X","value":"1"}]},{"name":"b","image":"b:1"}]}}"#,
    #"{"spec":{"$setElementOrder/containers":[{"name":"a"}],"containers":[{"name":"a","image":"a:2"}]}}"#,
    #"{"spec":{"containers":[{"name":"a","image":"a:2","env":[{"name":"X","value":"1"}]},{"name":"b","image":"b:1"}]}}"#
  ),
  // An element is deleted, another added, the rest ordered.
  (
    #"{"spec":{"containers":[{"name":"a","image":"1"},{"name":"b","image":"2"}]}}"#,
    #"{"spec":{"$setElementOrder/containers":[{"name":"c"},{"name":"b"}],"containers":[{"name":"c","image":"3"},{"name":"a","$patch":"delete"}]}}"#,
    #"{"spec":{"containers":[{"name":"c","image":"3"},{"name":"b","image":"2"}]}}"#
  ),
  // Only one source of a volume stays.
  (
    #"{"spec":{"volumes":[{"name":"v","emptyDir":{}}]}}"#,
    #"{"spec":{"volumes":[{"name":"v","$retainKeys":["name","hostPath"],"hostPath":{"path":"/x"}}]}}"#,
    #"{"spec":{"volumes":[{"name":"v","hostPath":{"path":"/x"}}]}}"#
  ),
  // Lists of scalars are united or replaced as the schema says.
  (
    #"{"metadata":{"finalizers":["a","b"]}}"#, #"{"metadata":{"finalizers":["c"]}}"#,
    #"{"metadata":{"finalizers":["c","a","b"]}}"#
  ),
  // Without an order the patch's is it: what is new comes first, what was there keeps its place.
  (
    #"{"spec":{"containers":[{"name":"a","image":"1"},{"name":"b","image":"2"}]}}"#,
    #"{"spec":{"containers":[{"name":"b","image":"3"},{"name":"c","image":"4"}]}}"#,
    #"{"spec":{"containers":[{"name":"a","image":"1"},{"name":"b","image":"3"},{"name":"c","image":"4"}]}}"#
  ),
  (
    #"{"spec":{"containers":[{"name":"a","image":"1"}]}}"#,
    #"{"spec":{"containers":[{"name":"c","image":"4"}]}}"#,
    #"{"spec":{"containers":[{"name":"c","image":"4"},{"name":"a","image":"1"}]}}"#
  ),
  // Deletions come before all else, wherever they stand.
  (
    #"{"spec":{"containers":[{"name":"a","image":"1"},{"name":"b"}]}}"#,
    #"{"spec":{"containers":[{"name":"a","image":"2"},{"name":"a","$patch":"delete"}]}}"#,
    #"{"spec":{"containers":[{"name":"a","image":"2"},{"name":"b"}]}}"#
  ),
  (
    #"{"metadata":{"finalizers":["a","b"]}}"#, #"{"metadata":{"$deleteFromPrimitiveList/finalizers":["a"]}}"#,
    #"{"metadata":{"finalizers":["b"]}}"#
  ),
  (
    #"{"spec":{"tolerations":[{"key":"a"}]}}"#, #"{"spec":{"tolerations":[{"key":"b"}]}}"#,
    #"{"spec":{"tolerations":[{"key":"b"}]}}"#
  ),
  (
    #"{"metadata":{"labels":{"a":"1","b":"2"}}}"#, #"{"metadata":{"labels":{"a":null,"c":"3"}}}"#,
    #"{"metadata":{"labels":{"b":"2","c":"3"}}}"#
  ),
  (
    #"{"metadata":{"labels":{"a":"1"}}}"#, #"{"metadata":{"labels":{"$patch":"replace","b":"2"}}}"#,
    #"{"metadata":{"labels":{"b":"2"}}}"#
  ),
  (
    #"{"spec":{"containers":[{"name":"a"}]}}"#,
    #"{"spec":{"containers":[{"$patch":"replace"},{"name":"z"}]}}"#,
    #"{"spec":{"containers":[{"name":"z"}]}}"#
  ),
])
func `a strategic merge patch merges by the keys of the schema`(
  object: String, patch: String, expected: String
) throws {
  let merged = try pods.schema.applying(strategicMergePatch: json(patch), to: json(object))
  #expect(merged == (try json(expected)))
}

@Test func `two ports of one number both stay, whatever is done to a third`() throws {
  let object = #"{"spec":{"ports":[{"port":53,"protocol":"UDP"},{"port":53,"protocol":"TCP"},{"port":80}]}}"#
  let patch =
    #"{"spec":{"$setElementOrder/ports":[{"port":53},{"port":53},{"port":80}],"ports":[{"port":80,"name":"web"}]}}"#
  let merged = try services.schema.applying(strategicMergePatch: json(patch), to: json(object))
  #expect(
    merged
      == (try json(
        #"{"spec":{"ports":[{"port":53,"protocol":"UDP"},{"port":53,"protocol":"TCP"},{"port":80,"name":"web"}]}}"#
      )))
}

@Test func `a rolling update strategy is replaced when another type is set`() throws {
  let object = try json(#"{"spec":{"strategy":{"type":"RollingUpdate","rollingUpdate":{"maxSurge":1}}}}"#)
  let patch = try json(#"{"spec":{"strategy":{"$retainKeys":["type"],"type":"Recreate"}}}"#)
  let merged = try deployments.schema.applying(strategicMergePatch: patch, to: object)
  #expect(merged.at("spec", "strategy") == ["type": "Recreate"])
}

@Test(arguments: [
  #"{"spec":{"containers":[{"image":"x"}]}}"#, #"{"spec":{"$patch":"explode"}}"#, "[]",
  #"{"spec":{"$retainKeys":["a"],"b":1}}"#, #"{"spec":{"containers":["x"]}}"#,
])
func `a damaged strategic merge patch is refused`(patch: String) throws {
  #expect(throws: PatchError.self) {
    try pods.schema.applying(strategicMergePatch: json(patch), to: json(#"{"spec":{"containers":[]}}"#))
  }
}

@Test func `random patches never trap`() throws {
  var generator = Seeded(state: 7)
  let words = [
    "spec", "containers", "name", "$patch", "delete", "replace", "$retainKeys", "env", "a", "volumes",
  ]
  func tree(_ depth: Int) -> JSON {
    switch Int.random(in: 0..<(depth > 5 ? 3 : 6), using: &generator) {
    case 0: .string(words.randomElement(using: &generator)!)
    case 1: .null
    case 2: 1
    case 3: .array((0..<Int.random(in: 0...3, using: &generator)).map { _ in tree(depth + 1) })
    default:
      .object(
        JSONObject(
          (0..<Int.random(in: 0...4, using: &generator)).map { _ in
            let prefix = ["", "", "$setElementOrder/", "$deleteFromPrimitiveList/"].randomElement(
              using: &generator)!
            return (prefix + words.randomElement(using: &generator)!, tree(depth + 1))
          }))
    }
  }
  for _ in 0..<3000 {
    let (object, patch) = (tree(0), tree(0))
    _ = object.applying(mergePatch: patch)
    _ = try? pods.schema.applying(strategicMergePatch: patch, to: object)
    _ = try? object.applying(jsonPatch: patch)
  }
}

/// A small generator whose seed can be told again.
struct Seeded: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state = state &+ 0x9e37_79b9_7f4a_7c15
    var mixed = (state ^ (state >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }
}
