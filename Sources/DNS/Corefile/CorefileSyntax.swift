// The Corefile's grammar: tokens, lines, braces, snippets and imports. What the words mean is decided in `Corefile`.
//
//   (NAME) { LINES }        a snippet, put in wherever `import NAME` stands
//   KEY [KEY...] {          a server block: zones and ports
//     PLUGIN [ARG...] {     a directive, with or without a block of its own
//       WORD [ARG...]
//     }
//   }

import Diagnostics

/// One directive: a line and, for some, the lines in braces after it.
struct CorefileDirective: Sendable {
  var file: String
  var line: Int
  var words: [String]
  /// The line as it is written, and where in it each word begins; -1 for words of other lines.
  var text: Substring = ""
  var columns: [Int] = []
  var block: [CorefileDirective] = []
  var name: String { words[0] }
  var arguments: ArraySlice<String> { words.dropFirst() }

  /// The word that a sentence begins with, else the first: what is wrong is pointed at.
  func index(of cause: String) -> Int {
    words.indices.dropFirst().last {
      cause.hasPrefix(words[$0]) && [" ", ":"].contains(cause.dropFirst(words[$0].count).first)
    } ?? 0
  }

  /// The line with a mark under one of its words.
  func excerpt(_ index: Int) -> String {
    guard index < columns.count, columns[index] >= 0, text.utf8.count <= Self.excerptBytesMax else {
      return ""
    }
    let before = text.prefix(columns[index]).map { $0 == "\t" ? "\t" : " " }.joined()
    return "\n  \(text)\n  \(before)^"
  }

  /// Longer lines are not shown.
  private static let excerptBytesMax = 400
}

/// Reads text into lines of words. `#` begins a comment; quotes keep blanks together; `{$NAME}` and `{%NAME%}` are
/// replaced from `environment`.
struct CorefileSyntax {
  private struct Token {
    var file: String
    var text: String
    var line: Int
    var column: Int
    var isQuoted: Bool
    var endsLine = false
  }

  static let tokensMax = 100_000
  static let depthMax = 8
  /// Imports inside imports.
  static let importsMax = 8
  private let environment: [String: String]
  private let files: (String) -> String?
  private var snippets: [String: [CorefileDirective]] = [:]
  private var tokens: [Token] = []
  /// The lines of the file that is read.
  private var texts: [Substring] = []
  private var at = 0
  private var importDepth = 0
  private var directives = 0

  init(environment: [String: String], files: @escaping (String) -> String?) {
    self.environment = environment
    self.files = files
  }

