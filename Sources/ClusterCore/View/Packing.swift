// Services and EndpointSlices as bytes: the parts that names are made of, one behind the other, numbers in as few octets as they
// need. Nobody outside this process ever sees or writes them.

import Addresses
import ClusterObjects

struct PackingWriter {
  private(set) var bytes: [UInt8] = []

  mutating func byte(_ value: UInt8) { bytes.append(value) }

  /// Seven bits an octet, the lowest first.
  mutating func number(_ value: Int) {
    var rest = UInt(bitPattern: value)
    while rest > 127 {
      bytes.append(UInt8(truncatingIfNeeded: rest) | 128)
      rest >>= 7
    }
    bytes.append(UInt8(truncatingIfNeeded: rest))
  }

  mutating func text(_ value: String) {
    number(value.utf8.count)
    bytes += value.utf8
  }

  /// Absent text is one octet: lengths are written one larger.
  mutating func text(_ value: String?) {
    guard let value else { return number(0) }
    number(value.utf8.count + 1)
    bytes += value.utf8
  }

  mutating func address(_ value: IPAddress) {
    switch value {
    case .v4(let four):
      bytes.append(4)
      withUnsafeBytes(of: four.bits) { bytes += $0 }
    case .v6(let six):
      bytes.append(6)
      withUnsafeBytes(of: six.bits) { bytes += $0 }
    }
  }

  mutating func list<Element>(_ values: [Element], _ body: (inout Self, Element) -> Void) {
    number(values.count)
    for value in values { body(&self, value) }
  }

  mutating func map(_ values: [String: String]) {
    list(values.sorted { $0.key < $1.key }) {
      $0.text($1.key)
      $0.text($1.value)
    }
  }
}

/// Reads what a `PackingWriter` wrote, in the same order.
struct PackingReader {
  private let bytes: [UInt8]
  private var at = 0

  init(_ bytes: [UInt8]) { self.bytes = bytes }

  mutating func byte() -> UInt8 {
    defer { at += 1 }
    return bytes[at]
  }

  mutating func number() -> Int {
    var value: UInt = 0
    var shift: UInt = 0
    while true {
      let byte = byte()
      value |= UInt(byte & 127) << shift
      if byte < 128 { return Int(bitPattern: value) }
      shift += 7
    }
  }

  private mutating func text(count: Int) -> String {
    defer { at += count }
    return String(decoding: bytes[at..<at + count], as: UTF8.self)
  }

  mutating func text() -> String { text(count: number()) }

  mutating func optionalText() -> String? {
    let count = number()
    return count == 0 ? nil : text(count: count - 1)
  }

  mutating func address() -> IPAddress {
    let isFour = byte() == 4
    let count = isFour ? 4 : 16
    defer { at += count }
    return bytes.withUnsafeBytes { all in
      isFour
        ? .v4(IPv4Address(bits: all.loadUnaligned(fromByteOffset: at, as: UInt32.self)))
        : .v6(IPv6Address(bits: all.loadUnaligned(fromByteOffset: at, as: UInt128.self)))
    }
  }

  mutating func list<Element>(_ body: (inout Self) -> Element) -> [Element] {
    let count = number()
    if count == 0 { return [] }
    return (0..<count).map { _ in body(&self) }
  }

  mutating func map() -> [String: String] {
    let pairs = list { ($0.text(), $0.text()) }
    return pairs.isEmpty ? [:] : Dictionary(pairs) { _, last in last }
  }
}

extension TransportProtocol {
  fileprivate static let packed: [TransportProtocol] = [.tcp, .udp, .sctp]
  fileprivate var place: UInt8 { UInt8(Self.packed.firstIndex(of: self) ?? 0) }
}

extension Service {
  private static let kinds: [Kind] = [.clusterIP, .nodePort, .loadBalancer, .externalName]

  /// What its names are made of.
  func packed(_ wants: NameBook.Wants) -> [UInt8] {
    var writer = PackingWriter()
    writer.byte(
      UInt8(Self.kinds.firstIndex(of: kind) ?? 0) | (isHeadless ? 8 : 0) | (publishNotReadyAddresses ? 16 : 0)
        | (selector.isEmpty ? 0 : 32))
    for addresses in [clusterIPs, externalIPs, loadBalancerIPs] { writer.list(addresses) { $0.address($1) } }
    writer.text(externalName)
    writer.list(ports) {
      $0.text($1.name)
      $0.byte($1.transport.place)
      $0.number(Int($1.port))
    }
    writer.map(wants.contains(.labels) ? labels : [:])
    return writer.bytes
  }

  /// Of a selector only this much is kept: that there is one.
  private static let selected = ["": ""]

  /// Read back; what names are not made of is as if the object did not say it.
  convenience init(packed bytes: [UInt8], key: ObjectKey) {
    var reader = PackingReader(bytes)
    let flags = reader.byte()
    let clusterIPs = reader.list { $0.address() }
    let externalIPs = reader.list { $0.address() }
    let loadBalancerIPs = reader.list { $0.address() }
    self.init(
      key: key, kind: Self.kinds[Int(flags & 7)], clusterIPs: clusterIPs, isHeadless: flags & 8 != 0,
      externalIPs: externalIPs, loadBalancerIPs: loadBalancerIPs, externalName: reader.text(),
      ports: reader.list {
        let name = $0.text()
        return Port(
          name: name, transport: TransportProtocol.packed[Int($0.byte())],
          port: UInt16(truncatingIfNeeded: $0.number()))
      },
      publishNotReadyAddresses: flags & 16 != 0, selector: flags & 32 != 0 ? Self.selected : [:],
      labels: reader.map())
  }
}

extension EndpointSlice {
  /// What names are made of.
  func packed(_ wants: NameBook.Wants) -> [UInt8] {
    var writer = PackingWriter()
    writer.byte(family == .v6 ? 1 : 0)
    writer.text(triggerTime)
    writer.list(ports) {
      $0.text($1.name)
      $0.byte($1.transport.place)
      $0.number($1.port.map { Int($0) + 1 } ?? 0)
    }
    writer.list(endpoints) {
      $0.address($1.address)
      $0.byte($1.isReady ? 1 : 0)
      $0.text($1.hostname)
      $0.text(wants.contains(.zones) ? $1.zone : nil)
      let pod = wants.contains(.endpointPods) ? $1.pod : nil
      $0.text(pod?.namespace)
      if let pod { $0.text(pod.name) }
    }
    return writer.bytes
  }

  convenience init(packed bytes: [UInt8], key: ObjectKey, service: ObjectKey) {
    var reader = PackingReader(bytes)
    let family: IPFamily = reader.byte() == 1 ? .v6 : .v4
    let triggerTime = reader.optionalText()
    let ports = reader.list { reader in
      let name = reader.text()
      let transport = TransportProtocol.packed[Int(reader.byte())]
      let number = reader.number()
      return Port(
        name: name, transport: transport, port: number == 0 ? nil : UInt16(truncatingIfNeeded: number - 1))
    }
    let endpoints = reader.list { reader in
      let address = reader.address()
      let isReady = reader.byte() == 1
      let hostname = reader.optionalText()
      let zone = reader.optionalText()
      let podNamespace = reader.optionalText()
      let pod = podNamespace.map { ObjectKey($0, reader.text()) }
      return Endpoint(
        address: address, isReady: isReady, isServing: isReady, isTerminating: false, hostname: hostname,
        nodeName: nil, zone: zone, pod: pod)
    }
    self.init(
      key: key, service: service, family: family, ports: ports, endpoints: endpoints, triggerTime: triggerTime
    )
  }
}
