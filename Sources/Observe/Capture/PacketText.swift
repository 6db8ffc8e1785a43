// A packet in a line, for the terminal: names for addresses, what TCP's flags say, what is noted of it.
//
//   09:12:01.123456  demo/client:41234 → svc/demo/web:80  TCP [S] 0 bytes  (svc/demo/web:http → 10.42.0.7:8080 demo/web-1)

import Addresses
import Diagnostics
import Glibc
import KernelSockets

/// Reads blocks of a capture and gives a line for each packet. Not for several threads at once.
public struct PacketText {
  /// What payloads are looked into.
  public enum Decoding: String, Sendable, CaseIterable {
    case dns, http
  }

  public var isNumeric = false
  public var decodings: Set<Decoding> = []
  /// A DNS message in words; nil when the bytes are none.
  public var dns: (UnsafeRawBufferPointer) -> String? = { _ in nil }
  /// Where several links are captured each line says which.
  private var links: [String] = []
  private var names: [IPAddress: String] = [:]
  /// Names that are remembered.
  static let namesMax = 65_536
  static let linksMax = 4096
  /// Bytes of a line of HTTP that are shown.
  static let lineMax = 160

  public init() {}

  /// The line of a packet; nil for other blocks, which are learned from.
  public mutating func line(_ block: PcapngBlock) -> String? {
    if block.isSection { links = [] }
    if let name = block.interfaceName, links.count < Self.linksMax { links.append(name) }
    block.forEachName { if names.count < Self.namesMax { names[$0] = $1 } }
    guard let packet = block.packet else { return nil }
    var line = Self.clock(packet.time) + "  "
    if links.count > 1, links.indices.contains(packet.interface) {
      let arrow = packet.isInbound.map { $0 ? " in" : " out" } ?? ""
      line += "\(links[packet.interface])\(arrow)  "
    }
    line += words(packet)
    if !packet.remark.isEmpty { line += "  (\(Self.printable(packet.remark)))" }
    return line
  }

  /// Time of day in UTC, with microseconds.
  static func clock(_ nanoseconds: UInt64) -> String {
    let text = Timestamp.text(
      seconds: Int64(clamping: nanoseconds / 1_000_000_000),
      nanoseconds: Int64(nanoseconds % 1_000_000_000), fractionDigits: 6)
    return String(text.drop { $0 != "T" }.dropFirst().dropLast())
  }

  private func words(_ packet: PcapngBlock.Packet) -> String {
    guard let headers = PacketHeaders(ethernet: packet.bytes) else { return linkWords(packet) }
    let hasPorts = TransportProtocol(number: headers.transport) != nil && headers.transportAt != nil
    let from = name(headers.source, hasPorts ? headers.sourcePort : nil)
    let to = name(headers.destination, hasPorts ? headers.destinationPort : nil)
    return "\(from) → \(to)  \(transportWords(headers, packet))"
  }

  private func name(_ address: IPAddress, _ port: UInt16?) -> String {
    if !isNumeric, let name = names[address] {
      return Self.printable(name) + (port.map { ":\($0)" } ?? "")
    }
    return port.map { "\(SocketEndpoint(address, $0))" } ?? "\(address)"
  }

  private func transportWords(_ headers: PacketHeaders, _ packet: PcapngBlock.Packet) -> String {
    guard let at = headers.transportAt else { return "fragment, \(headers.length) bytes" }
    let rest = UnsafeRawBufferPointer(rebasing: packet.bytes[min(at, packet.bytes.count)...])
    switch headers.transport {
    case 6:
      guard rest.count >= 13 else { return "TCP, cut" }
      let head = Int(rest[12] >> 4) * 4
      // Large packets of the sender's are cut to the wire's size later, and say 0.
      let length = max(0, packet.length - at - head)
      let flags = Self.flags(headers.tcpFlags)
      return "TCP [\(flags)] \(length) bytes" + payloadWords(headers, rest.dropFirst(head), isTCP: true)
    case 17:
      return "UDP \(max(0, packet.length - at - 8)) bytes"
        + payloadWords(headers, rest.dropFirst(8), isTCP: false)
    case 1: return "ICMP " + Self.icmp(rest, isSix: false)
    case 58: return "ICMPv6 " + Self.icmp(rest, isSix: true)
    case 132: return "SCTP \(max(0, packet.length - at)) bytes"
    default: return "protocol \(headers.transport), \(headers.length) bytes"
    }
  }

  /// As tcpdump has them.
  private static func flags(_ bits: UInt8) -> String {
    let letters: [(UInt8, Character)] = [(1, "F"), (2, "S"), (4, "R"), (8, "P"), (32, "U"), (16, ".")]
    let text = String(letters.filter { bits & $0.0 != 0 }.map(\.1))
    return text.isEmpty ? "none" : text
  }