  /// The server blocks of a text, imports put in and snippets taken out.
  mutating func read(_ text: String, file: String) throws(WeftError) -> [CorefileDirective] {
    let outer = (tokens, texts, at)
    tokens = try tokenized(text, file)
    texts = text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline)
    at = 0
    defer { (tokens, texts, at) = outer }
    let lines = try lines(depth: 0)
    guard at == tokens.count else {
      throw corefileError(file, tokens[at].line, "closing brace without an opening one")
    }
    return lines
  }

  // MARK: - Lines

  /// Lines until a closing brace or the end.
  private mutating func lines(depth: Int) throws(WeftError) -> [CorefileDirective] {
    guard depth < Self.depthMax else {
      let token = at < tokens.count ? tokens[at] : nil
      throw corefileError(token?.file ?? "Corefile", token?.line ?? 0, "braces are nested too deeply")
    }
    var result: [CorefileDirective] = []
    while at < tokens.count, !isBrace("}", tokens[at]) {
      let line = tokens[at].line
      var directive = CorefileDirective(file: tokens[at].file, line: line, words: [])
      if texts.indices.contains(line - 1) { directive.text = texts[line - 1] }
      while at < tokens.count {
        let token = tokens[at]
        if isBrace("}", token) { break }
        at += 1
        if isBrace("{", token) {
          guard !directive.words.isEmpty else {
            throw corefileError(token.file, token.line, "an opening brace needs a name before it")
          }
          directive.block = try lines(depth: depth + 1)
          guard at < tokens.count else {
            throw corefileError(token.file, token.line, "this brace is not closed")
          }
          at += 1
          break
        }
        directive.words.append(token.text)
        directive.columns.append(token.line == line ? token.column : -1)
        // Keys of a server block may go on after a comma.
        if token.endsLine, !(depth == 0 && token.text.hasSuffix(",")) { break }
      }
      guard !directive.words.isEmpty else { continue }
      directives += 1
      guard directives <= Self.tokensMax else {
        throw corefileError(directive.file, directive.line, "imports make the file too long")
      }
      if directive.name == "import" {
        result += try imported(directive)
      } else if depth == 0, directive.words.count == 1, directive.name.hasPrefix("("),
        directive.name.hasSuffix(")")
      {
        let name = String(directive.name.dropFirst().dropLast())
        guard snippets.updateValue(directive.block, forKey: name) == nil else {
          throw corefileError(directive.file, directive.line, "the snippet \(name) is there twice")
        }
      } else {
        result.append(directive)
      }
    }
    return result
  }

  /// The lines of a snippet or a file.
  private mutating func imported(_ directive: CorefileDirective) throws(WeftError) -> [CorefileDirective] {
    guard directive.words.count == 2 else {
      throw corefileError(directive.file, directive.line, "import: one name of a snippet or file is needed")
    }
    let name = directive.words[1]
    if let snippet = snippets[name] {
      directives += snippet.count
      return snippet
    }
    guard importDepth < Self.importsMax else {
      throw corefileError(directive.file, directive.line, "import \(name): imports are nested too deeply")
    }
    guard let text = files(name) else {
      throw corefileError(
        directive.file, directive.line,
        "import \(name): no snippet of this name stands above, and no such file is there")
    }
    importDepth += 1
    defer { importDepth -= 1 }
    return try read(text, file: name)
  }

  private func isBrace(_ text: String, _ token: Token) -> Bool { token.text == text && !token.isQuoted }

  // MARK: - Words

  private func expanded(_ word: String) -> String {
    guard word.contains("{") else { return word }
    var result = ""
    var rest = word[...]
    while let start = rest.firstRange(of: "{") {
      let after = rest[start.upperBound...]
      let closing = after.hasPrefix("$") ? "}" : after.hasPrefix("%") ? "%}" : nil
      if let closing, let end = after.dropFirst().firstRange(of: closing) {
        result += rest[..<start.lowerBound]
        result += environment[String(after.dropFirst()[..<end.lowerBound])] ?? ""
        rest = rest[end.upperBound...]
      } else {
        result += rest[..<start.upperBound]
        rest = after
      }
    }
    return result + rest
  }

  private func tokenized(_ text: String, _ file: String) throws(WeftError) -> [Token] {
    var tokens: [Token] = []
    var line = 1
    var column = -1
    var wordColumn = 0
    var word = ""
    var isQuoted = false
    var hasWord = false
    var inQuotes = false
    var inComment = false
    var isEscaped = false
    var quoteLine = 1
    func flush() {
      if hasWord {
        tokens.append(
          Token(file: file, text: expanded(word), line: quoteLine, column: wordColumn, isQuoted: isQuoted))
      }
      word = ""
      hasWord = false
      isQuoted = false
    }
    for character in text {
      column += 1
      if character.isNewline {
        column = -1
        if inQuotes {
          word.append(character)
        } else {
          flush()
          inComment = false
          if !tokens.isEmpty { tokens[tokens.count - 1].endsLine = true }
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
          flush()
        } else {
          word.append(character)
        }
        continue
      }
      if !hasWord { (quoteLine, wordColumn) = (line, column) }
      if character == "\"", !hasWord {
        inQuotes = true
        isQuoted = true
        hasWord = true
      } else if character == " " || character == "\t" {
        flush()
      } else if character == "#", !hasWord {
        inComment = true
      } else {
        word.append(character)
        hasWord = true
      }
      guard tokens.count < Self.tokensMax else { throw corefileError(file, line, "the file is too long") }
    }
    if inQuotes { throw corefileError(file, quoteLine, "a quote is not closed") }
    flush()
    if !tokens.isEmpty { tokens[tokens.count - 1].endsLine = true }
    return tokens
  }
}

/// - Parameter excerpt: the line and a mark below it, on lines of their own.
func corefileError(_ file: String, _ line: Int, _ cause: String, excerpt: String = "") -> WeftError {
  WeftError(
    "DNS0010", object: "\(file):\(line)", cause: cause,
    next: "correct the line, then look again: weft dns --check \(file)\(excerpt)")
}
