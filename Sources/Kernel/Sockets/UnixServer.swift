// Accepts at a Unix socket: a thread for whoever asks, so many at once, and nobody but root.

import Glibc
import Synchronization

/// Listens from `start` to `stop`.
public final class UnixServer: Sendable {
  public let path: String
  private let connectionsMax: Int
  private let refusal: [UInt8]
  private let answer: @Sendable (UnixServer, Int32) -> Void
  private let listener = Mutex<Int32>(-1)
  private let connections = Atomic<Int>(0)
  private let stopping = Atomic<Bool>(false)

  /// - Parameters:
  ///   - connectionsMax: who comes beyond these gets the line `refusal` and is left.
  ///   - answer: serves one connection on a thread of its own, until this server stops; the descriptor is closed then.
  public init(
    path: String, connectionsMax: Int, refusal: [UInt8],
    answer: @escaping @Sendable (UnixServer, Int32) -> Void
  ) {
    self.path = path
    self.connectionsMax = connectionsMax
    self.refusal = refusal
    self.answer = answer
  }

  /// False with errno set when the path cannot be listened on. The socket is for its owner alone.
  public func start() -> Bool {
    let descriptor = UnixSocket.listen(path)
    guard descriptor >= 0 else { return false }
    listener.withLock { $0 = descriptor }
    return DetachedThread.start { [weak self] in
      while true {
        let connection = accept(descriptor, nil, nil)
        if connection < 0 {
          if errno == EINTR || errno == ECONNABORTED { continue }
          return
        }
        guard let self else {
          close(connection)
          return
        }
        guard UnixSocket.isPeerTrusted(connection) else {
          close(connection)
          continue
        }
        _ = fcntl(connection, F_SETFD, FD_CLOEXEC)
        serve(connection)
      }
    }
  }

  /// Whoever answers ends when this is true.
  public var isStopping: Bool { stopping.load(ordering: .acquiring) }
  /// Connections that are served now.
  public var open: Int { connections.load(ordering: .relaxed) }

  public func stop() {
    stopping.store(true, ordering: .releasing)
    let descriptor = listener.withLock { value in
      defer { value = -1 }
      return value
    }
    guard descriptor >= 0 else { return }
    // Wakes the accepting thread, which then sees the end.
    shutdown(descriptor, Int32(SHUT_RDWR))
    close(descriptor)
    unlink(path)
  }

  private func serve(_ connection: Int32) {
    guard connections.add(1, ordering: .relaxed).newValue <= connectionsMax else {
      connections.subtract(1, ordering: .relaxed)
      _ = UnixSocket.send(connection, line: refusal)
      close(connection)
      return
    }
    let isStarted = DetachedThread.start { [self] in
      defer {
        close(connection)
        connections.subtract(1, ordering: .relaxed)
      }
      answer(self, connection)
    }
    if !isStarted {
      connections.subtract(1, ordering: .relaxed)
      close(connection)
    }
  }
}
