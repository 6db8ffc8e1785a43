// What the kernel says of a tracked connection is read as it is meant, and what is no such thing is passed over.

import Addresses
import FuzzLab
import Testing

@testable import KernelNftables

private func attribute(_ type: UInt16, _ payload: [UInt8], nested: Bool = false) -> [UInt8] {
  let length = UInt16(payload.count + 4)
  let kind = nested ? type | 0x8000 : type
  let head = [length, kind].flatMap { value in withUnsafeBytes(of: value) { Array($0) } }
  return head + payload + [UInt8](repeating: 0, count: (4 - payload.count % 4) % 4)
}

/// As nfnetlink_conntrack.h numbers them: 1 original, 2 reply, 4 protocol's state, 8 mark.
private func flow(
  _ client: String, _ endpoint: String, port: UInt16, transport: UInt8 = 6, state: UInt8 = 3,
  mark: UInt32 = 0x1000_0001
) -> [UInt8] {
  func bytes(_ port: UInt16) -> [UInt8] { [UInt8(port >> 8), UInt8(port & 0xff)] }
  func tuple(_ from: String, _ fromPort: UInt16, _ to: String, _ toPort: UInt16) -> [UInt8] {
    let isSix = from.contains(":")
    let addresses =
      attribute(isSix ? 3 : 1, IPAddress(from)!.bytes) + attribute(isSix ? 4 : 2, IPAddress(to)!.bytes)
    let ports = attribute(1, [transport]) + attribute(2, bytes(fromPort)) + attribute(3, bytes(toPort))
    return attribute(1, addresses, nested: true) + attribute(2, ports, nested: true)
  }
  let marks = [UInt8(mark >> 24), UInt8(mark >> 16 & 0xff), UInt8(mark >> 8 & 0xff), UInt8(mark & 0xff)]
  let vip = client.contains(":") ? "fd00:43::1" : "10.43.0.1"
  return attribute(1, tuple(client, 40000, vip, 80), nested: true)
    + attribute(2, tuple(endpoint, port, client, 40000), nested: true)
    + (transport == 6
      ? attribute(4, attribute(1, attribute(1, [state]), nested: true), nested: true) : [])
    + attribute(8, marks)
}

private func backend(_ bytes: [UInt8]) -> OpenConnections.Backend? {
  bytes.withUnsafeBytes { OpenConnections.backend(of: $0) { $0 & 0x1000_0000 != 0 } }
}

@Test func `an open connection is counted for the endpoint that answers`() {
  let four = backend(flow("10.42.0.13", "10.42.0.11", port: 9090))
  #expect(four == .init(.tcp, SocketEndpoint("10.42.0.11:9090")!))
  let six = backend(flow("fd00:42::13", "fd00:42::11", port: 9090, transport: 17))
  #expect(six == .init(.udp, SocketEndpoint("[fd00:42::11]:9090")!))
  #expect(backend(flow("10.42.0.13", "10.42.0.11", port: 9090, mark: 1)) == nil, "not wanted")
  for (state, isOpen) in [
    (1, true), (2, true), (3, true), (4, true), (5, true), (6, false), (7, false), (8, false), (9, true),
  ] {
    let found = backend(flow("10.42.0.13", "10.42.0.11", port: 9090, state: UInt8(state)))
    #expect((found != nil) == isOpen, "state \(state)")
  }
}

@Test func `flows that are cut off or damaged are passed over or read, and never trap`() {
  let samples = [
    flow("10.42.0.13", "10.42.0.11", port: 9090), flow("fd00:42::13", "fd00:42::11", port: 1, transport: 132),
  ]
  var read = 0
  for (index, sample) in samples.enumerated() {
    for length in sample.indices { _ = backend(Array(sample[..<length])) }
    for bytes in mutations(of: sample, count: 10_000, seed: UInt64(index)) where backend(bytes) != nil {
      read += 1
    }
  }
  #expect(read > 0)
}
