// The tree: bytes in, the same bytes out; what is malformed is refused and never traps.
import ClusterObjects
import Testing

@Test(arguments: [
  #"{"a":1,"b":[true,false,null],"c":{"d":"x"},"e":-9223372036854775808,"f":1.10,"g":1e400}"#,
  #""quote \" slash \\ tab \t unit \u0001""#, "[]", "{}", "0", "[[[]]]", #"{"":""}"#,
])
func `bytes survive the tree`(text: String) throws {
  #expect(try JSON(parsing: text).text == text)
}

@Test(arguments: [
  "", "{", "}", "[1,]", "{\"a\":1,}", "{a:1}", "01", "1.", "-", "+1", "tru", "\"", "\"\\x\"", "\"\u{01}\"",
  "1 2", "{\"a\"}",
  "\"\\u12\"", "nul", "[1 2]", ".5", "1e", "--1",
])
func `malformed bytes are refused`(text: String) {
  #expect(throws: JSONError.self) { try JSON(parsing: text) }
}

@Test func `nesting has a bound`() throws {
  #expect(throws: JSONError.self) { try JSON(parsing: String(repeating: "[", count: 100_000)) }
  let deepest = JSON.depthMax
  let text = String(repeating: "[", count: deepest) + String(repeating: "]", count: deepest)
  _ = try JSON(parsing: text)
}

@Test func `duplicates are reported with their path and the last one wins`() throws {
  var seen: [String] = []
  let tree = try JSON(parsing: Array(#"{"spec":{"a":1,"a":2},"l":[{"x":1,"x":3}]}"#.utf8)) { seen.append($0) }
  #expect(seen == ["spec.a", "l[0].x"])
  #expect(tree.at("spec", "a") == 2)
}

@Test func `surrogates are joined and lone ones replaced`() throws {
  #expect(try JSON(parsing: #""\ud83d\ude00""#) == .string("😀"))
  #expect(try JSON(parsing: #""\ud83dx""#) == .string("\u{fffd}x"))
  #expect(try JSON(parsing: #""\ud83d\u0041""#) == .string("\u{fffd}A"))
}

@Test func `equality does not depend on the order of fields`() throws {
  let a = try JSON(parsing: #"{"a":1,"b":{"c":2,"d":3}}"#)
  let b = try JSON(parsing: #"{"b":{"d":3,"c":2},"a":1}"#)
  #expect(a == b && a.hashValue == b.hashValue)
}

@Test func `large objects keep order and find their fields`() throws {
  var tree: JSON = [:]
  for index in 0..<1000 { tree["k\(index)"] = JSON(index) }
  for index in stride(from: 0, to: 1000, by: 2) { tree["k\(index)"] = nil }
  #expect(tree.object?.count == 500 && tree["k501"] == 501 && tree["k500"] == nil)
  #expect(tree.object?.keys.prefix(2) == ["k1", "k3"])
}

@Test func `paths are set and removed`() {
  var tree: JSON = ["metadata": ["name": "a"]]
  tree.set("b", at: "metadata", "labels", "x")
  #expect(tree.at("metadata", "labels", "x") == "b")
  tree.set(nil, at: "metadata", "labels", "x")
  #expect(tree.at("metadata", "labels", "x") == nil)
  tree.set(nil, at: "status", "phase")
  #expect(tree["status"] == nil || tree["status"] == [:])
}

@Test func `random bytes never trap the parser`() {
  var state: UInt64 = 0x9e37_79b9_7f4a_7c15
  let alphabet = Array("{}[]\",:\\u0123456789eE+-.truefalsn \u{7f}\u{00}é".utf8)
  for _ in 0..<20_000 {
    var bytes: [UInt8] = []
    for _ in 0..<Int(state >> 58) {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      bytes.append(alphabet[Int(state >> 33) % alphabet.count])
    }
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    if let tree = try? JSON(parsing: bytes) { #expect((try? JSON(parsing: tree.bytes)) == tree) }
  }
}
