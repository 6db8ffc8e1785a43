// What a person says should arrive, in lines that are read from top to bottom: all is allowed until a line says otherwise, and the
// last line that speaks of a probe counts.
//
//   - * > x/a            nobody reaches x/a
//   + y > x/a:81/TCP     but the pods of y do, on one port
import Addresses

struct TruthTable {
  private struct Line {
    var isAllowed: Bool
    var from: Substring
    var to: Substring
    var port: UInt16?
    var transport: TransportProtocol?

    func speaks(of probe: Probe) -> Bool {
      func covers(_ pattern: Substring, _ name: String) -> Bool {
        pattern == "*" || pattern == name || !pattern.contains("/") && name.hasPrefix("\(pattern)/")
      }
      return covers(from, probe.from) && covers(to, probe.to) && (port ?? probe.port) == probe.port
        && (transport ?? probe.transport) == probe.transport
    }
  }
  private let lines: [Line]

  /// Traps on a line that cannot be read: it stands in the test.
  init(_ text: [String]) {
    lines = text.map { line in
      let words = line.split(separator: " ")
      precondition(words.count == 4 && words[2] == ">" && (words[0] == "+" || words[0] == "-"), line)
      // x/a:81/TCP, x:81, */UDP: the protocol is upper case, pods are not.
      var to = words[3]
      var transport: TransportProtocol?
      if let slash = to.lastIndex(of: "/"),
        let named = TransportProtocol(rawValue: String(to[to.index(after: slash)...]))
      {
        transport = named
        to = to[..<slash]
      }
      var port: UInt16?
      if let colon = to.firstIndex(of: ":") {
        port = UInt16(to[to.index(after: colon)...])
        precondition(port != nil, line)
        to = to[..<colon]
      }
      return Line(isAllowed: words[0] == "+", from: words[1], to: to, port: port, transport: transport)
    }
  }

  func allows(_ probe: Probe) -> Bool { lines.last { $0.speaks(of: probe) }?.isAllowed ?? true }
}
