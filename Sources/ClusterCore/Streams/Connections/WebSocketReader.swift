// The server's end of a WebSocket, read: pings are answered and the closing handshake is done here; messages are for who asked.

import NIOCore

/// Reads one WebSocket client. Belongs to its link's event loop.
public final class WebSocketReader {
  private let link: ByteLink
  private var decoder = WebSocketDecoder(isServer: true)

  public init(_ link: ByteLink) { self.link = link }

  /// Takes bytes of the client, and hands on the pieces of its messages. False when the connection is over: the client closed it,
  /// or it broke a rule or `body` threw, and was told so; the link is closed then.
  /// - Parameters:
  ///   - isOver: nothing more is expected: messages are passed over, and no close frame is sent a second time.
  ///   - closing: called before the last frame is sent.
  public func take(
    _ bytes: ByteBuffer, isOver: () -> Bool = { false }, closing: () -> Void = {},
    _ body: (_ piece: ByteBuffer, _ isStart: Bool, _ isEnd: Bool) throws -> Void
  ) -> Bool {
    decoder.append(bytes)
    do {
      while let event = try decoder.next() {
        switch event {
        case .data(_, let piece, let isStart, let isEnd):
          if !isOver() { try body(piece, isStart, isEnd) }
        case .ping(let payload): link.write(WebSocketEncoder.frame(.pong, payload))
        case .pong: continue
        case .close(let code):
          end(code ?? 1000, isOver, closing)
          return false
        }
      }
      return true
    } catch {
      end((error as? WebSocketError)?.code ?? 1002, isOver, closing)
      return false
    }
  }

  private func end(_ code: UInt16, _ isOver: () -> Bool, _ closing: () -> Void) {
    closing()
    if !isOver() { link.write(WebSocketEncoder.close(code)) }
    link.close()
  }
}
