// Every bound and time of the ingress data plane, by name.

/// Limits of one ingress worker (a reactor's thread). The defaults are ingress-nginx's where it has one.
public struct IngressLimits: Sendable {
  /// Open client connections; further ones wait in the kernel's backlog.
  public var clientsMax = 16_384
  /// Bytes of one request body; longer ones are answered 413.
  public var bodyBytesMax = UInt64.max
  /// Idle connections kept to one endpoint.
  public var idlePerEndpointMax = 128
  /// Endpoints tried for one request.
  public var triesMax = 3
  /// Requests that are kept until their endpoint has them, each in a buffer of 20 KiB; one more is answered 503.
  public var requestBuffersMax = 65_536
  /// Buffers of 160 KiB for bytes that a slow reader has not taken; without one the connection is closed.
  public var bulkBuffersMax = 4096
  /// Connections of TCP and TLS that are passed on at once; one more is reset.
  public var streamsMax = 16_384
  /// Time without a byte either way on one of them (ingress-nginx's `proxy-stream-timeout`).
  public var streamIdleMilliseconds: UInt64 = 600_000
  /// Pipes with bytes of them on their way; without one bytes are copied.
  public var pipesMax = 1024
  /// Clients whose datagrams are passed on; for one more the one that was silent longest goes.
  public var sessionsMax = 16_384
  /// Silence after which a client's datagrams may go to another endpoint: one that never got an answer, one that did.
  public var silentSessionSeconds: UInt64 = 30
  public var answeredSessionSeconds: UInt64 = 180
  /// Time for a TLS handshake, from the connection's beginning; also for what is read of a connection before it is known whose it
  /// is.
  public var handshakeMilliseconds: UInt64 = 15_000
  /// Time for a whole request head, from its first byte.
  public var headMilliseconds: UInt64 = 60_000
  /// Time that a connection may idle between requests.
  public var keepAliveMilliseconds: UInt64 = 75_000
  /// Time that a connection that idles may still bring a request when another data plane has taken over.
  public var patienceMilliseconds: UInt64 = 10_000
  /// Time for a connection to an endpoint to stand.
  public var connectMilliseconds: UInt64 = 5_000
  /// Time without a byte from the endpoint while its answer is awaited.
  public var readMilliseconds: UInt64 = 60_000
  /// Time for the service that decides whether a request may pass (`auth-url`).
  public var authorizationMilliseconds: UInt64 = 30_000
  /// Time without a byte taken or sent by the client while it should.
  public var clientMilliseconds: UInt64 = 60_000
  /// Time that an unused connection to an endpoint is kept.
  public var upstreamIdleMilliseconds: UInt64 = 60_000
  /// Time that a refused client's remaining bytes are read and thrown away, so that it gets to see the
  /// answer.
  public var lingerMilliseconds: UInt64 = 2_000
  /// An endpoint that refused a connection is passed over for this long while others are left.
  public var ejectMilliseconds: UInt64 = 2_000
  /// How late a time limit may be noticed.
  public var tickMilliseconds: UInt64 = 1_000
  /// Bytes read from a connection at once.
  public var readBytesMax = 128 << 10
  /// Reads of one connection in one go before others get their turn.
  public var readsPerTurnMax = 16
  public init() {}

  /// Bytes of the buffers. A rewritten head is at most a head and the fields we add.
  static let requestBufferBytes = HeadReader.headBytesMax + (4 << 10)
  var bulkBufferBytes: Int { readBytesMax + (32 << 10) }
}
