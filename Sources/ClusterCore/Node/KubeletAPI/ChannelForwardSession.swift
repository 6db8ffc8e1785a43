// port-forward for clients that know no SPDY: each port is a channel of the WebSocket and one connection to the pod.

import ClusterStreams
import NIOCore

/// One WebSocket's ports. Lives on one event loop; ends with the client, or when the last port's connection has ended.
final class ChannelForwardSession: @unchecked Sendable {
  /// Bytes that wait for one connection to be dialled; past that the client is not read.
  private static let waitingBytesMax = 256 << 10
  /// How long a client may take to answer our close frame.
  private static let closeTimeout: TimeAmount = .seconds(5)

  private struct Port {
    var number: UInt16
    var target: ByteLink?
    var waiting = ByteBuffer()
    var isEndedByClient = false
    var isOver = false
  }

  private let client: ByteLink
  private let pod: ForwardedPod
  private var ports: [Port]
  private let messages: WebSocketReader
  private var channels: ForwardChannels
  private var isOver = false

  init(client: ByteLink, pod: ForwardedPod, kind: ChannelProtocol, ports: [UInt16]) {
    self.client = client
    messages = WebSocketReader(client)
    self.pod = pod
    self.ports = ports.map { Port(number: $0) }
    channels = ForwardChannels(kind, portCount: ports.count)
  }

  func start() {
    for (index, port) in ports.enumerated() {
      client.write(channels.opening(index, port: port.number))
      PodDial.open(Int(port.number), in: pod, on: client.eventLoop) { self.dialled(index, $0) }
    }
    client.start(
      onRead: { self.fromClient($0) },
      onWritable: { for port in self.ports { port.target?.hold(false) } },
      onClose: { self.end() })
  }

  // MARK: From the client

  private func fromClient(_ bytes: ByteBuffer) {
    let goesOn = messages.take(bytes, isOver: { isOver }) { piece, isStart, isEnd in
      switch try channels.take(piece, isStart: isStart, isEnd: isEnd) {
      case .data(let port, let bytes): deliver(port, bytes)
      case .closed(let port): endInput(port)
      case nil: break
      }
    }
    guard goesOn else { return end() }
    holdClient()
  }

  private func deliver(_ index: Int, _ bytes: ByteBuffer) {
    if ports[index].isOver { return }
    if let target = ports[index].target {
      target.write(bytes)
    } else {
      ports[index].waiting.writeImmutableBuffer(bytes)
    }
  }

  private func endInput(_ index: Int) {
    ports[index].isEndedByClient = true
    ports[index].target?.closeOutput()
  }

  /// The client is read while every port takes what it sends: its messages share one connection.
  private func holdClient() {
    let isBlocked = ports.contains { port in
      if port.isOver { return false }
      return port.target.map { !$0.isWritable } ?? (port.waiting.readableBytes > Self.waitingBytesMax)
    }
    client.hold(!isOver && isBlocked)
  }

  // MARK: The pod's side

  private func dialled(_ index: Int, _ result: Result<ByteLink, PodDial.Problem>) {
    switch result {
    case .failure(let problem):
      if isOver { return }
      client.write(channels.failure(index, problem.text))
      finished(index)
    case .success(let link):
      if isOver { return link.abort() }
      ports[index].target = link
      link.start(
        onRead: { bytes in
          if self.isOver { return }
          self.client.write(self.channels.data(index, bytes))
          if !self.client.isWritable { link.hold(true) }
        },
        // These channels cannot say that the pod sends no more: the port ends with it.
        onEnd: { link.close() },
        onWritable: { self.holdClient() },
        onClose: { self.finished(index) })
      link.write(ports[index].waiting)
      ports[index].waiting.clear()
      if ports[index].isEndedByClient { link.closeOutput() }
      holdClient()
    }
  }

  private func finished(_ index: Int) {
    if ports[index].isOver { return }
    ports[index].isOver = true
    ports[index].target = nil
    ports[index].waiting.clear()
    if isOver { return }
    guard ports.allSatisfy(\.isOver) else { return holdClient() }
    isOver = true
    client.write(WebSocketEncoder.close(1000))
    client.hold(false)
    let client = client
    client.eventLoop.scheduleTask(in: Self.closeTimeout) { client.close() }
  }

  /// The client is gone.
  private func end() {
    isOver = true
    for port in ports { port.target?.close() }
  }
}
