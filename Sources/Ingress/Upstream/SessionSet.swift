// The HTTP/2 sessions to one endpoint, of one worker: those that all requests share, and those of one client's connection each, whose
// header of the PROXY protocol names that client and nobody else.

/// Sessions by who may use them. Closes none itself: a session that closes takes itself out.
struct SessionSet {
  /// Sessions for the requests of one origin, or of all together; a request that none of them takes is answered 503.
  static let perOriginMax = 16

  private var shared: [UpstreamSession] = []
  private var owned: [ProxyAddresses: [UpstreamSession]] = [:]
  /// Sessions of one client each.
  private(set) var ownedCount = 0
  /// Of those the ones without a request, the longest unused first.
  private var idle: [UpstreamSession] = []

  var isEmpty: Bool { shared.isEmpty && owned.isEmpty }
  var all: [UpstreamSession] { shared + owned.values.joined() }
  var idleCount: Int { idle.count }
  var longestIdle: UpstreamSession? { idle.first }

  /// - Parameter origin: who alone may use it; nil: everybody.
  func of(_ origin: ProxyAddresses?) -> [UpstreamSession] {
    guard let origin else { return shared }
    return owned[origin] ?? []
  }

  mutating func add(_ session: UpstreamSession) {
    guard let origin = session.origin else { return shared.append(session) }
    owned[origin, default: []].append(session)
    ownedCount += 1
  }

  mutating func remove(_ session: UpstreamSession) {
    guard let origin = session.origin else { return shared.removeAll { $0 === session } }
    guard let index = owned[origin]?.firstIndex(where: { $0 === session }) else { return }
    owned[origin]?.remove(at: index)
    if owned[origin]?.isEmpty == true { owned[origin] = nil }
    ownedCount -= 1
    noteBusy(session)
  }

  /// Its last request has ended. Sessions that everybody shares are not kept account of.
  mutating func noteIdle(_ session: UpstreamSession) {
    if session.origin != nil { idle.append(session) }
  }

  mutating func noteBusy(_ session: UpstreamSession) {
    guard session.origin != nil, let index = idle.firstIndex(where: { $0 === session }) else { return }
    idle.remove(at: index)
  }
}
