// A filter in pcap's language, compiled by the machine's libpcap; and where it cannot be read, the place.
//
//   CAP0007 filter: syntax error
//     tcp prt 80 and host 10.0.0.1
//         ^

import Diagnostics
import KernelSockets

extension PacketFilter {
  /// Compiles what was typed. Throws `CAP0007` with a caret under the place, `CAP0008` when there is no libpcap.
  public init(typed text: String, snapLength: UInt32 = wholeFrame) throws(WeftError) {
    do throws(Refusal) {
      try self.init(pcap: text, snapLength: snapLength)
    } catch {
      switch error {
      case .noLibrary:
        throw WeftError(
          "CAP0008", object: "libpcap.so.0.8",
          cause: "is not on this machine, and filters are compiled by it",
          next: "apt-get install libpcap0.8, or capture without a filter")
      case .tooLong:
        throw WeftError(
          "CAP0007", object: "filter", cause: "is longer than \(Self.instructionsMax) instructions",
          next: "shorten it: net 10.42.0.0/16 instead of many hosts")
      case .text(let words):
        let place = Self.place(of: words, in: text)
        let reason = words.split(separator: ": ").last.map(String.init) ?? words
        let caret = String(repeating: " ", count: text.prefix(upTo: place).count) + "^"
        throw WeftError(
          "CAP0007", object: "filter", cause: "\(reason)\n  \(text)\n  \(caret)\n",
          next: "see: man pcap-filter")
      }
    }
  }

  /// So many words are looked at; a longer filter has its caret at the end.
  static let wordsMax = 256

  /// What libpcap quotes; else the first word behind which no filter could go on.
  static func place(of message: String, in text: String) -> String.Index {
    let quoted = message.split(separator: "'", omittingEmptySubsequences: false)
    if quoted.count >= 3, let found = words(text).first(where: { text[$0] == quoted[1] }) {
      return found.lowerBound
    }
    let words = words(text)
    guard words.count <= wordsMax else { return text.endIndex }
    var open: [Character] = []
    for word in words {
      for letter in text[word] {
        switch letter {
        case "(": open.append(")")
        case "[": open.append("]")
        case ")", "]":
          if open.popLast() != letter { return word.lowerBound }
        default: break
        }
      }
      if !canGoOn(String(text[..<word.upperBound]), String(open.reversed())) { return word.lowerBound }
    }
    // Every word fits: something is missing behind the last.
    return text.endIndex
  }

  /// Words, brackets and operators by their places.
  private static func words(_ text: String) -> [Range<String.Index>] {
    var found: [Range<String.Index>] = []
    var at = text.startIndex
    let isPart: (Character) -> Bool = { $0.isLetter || $0.isNumber || "._-:/".contains($0) }
    while at < text.endIndex {
      if text[at].isWhitespace {
        at = text.index(after: at)
        continue
      }
      var end = text.index(after: at)
      if isPart(text[at]) {
        while end < text.endIndex, isPart(text[end]) { end = text.index(after: end) }
      } else if end < text.endIndex,
        ["&&", "||", "==", "!=", ">=", "<=", "<<", ">>"].contains(text[at...end])
      {
        end = text.index(after: end)
      }
      found.append(at..<end)
      at = end
    }
    return found
  }

  /// Whether a beginning is one of a filter: by itself, or with one of these behind it, once what is open is closed.
  private static func canGoOn(_ beginning: String, _ closing: String) -> Bool {
    let ends = [
      "", " 1", " tcp", " port 1", " 127.0.0.1", " net 10", " = 1", " 00:00:00:00:00:00", " 1-2",
      " host 127.0.0.1", " 10.0.0.0/8", " ::1", " broadcast",
    ]
    return ends.contains { end in
      ["", " = 1"].contains { tail in (try? PacketFilter(pcap: beginning + end + closing + tail)) != nil }
    }
  }
}
