// Regular expressions of strangers: RE2's answers, and time that stays in proportion whatever is asked.

import ClusterObjects
import Testing

@Suite struct PatternTests {
  @Test(arguments: [
    ("^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "web-1", true), ("^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "-web", false),
    ("a|b", "xbx", true), ("^(a|b)$", "xbx", false), ("^a{2,3}$", "aa", true), ("^a{2,3}$", "aaaa", false),
    ("^a{2}$", "aaa", false), ("^a{2,}$", "aaaaa", true), ("a{,2}", "a{,2}", true),
    ("^\\d+\\.\\d+$", "1.37", true), ("^\\d+\\.\\d+$", "1x37", false), ("^[^/]+$", "a/b", false),
    ("(?i)^abc$", "aBC", true), ("^abc$", "aBC", false), ("(?s)a.b", "a\nb", true), ("a.b", "a\nb", false),
    ("(?m)^b$", "a\nb", true), ("^b$", "a\nb", false), ("\\bfoo\\b", "a foo b", true),
    ("\\bfoo\\b", "afoob", false), ("^[[:alpha:]_]+$", "ab_C", true), ("^[[:alpha:]]+$", "ab1", false),
    ("^\\p{Lu}\\p{L}*$", "Ünder", true), ("^\\P{Lu}+$", "aB", false), ("^(?P<x>a)(?:b)$", "ab", true),
    ("^[\\w.-]+@[\\w.-]+$", "a.b@c-d", true), ("^$", "", true), ("", "x", true), ("^(|a)+$", "aaa", true),
    ("^\\Qa.b\\E$", "a.b", true), ("^\\Qa.b\\E$", "axb", false), ("^\\x41\\x{42}$", "AB", true),
    ("^[]a]+$", "a]", true), ("^[a\\]]+$", "]a", true), ("^[^\\d\\s]+$", "ab", true),
    ("^.{1,3}$", "äöü", true),
    ("^(https?|ftp)://[^\\s/$.?#].[^\\s]*$", "https://example.com/x", true), ("[a-]", "-", true),
    ("^((25[0-5]|2[0-4]\\d|1?\\d?\\d)(\\.|$)){4}$", "192.168.0.1", true),
  ])
  func `an expression matches what RE2 matches`(pattern: String, text: String, expected: Bool) throws {
    #expect(try Pattern(pattern).matches(text) == expected)
  }

  @Test(arguments: [
    "(", ")", "[a", "a**", "*a", "a{3,2}", "a{1001}", "\\", "(?=a)", "(?<!a)b", "\\1", "[z-a]", "\\pX",
  ])
  func `what is no RE2 expression is refused`(pattern: String) {
    #expect(throws: PatternError.self) { try Pattern(pattern) }
  }

  @Test(arguments: [
    "(a+)+$", "(a*)*b", "(a|a)*b", "(a|aa)+$", "^(([a-z])+.)+[A-Z]([a-z])+$", "(x+x+)+y", "(.*)*(.*)*$b",
  ])
  func `an evil expression costs time in proportion to the text`(pattern: String) throws {
    let text = String(repeating: "a", count: 2_000) + "!"
    let start = ContinuousClock.now
    _ = try Pattern(pattern).matches(text)
    #expect(ContinuousClock.now - start < .seconds(5))
  }

  @Test func `counts within counts are refused or small`() {
    for text in ["((((a{1000}){1000}){1000}){1000})", "(((()" + "{1000}){1000}){1000})", "(a{1000}){1000}"] {
      if let pattern = try? Pattern(text) { #expect(pattern.matches("a") != nil) }
    }
    #expect(throws: PatternError.self) { try Pattern(String(repeating: "(", count: 100_000)) }
  }

  @Test func `a match that would take too long is given up`() throws {
    let pattern = try Pattern("^(" + String(repeating: "a?", count: 4_000) + ")*$")
    #expect(pattern.matches(String(repeating: "a", count: 100_000) + "b") == nil)
  }

  @Test func `random expressions neither trap nor hang`() {
    var random = Random(seed: 20_261_121)
    let corpus = [
      "^[a-z]+(\\.[a-z]{2,5})*$", "(?i:x|y)?\\p{L}[^\\d]", "a{1,3}b*?|c+$", "[[:digit:]-z]\\Qx\\E(?P<n>.)",
    ]
    let letters = Array("^$.*+?()[]{}|\\-,:abcdpPQEwWsSbBxAz019 \u{e9}<>=!#".unicodeScalars)
    for _ in 0..<3_000 {
      var scalars = Array(corpus.randomElement(using: &random)!.unicodeScalars)
      for _ in 0..<Int.random(in: 1...6, using: &random) {
        let at = Int.random(in: 0...scalars.count, using: &random)
        switch Int.random(in: 0..<3, using: &random) {
        case 0: scalars.insert(letters.randomElement(using: &random)!, at: at)
        case 1: if at < scalars.count { scalars.remove(at: at) }
        default: if at < scalars.count { scalars[at] = letters.randomElement(using: &random)! }
        }
      }
      let text = String(String.UnicodeScalarView(scalars))
      guard let pattern = try? Pattern(text) else { continue }
      _ = pattern.matches("abc.def")
      _ = pattern.matches(text)
    }
  }
}

/// xorshift64*, so that a failure can be run again.
struct Random: RandomNumberGenerator {
  private var state: UInt64
  init(seed: UInt64) { state = seed | 1 }
  mutating func next() -> UInt64 {
    state ^= state >> 12
    state ^= state << 25
    state ^= state >> 27
    return state &* 2_685_821_657_736_338_717
  }
}