  private static func icmp(_ bytes: UnsafeRawBufferPointer, isSix: Bool) -> String {
    guard bytes.count >= 2 else { return "cut" }
    let words: [UInt8: String] =
      isSix
      ? [
        1: "unreachable", 2: "packet too big", 3: "time exceeded", 128: "echo request", 129: "echo reply",
        133: "router solicitation", 134: "router advertisement", 135: "neighbour solicitation",
        136: "neighbour advertisement",
      ] : [0: "echo reply", 3: "unreachable", 5: "redirect", 8: "echo request", 11: "time exceeded"]
    var text = words[bytes[0]] ?? "type \(bytes[0])"
    if !isSix, bytes[0] == 3 {
      let codes: [UInt8: String] = [
        0: "network", 1: "host", 2: "protocol", 3: "port", 4: "needs fragmentation", 9: "prohibited",
        10: "prohibited", 13: "prohibited",
      ]
      text += ": " + (codes[bytes[1]] ?? "code \(bytes[1])")
      if bytes[1] == 4, bytes.count >= 8 { text += ", MTU \(UInt16(bytes[6]) << 8 | UInt16(bytes[7]))" }
    } else if bytes[1] != 0 {
      text += ", code \(bytes[1])"
    }
    return text
  }

  /// Frames without IP.
  private func linkWords(_ packet: PcapngBlock.Packet) -> String {
    guard let (kind, at) = PacketHeaders.payload(ofEthernet: packet.bytes) else { return "a frame, cut" }
    let rest = packet.bytes[at...]
    guard kind == 0x0806, rest.count >= 28 else {
      return "Ethernet type 0x\(String(kind, radix: 16)), \(packet.length) bytes"
    }
    let sender = IPAddress(bytes: rest[at + 14..<at + 18]).map { name($0, nil) } ?? "?"
    let target = IPAddress(bytes: rest[at + 24..<at + 28]).map { name($0, nil) } ?? "?"
    return rest[at + 7] == 1 ? "ARP who has \(target)? asks \(sender)" : "ARP \(sender) answers \(target)"
  }

  private func payloadWords(
    _ headers: PacketHeaders, _ slice: Slice<UnsafeRawBufferPointer>, isTCP: Bool
  ) -> String {
    let bytes = UnsafeRawBufferPointer(rebasing: slice)
    guard !bytes.isEmpty else { return "" }
    if decodings.contains(.dns), headers.sourcePort == 53 || headers.destinationPort == 53 {
      // Over TCP a message has its length in front.
      let message = isTCP ? UnsafeRawBufferPointer(rebasing: bytes.dropFirst(2)) : bytes
      if let words = dns(message) { return "  DNS " + Self.printable(words) }
    }
    if decodings.contains(.http), isTCP, let line = Self.http(bytes) { return "  HTTP " + line }
    return ""
  }

  /// The first line of a request or an answer, RFC 9112; nil for other bytes.
  static func http(_ bytes: UnsafeRawBufferPointer) -> String? {
    let first = bytes.prefix { $0 != 13 && $0 != 10 }
    guard first.count >= 8, first.count < bytes.count else { return nil }
    let line = String(decoding: first.prefix(2 * lineMax), as: UTF8.self)
    let words = line.split(separator: " ")
    let methods = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "PRI"]
    guard
      line.hasPrefix("HTTP/")
        || (words.count == 3 && words[2].hasPrefix("HTTP/") && methods.contains(String(words[0])))
    else { return nil }
    return printable(String(line.prefix(lineMax)))
  }

  /// What came over the wire must not speak to the terminal.
  static func printable(_ text: String) -> String {
    String(text.unicodeScalars.map { $0.value < 32 || (127..<160).contains($0.value) ? "?" : Character($0) })
  }
}

/// The terminal's view of a capture as a sink.
public struct PacketLines: CaptureSink {
  private var text: PacketText
  private let packetsMax: Int?
  private let show: (String) -> Void
  public private(set) var packets = 0

  /// - Parameter show: gets a line at a time, without its end.
  public init(_ text: PacketText, packetsMax: Int? = nil, show: @escaping (String) -> Void) {
    self.text = text
    self.packetsMax = packetsMax
    self.show = show
  }

  public mutating func take(_ block: PcapngBlock) throws(WeftError) -> Bool {
    guard let line = text.line(block) else { return true }
    show(line)
    packets += 1
    return packetsMax.map { packets < $0 } ?? true
  }

  public mutating func flush() throws(WeftError) {}

  /// Reads a saved capture from a descriptor. Throws `CAP0012` for what is none; a last block that is not whole is passed over.
  public mutating func read(_ descriptor: Int32, path: String) throws(WeftError) {
    var waiting: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 1 << 20)
    var isFirst = true
    var isWanted = true
    while isWanted {
      let count = Glibc.read(descriptor, &chunk, chunk.count)
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { break }
      waiting += chunk[..<count]
      do {
        let taken = try waiting.withUnsafeBytes { bytes in
          try PcapngBlocks.read(bytes) { block in
            if isFirst, !block.isSection { throw PcapngError.noSection }
            isFirst = false
            isWanted = try take(block)
            return isWanted
          }
        }
        waiting.removeFirst(taken)
      } catch let error as WeftError {
        throw error
      } catch {
        throw Self.unreadable(path, "\(error)")
      }
    }
    if isFirst { throw Self.unreadable(path, "it has no pcapng section") }
  }

  static func unreadable(_ path: String, _ reason: String) -> WeftError {
    WeftError(
      "CAP0012", object: path, cause: "is no capture that can be read: \(reason)",
      next: "give a file of `weft capture -w`; others: tshark -r \(path)")
  }
}
