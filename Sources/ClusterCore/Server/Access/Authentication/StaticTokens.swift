// Tokens in a file, read at start: `token,user,uid,"group1,group2"`, a line each.

import Diagnostics

struct StaticTokens: TokenAuthenticator {
  private let identities: [String: Identity]
  /// Audiences of the API server: a token of a file is for it alone.
  private let audiences: [String]

  /// Errors: `API0012` with the line.
  init(csv text: String, path: String, audiences: [String]) throws(WeftError) {
    self.audiences = audiences
    var identities: [String: Identity] = [:]
    func refuse(_ line: Int, _ cause: String) -> WeftError {
      WeftError(
        "API0012", object: "\(path):\(line)", cause: cause,
        next: "write each line as token,user,uid,\"group1,group2\"")
    }
    for (line, fields) in try CSV.records(text, refuse: refuse) {
      guard fields.count >= 3 else { throw refuse(line, "has fewer than three fields") }
      guard !fields[0].isEmpty else { throw refuse(line, "has no token") }
      guard identities[fields[0]] == nil else { throw refuse(line, "has the token of an earlier line") }
      let groups = fields.count > 3 ? fields[3].split(separator: ",").map(\.trimmed) : []
      identities[fields[0]] = Identity(user: fields[1], groups: groups, uid: fields[2])
    }
    self.identities = identities
  }

  init(path: String, audiences: [String]) throws(WeftError) {
    guard let text = try PrivateFile.read(path) else {
      throw WeftError(
        "API0012", object: path, cause: "there is no such file", next: "give the path of a file of tokens")
    }
    try self.init(csv: text, path: path, audiences: audiences)
  }

  func authenticate(_ token: String, audiences asked: [String]) async throws(TokenProblem) -> TokenIdentity? {
    guard let identity = identities[token] else { return nil }
    let common = asked.filter(audiences.contains)
    return common.isEmpty ? nil : TokenIdentity(identity: identity, audiences: common)
  }
}

/// Comma-separated values (RFC 4180), `#` at the start of a line for a comment.
enum CSV {
  /// Records with the line they begin on; blank lines are none.
  static func records(
    _ text: String, refuse: (Int, String) -> WeftError
  ) throws(WeftError) -> [(Int, [String])] {
    var records: [(Int, [String])] = []
    var fields: [String] = []
    var field: [UInt8] = []
    var line = 1
    var begin = 1
    var isQuoted = false
    var wasQuoted = false
    var isComment = false
    func string(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }
    func endField() {
      fields.append(wasQuoted ? string(field) : string(field)[...].trimmed)
      field = []
      wasQuoted = false
    }
    func endRecord() {
      if !isComment, !(fields.isEmpty && field.isEmpty && !wasQuoted) {
        endField()
        records.append((begin, fields))
      }
      fields = []
      field = []
      isComment = false
    }
    var bytes = Array(text.utf8)[...]
    while let byte = bytes.popFirst() {
      if isQuoted {
        if byte == UInt8(ascii: "\"") {
          if bytes.first == byte { field.append(bytes.removeFirst()) } else { isQuoted = false }
        } else {
          if byte == 10 { line += 1 }
          field.append(byte)
        }
        continue
      }
      switch byte {
      case 10:
        endRecord()
        line += 1
        begin = line
      case 13 where bytes.first == 10: continue
      case _ where isComment: continue
      case UInt8(ascii: "#") where fields.isEmpty && field.isEmpty: isComment = true
      case UInt8(ascii: ","): endField()
      case UInt8(ascii: "\"") where !wasQuoted && string(field)[...].trimmed.isEmpty:
        field = []
        isQuoted = true
        wasQuoted = true
      case UInt8(ascii: "\""): throw refuse(line, "has a quotation mark within a field")
      case _ where wasQuoted && byte != 32:
        throw refuse(line, "has text after a closing quotation mark")
      case _ where wasQuoted: continue
      default: field.append(byte)
      }
    }
    if isQuoted { throw refuse(begin, "has a quotation mark that is not closed") }
    endRecord()
    return records
  }
}
