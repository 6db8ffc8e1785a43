// Data goes to standard output, progress and complaints to standard error; colour only where a person looks.

import Glibc
import Synchronization

enum Terminal {
  private static let verbose = Atomic<Bool>(false)
  static var isVerbose: Bool {
    get { verbose.load(ordering: .relaxed) }
    set { verbose.store(newValue, ordering: .relaxed) }
  }

  /// Colour on standard output: a terminal, and not under NO_COLOR.
  static var usesColour: Bool { isatty(1) == 1 && (getenv("NO_COLOR").map { $0.pointee == 0 } ?? true) }

  static func say(_ text: String) { write(text.hasSuffix("\n") ? text : text + "\n", to: 1) }
  static func complain(_ text: String) { write(text.hasSuffix("\n") ? text : text + "\n", to: 2) }

  static func write(_ text: String, to descriptor: Int32) {
    var text = text
    text.withUTF8 { bytes in
      var offset = 0
      while offset < bytes.count {
        let count = Glibc.write(descriptor, bytes.baseAddress! + offset, bytes.count - offset)
        if count <= 0 { return }
        offset += count
      }
    }
  }

  /// Rows under a header, columns as wide as their widest cell.
  static func table(_ rows: [[String]]) -> String {
    guard let columns = rows.map(\.count).max() else { return "" }
    let widths = (0..<columns).map { column in
      rows.map { $0.count > column ? $0[column].count : 0 }.max() ?? 0
    }
    return rows.map { row in
      let cells = row.enumerated().map { column, cell in
        column == row.count - 1 ? cell : cell + String(repeating: " ", count: widths[column] - cell.count)
      }
      return cells.joined(separator: "   ") + "\n"
    }.joined()
  }
}
