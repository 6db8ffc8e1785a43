// The streams of one SPDY connection, either side's: bytes in, events out; calls in, bytes out. No sockets, no clocks.
//
// Flow control. The Go library that kubectl and containerd use neither sends nor heeds WINDOW_UPDATE; the connection's
// own back-pressure bounds what is on the way. So our windows are opened wide at the start, and a peer's windows are
// heeded from the moment it shows that it keeps them.

import NIOCore

/// One owner at a time: not for several threads.
public final class SPDYSession {
  public enum Role: Sendable { case client, server }

  public enum Event: Sendable, Hashable {
    /// The peer opened a stream; answer with `reply` or `reset`.
    case opened(id: UInt32, headers: SPDYHeaders, isFinal: Bool)
    case replied(id: UInt32)
    case data(id: UInt32, ByteBuffer, isFinal: Bool)
    case reset(id: UInt32, status: UInt32)
    /// Waiting data of this stream went out: the window has room.
    case writable(id: UInt32)
    /// The peer opens no more streams.
    case goingAway
  }

  /// Status of a reset.
  public enum Reset: UInt32, Sendable {
    case protocolError = 1, invalidStream, refusedStream, unsupported, cancel
  }

  /// Streams at once; more are refused.
  public static let streamsMax = 1024
  private static let windowMax: UInt32 = 0x7fff_ffff
  private static let windowDefault = 64 << 10

  private struct Stream {
    var isLocalOpen = true
    var isRemoteOpen = true
    var isReplied = false
    var window: Int
    /// Held back by the peer's window. Bounded by whoever feeds the stream: see `isHeld`.
    var held = ByteBuffer()
    var isFinalHeld = false
    /// Received since the window was opened last.
    var received = 0
  }

  private let role: Role
  private var decoder = SPDYDecoder()
  private let encoder = SPDYEncoder()
  private var streams: [UInt32: Stream] = [:]
  private var nextID: UInt32
  private var lastPeerID: UInt32 = 0
  private var output = ByteBuffer()
  private var peerKeepsWindows = false
  private var peerWindow = windowDefault
  private var connectionWindow = windowDefault
  private var connectionReceived = 0
  private var isGoingAway = false

  public init(_ role: Role) throws(SPDYError) {
    self.role = role
    nextID = role == .client ? 1 : 2
    try put(.settings([.init(id: SPDYFrame.Setting.initialWindowSize, value: Self.windowMax)]))
    try put(.windowUpdate(id: 0, delta: Self.windowMax - UInt32(Self.windowDefault)))
  }

  public var streamCount: Int { streams.count }

  /// What is to be sent, and none of it a second time.
  public func takeOutput() -> ByteBuffer {
    defer { output = ByteBuffer() }
    return output
  }

  private func put(_ frame: SPDYFrame) throws(SPDYError) { try encoder.encode(frame, into: &output) }

  // MARK: Ours

  public func open(_ headers: SPDYHeaders) throws(SPDYError) -> UInt32 {
    guard !isGoingAway, streams.count < Self.streamsMax, nextID < Self.windowMax else {
      throw SPDYError("no more streams on this connection")
    }
    let id = nextID
    nextID += 2
    streams[id] = Stream(window: peerWindow)
    try put(.synStream(id: id, headers: headers, isFinal: false, isUnidirectional: false))
    return id
  }

  /// Accepts a stream of the peer's.
  public func reply(_ id: UInt32) throws(SPDYError) {
    guard streams[id]?.isReplied == false else { return }
    streams[id]?.isReplied = true
    try put(.synReply(id: id, headers: SPDYHeaders(), isFinal: false))
  }

  /// Sends data; `isFinal` closes our half. What is sent on a stream that is gone is dropped.
  public func send(_ id: UInt32, _ bytes: ByteBuffer, isFinal: Bool = false) throws(SPDYError) {
    guard streams[id]?.isLocalOpen == true, streams[id]?.isFinalHeld == false else { return }
    if peerKeepsWindows, streams[id]?.held.readableBytes != 0 || room(id) < bytes.readableBytes {
      streams[id]?.held.writeImmutableBuffer(bytes)
      streams[id]?.isFinalHeld = isFinal
      try sendHeld(id)
      return
    }
    streams[id]?.window -= bytes.readableBytes
    connectionWindow -= bytes.readableBytes
    if bytes.readableBytes > 0 || isFinal { try put(.data(id: id, bytes, isFinal: isFinal)) }
    if isFinal { closeLocal(id) }
  }

  /// True while the peer's window holds back data of this stream: feed it no more.
  public func isHeld(_ id: UInt32) -> Bool { streams[id].map { $0.held.readableBytes > 0 } ?? false }

  public func reset(_ id: UInt32, _ status: Reset) throws(SPDYError) {
    guard streams.removeValue(forKey: id) != nil else { return }
    try put(.reset(id: id, status: status.rawValue))
  }

  public func goAway() throws(SPDYError) { try put(.goAway(lastGood: lastPeerID, status: 0)) }

  private func room(_ id: UInt32) -> Int { min(streams[id]?.window ?? 0, connectionWindow) }

