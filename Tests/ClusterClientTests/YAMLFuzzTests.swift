// YAML from strangers: nothing traps, aliases cost what they stand for, and JSON stays what it was.

import ClusterClient
import ClusterObjects
import FuzzLab
import Testing

@Suite(.timeLimit(.minutes(5))) struct YAMLFuzzTests {
  private let corpus = [
    "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  labels: {x: 'y', \"z\": \"\\u00e9\"}\ndata:\n  k: |\n    a\n     b\n  l: >-\n    folded\n    text\n",
    "- a\n- - b\n  - {c: [d, e], f: ~}\n- !!str 10\n- !!binary aGk=\n- 0x1f\n- .5\n- 2026-11-21\n",
    "x: &a {k: 1}\ny: *a\nz:\n  <<: [*a, {m: 2}]\n? complex\n: value\n",
    "%YAML 1.1\n%TAG ! tag:x,2000:\n---\n!foo a\n...\n---\nb: c # comment\n",
    "a: \"\\x41\\U0001F600\\ \\\n  b\"\n",
  ]
  private let words = [
    "&a ", "*a", "? ", ": ", "- ", "<<: ", "---\n", "...\n", "|", ">", "{", "}", "[", "]", "'", "\"", "\t",
    "\n  ", "!!map ",
    "!<x> ", "%", "\u{feff}", "\u{85}", "\u{2028}", "#", "@", "`", "\u{0}", "\\U00110000",
  ]

  @Test func `mutants of documents are read or refused`() {
    for bytes in mutants(of: .init(texts: corpus), words: words, count: 15_000, seed: 11) {
      guard let documents = try? YAML.parseAll(String(decoding: bytes, as: UTF8.self)) else { continue }
      for document in documents { #expect((try? JSON(parsing: document.value.bytes)) == document.value) }
    }
  }

  @Test func `JSON read as YAML is the same tree`() throws {
    let text = #"{"a":[1,-2,1.5,true,null,"x\ty\u00e9",{"b":{}},[]],"on":"on","n":"10"}"#
    #expect(try YAML.parse(text) == JSON(parsing: text))
  }

  @Test(arguments: ["", "? ", "- "])
  func `a billion laughs are refused before they are laughed`(prefix: String) {
    var text = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]\n"
    for level in 1..<12 {
      let alias = "*a\(level - 1)"
      let list = Array(repeating: alias, count: 10).joined(separator: ", ")
      text +=
        prefix == "" ? "a\(level): &a\(level) [\(list)]\n" : "b\(level):\n  \(prefix)&a\(level) [\(list)]\n"
    }
    let error = #expect(throws: YAMLError.self) { try YAML.parse(text) }
    #expect(
      ["document contains excessive aliasing", "a field's name must be a plain value"].contains(
        error?.reason ?? ""))
  }

  @Test func `aliases of one long text count by its length`() {
    let text =
      "a: &a " + String(repeating: "x", count: 1 << 20) + "\nb: [" + String(repeating: "*a, ", count: 1000)
      + "]\n"
    let error = #expect(throws: YAMLError.self) { try YAML.parse(text) }
    #expect(error?.reason == "document contains excessive aliasing")
  }

  @Test(arguments: ["[", "{a: ", "- ", "? "])
  func `depth ends at JSON's limit`(open: String) {
    let error = #expect(throws: YAMLError.self) { try YAML.parse(String(repeating: open, count: 100_000)) }
    #expect(
      error?.isTooDeep == true || error?.reason.contains("plain") == true || error?.line == 1,
      "\(error as Any)")
  }

  @Test func `an anchor within itself is unknown there`() {
    #expect(throws: YAMLError.self) { try YAML.parse("a: &a [*a]") }
  }

  @Test func `a tag that says text keeps a number as text`() throws {
    #expect(try YAML.parse("a: !!str 10") == ["a": "10"])
  }
}
