// The bounded JSON reader: what it reads, what it refuses, and that no bytes trap it.
import StoreLab
import Testing

@testable import CNI

@Test(arguments: [
  (#"{"a":[1,-2,true,null,"x\né"]}"#, #"{"a":[1,-2,true,null,"x\né"]}"#),
  (#" { "a" : { } , "b" : [ ] } "#, #"{"a":{},"b":[]}"#),
  (#"["\ud83d\ude00","\u0041\/"]"#, #"["😀","A/"]"#),
  (#"[9223372036854775807,1.5]"#, #"[9223372036854775807,1.5]"#),
])
func `a document is read and written back`(source: String, written: String) throws {
  #expect(try JSONValue(parsing: Array(source.utf8)).text == written)
}

@Test(arguments: [
  "", "{", "[1,]", "{\"a\"}", "{\"a\":1,}", "tru", "1 2", "\"\\x\"", "\"\\u12\"", "\"a", "-", "[1e]",
  "\"\u{1}\"",
])
func `a malformed document is refused with its position`(source: String) {
  #expect(throws: JSONError.self) { try JSONValue(parsing: Array(source.utf8)) }
}

@Test func `nesting and length are bounded`() {
  #expect(throws: JSONError.self) {
    try JSONValue(parsing: [UInt8](repeating: UInt8(ascii: "["), count: 100_000))
  }
  #expect(throws: JSONError.self) {
    try JSONValue(parsing: [UInt8](repeating: UInt8(ascii: " "), count: JSONValue.bytesMax + 1))
  }
}

@Test func `a key is found whatever its case, its exact spelling first`() throws {
  let json = try JSONValue(parsing: Array(#"{"HostPort":1,"hostPort":2,"IP":"x","gone":null}"#.utf8))
  #expect(json["hostPort"]?.integer == 2)
  #expect(json["HOSTPORT"]?.integer == 2)
  #expect(json["ip"]?.string == "x")
  #expect(json["gone"] == nil)
}

@Test func `random and mutated documents never trap the readers behind them`() throws {
  var random = SeededGenerator(seed: 20_261_121)
  let seed = Array(
    #"{"cniVersion":"1.0.0","name":"n","mtu":1500,"ipam":{"ranges":[[{"subnet":"10.0.0.0/30"}]],"routes":[{"dst":"::/0"}]},"ips":[{"address":"10.0.0.2/24","interface":0}],"interfaces":[{"name":"e"}],"runtimeConfig":{"portMappings":[{"hostPort":8080,"containerPort":80,"protocol":"tcp"}]}}"#
      .utf8)
  for _ in 0..<20_000 {
    var bytes = seed
    for _ in 0..<Int.random(in: 1...6, using: &random) {
      let index = Int.random(in: 0..<bytes.count, using: &random)
      switch Int.random(in: 0...2, using: &random) {
      case 0: bytes[index] = UInt8.random(in: 0...255, using: &random)
      case 1: bytes.remove(at: index)
      default: bytes.insert(bytes[Int.random(in: 0..<bytes.count, using: &random)], at: index)
      }
    }
    guard let json = try? JSONValue(parsing: bytes) else { continue }
    #expect(try JSONValue(parsing: Array(json.text.utf8)) == json)
    if let configuration = try? NetworkConfiguration(json, isStrict: true) {
      #expect(configuration.rangeSets.allSatisfy { !$0.isEmpty })
    }
    _ = try? CNIResult(json, version: "1.0.0")
  }
}
