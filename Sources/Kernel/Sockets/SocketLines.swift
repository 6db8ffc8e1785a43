// Lines of a descriptor, one after the other, each with a bound.

import Glibc

/// Not for several threads at once.
public struct SocketLines {
  private let descriptor: Int32
  private let lineMax: Int
  private var waiting: [UInt8] = []
  private var at = 0

  /// - Parameter lineMax: a longer line ends the reading.
  public init(_ descriptor: Int32, lineMax: Int = 1 << 20) {
    self.descriptor = descriptor
    self.lineMax = lineMax
  }

  /// The next line without its end; nil at the end, after an error, and for a line that is too long.
  public mutating func next() -> [UInt8]? {
    var searched = at
    while true {
      if let end = waiting[searched...].firstIndex(of: 10) {
        defer { at = end + 1 }
        return Array(waiting[at..<end])
      }
      searched = waiting.count
      guard waiting.count - at < lineMax else { return nil }
      if at > 0 {
        waiting.removeFirst(at)
        searched -= at
        at = 0
      }
      var chunk = [UInt8](repeating: 0, count: 65536)
      let count = Glibc.read(descriptor, &chunk, chunk.count)
      if count < 0, errno == EINTR { continue }
      if count <= 0 {
        // A last line may come without its end.
        guard waiting.count > at else { return nil }
        defer { waiting = [] }
        return Array(waiting[at...])
      }
      waiting += chunk[..<count]
    }
  }
}
