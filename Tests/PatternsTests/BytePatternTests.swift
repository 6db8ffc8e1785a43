// Patterns as the ingress uses them: kept memory, folded case, groups, and time that does not explode.

import FuzzLab
import Testing

@testable import Patterns

private func groups(_ pattern: BytePattern, _ text: String, _ space: PatternSpace) -> [String?]? {
  let bytes = Array(text.utf8)
  guard bytes.withUnsafeBytes({ pattern.match($0, in: space) }) else { return nil }
  return (0..<pattern.groupCount).map { space.group($0).map { String(decoding: bytes[$0], as: UTF8.self) } }
}

@Test func `kept memory serves patterns of any size, one after the other`() throws {
  let space = PatternSpace()
  let large = try BytePattern("^/(a|b|c){1,50}/(x)?(.*)$")
  let small = try BytePattern("^/something(/|$)(.*)", foldsCase: true)
  for _ in 0..<3 {
    #expect(groups(small, "/Something/NEW", space) == ["/Something/NEW", "/", "NEW"])
    #expect(groups(small, "/something", space) == ["/something", "", ""])
    #expect(groups(small, "/somethings", space) == nil)
    #expect(groups(large, "/abc/xyz", space) == ["/abc/xyz", "c", "x", "yz"])
    #expect(groups(large, "/abc/yz", space) == ["/abc/yz", "c", nil, "yz"])
  }
}

@Test func `case folds only where it is asked for, and two patterns of one text differ by it`() throws {
  let (folds, keeps) = (try BytePattern("^/Api", foldsCase: true), try BytePattern("^/Api"))
  #expect(folds.matches(Array("/aPI/x".utf8)) && !keeps.matches(Array("/aPI/x".utf8)))
  #expect(folds != keeps)
  #expect(try folds == BytePattern("^/Api", foldsCase: true))
}

@Test func `an anchored pattern finds what an unanchored one finds at the beginning`() throws {
  for pattern in ["a+b", "(a|ab)(c|bcd)", "x*", "[a-c]{2,3}$"] {
    let (anchored, free) = (try BytePattern("^(?:\(pattern))"), try BytePattern(pattern))
    for bytes in mutants(of: .init(texts: ["aaab", "abcd", "xxab", "bc"]), count: 300, seed: 3) {
      let begins = free.match(bytes)?[0]?.lowerBound == 0
      #expect(anchored.matches(bytes) == begins, "\(pattern) \(bytes)")
    }
  }
}

/// A backtracking engine needs 2^30 steps for each of these.
@Test func `patterns that stall backtracking engines are matched in linear time`() throws {
  let space = PatternSpace()
  let text = Array((String(repeating: "a", count: 4000) + "!").utf8)
  for pattern in ["^(a+)+$", "^(a|aa)+$", "^(a|a?)+$", "(x+x+)+y"] {
    let pattern = try BytePattern(pattern)
    #expect(!text.withUnsafeBytes { pattern.matches($0, in: space) })
  }
}
