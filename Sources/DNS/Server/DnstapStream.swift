// The connection to a dnstap listener: Frame Streams with a handshake, opened again when it ends.

import Addresses
import CLinux
import Diagnostics
import Glibc
import Reactor

final class DnstapStream: ReadinessHandler, TimerHandler {
  /// Octets the listener has not taken; beyond that copies are dropped.
  static let outputBytesMax = 1 << 20
  static let pauseNanoseconds: UInt64 = 5_000_000_000
  private static let contentType = Array("protobuf:dnstap.Dnstap".utf8)

  /// Types of control frames.
  private enum Control {
    static let accept: UInt8 = 1
    static let start: UInt8 = 2
    static let ready: UInt8 = 4
  }

  private let target: DnstapSettings.Target
  private let reactor: Reactor
  private let dropped: Counter
  private var channel = Channel()
  private var input: [UInt8] = []
  private var output: [UInt8] = []
  private var written = 0
  private var isStarted = false

  init(_ target: DnstapSettings.Target, _ reactor: Reactor, _ dropped: Counter) {
    self.target = target
    self.reactor = reactor
    self.dropped = dropped
  }

  func connect() {
    input = []
    written = 0
    isStarted = false
    output = Self.control(Control.ready)
    do throws(SocketError) {
      switch target {
      case .endpoint(let endpoint):
        channel = try reactor.register(try Sockets.connectTCP(endpoint), handler: self)
      case .path(let path): channel = try reactor.register(try Self.connectUnix(path), handler: self)
      }
      flush()
    } catch {
      again()
    }
  }

  private static func connectUnix(_ path: String) throws(SocketError) -> Descriptor {
    let raw = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue), 0)
    let descriptor = Descriptor(owning: raw)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let bytes = Array(path.utf8) + [0]
    let fits = withUnsafeMutableBytes(of: &address.sun_path) { space in
      guard bytes.count <= space.count else { return false }
      space.copyBytes(from: bytes)
      return true
    }
    guard raw >= 0, fits else { throw SocketError("socket", fits ? errno : ENAMETOOLONG, endpoint: path) }
    let result = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        Glibc.connect(raw, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    guard result == 0 else { throw SocketError("connect", errno, endpoint: path) }
    return descriptor
  }

  private func again() {
    channel.close()
    isStarted = false
    guard !reactor.isDraining else { return }
    _ = reactor.setTimer(after: Self.pauseNanoseconds, handler: self)
  }

  func timerEnded(tag: Int) { if !channel.isOpen { connect() } }
  func cancel() { channel.close() }

  /// Sends a data frame, or drops it while nobody takes them.
  func send(_ payload: [UInt8]) {
    guard isStarted, channel.isOpen, output.count - written + payload.count < Self.outputBytesMax else {
      return dropped.increment()
    }
    output += Self.number(payload.count) + payload
    flush()
  }

  func ready(_ readiness: Readiness) {
    if readiness.contains(.error) { return again() }
    if readiness.contains(.writable) { flush() }
    guard channel.isOpen, !readiness.isDisjoint(with: [.readable, .peerFinished, .hangUp]) else { return }
    let space = UnsafeMutableRawBufferPointer(rebasing: reactor.scratch[..<4096])
    while channel.isOpen {
      switch channel.receive(into: space) {
      case .bytes(let count):
        if !isStarted, input.count + count <= 4096 { input += space[..<count] }
      case .wouldBlock: return accept()
      case .end, .failed: return again()
      }
    }
  }

  /// An escape (four zeros), the length, the type: ACCEPT begins the stream.
  private func accept() {
    guard !isStarted, input.count >= 12, input[..<4].allSatisfy({ $0 == 0 }), input[11] == Control.accept
    else {
      return
    }
    isStarted = true
    output += Self.control(Control.start)
    flush()
  }

  private func flush() {
    while channel.isOpen, written < output.count {
      switch output.withUnsafeBytes({ channel.send(UnsafeRawBufferPointer(rebasing: $0[written...])) }) {
      case .bytes(let count): written += count
      case .wouldBlock: return
      case .end, .failed: return again()
      }
    }
    output.removeAll(keepingCapacity: output.count < 65536)
    written = 0
  }

  /// A control frame with the content type as its one field.
  private static func control(_ type: UInt8) -> [UInt8] {
    let body = number(Int(type)) + number(1) + number(contentType.count) + contentType
    return number(0) + number(body.count) + body
  }

  private static func number(_ value: Int) -> [UInt8] {
    (0..<4).map { UInt8(truncatingIfNeeded: value >> (24 - 8 * $0)) }
  }
}
