// port-forward: each connection of the client's is two SPDY streams, data and error, and one TCP connection to the pod's
// own loopback, dialled within its network namespace.

import ClusterStreams
import NIOCore

/// All forwarded connections of one `kubectl port-forward`. Lives on one event loop; ends with the client.
final class PortForwardSession: @unchecked Sendable {
  /// Bytes that wait for one connection to be dialled; past that the client is not read.
  private static let waitingBytesMax = 256 << 10

  /// Raw SPDY, or SPDY within the messages of a WebSocket.
  enum Carrier: Sendable { case plain, webSocket }

  private final class Pair {
    var data: UInt32?
    var error: UInt32?
    var port = 0
    var target: ByteLink?
    var isDialling = false
    var waiting = ByteBuffer()
    var isEnded = false
    var isTargetEnded = false
  }

  private let client: ByteLink
  private let pod: ForwardedPod
  private let carrier: Carrier
  private let spdy: SPDYSession
  private let messages: WebSocketReader
  private var pairs: [String: Pair] = [:]
  private var keys: [UInt32: String] = [:]
  /// Pairs whose pod takes no more now: the client is not read while there are any.
  private var blocked: Set<String> = []
  private var isOver = false

  init(client: ByteLink, pod: ForwardedPod, carrier: Carrier) throws(SPDYError) {
    self.client = client
    messages = WebSocketReader(client)
    self.pod = pod
    self.carrier = carrier
    spdy = try SPDYSession(.server)
  }

  func start() {
    client.start(
      onRead: { self.fromClient($0) },
      onWritable: { for pair in self.pairs.values { pair.target?.hold(false) } },
      onClose: { self.end() })
    flush()
  }

  private func flush() {
    let bytes = spdy.takeOutput()
    guard bytes.readableBytes > 0 else { return }
    switch carrier {
    case .plain: client.write(bytes)
    case .webSocket: client.write(WebSocketEncoder.frame(.binary, bytes))
    }
    if !client.isWritable { for pair in pairs.values { pair.target?.hold(true) } }
  }

  // MARK: From the client

  private func fromClient(_ bytes: ByteBuffer) {
    if isOver { return }
    switch carrier {
    case .plain:
      do { try take(bytes) } catch {
        flush()
        client.close()
        return end()
      }
    case .webSocket:
      guard messages.take(bytes, closing: { flush() }, { piece, _, _ in try take(piece) }) else {
        return end()
      }
    }
    flush()
    client.hold(!blocked.isEmpty)
  }

  private func take(_ bytes: ByteBuffer) throws(SPDYError) {
    for event in try spdy.receive(bytes) {
      switch event {
      case .opened(let id, let headers, let isFinal): try opened(id, headers, isFinal: isFinal)
      case .data(let id, let bytes, let isFinal): deliver(id, bytes, isFinal: isFinal)
      case .reset(let id, _):
        guard let key = keys[id], let pair = pairs[key], pair.data == id else { continue }
        pair.target?.abort()
        drop(key)
      case .replied, .writable, .goingAway: continue
      }
    }
  }

  private func opened(_ id: UInt32, _ headers: SPDYHeaders, isFinal: Bool) throws(SPDYError) {
    guard let port = headers["port"].flatMap({ UInt16($0) }), port > 0, let type = headers["streamtype"],
      type == "error" || type == "data"
    else { return try spdy.reset(id, .protocolError) }
    // Clients of before 1.2 send no request id: error and data are neighbours then.
    let key = headers["requestid"] ?? (type == "error" ? "stream \(id)" : "stream \(id &- 2)")
    let pair = pairs[key] ?? Pair()
    guard (type == "error" ? pair.error : pair.data) == nil else { return try spdy.reset(id, .protocolError) }
    try spdy.reply(id)
    pairs[key] = pair
    keys[id] = key
    if type == "error" { pair.error = id } else { pair.data = id }
    pair.port = Int(port)
    if pair.error != nil, pair.data != nil { dial(key, pair) }
    if isFinal { deliver(id, ByteBuffer(), isFinal: true) }
  }

  private func deliver(_ id: UInt32, _ bytes: ByteBuffer, isFinal: Bool) {
    guard let key = keys[id], let pair = pairs[key], pair.data == id else { return }
    if let target = pair.target {
      target.write(bytes)
      if !target.isWritable { blocked.insert(key) }
      if isFinal { target.closeOutput() }
    } else {
      pair.waiting.writeImmutableBuffer(bytes)
      if pair.waiting.readableBytes > Self.waitingBytesMax { blocked.insert(key) }
    }
    if isFinal { pair.isEnded = true }
  }

  // MARK: The pod's side

  private func dial(_ key: String, _ pair: Pair) {
    if pair.isDialling { return }
    pair.isDialling = true
    PodDial.open(pair.port, in: pod, on: client.eventLoop) { self.dialled(key, $0) }
  }

  private func dialled(_ key: String, _ result: Result<ByteLink, PodDial.Problem>) {
    switch result {
    case .success(let link):
      guard !isOver, pairs[key] != nil else { return link.abort() }
      connected(key, link)
    case .failure(let problem):
      guard !isOver, let pair = pairs[key] else { return }
      fail(key, pair, problem.text)
    }
  }

  private func connected(_ key: String, _ link: ByteLink) {
    guard !isOver, let pair = pairs[key] else { return link.abort() }
    pair.target = link
    blocked.remove(key)
    link.start(
      onRead: { bytes in
        self.send(pair.data, bytes)
        if !self.client.isWritable { link.hold(true) }
      },
      onEnd: {
        // The pod has said everything; the client may go on. No error can follow: kubectl before 1.29 waits to be told
        // before it lets its own side go.
        pair.isTargetEnded = true
        self.send(pair.data, ByteBuffer(), isFinal: true)
        self.send(pair.error, ByteBuffer(), isFinal: true)
        if pair.isEnded { link.close() }
      },
      onWritable: {
        self.blocked.remove(key)
        self.client.hold(!self.blocked.isEmpty)
      },
      onClose: { self.closed(key, pair) })
    if pair.waiting.readableBytes > 0 { link.write(pair.waiting) }
    pair.waiting.clear()
    if pair.isEnded { link.closeOutput() }
    client.hold(!blocked.isEmpty)
  }

  private func closed(_ key: String, _ pair: Pair) {
    send(pair.data, ByteBuffer(), isFinal: true)
    send(pair.error, ByteBuffer(), isFinal: true)
    drop(key)
  }

  private func fail(_ key: String, _ pair: Pair, _ text: String) {
    send(pair.error, ByteBuffer(string: text), isFinal: true)
    if let data = pair.data { try? spdy.reset(data, .cancel) }
    flush()
    drop(key)
  }

  private func send(_ id: UInt32?, _ bytes: ByteBuffer, isFinal: Bool = false) {
    guard let id, !isOver else { return }
    do { try spdy.send(id, bytes, isFinal: isFinal) } catch {
      client.close()
      return end()
    }
    flush()
  }

  private func drop(_ key: String) {
    guard let pair = pairs.removeValue(forKey: key) else { return }
    for id in [pair.data, pair.error] { if let id { keys[id] = nil } }
    blocked.remove(key)
    client.hold(!blocked.isEmpty)
  }

  private func end() {
    if isOver { return }
    isOver = true
    let open = pairs.values.compactMap(\.target)
    pairs = [:]
    for target in open { target.close() }
  }
}
