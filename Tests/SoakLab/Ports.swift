// Ports for programs that tests start: nobody else comes by one between the moment it is chosen and the moment a program listens on it,
// also while that program is killed and started again.

import Glibc
import Synchronization

/// The kernel gives them to nobody by itself: it takes those above 32767 for clients and for whoever asks for any.
private let portsOfTests: Range<UInt16> = 20_000..<32_000

/// What one process has of them.
private let portsOfProcess = 1500

private let portsGiven = Mutex<UInt16>(0)

/// The first of this process's ports. Processes beside each other have ports of their own, by a name that the kernel forgets when its
/// process ends: an abstract Unix socket's, which is as wide as the loopback is, one network namespace.
private let firstPort: UInt16 = {
  let shares = portsOfTests.count / portsOfProcess
  func isOurs(_ share: Int) -> Bool {
    let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { path in
      path.dropFirst().copyBytes(from: Array("weft-tests-ports-\(share)".utf8))
    }
    let bound = withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    // It stays open until the process ends.
    if bound != 0 { close(descriptor) }
    return bound == 0
  }
  // With more processes than shares two begin at one, and a port that is taken is passed over.
  let share = (0..<shares).first(where: isOurs) ?? Int(getpid()) % shares
  return portsOfTests.lowerBound + UInt16(share * portsOfProcess)
}()

/// No port is free.
public struct NoFreePort: Error {}

/// A port of the loopback that nobody uses at this moment, neither for TCP nor for UDP, and no other call has been given.
/// - Throws: `NoFreePort` when each of this process's is taken.
public func freePort() throws -> UInt16 {
  for _ in 0..<portsOfProcess {
    let number = portsGiven.withLock { given in
      given = (given + 1) % UInt16(portsOfProcess)
      return given
    }
    let port = firstPort + number
    if isFree(port, SOCK_STREAM) && isFree(port, SOCK_DGRAM) { return port }
  }
  throw NoFreePort()
}

private func isFree(_ port: UInt16, _ kind: __socket_type) -> Bool {
  let descriptor = socket(AF_INET, Int32(kind.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
  defer { close(descriptor) }
  var address = sockaddr_in()
  address.sin_family = sa_family_t(AF_INET)
  address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
  address.sin_port = port.bigEndian
  return withUnsafePointer(to: &address) { pointer in
    pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
    }
  }
}
