// A thread for one piece of work: what the work does to its thread (its namespace, say) ends with it.
import Glibc

/// Runs `body` on a new thread and blocks until it has ended.
func onOwnThread<Value>(_ body: () throws -> Value) throws -> Value {
  try withoutActuallyEscaping(body) { body in
    var result: Result<Value, any Error>? = nil
    try withUnsafeMutablePointer(to: &result) { slot in
      // The creating thread waits in pthread_join, so `slot` and `body` are used by one thread at a time.
      let work = ThreadWork { slot.pointee = Result { try body() } }
      let retained = Unmanaged.passRetained(work)
      var thread = pthread_t()
      let code = pthread_create(
        &thread, nil,
        { raw in
          if let raw { Unmanaged<ThreadWork>.fromOpaque(raw).takeRetainedValue().run() }
          return nil
        }, retained.toOpaque())
      guard code == 0 else {
        retained.release()
        throw NetlinkError(errno: code, command: "pthread_create")
      }
      pthread_join(thread, nil)
    }
    guard let result else { throw NetlinkError(errno: EPROTO, command: "pthread_join") }
    return try result.get()
  }
}

private final class ThreadWork {
  let run: () -> Void
  init(_ run: @escaping () -> Void) { self.run = run }
}

/// Carries one noncopyable value from the thread that made it to the one that waits for it.
final class Handover<Value: ~Copyable> {
  private var value: Value? = nil

  func put(_ value: consuming Value) { self.value = consume value }

  func take() throws(NetlinkError) -> Value {
    guard let taken = value.take() else { throw NetlinkError(errno: EPROTO, command: "pthread_join") }
    return taken
  }
}
