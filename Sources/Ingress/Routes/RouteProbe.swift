// One request matched over and over, as a worker matches it: for benchmarks, which stand outside.

/// A request's head, read once.
public final class RouteProbe {
  private let table: RouteTable
  private let head: [UInt8]
  private let reader = HeadReader()
  private let space = MatchSpace()

  public init(table: RouteTable, host: String, path: String) {
    self.table = table
    head = Array("GET \(path) HTTP/1.1\r\nHost: \(host)\r\n\r\n".utf8)
  }

  /// Matches `count` times, without allocation. - Returns: whether a rule took the request each time.
  @discardableResult public func match(_ count: Int) -> Bool {
    head.withUnsafeBytes { head in
      guard (try? reader.readRequest(head)) != nil else { return false }
      let (request, place) = (RouteRequest(head, reader), ListenerPlace(80))
      for _ in 0..<count where table.match(request, at: place, space) == nil { return false }
      return true
    }
  }
}
