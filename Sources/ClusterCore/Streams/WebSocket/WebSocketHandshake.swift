// The opening of a WebSocket, the server's side (RFC 6455, section 4.2).

import ClusterObjects
import Crypto
import NIOHTTP1

public enum WebSocketHandshake {
  /// Whether a request asks for a WebSocket.
  public static func isRequest(_ headers: HTTPHeaders) -> Bool {
    headers[canonicalForm: "upgrade"].contains { $0.lowercased() == "websocket" }
      && headers[canonicalForm: "connection"].contains { $0.lowercased() == "upgrade" }
  }

  /// The subprotocols a client offers, in its order.
  public static func offered(_ headers: HTTPHeaders) -> [String] {
    headers[canonicalForm: "sec-websocket-protocol"].map(String.init)
  }

  /// The headers of the answer with status 101; nil when the request lacks a key or speaks another version.
  public static func answer(_ headers: HTTPHeaders, subprotocol: String) -> HTTPHeaders? {
    guard let key = headers.first(name: "sec-websocket-key"), key.utf8.count == 24,
      headers.first(name: "sec-websocket-version") == "13"
    else { return nil }
    let digest = Insecure.SHA1.hash(data: Array((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").utf8))
    var answer: HTTPHeaders = [
      "upgrade": "websocket", "connection": "Upgrade", "sec-websocket-accept": Base64.encode(Array(digest)),
    ]
    if !subprotocol.isEmpty { answer.add(name: "sec-websocket-protocol", value: subprotocol) }
    return answer
  }
}
