// TLS on one reactor: what its connections share, and one of them. OpenSSL reads the socket itself; what it has to say is
// handed out as bytes, to be sent as every other bytes are.

import COpenSSL
import Glibc
import Reactor
import Synchronization

/// Keys of session tickets, the same for all workers, so that any of them resumes what another began. A new one each hour;
/// a ticket is good for two hours at most, for its key is then gone.
final class TicketKeys: Sendable {
  static let periodNanoseconds: UInt64 = 3_600_000_000_000
  private struct State {
    var keys = weft_ticket_keys()
    var generation = 0
    var rotatesAt: UInt64 = 0
  }
  private let state = Mutex(State())

  /// The keys when they are others than the caller has seen. Rotates them when it is time.
  func newer(than generation: Int, now: UInt64) -> (keys: weft_ticket_keys, generation: Int)? {
    state.withLock { state in
      if now >= state.rotatesAt, weft_ticket_keys_rotate(&state.keys) == 0 {
        state.generation += 1
        state.rotatesAt = now + Self.periodNanoseconds
      }
      return state.generation == generation ? nil : (state.keys, state.generation)
    }
  }
}

/// What the TLS connections of one worker share. Belongs to its reactor's thread.
final class TLSContext {
  fileprivate let pointer: OpaquePointer
  /// In force for handshakes from now on; running connections keep what they began with.
  var table: LoadedTLS
  private let keys: TicketKeys?
  private var generation = -1
  /// Where its connections came to.
  private let place: ListenerPlace

  /// - Parameters:
  ///   - place: where its connections came to, as `table` tells places apart.
  ///   - outputBytesMax: bounds what one call has to say, sealed.
  init?(table: LoadedTLS, place: ListenerPlace, keys: TicketKeys, offersHTTP2: Bool, outputBytesMax: Int) {
    self.table = table
    self.place = place
    self.keys = keys
    // The context ends before its owner does, so that the pointer is never used behind it.
    let holder = Holder()
    guard
      let pointer = weft_tls_context_make(
        { owner, name in
          guard let owner else { return nil }
          let holder = Unmanaged<Holder>.fromOpaque(owner).takeUnretainedValue()
          let bytes = UnsafeRawBufferPointer(start: name, count: name.map { strlen($0) } ?? 0)
          return holder.context.flatMap { $0.table.certificate(for: bytes, at: $0.place) }?.pointer
        }, Unmanaged.passUnretained(holder).toOpaque(), outputBytesMax)
    else { return nil }
    self.pointer = pointer
    self.holder = holder
    holder.context = self
    weft_tls_context_offer_http2(pointer, offersHTTP2 ? 1 : 0)
    weft_tls_context_ask(pointer) { owner, name in
      guard let owner else { return nil }
      let holder = Unmanaged<Holder>.fromOpaque(owner).takeUnretainedValue()
      let bytes = UnsafeRawBufferPointer(start: name, count: name.map { strlen($0) } ?? 0)
      return holder.context.flatMap { $0.table.authority(for: bytes, at: $0.place) }?.pointer
    }
    renewKeys(now: 0)
  }

  /// For connections to endpoints. Nil when something in `settings` cannot be read.
  init?(client settings: UpstreamTLS, outputBytesMax: Int) {
    table = LoadedTLS(certificates: [], names: [], fallback: nil)
    place = ListenerPlace(0)
    keys = nil
    holder = Holder()
    let made = settings.authorities.withUnsafeBytes { authorities in
      settings.certificate.withUnsafeBytes { chain in
        settings.key.withUnsafeBytes { key in
          weft_tls_client_context_make(
            authorities.baseAddress, authorities.count, chain.baseAddress, chain.count, key.baseAddress,
            key.count,
            outputBytesMax)
        }
      }
    }
    guard let made else { return nil }
    pointer = made
    var isSet = !settings.trustsSystem || weft_tls_client_context_trust_system(made) == 0
    for name in settings.names {
      switch name {
      case .dns(let text): isSet = isSet && weft_tls_client_context_expect(made, 0, text) == 0
      case .uri(let text): isSet = isSet && weft_tls_client_context_expect(made, 1, text) == 0
      }
    }
    if !isSet { return nil }
    let isLimited = weft_tls_client_context_limit(
      made, Int32(settings.depth), settings.ciphers, Int32(settings.oldest), Int32(settings.newest),
      settings.hidesName ? 1 : 0)
    if isLimited != 0 { return nil }
  }

  private final class Holder { unowned(unsafe) var context: TLSContext? }
  private let holder: Holder

  deinit { weft_tls_context_free(pointer) }

  /// Takes over new ticket keys. Cheap when there are none.
  func renewKeys(now: UInt64) {
    guard var newer = keys?.newer(than: generation, now: now) else { return }
    weft_tls_context_set_keys(pointer, &newer.keys)
    generation = newer.generation
  }

  /// What the last call on one of the connections has to say, until the next call.
  fileprivate var output: UnsafeRawBufferPointer {
    var count = 0
    let base = weft_tls_output(pointer, &count)
    return UnsafeRawBufferPointer(start: base, count: count)
  }
}

