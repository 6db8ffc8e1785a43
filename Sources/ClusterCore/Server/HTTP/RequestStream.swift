// A request that is passed on while it still comes in, and an answer that is written as another connection brings it.
// Both belong to the event loop of the client's connection.

import NIOCore
import NIOHTTP1

/// The body of a request as it arrives, and word of the client going away.
final class RequestStream: @unchecked Sendable {
  /// Bytes that wait before anybody takes them; beyond, the client is not read.
  static let waitingBytesMax = 64 << 10
  private static let subresources: Set<String> = ["attach", "exec", "log", "portforward", "proxy"]

  let channel: any Channel
  private var waiting: [ByteBuffer] = []
  private var waitingBytes = 0
  private var isEnded = false
  private var isClosed = false
  private var isHeld = false
  private var onBody: ((ByteBuffer) -> Void)?
  private var onEnd: (() -> Void)?
  private var onClose: (() -> Void)?
  private let resume: () -> Void

  init(channel: any Channel, resume: @escaping () -> Void) {
    self.channel = channel
    self.resume = resume
  }

  /// Requests to upgrade, and those that go on to a node, a pod or a Service.
  static func isWanted(_ head: HTTPRequestHead, _ path: [String]) -> Bool {
    if isUpgrade(head) { return true }
    if Router.isNodePage(path) { return true }
    guard path.first == "api", let subresource = Target(path)?.subresource else { return false }
    return subresources.contains(subresource)
  }

  static func isUpgrade(_ head: HTTPRequestHead) -> Bool {
    isUpgrade(head.headers) && head.version.major == 1
  }

  static func isUpgrade(_ headers: HTTPHeaders) -> Bool {
    headers.contains(name: "upgrade")
      && headers[canonicalForm: "connection"].contains { $0.lowercased() == "upgrade" }
  }

  var isFull: Bool { isHeld || waitingBytes > Self.waitingBytesMax }

  func push(_ bytes: ByteBuffer) {
    if isClosed { return }
    if let onBody { return onBody(bytes) }
    waiting.append(bytes)
    waitingBytes += bytes.readableBytes
  }

  func finish() {
    if isEnded { return }
    isEnded = true
    onEnd?()
  }

  /// On the event loop: takes the body. `onClose` is called when the client goes away, at once if it has.
  func start(onBody: @escaping (ByteBuffer) -> Void, onEnd: @escaping () -> Void) {
    self.onBody = onBody
    self.onEnd = onEnd
    let early = waiting
    waiting = []
    waitingBytes = 0
    for bytes in early { onBody(bytes) }
    if isEnded { onEnd() } else { resume() }
  }

  func whenClosed(_ body: @escaping () -> Void) {
    if isClosed { body() } else { onClose = body }
  }

  func hold(_ isHeld: Bool) {
    guard self.isHeld != isHeld else { return }
    self.isHeld = isHeld
    if !isHeld { resume() }
  }

  func closed() {
    isClosed = true
    waiting = []
    onBody = nil
    onEnd = nil
    let body = onClose
    onClose = nil
    body?()
  }
}

/// The body of an answer, written with an eye on how fast the client takes it.
final class BodyWriter: @unchecked Sendable {
  private let channel: any Channel
  private let put: (ByteBuffer) -> Void
  private let finish: (Bool) -> Void
  var onWritable: (() -> Void)?
  var onClose: (() -> Void)?
  /// Called once, however it ends.
  var onOver: (() -> Void)?

  init(channel: any Channel, write: @escaping (ByteBuffer) -> Void, end: @escaping (Bool) -> Void) {
    self.channel = channel
    put = write
    finish = end
  }

  var isWritable: Bool { channel.isWritable }
  func write(_ bytes: ByteBuffer) { put(bytes) }

  /// Not whole: the connection is closed, so that the client sees it.
  func end(isWhole: Bool) {
    onWritable = nil
    onClose = nil
    finish(isWhole)
    over()
  }

  /// The connection is gone.
  func closed() {
    onClose?()
    over()
  }

  private func over() {
    onOver?()
    onOver = nil
  }
}
