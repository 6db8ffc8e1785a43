// T-A15: another key signs the tokens of ServiceAccounts. Two servers on one store are replaced one after the other, as an
// administrator does it, while clients with tokens of both keys ask both; none may be refused for its token before its key is
// withdrawn, and it is refused from then on.

import ClusterClient
import ClusterObjects
import Crypto
import Diagnostics
import Glibc
import StoreLab
import Synchronization
import Testing

@testable import ClusterServer

/// Two servers with one authority, and the tokens that clients use now.
private final class RotatedPair: Sendable {
  struct State {
    var servers: [ClusterServer?] = [nil, nil]
    var tokens: [String] = []
    var next = 0
  }
  let folder: String
  private let state = Mutex(State())
  var servers: [ClusterServer] { state.withLock { $0.servers.compactMap(\.self) } }
  var tokens: [String] {
    get { state.withLock { $0.tokens } }
    set { state.withLock { $0.tokens = newValue } }
  }

  init(folder: String) { self.folder = folder }

  /// Starts server `number`, in the place of the one that runs there. `signing` and `verifying` are names of keys in the folder.
  func start(_ number: Int, signing: String, verifying: [String]) async throws {
    let before = state.withLock { state in
      defer { state.servers[number] = nil }
      return state.servers[number]
    }
    await before?.shutdown()
    let data = folder + (number == 0 ? "/data" : "/other")
    if number == 1, before == nil {
      mkdir(data, 0o700)
      try StoreLab.Program.run("/bin/cp", ["-r", folder + "/data/certificates", data + "/certificates"])
    }
    var settings = ServerSettings(dataFolder: data)
    settings.port = 0
    settings.store = try etcdStore(prefix: folder)
    settings.authentication.serviceAccountSigningKeyFile = "\(folder)/\(signing).key"
    settings.authentication.serviceAccountKeyFiles = verifying.map { "\(folder)/\($0).pub" }
    let server = try await ClusterServer.start(settings)
    state.withLock { $0.servers[number] = server }
  }

  func stop() async {
    let servers = state.withLock { state in
      defer { state.servers = [nil, nil] }
      return state.servers.compactMap(\.self)
    }
    for server in servers { await server.shutdown() }
  }

  /// One request with the next token to the next server. An answer that never came is none: that server is being replaced.
  func ask() async -> String?? {
    let (server, token) = state.withLock { state in
      let servers = state.servers.compactMap(\.self)
      state.next += 1
      return (
        servers.isEmpty ? nil : servers[state.next % servers.count],
        state.tokens[state.next / 2 % state.tokens.count]
      )
    }
    guard let server,
      let answer = try? await ClusterServerTests.ask(
        server, folder, "/api/v1/namespaces/default", as: .bearer(token)),
      answer.code != 0
    else { return .none }
    return .some(answer.code == 401 ? "401 \(answer.body)" : nil)
  }

  /// Whether both servers take a token.
  func takes(_ token: String) async throws -> [Bool] {
    var answers: [Bool] = []
    for server in servers { answers.append(try await user(server, folder, as: .bearer(token)) != nil) }
    return answers
  }

  /// The names of the keys that each server publishes.
  func published() async throws -> [Set<String>] {
    var sets: [Set<String>] = []
    for server in servers {
      let keys = try await ClusterServerTests.ask(server, folder, "/openid/v1/jwks").json["keys"]
      sets.append(Set((keys?.elements ?? []).compactMap { $0["kid"]?.string }))
    }
    return sets
  }
}

@Suite(.serialized, .timeLimit(.minutes(5))) struct TokenKeyRotationTests {
  @Test func `a new key signs, tokens of both are taken under way, and the old one is withdrawn`()
    async throws
  {
    try await withFolder { folder in
      var names: [String: String] = [:]
      for name in ["old", "new"] {
        let key = P256.Signing.PrivateKey()
        try writeText("\(folder)/\(name).key", key.pemRepresentation + "\n")
        try writeText("\(folder)/\(name).pub", key.publicKey.pemRepresentation + "\n")
        names[name] = VerifyingKey(.p256(key.publicKey)).id
      }
      let (old, new) = (try #require(names["old"]), try #require(names["new"]))
      let pair = RotatedPair(folder: folder)
      do {
        try await rotate(pair, old: old, new: new)
        await pair.stop()
      } catch {
        await pair.stop()
        throw error
      }
    }
  }

  private func rotate(_ pair: RotatedPair, old: String, new: String) async throws {
    for number in 0...1 { try await pair.start(number, signing: "old", verifying: []) }
    _ = try await pair.servers[0].client(user: "test").create(
      .serviceAccounts, ["metadata": ["name": "robot", "namespace": "default"]], options: WriteOptions())
    let first = try await requestToken(pair.servers[0], pair.folder, "robot")
    pair.tokens = [first]
    #expect(try await pair.published() == [[old], [old]])

    let traffic = Traffic()
    defer { traffic.stop() }
    let runs = (0..<2).map { _ in Task { await traffic.run { await pair.ask() } } }
    await traffic.more(4)
    // Each believes the new key before anyone signs with it.
    for number in 0...1 {
      try await pair.start(number, signing: "old", verifying: ["new"])
      await traffic.more(4)
    }
    #expect(try await pair.published() == [[old, new], [old, new]])
    // One signs with it, the other not yet: both take what both make.
    try await pair.start(0, signing: "new", verifying: ["old"])
    let second = try await requestToken(pair.servers[0], pair.folder, "robot")
    let third = try await requestToken(pair.servers[1], pair.folder, "robot")
    pair.tokens = [first, second, third]
    await traffic.more(6)
    try await pair.start(1, signing: "new", verifying: ["old"])
    await traffic.more(6)
    #expect(try await pair.published() == [[old, new], [old, new]])
    for token in [first, second, third] { #expect(try await pair.takes(token) == [true, true]) }
    // Clients have tokens of the new key by now, and the old key goes.
    pair.tokens = [second]
    await traffic.more(4)
    for number in 0...1 {
      try await pair.start(number, signing: "new", verifying: [])
      await traffic.more(4)
    }
    traffic.stop()
    for run in runs { await run.value }
    #expect(traffic.counts.failures.isEmpty, "\(traffic.counts.failures.prefix(3))")
    #expect(traffic.counts.answered >= 36)
    #expect(try await pair.published() == [[new], [new]])
    #expect(try await pair.takes(second) == [true, true])
    for token in [first, third] { #expect(try await pair.takes(token) == [false, false]) }
  }
}
