// Entering a network namespace: the one file that needs setns and unshare from C.
import CLinux
import Glibc

/// How namespaces are entered.
public enum NamespaceEntry {
  /// Whether `runInNamespace` may move the calling thread there and back. For programs of a single thread, before anything else
  /// is done: they save a thread (100 µs, and memory for its allocations) each time. Never set in a program of several threads.
  nonisolated(unsafe) public static var movesCaller = false

  /// Where such a program started: it is always there between two visits, so this is asked once.
  nonisolated(unsafe) private static var start: Home?

  fileprivate struct Home {
    var descriptor: Int32
    var identity: NamespaceIdentity
  }

  /// Which namespace the calling thread is in.
  public static func ownIdentity() throws(NetlinkError) -> NamespaceIdentity {
    guard movesCaller else { return try NetworkNamespace.current().identity }
    return try home().identity
  }

  /// Only for programs that move the caller; the descriptor stays open until they end.
  fileprivate static func home() throws(NetlinkError) -> Home {
    if let start { return start }
    let namespace = try NetworkNamespace.current()
    let kept = fcntl(namespace.descriptor, F_DUPFD_CLOEXEC, 0)
    guard kept >= 0 else { throw NetlinkError(errno: errno, command: "open /proc/thread-self/ns/net") }
    let home = Home(descriptor: kept, identity: namespace.identity)
    start = home
    return home
  }
}

/// Runs `body` inside the network namespace at `path`. Sockets opened in `body` stay in that namespace and may be handed out.
///
/// It runs on a thread of its own, which ends with `body`: the caller's thread blocks and never changes namespace. Costs about
/// 50 µs. In a program that has said so (`NamespaceEntry`) it is the caller's thread that goes there and comes back.
public func runInNamespace<Value>(_ path: String, _ body: () throws -> Value) throws -> Value {
  let namespace = try NetworkNamespace(path: path)
  return try runInNamespace(descriptor: namespace.descriptor, path, body)
}

/// The same for a namespace that is open already.
func runInNamespace<Value>(descriptor: Int32, _ path: String, _ body: () throws -> Value) throws -> Value {
  guard NamespaceEntry.movesCaller else {
    return try onOwnThread {
      try enter(descriptor, path)
      return try body()
    }
  }
  let home = try NamespaceEntry.home()
  try enter(descriptor, path)
  defer {
    // A thread that cannot go home must not act where it is.
    if weft_setns(home.descriptor, CLONE_NEWNET) != 0 { abort() }
  }
  return try body()
}

private func enter(_ descriptor: Int32, _ path: String) throws(NetlinkError) {
  let entered = weft_setns(descriptor, CLONE_NEWNET)
  guard entered == 0 else { throw NetlinkError(errno: -entered, command: "nsenter --net=\(path)") }
}

/// Gives the calling thread a network namespace of its own. Returns 0 or a negative error number.
func leaveNamespace() -> Int32 { weft_unshare(CLONE_NEWNET) }
