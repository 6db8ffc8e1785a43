// Data goes to standard output, progress and complaints to standard error; colour only where a person looks.

import Glibc
import Observe
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
    TextTable.lines(rows).map { $0 + "\n" }.joined()
  }
}