/// One connection's TLS: a client's, or towards an endpoint.
final class TLSConnection {
  private let pointer: OpaquePointer
  private let context: TLSContext

  /// - Parameter descriptor: read from by OpenSSL, owned by the caller, who keeps it open for as long as this lives.
  init?(_ context: TLSContext, descriptor: Int32) {
    guard let pointer = weft_tls_make(context.pointer, descriptor) else { return nil }
    self.pointer = pointer
    self.context = context
  }

  /// Towards an endpoint.
  /// - Parameter name: asked for, and what the certificate has to be for when the context verifies; empty: neither.
  init?(client context: TLSContext, descriptor: Int32, name: String, offersHTTP2: Bool) {
    guard let pointer = weft_tls_make_client(context.pointer, descriptor, name, offersHTTP2 ? 1 : 0) else {
      return nil
    }
    self.pointer = pointer
    self.context = context
  }

  deinit { weft_tls_free(pointer) }

  enum Step {
    case done, unfinished, failed
  }

  /// Goes on with the handshake. `output` has to be sent whatever it answers.
  func handshake() -> Step {
    switch weft_tls_handshake(pointer) {
    case 1: .done
    case 0: .unfinished
    default: .failed
    }
  }

  /// What the last call has to say; until the next call on any connection of the worker.
  var output: UnsafeRawBufferPointer { context.output }

  /// The socket is readable again, or its peer has finished sending.
  func setReadable(isFinished: Bool) { weft_tls_set_readable(pointer, isFinished ? 1 : 0) }

  /// One record's bytes, or what is left of one. May leave something in `output`.
  func receive(into space: UnsafeMutableRawBufferPointer) -> Transfer {
    switch weft_tls_read(pointer, space.baseAddress, space.count) {
    case let count where count > 0: .bytes(count)
    case 0: .wouldBlock
    case -1: .end
    default: .failed(EPROTO)
    }
  }

  /// Another read may give something without the socket becoming readable.
  var hasMore: Bool { weft_tls_has_more(pointer) != 0 }

  /// Records of this size or smaller are sealed from one piece: head and body of a short answer share one.
  private static let joinedBytesMax = 16 << 10

  /// Seals both pieces: the bytes to send, until the next call. Nil when OpenSSL will not.
  /// - Parameter scratch: at least 16 KiB, used when both pieces fit in one record.
  func seal(
    _ first: UnsafeRawBufferPointer, _ second: UnsafeRawBufferPointer, scratch: UnsafeMutableRawBufferPointer
  ) -> UnsafeRawBufferPointer? {
    weft_tls_begin(context.pointer)
    if !first.isEmpty, !second.isEmpty, first.count + second.count <= min(Self.joinedBytesMax, scratch.count)
    {
      scratch.copyMemory(from: first)
      UnsafeMutableRawBufferPointer(rebasing: scratch[first.count...]).copyMemory(from: second)
      guard weft_tls_write(pointer, scratch.baseAddress, first.count + second.count) == 0 else { return nil }
      return output
    }
    for piece in [first, second] where !piece.isEmpty {
      guard weft_tls_write(pointer, piece.baseAddress, piece.count) == 0 else { return nil }
    }
    return output
  }

  /// The alert that says that nothing more will come.
  func close() -> UnsafeRawBufferPointer {
    weft_tls_close(pointer)
    return output
  }

  /// The name that the client asked for (SNI), until the next call on this connection; nil for none.
  func withServerName<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result? {
    weft_tls_server_name(pointer).map { body(UnsafeRawBufferPointer(start: $0, count: strlen($0))) }
  }

  /// What the client showed, if its name is one whose clients are asked. After the handshake.
  var shown: ShownCertificate? {
    let asked = weft_tls_asked(pointer)
    if asked == 0 { return nil }
    func fact(_ fact: weft_client_fact) -> [UInt8] {
      [UInt8](unsafeUninitializedCapacity: Self.factBytesMax) { space, count in
        count = weft_tls_client_fact(pointer, fact, space.baseAddress, space.count)
      }
    }
    let kind: ShownCertificate.Kind =
      switch weft_tls_shown(pointer) {
      case WEFT_SHOWN_TRUSTED: .trusted
      case WEFT_SHOWN_UNKNOWN: .unknown
      case WEFT_SHOWN_NOTHING: .nothing
      default: .bad
      }
    return ShownCertificate(
      asked: asked, kind: kind, subject: fact(WEFT_CLIENT_SUBJECT), issuer: fact(WEFT_CLIENT_ISSUER),
      reason: fact(WEFT_CLIENT_REASON), pem: fact(WEFT_CLIENT_PEM))
  }
  /// Of a client's certificate: what is longer counts as empty.
  private static let factBytesMax = 8 << 10

  var isHTTP2: Bool { weft_tls_is_http2(pointer) == 1 }
  var isResumed: Bool { weft_tls_is_resumed(pointer) == 1 }
  /// As nginx writes it.
  var version: StaticString { weft_tls_version(pointer) == 13 ? "TLSv1.3" : "TLSv1.2" }
}
