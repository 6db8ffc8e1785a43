// What somebody expects of the policies of a cluster, line by line.
//
//   # who reaches the shop's database
//   allow shop/web      shop/db:5432
//   deny  shop/job      shop/db:5432
//   allow 203.0.113.7   svc/shop/web:80/TCP

import Diagnostics

/// One line: a connection, and whether it shall be let through.
public struct PolicyExpectation: Sendable, Hashable {
  public var isAllowed: Bool
  public var source: ExplainTarget
  /// With a port; TCP when the line names no protocol.
  public var destination: ExplainTarget
  /// Counted from 1.
  public var line: Int
  /// As it was written, its spaces made one.
  public var text: String

  /// Bound on the lines of a file.
  public static let linesMax = 10_000

  /// Reads a file's text. Throws `POL0001` with the line that cannot be read.
  /// - Parameter namespace: of names that say none.
  public static func read(_ text: String, file: String, namespace: String) throws(WeftError) -> [Self] {
    var expectations: [Self] = []
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    func refusal(_ line: Int, _ cause: String) -> WeftError {
      WeftError(
        "POL0001", object: "\(file):\(line)", cause: cause,
        next: "write: allow|deny SOURCE DESTINATION:PORT[/PROTOCOL], or a comment after #")
    }
    guard lines.count <= linesMax else { throw refusal(linesMax, "has more than \(linesMax) lines") }
    for (index, line) in lines.enumerated() {
      let words = line.prefix { $0 != "#" }.split { $0 == " " || $0 == "\t" || $0 == "\r" }
      if words.isEmpty { continue }
      guard words[0] == "allow" || words[0] == "deny" else {
        throw refusal(index + 1, "begins with \"\(words[0].prefix(40))\" instead of allow or deny")
      }
      guard words.count == 3 else {
        throw refusal(index + 1, "has \(words.count - 1) ends instead of a source and a destination")
      }
      do throws(WeftError) {
        let destination = try ExplainTarget(String(words[2]), namespace: namespace)
        guard destination.port != nil else {
          throw refusal(index + 1, "names no port of \(words[2])")
        }
        expectations.append(
          Self(
            isAllowed: words[0] == "allow",
            source: try ExplainTarget(String(words[1]), namespace: namespace),
            destination: destination, line: index + 1, text: words.joined(separator: " ")))
      } catch {
        throw error.code == "POL0001" ? error : refusal(index + 1, "\(error.object) \(error.cause)")
      }
    }
    return expectations
  }
}
