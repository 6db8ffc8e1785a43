// HTTP/1.1 on a server's connection, put on in a way that can be taken off again when a request upgrades.

import NIOCore
import NIOHTTP1

public enum HTTPServerCodec {
  /// Adds encoder, decoder, one answer at a time, and answers to broken requests. Bytes after an upgrade are kept.
  public static func add(to channel: any Channel) throws {
    let pipeline = channel.pipeline.syncOperations
    try pipeline.addHandlers(
      HTTPResponseEncoder(), ByteToMessageHandler(HTTPRequestDecoder(leftOverBytesStrategy: .forwardBytes)))
    try pipeline.addHandlers(
      HTTPServerPipelineHandler(), NIOHTTPResponseHeadersValidator(), HTTPServerProtocolErrorHandler())
  }

  /// Takes HTTP off: `handler` and everything `add` put there. What follows is bytes. On the event loop, outside of a read.
  public static func remove(
    from channel: any Channel, _ handler: some RemovableChannelHandler
  ) throws -> EventLoopFuture<ByteLink> {
    let pipeline = channel.pipeline.syncOperations
    let link = ByteLink(channel: channel)
    try pipeline.addHandler(link)
    // The decoder goes last: it hands on what it has read too much.
    let removals = [
      pipeline.removeHandler(handler),
      try pipeline.removeHandler(pipeline.handler(type: HTTPServerProtocolErrorHandler.self)),
      try pipeline.removeHandler(pipeline.handler(type: NIOHTTPResponseHeadersValidator.self)),
      try pipeline.removeHandler(pipeline.handler(type: HTTPServerPipelineHandler.self)),
      try pipeline.removeHandler(pipeline.handler(type: HTTPResponseEncoder.self)),
      try pipeline.removeHandler(pipeline.handler(type: ByteToMessageHandler<HTTPRequestDecoder>.self)),
    ]
    let bound = NIOLoopBound(link, eventLoop: channel.eventLoop)
    return EventLoopFuture.andAllSucceed(removals, on: channel.eventLoop).map { bound.value }
  }

  /// Headers that speak of one connection only and are never passed on.
  public static func removeHopByHop(_ headers: inout HTTPHeaders) {
    for name in headers[canonicalForm: "connection"] { headers.remove(name: String(name)) }
    for name in [
      "connection", "proxy-connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade",
      "proxy-authenticate", "proxy-authorization",
    ] { headers.remove(name: name) }
  }
}
