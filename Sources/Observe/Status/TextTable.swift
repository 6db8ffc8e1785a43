// Rows of cells as lines, columns as wide as their widest cell.

/// What every command shows as a table.
public enum TextTable {
  /// - Parameter gap: blanks between columns. Lines end with their last cell.
  public static func lines(_ rows: [[String]], gap: Int = 3) -> [String] {
    guard let columns = rows.map(\.count).max() else { return [] }
    let widths = (0..<columns).map { column in
      rows.map { $0.count > column ? $0[column].count : 0 }.max() ?? 0
    }
    return rows.map { row in
      var line = ""
      for (column, cell) in row.enumerated() {
        line += cell
        if column < row.count - 1 {
          line += String(repeating: " ", count: widths[column] - cell.count + gap)
        }
      }
      while line.last == " " { line.removeLast() }
      return line
    }
  }
}
