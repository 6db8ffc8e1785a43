// What the kernel refused, why as far as it says, and the command a person would type to try the same.
import Glibc

/// A refused or failed kernel request. Callers decide on `errno`; people read the rest.
public struct NetlinkError: Error, Sendable, Hashable {
  /// The kernel's error number, positive: `ENODEV`, `EEXIST`.
  public var errno: Int32
  /// The command that equals the request: `ip link add cni0 type bridge`.
  public var command: String
  /// The kernel's own words (extended acknowledgement), where it gave any.
  public var explanation: String?

  public init(errno: Int32, command: String, explanation: String? = nil) {
    self.errno = errno
    self.command = command
    self.explanation = explanation
  }

  /// The object is not there: no such link, address, route, neighbour, file or process.
  public var isMissing: Bool { Self.missing.contains(errno) }
  static var missing: [Int32] { [ENODEV, ENOENT, ESRCH, ENXIO, EADDRNOTAVAIL] }

  public var isExisting: Bool { errno == EEXIST }

  /// Busy, interrupted or out of memory: the same call may succeed later.
  public var isRetryable: Bool {
    switch errno {
    case EAGAIN, EINTR, EBUSY, ENOBUFS, ENOMEM, ETIMEDOUT: true
    default: false
    }
  }
}

extension NetlinkError: CustomStringConvertible {
  public var description: String {
    let said = explanation.map { " (\($0))" } ?? ""
    return "`\(command)`: \(String(cString: strerror(errno)))\(said)"
  }
}