  private func sendHeld(_ id: UInt32) throws(SPDYError) {
    let count = min(room(id), streams[id]?.held.readableBytes ?? 0)
    if count > 0, let piece = streams[id]?.held.readSlice(length: count) {
      streams[id]?.window -= count
      connectionWindow -= count
      try put(.data(id: id, piece, isFinal: false))
    }
    if streams[id]?.held.readableBytes == 0, streams[id]?.isFinalHeld == true {
      try put(.data(id: id, ByteBuffer(), isFinal: true))
      closeLocal(id)
    }
  }

  private func closeLocal(_ id: UInt32) {
    streams[id]?.isLocalOpen = false
    if streams[id]?.isRemoteOpen == false { streams[id] = nil }
  }

  private func closeRemote(_ id: UInt32) {
    streams[id]?.isRemoteOpen = false
    if streams[id]?.isLocalOpen == false { streams[id] = nil }
  }

  // MARK: The peer's

  /// Throws when the bytes are no SPDY: send what `takeOutput` gives, then close.
  public func receive(_ bytes: ByteBuffer) throws(SPDYError) -> [Event] {
    decoder.append(bytes)
    var events: [Event] = []
    do throws(SPDYError) {
      while let frame = try decoder.next() { try take(frame, &events) }
    } catch {
      try put(.goAway(lastGood: lastPeerID, status: 1))
      throw error
    }
    return events
  }

  private func take(_ frame: SPDYFrame, _ events: inout [Event]) throws(SPDYError) {
    switch frame {
    case .synStream(let id, let headers, let isFinal, let isUnidirectional):
      // Clients' streams are odd, servers' even, and the numbers only grow.
      guard id != 0, id % 2 == (role == .server ? 1 : 0), id > lastPeerID else {
        throw SPDYError("stream \(id) cannot be opened after \(lastPeerID)")
      }
      lastPeerID = id
      guard streams.count < Self.streamsMax else {
        return try put(.reset(id: id, status: Reset.refusedStream.rawValue))
      }
      var stream = Stream(window: peerWindow)
      stream.isLocalOpen = !isUnidirectional
      stream.isRemoteOpen = !isFinal
      if stream.isLocalOpen || stream.isRemoteOpen { streams[id] = stream }
      events.append(.opened(id: id, headers: headers, isFinal: isFinal))
    case .synReply(let id, _, let isFinal):
      guard streams[id]?.isReplied == false else { return }
      streams[id]?.isReplied = true
      events.append(.replied(id: id))
      if isFinal { finish(id, &events) }
    case .headers(let id, _, let isFinal):
      if isFinal { finish(id, &events) }
    case .data(let id, let bytes, let isFinal):
      try count(id, bytes.readableBytes)
      // What comes after we reset a stream was on its way.
      guard streams[id]?.isRemoteOpen == true else {
        guard id <= max(lastPeerID, nextID) else {
          throw SPDYError("data of stream \(id), which nobody opened")
        }
        return
      }
      if bytes.readableBytes > 0 || isFinal { events.append(.data(id: id, bytes, isFinal: isFinal)) }
      if isFinal { closeRemote(id) }
    case .reset(let id, let status):
      if streams.removeValue(forKey: id) != nil { events.append(.reset(id: id, status: status)) }
    case .ping(let id):
      // The peer's own are echoed; answers to ours have our parity.
      if id % 2 == (role == .server ? 1 : 0) { try put(.ping(id)) }
    case .goAway:
      isGoingAway = true
      events.append(.goingAway)
    case .settings(let settings):
      for setting in settings where setting.id == SPDYFrame.Setting.initialWindowSize {
        let size = Int(setting.value & Self.windowMax)
        peerKeepsWindows = true
        for id in streams.keys { streams[id]?.window += size - peerWindow }
        peerWindow = size
      }
      try drain(&events)
    case .windowUpdate(let id, let delta):
      peerKeepsWindows = true
      if id == 0 {
        connectionWindow += Int(delta)
        guard connectionWindow <= Int(Self.windowMax) else {
          throw SPDYError("the connection's window overflows")
        }
      } else if let window = streams[id]?.window {
        guard window + Int(delta) <= Int(Self.windowMax) else { return try put(.reset(id: id, status: 7)) }
        streams[id]?.window = window + Int(delta)
      }
      try drain(&events)
    }
  }

  private func finish(_ id: UInt32, _ events: inout [Event]) {
    guard streams[id]?.isRemoteOpen == true else { return }
    events.append(.data(id: id, ByteBuffer(), isFinal: true))
    closeRemote(id)
  }

  private func drain(_ events: inout [Event]) throws(SPDYError) {
    for id in streams.keys.sorted() where isHeld(id) {
      try sendHeld(id)
      if !isHeld(id) { events.append(.writable(id: id)) }
    }
  }

  /// Opens our windows again after half of them was used: a gibibyte.
  private func count(_ id: UInt32, _ bytes: Int) throws(SPDYError) {
    connectionReceived += bytes
    if connectionReceived >= 1 << 30 {
      try put(.windowUpdate(id: 0, delta: UInt32(clamping: connectionReceived)))
      connectionReceived = 0
    }
    guard let received = streams[id]?.received else { return }
    streams[id]?.received = received + bytes
    if received + bytes >= 1 << 30 {
      try put(.windowUpdate(id: id, delta: UInt32(clamping: received + bytes)))
      streams[id]?.received = 0
    }
  }
}
