// The Corefile's grammar: tokens, lines, braces. What the words mean is decided in `Corefile`.
//
//   KEY [KEY...] {          a server block: zones and ports
//     PLUGIN [ARG...] {     a directive, with or without a block of its own
//       WORD [ARG...]
//     }
//   }

import Diagnostics

/// One directive: a line and, for some, the lines in braces after it.
struct CorefileDirective: Sendable {
  var line: Int
  var words: [String]
  var block: [CorefileDirective] = []
  var name: String { words[0] }
  var arguments: ArraySlice<String> { words.dropFirst() }
}

/// Reads text into lines of words. `#` begins a comment; quotes keep blanks together; `{$NAME}` and `{%NAME%}` are
/// replaced from `environment`.
struct CorefileSyntax {
  private struct Token {
    var text: String
    var line: Int
    var isQuoted: Bool
    var endsLine = false
  }

  static let tokensMax = 100_000
  static let depthMax = 8
  private var tokens: [Token] = []
  private var at = 0
  private let file: String

  /// The top-level lines: server blocks, and snippets as blocks named `(name)`.
  static func read(_ text: String, file: String, environment: [String: String]) throws(WeftError)
    -> [CorefileDirective]
  {
    var syntax = try CorefileSyntax(text, file: file, environment: environment)
    let blocks = try syntax.lines(depth: 0)
    guard syntax.at == syntax.tokens.count else {
      throw corefileError(file, syntax.tokens[syntax.at].line, "closing brace without an opening one")
    }
    return blocks
  }

  private init(_ text: String, file: String, environment: [String: String]) throws(WeftError) {
    self.file = file
    var line = 1
    var word = ""
    var isQuoted = false
    var hasWord = false
    var inQuotes = false
    var inComment = false
    var isEscaped = false
    var quoteLine = 1
    func expanded(_ word: String) -> String {
      var out = word
      for (open, close) in [("{$", "}"), ("{%", "%}")] {
        while let start = out.firstRange(of: open), let end = out[start.upperBound...].firstRange(of: close) {
          out.replaceSubrange(
            start.lowerBound..<end.upperBound,
            with: environment[String(out[start.upperBound..<end.lowerBound])] ?? "")
        }
      }
      return out
    }
    func flush(_ tokens: inout [Token]) {
      if hasWord {
        tokens.append(Token(text: isQuoted ? word : expanded(word), line: line, isQuoted: isQuoted))
      }
      word = ""
      hasWord = false
      isQuoted = false
    }
    for character in text {
      if character.isNewline {
        if !inQuotes {
          flush(&tokens)
          inComment = false
          if !tokens.isEmpty { tokens[tokens.count - 1].endsLine = true }
        } else {
          word.append(character)
        }
        line += 1
        continue
      }
      if inComment { continue }
      if inQuotes {
        if isEscaped {
          if character != "\"" { word.append("\\") }
          word.append(character)
          isEscaped = false
        } else if character == "\\" {
          isEscaped = true
        } else if character == "\"" {
          inQuotes = false
        } else {
          word.append(character)
        }
      } else if character == "\"", !hasWord {
        inQuotes = true
        isQuoted = true
        hasWord = true
        quoteLine = line
      } else if character == " " || character == "\t" {
        flush(&tokens)
      } else if character == "#", !hasWord {
        inComment = true
      } else {
        word.append(character)
        hasWord = true
      }
      guard tokens.count < Self.tokensMax else { throw corefileError(file, line, "the file is too long") }
    }
    if inQuotes { throw corefileError(file, quoteLine, "a quote is not closed") }
    flush(&tokens)
    if !tokens.isEmpty { tokens[tokens.count - 1].endsLine = true }
  }

  private func isBrace(_ text: String, _ token: Token) -> Bool { token.text == text && !token.isQuoted }

  /// Lines until a closing brace or the end.
  private mutating func lines(depth: Int) throws(WeftError) -> [CorefileDirective] {
    guard depth < Self.depthMax else {
      throw corefileError(file, at < tokens.count ? tokens[at].line : 0, "braces are nested too deeply")
    }
    var result: [CorefileDirective] = []
    while at < tokens.count, !isBrace("}", tokens[at]) {
      var directive = CorefileDirective(line: tokens[at].line, words: [])
      while at < tokens.count {
        let token = tokens[at]
        if isBrace("}", token) { break }
        at += 1
        if isBrace("{", token) {
          guard !directive.words.isEmpty else {
            throw corefileError(file, token.line, "an opening brace needs a name before it")
          }
          directive.block = try lines(depth: depth + 1)
          guard at < tokens.count else { throw corefileError(file, token.line, "this brace is not closed") }
          at += 1
          break
        }
        directive.words.append(token.text)
        // Keys of a server block may go on after a comma.
        if token.endsLine, !(depth == 0 && token.text.hasSuffix(",")) { break }
      }
      if !directive.words.isEmpty { result.append(directive) }
    }
    return result
  }
}

func corefileError(_ file: String, _ line: Int, _ cause: String) -> WeftError {
  WeftError(
    "DNS0010", object: "\(file):\(line)", cause: cause,
    next: "correct the line; the configuration in force stays")
}
