// Who is measured: Weft's API server, or etcd with the same watches through its own protocol.

/// What a server is asked to do, as requests of HTTP/2.
protocol Subject: Sendable {
  var name: String { get }
  var target: Target { get }
  func watch() -> (headers: [(String, String)], body: [UInt8]?, staysOpen: Bool)
  /// Makes key `number`, before the watches.
  func create(_ number: Int) -> (headers: [(String, String)], body: [UInt8])
  /// Writes key `number`; the value carries the time and `serial`: a value that is written twice would be no event.
  func write(_ number: Int, serial: Int, time: Int) -> (headers: [(String, String)], body: [UInt8])
}

/// What an event carries besides its time: a small object's worth.
private let filling = String(repeating: "x", count: 200)

struct WeftSubject: Subject {
  let name = "weft"
  var target: Target
  var token: String
  private let collection = "/api/v1/namespaces/default/configmaps"

  init(target: Target, token: String) {
    self.target = target
    self.token = token
  }

  private func headers(_ method: String, _ path: String) -> [(String, String)] {
    [
      (":method", method), (":scheme", "https"), (":authority", "\(target.host):\(target.port)"),
      (":path", path),
      ("authorization", "Bearer \(token)"), ("content-type", "application/json"),
    ]
  }
  private func body(_ number: Int, _ serial: Int, _ time: Int) -> [UInt8] {
    Array(
      """
      {"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"tick-\(number)","labels":{"watched":"yes"}},\
      "data":{"at":"@time=\(time);\(serial)","filling":"\(filling)"}}
      """.utf8)
  }

  func watch() -> (headers: [(String, String)], body: [UInt8]?, staysOpen: Bool) {
    (headers("GET", collection + "?watch=1&allowWatchBookmarks=true&labelSelector=watched%3Dyes"), nil, false)
  }
  func create(_ number: Int) -> (headers: [(String, String)], body: [UInt8]) {
    (headers("POST", collection), body(number, 0, 0))
  }
  func write(_ number: Int, serial: Int, time: Int) -> (headers: [(String, String)], body: [UInt8]) {
    (headers("PUT", collection + "/tick-\(number)"), body(number, serial, time))
  }
}

struct EtcdSubject: Subject {
  let name = "etcd"
  var target: Target

  private func headers(_ path: String) -> [(String, String)] {
    [
      (":method", "POST"), (":scheme", "http"), (":authority", "\(target.host):\(target.port)"),
      (":path", path),
      ("content-type", "application/grpc"), ("te", "trailers"),
    ]
  }
  private func field(_ number: UInt8, _ bytes: [UInt8]) -> [UInt8] {
    var length: [UInt8] = []
    var rest = bytes.count
    while rest >= 128 {
      length.append(UInt8(rest % 128 + 128))
      rest /= 128
    }
    return [number << 3 | 2] + length + [UInt8(rest)] + bytes
  }
  private func message(_ bytes: [UInt8]) -> [UInt8] {
    [0] + [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: bytes.count >> $0) } + bytes
  }

  func watch() -> (headers: [(String, String)], body: [UInt8]?, staysOpen: Bool) {
    let range = field(1, Array("/watched/".utf8)) + field(2, Array("/watched0".utf8))
    return (headers("/etcdserverpb.Watch/Watch"), message(field(1, range)), true)
  }
  func create(_ number: Int) -> (headers: [(String, String)], body: [UInt8]) {
    write(number, serial: 0, time: 0)
  }
  func write(_ number: Int, serial: Int, time: Int) -> (headers: [(String, String)], body: [UInt8]) {
    // As many bytes as Weft's object, which carries its metadata.
    let value = Array("@time=\(time);\(serial)\(filling)\(filling)\(filling)".utf8)
    let put = field(1, Array("/watched/tick-\(number)".utf8)) + field(2, value)
    return (headers("/etcdserverpb.KV/Put"), message(put))
  }
}
