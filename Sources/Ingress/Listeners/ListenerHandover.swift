// What a process that is replaced by another program leaves open for it: sockets that are listened on, and data planes that serve
// meanwhile. Numbers of descriptors stay what they are over exec(2), so a line of text is enough.
//
//   1 replaced=2 http=7,0.0.0.0:80 https=8,0.0.0.0:443 open=9,6,1,0.0.0.0:8443 plane=4711,10,11 plane=4700,-1,12

import Addresses
import Reactor
import Synchronization

/// Sockets and processes that one program takes over from another under the same process id. Reading it trusts nothing: whether a
/// number is an open socket is for the reader to see.
public struct ListenerHandover: Sendable, Equatable {
  /// A data plane that serves, or ends with its last connection.
  public struct Plane: Sendable, Hashable {
    public var pid: Int32
    /// Of its feeder; nil when it has been told to leave.
    public var feeder: Int32?
    /// Of its metrics; nil when there are none to be had any more.
    public var metrics: Int32?

    public init(pid: Int32, feeder: Int32?, metrics: Int32?) {
      self.pid = pid
      self.feeder = feeder
      self.metrics = metrics
    }
  }

  /// Where plain HTTP and HTTPS are listened for from the beginning.
  public var http: [SocketEndpoint: Int32] = [:]
  public var https: [SocketEndpoint: Int32] = [:]
  /// Sockets that came later.
  public var opened: [IngressListener: Int32] = [:]
  public var planes: [Plane] = []
  /// How often data planes were replaced so far.
  public var replacements: UInt64 = 0

  public init() {}

  /// Longer texts are not read; the kernel takes 128 KiB of one variable.
  static let textBytesMax = 120 << 10
  /// What the text begins with. Another version is not understood.
  static let version = "1"

  /// Every descriptor that has to stay open.
  public var descriptors: [Int32] {
    Array(http.values) + Array(https.values) + Array(opened.values)
      + planes.flatMap { [$0.feeder, $0.metrics] }
      .compactMap(\.self)
  }

  public var text: String {
    var words = [Self.version, "replaced=\(replacements)"]
    words += http.sorted { $0.key < $1.key }.map { "http=\($0.value),\($0.key)" }
    words += https.sorted { $0.key < $1.key }.map { "https=\($0.value),\($0.key)" }
    words += opened.sorted { $0.key < $1.key }.map { listener, raw in
      "open=\(raw),\(listener.transport.number),\(listener.serves.rawValue),\(listener.endpoint)"
    }
    words += planes.map { "plane=\($0.pid),\($0.feeder ?? -1),\($0.metrics ?? -1)" }
    return words.joined(separator: " ")
  }

  /// Nil for what this version does not understand, for a descriptor of the standard streams, and for one that is named twice.
  public init?(_ text: String) {
    guard text.utf8.count <= Self.textBytesMax else { return nil }
    let words = text.split(separator: " ", omittingEmptySubsequences: false)
    guard words.first == Self.version[...] else { return nil }
    for word in words.dropFirst() {
      guard let equals = word.firstIndex(of: "=") else { return nil }
      guard read(word[..<equals], word[word.index(after: equals)...].split(separator: ",")) else {
        return nil
      }
    }
    let all = descriptors
    guard all.allSatisfy({ $0 > 2 }), Set(all).count == all.count else { return nil }
  }

  private mutating func read(_ key: Substring, _ parts: [Substring]) -> Bool {
    guard let first = parts.first, let number = UInt64(first) else { return false }
    if key == "replaced" {
      replacements = number
      return parts.count == 1
    }
    guard let raw = Int32(exactly: number), raw > 0 else { return false }
    switch (key, parts.count) {
    case ("http", 2), ("https", 2):
      guard let endpoint = SocketEndpoint(String(parts[1])) else { return false }
      if key == "http" { http[endpoint] = raw } else { https[endpoint] = raw }
    case ("open", 4):
      guard let transport = UInt8(parts[1]).flatMap({ TransportProtocol(number: $0) }),
        let number = UInt8(parts[2]),
        let serves = IngressListener.Service(rawValue: number),
        let endpoint = SocketEndpoint(String(parts[3])), opened.count < IngressListener.countMax
      else { return false }
      opened[IngressListener(endpoint, transport: transport, serves: serves)] = raw
    case ("plane", 3):
      guard let feeder = Int32(parts[1]), let metrics = Int32(parts[2]), feeder >= -1, metrics >= -1 else {
        return false
      }
      planes.append(
        Plane(pid: raw, feeder: feeder < 0 ? nil : feeder, metrics: metrics < 0 ? nil : metrics))
    default: return false
    }
    return true
  }
}

extension IngressFeeder {
  /// A second descriptor of the same stream that another program may go on with; nil when it is closed. The caller closes it.
  public func duplicate() -> Int32? {
    state.withLock { $0.descriptor.isOpen ? try? $0.descriptor.duplicate().release() : nil }
  }
}

extension IngressMetricsPipe {
  /// The same of the metrics' stream. Waits for an answer that is on its way.
  public func duplicate() -> Int32? {
    state.withLock { $0.descriptor.isOpen ? try? $0.descriptor.duplicate().release() : nil }
  }
}
