// exec and attach for a WebSocket client: its channels on one side, containerd's SPDY streams on the other.
//
//   client  ⇄ WebSocket v5/v4 messages ⇄ ExecBridge ⇄ SPDY/3.1 streams (v4.channel.k8s.io) ⇄ containerd
//
// containerd 1.6 knows no v5: closing stdin alone is what SPDY has and WebSocket v4 has not.

import ClusterClient
import ClusterObjects
import ClusterStreams
import NIOCore

/// One session. Lives on one event loop; ends with either side.
final class ExecBridge: @unchecked Sendable {
  /// Bytes of the Status that the runtime ends with.
  private static let statusBytesMax = 64 << 10
  /// How long a client may take to answer our close frame.
  private static let closeTimeout: TimeAmount = .seconds(5)

  private let client: ByteLink
  private let runtime: ByteLink
  private let streams: NodeAgent.Streams
  private let kind: ChannelProtocol
  private let encoder: ChannelEncoder
  private let messages: WebSocketReader
  private var channels: ChannelDecoder
  private let spdy: SPDYSession
  private var ids: [StreamChannel: UInt32] = [:]
  private var names: [UInt32: StreamChannel] = [:]
  private var replies = 0
  /// What came for the container before it took its streams: the runtime drops data of streams it has not answered.
  private var early: [(StreamChannel, ByteBuffer, isFinal: Bool)] = []
  private var status = ByteBuffer()
  private var isOver = false

  init(client: ByteLink, runtime: ByteLink, kind: ChannelProtocol, streams: NodeAgent.Streams)
    throws(SPDYError)
  {
    self.client = client
    messages = WebSocketReader(client)
    self.runtime = runtime
    self.kind = kind
    self.streams = streams
    encoder = ChannelEncoder(kind)
    channels = ChannelDecoder(kind)
    spdy = try SPDYSession(.client)
  }

  func start() {
    do throws(SPDYError) {
      var wanted: [StreamChannel] = [.error]
      if streams.stdin { wanted.append(.stdin) }
      if streams.stdout { wanted.append(.stdout) }
      if streams.stderr, !streams.tty { wanted.append(.stderr) }
      if streams.tty { wanted.append(.resize) }
      for channel in wanted {
        let id = try spdy.open(["streamtype": "\(channel)"])
        ids[channel] = id
        names[id] = channel
      }
    } catch {
      return finish()
    }
    // Python's client waits for a first message to know that it is connected.
    client.write(encoder.encode(streams.stdout ? .stdout : streams.stderr ? .stderr : .error, ByteBuffer()))
    runtime.start(
      onRead: { self.fromRuntime($0) }, onWritable: { self.holdClient() }, onClose: { self.finish() })
    flush()
    client.start(
      onRead: { self.fromClient($0) }, onWritable: { self.runtime.hold(false) },
      onClose: { self.end() })
  }

  private func flush() { runtime.write(spdy.takeOutput()) }

  /// The client is read while the container takes what it sends.
  private func holdClient() {
    let isHeld = ids[.stdin].map { spdy.isHeld($0) } ?? false
    client.hold(!isOver && (isHeld || !runtime.isWritable || replies < ids.count && !early.isEmpty))
  }

  // MARK: From the client

  private func fromClient(_ bytes: ByteBuffer) {
    let goesOn = messages.take(bytes, isOver: { isOver }) { piece, isStart, isEnd in
      switch try channels.take(piece, isStart: isStart, isEnd: isEnd) {
      case .data(let channel, let bytes): send(channel, bytes, isFinal: false)
      case .closed(let channel): send(channel, ByteBuffer(), isFinal: true)
      case nil: break
      }
    }
    guard goesOn else { return end() }
    flush()
    holdClient()
  }

  private func send(_ channel: StreamChannel, _ bytes: ByteBuffer, isFinal: Bool) {
    guard channel == .stdin || channel == .resize, let id = ids[channel] else { return }
    if replies < ids.count {
      early.append((channel, bytes, isFinal))
    } else {
      do { try spdy.send(id, bytes, isFinal: isFinal) } catch { finish() }
    }
  }

  // MARK: From the runtime

  private func fromRuntime(_ bytes: ByteBuffer) {
    if isOver { return }
    let events: [SPDYSession.Event]
    do { events = try spdy.receive(bytes) } catch {
      flush()
      return finish()
    }
    var isDone = false
    for event in events {
      switch event {
      case .replied:
        replies += 1
        if replies == ids.count {
          let waiting = early
          early = []
          for (channel, bytes, isFinal) in waiting { send(channel, bytes, isFinal: isFinal) }
        }
      case .data(let id, let bytes, let isFinal):
        switch names[id] {
        case .error:
          if status.readableBytes < Self.statusBytesMax { status.writeImmutableBuffer(bytes) }
          // The Status is the last word: all output was copied before it.
          if isFinal { isDone = true }
        case .stdout, .stderr:
          if bytes.readableBytes > 0, let channel = names[id] { client.write(encoder.encode(channel, bytes)) }
        default: continue
        }
      case .opened(let id, _, _): try? spdy.reset(id, .refusedStream)
      case .reset(let id, _): if names[id] == .error { isDone = true }
      case .goingAway: isDone = true
      case .writable: continue
      }
    }
    flush()
    if isDone { return finish() }
    if !client.isWritable { runtime.hold(true) }
    holdClient()
  }

  // MARK: The end

  /// The command ended, or the runtime went away: the client is told, and closes.
  private func finish() {
    if isOver { return }
    isOver = true
    var text = Array(status.readableBytesView)
    if text.isEmpty {
      text =
        APIStatusError(
          code: 500, reason: "InternalError", message: "the connection to the container runtime was lost"
        ).status.bytes
    }
    if !kind.hasStatus {
      let tree = try? JSON(parsing: text)
      let isSuccess = tree?["status"]?.string == "Success"
      text = isSuccess ? [] : Array((tree?["message"]?.string ?? "").utf8)
    }
    if !text.isEmpty { client.write(encoder.encode(.error, ByteBuffer(bytes: text))) }
    client.write(WebSocketEncoder.close(1000))
    runtime.close()
    // Closing at once would cut off what is still on its way to a client that is just sending.
    client.hold(false)
    let client = client
    client.eventLoop.scheduleTask(in: Self.closeTimeout) { client.close() }
  }

  /// The client is gone.
  private func end() {
    isOver = true
    do { try spdy.goAway() } catch {}
    flush()
    runtime.close()
  }
}
