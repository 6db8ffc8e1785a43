// One real connection, tried from where it is asked about, with a port that is known before the first packet leaves.

import Addresses
import CLinux
import Diagnostics
import Glibc
import KernelNetlink
import KernelSockets

/// A socket in the asking pod's network, bound, so that its packets can be told from all others.
final class LiveProbe {
  enum Outcome: Sendable, Hashable {
    case connected(milliseconds: Double)
    /// The far end, or a rule, said no.
    case refused
    case unanswered
    /// The sender's own kernel has no way there, or something on the way said so.
    case unreachable(errno: Int32)
    /// A datagram went out, and nothing came back that says otherwise.
    case sent
  }

  /// How long an answer is waited for: a lost SYN is sent again after a second.
  static let patienceMilliseconds: Int32 = 2500
  /// A refusal of a datagram comes at once or not at all.
  static let datagramMilliseconds: Int32 = 300

  let source: SocketEndpoint
  let transport: TransportProtocol
  private let descriptor: Int32

  /// - Parameter namespace: path of the network namespace that has the address; nil: the caller's own.
  /// Throws `CLI0152` when the socket cannot be had.
  init(from address: IPAddress, _ transport: TransportProtocol, namespace: String?) throws(WeftError) {
    self.transport = transport
    func open() throws -> Int32 {
      let kind = transport == .tcp ? SOCK_STREAM : SOCK_DGRAM
      let made = socket(
        address.family == .v4 ? AF_INET : AF_INET6,
        Int32(kind.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
      guard made >= 0 else { throw NetlinkError(errno: errno, command: "socket") }
      guard withSocketAddress(address, 0, { bind(made, $0, $1) }) == 0 else {
        let code = errno
        close(made)
        throw NetlinkError(errno: code, command: "bind \(address)")
      }
      return made
    }
    do {
      descriptor = try namespace.map { try runInNamespace($0, open) } ?? open()
    } catch {
      throw WeftError(
        "CLI0152", object: "probe from \(address)", cause: "has no socket there (\(error))",
        next: "run on the pod's node as root; try again when the pod is running", underlying: error)
    }
    let descriptor = self.descriptor
    var storage = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    _ = withUnsafeMutablePointer(to: &storage) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &length) }
    }
    // The port stands at the same place in both families.
    let port = withUnsafeBytes(of: storage) { UInt16($0[2]) << 8 | UInt16($0[3]) }
    source = SocketEndpoint(address, port)
  }

  deinit { close(descriptor) }

  /// Sends what begins a connection: a SYN, or an empty datagram. Blocks for as long as an answer may take.
  func send(to target: SocketEndpoint) -> Outcome {
    let clock = ContinuousClock()
    let start = clock.now
    let status = withSocketAddress(target.address, target.port) { connect(descriptor, $0, $1) }
    if status != 0, errno != EINPROGRESS { return outcome(errno) }
    if transport != .tcp {
      guard Glibc.send(descriptor, "", 0, 0) >= 0 else { return outcome(errno) }
    }
    var watched = pollfd(
      fd: descriptor, events: Int16(transport == .tcp ? POLLOUT : POLLIN), revents: 0)
    let patience = transport == .tcp ? Self.patienceMilliseconds : Self.datagramMilliseconds
    guard poll(&watched, 1, patience) == 1 else { return transport == .tcp ? .unanswered : .sent }
    var failure: Int32 = 0
    var length = socklen_t(MemoryLayout<Int32>.size)
    getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &failure, &length)
    if failure != 0 { return outcome(failure) }
    return .connected(milliseconds: Double((clock.now - start) / .microseconds(1)) / 1000)
  }

  private func outcome(_ code: Int32) -> Outcome {
    switch code {
    case ECONNREFUSED: .refused
    case ETIMEDOUT: .unanswered
    default: .unreachable(errno: code)
    }
  }
}
