// Network namespaces: made, named, entered, identified. A namespace is entered only on a thread made for it.
import CLinux
import Glibc

/// An open handle on a network namespace; keeps the namespace alive while it exists.
public struct NetworkNamespace: ~Copyable {
  /// Valid as long as this value; for `VethEnd.namespace`.
  public let descriptor: Int32
  /// Which namespace it is: the pair is unique while the machine is up.
  public let identity: NamespaceIdentity

  /// Where persistent namespaces have their names, as `ip netns` has it.
  public static let directory = "/run/netns"

  /// Opens the namespace behind `path` (`/run/netns/NAME`, `/proc/PID/ns/net`). Throws `EINVAL` for what is no namespace;
  /// a pipe or a device is not waited for.
  public init(path: String) throws(NetlinkError) {
    let opened = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard opened >= 0 else { throw NetlinkError(errno: errno, command: "open \(path)") }
    do throws(NetlinkError) {
      guard weft_is_namespace(opened) != 0 else {
        throw NetlinkError(errno: EINVAL, command: "open \(path)", explanation: "it is no namespace")
      }
      identity = try NamespaceIdentity(descriptor: opened, path: path)
    } catch {
      close(opened)
      throw error
    }
    descriptor = opened
  }

  deinit { close(descriptor) }

  /// The calling thread's own.
  public static func current() throws(NetlinkError) -> NetworkNamespace {
    try NetworkNamespace(path: "/proc/thread-self/ns/net")
  }

  /// `ip netns add NAME; ip -n NAME link set lo up`
  ///
  /// The name is a file that the namespace is mounted on; both outlive the process.
  /// - Returns: the path. Throws `EEXIST` when the name is taken.
  @discardableResult
  public static func create(named name: String) throws -> String {
    let path = "\(directory)/\(name)"
    let command = "ip netns add \(name)"
    if mkdir(directory, 0o755) != 0, errno != EEXIST { throw NetlinkError(errno: errno, command: command) }
    let file = open(path, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o444)
    guard file >= 0 else { throw NetlinkError(errno: errno, command: command) }
    close(file)
    do {
      try onOwnThread {
        let left = leaveNamespace()
        guard left == 0 else { throw NetlinkError(errno: -left, command: command) }
        guard mount("/proc/thread-self/ns/net", path, "none", UInt(MS_BIND), nil) == 0 else {
          throw NetlinkError(errno: errno, command: command)
        }
        var session = try RouteSession()
        if let loopback = try session.link(named: "lo") { try session.setLink(loopback.index, isUp: true) }
      }
    } catch {
      _ = umount2(path, Int32(MNT_DETACH))
      unlink(path)
      throw error
    }
    return path
  }

  /// `ip netns del NAME`. The namespace itself ends when nothing uses it any more.
  /// - Returns: false when there was none.
  @discardableResult
  public static func delete(named name: String) throws(NetlinkError) -> Bool {
    let path = "\(directory)/\(name)"
    // EINVAL: a plain file, left by a creation that was cut short.
    if umount2(path, Int32(MNT_DETACH)) != 0, errno != EINVAL, errno != ENOENT {
      throw NetlinkError(errno: errno, command: "ip netns del \(name)")
    }
    if unlink(path) == 0 { return true }
    guard errno == ENOENT else { throw NetlinkError(errno: errno, command: "ip netns del \(name)") }
    return false
  }
}

/// Device and inode of a namespace file. Two paths name one namespace exactly when these are equal.
public struct NamespaceIdentity: Sendable, Hashable, CustomStringConvertible {
  public var device: UInt64
  public var inode: UInt64

  public init(path: String) throws(NetlinkError) {
    var status = stat()
    guard stat(path, &status) == 0 else { throw NetlinkError(errno: errno, command: "stat \(path)") }
    self.init(status)
  }

  init(descriptor: Int32, path: String) throws(NetlinkError) {
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw NetlinkError(errno: errno, command: "stat \(path)") }
    self.init(status)
  }

  private init(_ status: stat) {
    device = UInt64(status.st_dev)
    inode = UInt64(status.st_ino)
  }

  public var description: String { "net:[\(inode)]" }
}
