// Entering a network namespace: the one file that needs setns and unshare from C.
import CLinux

/// Runs `body` on a thread of its own inside the network namespace at `path` and waits for it. The caller's
/// thread blocks and never changes namespace; the other thread ends with `body`. Sockets opened in `body`
/// stay in that namespace and may be handed out. Costs about 50 µs.
public func runInNamespace<Value>(_ path: String, _ body: () throws -> Value) throws -> Value {
  let namespace = try NetworkNamespace(path: path)
  let descriptor = namespace.descriptor
  return try onOwnThread {
    let entered = weft_setns(descriptor, CLONE_NEWNET)
    guard entered == 0 else { throw NetlinkError(errno: -entered, command: "nsenter --net=\(path)") }
    return try body()
  }
}

/// Gives the calling thread a network namespace of its own. Returns 0 or a negative error number.
func leaveNamespace() -> Int32 { weft_unshare(CLONE_NEWNET) }
