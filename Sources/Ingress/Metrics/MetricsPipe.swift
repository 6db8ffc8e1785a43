// The child's metrics on the parent's page: no port, no name, nobody else. The parent writes a byte, the child answers with its text.
//
//   parent -- 1 byte -->      child's thread of its own: rendering never holds up a request
//          <-- u32 little-endian length | Prometheus text

import CLinux
import Diagnostics
import Glibc
import Reactor
import Synchronization

/// The parent's end. One question at a time; a child that does not answer in time is not asked again.
public final class IngressMetricsPipe: Sendable {
  /// Longer texts end the pipe.
  static let textBytesMax = 64 << 20
  /// Time for each piece of an answer, seconds.
  private static let secondsMax = 1

  struct State: ~Copyable { var descriptor: Descriptor }
  let state: Mutex<State>

  /// A connected pair: for the parent, and for `IngressDataPlaneConfiguration.metrics`.
  /// - Throws: `SocketError` of socketpair(2).
  public static func pair() throws(SocketError) -> (parent: IngressMetricsPipe, child: Int32) {
    var ends: [Int32] = [-1, -1]
    guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0, &ends) == 0 else {
      throw SocketError("socketpair", errno)
    }
    return (IngressMetricsPipe(Descriptor(owning: ends[0])), ends[1])
  }

  /// Takes the parent's end.
  public init(_ descriptor: consuming Descriptor) {
    var limit = timeval(tv_sec: Self.secondsMax, tv_usec: 0)
    for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
      setsockopt(descriptor.raw, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
    }
    state = Mutex(State(descriptor: descriptor))
  }

  /// The child's metrics as Prometheus text; nil when it is gone or does not answer. Blocks, at most a second without a byte.
  public func text() -> String? {
    state.withLock { state in
      guard state.descriptor.isOpen else { return nil }
      guard let bytes = Self.ask(state.descriptor) else {
        // Half an answer would be taken for the next one.
        state.descriptor.close()
        return nil
      }
      return String(decoding: bytes, as: UTF8.self)
    }
  }

  private static func ask(_ descriptor: borrowing Descriptor) -> [UInt8]? {
    var question: UInt8 = 1
    guard send(descriptor.raw, &question, 1, Int32(MSG_NOSIGNAL)) == 1 else { return nil }
    var header = [UInt8](repeating: 0, count: 4)
    guard read(descriptor, &header) else { return nil }
    let length = header.reversed().reduce(0) { $0 << 8 | Int($1) }
    guard length <= textBytesMax else { return nil }
    var text = [UInt8](repeating: 0, count: length)
    guard length == 0 || read(descriptor, &text) else { return nil }
    return text
  }

  /// False when that many bytes do not come.
  static func read(_ descriptor: borrowing Descriptor, _ bytes: inout [UInt8]) -> Bool {
    while true {
      let count = recv(descriptor.raw, &bytes, bytes.count, Int32(MSG_WAITALL))
      if count < 0, errno == EINTR { continue }
      return count == bytes.count
    }
  }

  public func close() { state.withLock { $0.descriptor.close() } }
}

/// The child's end: a thread that answers until the parent goes.
final class MetricsAnswerer: Sendable {
  private let raw: Int32
  private let metrics: Metrics

  /// Starts the thread, which owns `raw` from then on.
  /// - Throws: `SocketError` when there is none.
  @discardableResult
  init(_ raw: Int32, _ metrics: Metrics = .shared) throws(SocketError) {
    self.raw = raw
    self.metrics = metrics
    let retained = Unmanaged.passRetained(self)
    var thread = pthread_t()
    let result = pthread_create(
      &thread, nil,
      { raw in
        guard let raw else { return nil }
        weft_prepare_thread("metrics")
        Unmanaged<MetricsAnswerer>.fromOpaque(raw).takeRetainedValue().run()
        return nil
      }, retained.toOpaque())
    guard result == 0 else {
      retained.release()
      throw SocketError("pthread_create", result)
    }
    pthread_detach(thread)
  }

  private func run() {
    let descriptor = Descriptor(owning: raw)
    var question = [UInt8](repeating: 0, count: 1)
    while IngressMetricsPipe.read(descriptor, &question) {
      let text = Array(metrics.text().utf8.prefix(IngressMetricsPipe.textBytesMax))
      let frame = withUnsafeBytes(of: UInt32(text.count).littleEndian) { Array($0) } + text
      var done = 0
      while done < frame.count {
        let count = frame.withUnsafeBytes {
          send(descriptor.raw, $0.baseAddress.map { $0 + done }, $0.count - done, Int32(MSG_NOSIGNAL))
        }
        if count < 0, errno == EINTR { continue }
        guard count > 0 else { return }
        done += count
      }
    }
  }
}
