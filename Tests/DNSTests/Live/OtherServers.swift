// Other people's servers run with zones of the test, which they are handed as files or take from a server of ours.

import Addresses
import CLinux
import Glibc
import NameServerLab
import Reactor
import SoakLab
import Testing

@testable import DNS

/// A server on a free port of the loopback address, with its files in a folder that goes with it.
final class OtherServer {
  private(set) var port: UInt16 = 0
  private let folder: String
  private var process: pid_t = 0

  /// Starts a server of these zones, texts by their names, and waits until it answers for all of them. Another program may take
  /// the port meanwhile: then it is tried with another. `scripts/setup-tests.sh` installs them.
  convenience init(_ kind: OtherNameServer, _ zones: [(name: DomainName, text: String)]) throws {
    try self.init(
      kind, zones.enumerated().map { ($0.element.name, .file("z\($0.offset).zone")) },
      files: zones.enumerated().map { ("z\($0.offset).zone", $0.element.text) })
  }

  init(
    _ kind: OtherNameServer, _ zones: [(name: DomainName, source: OtherNameServer.Source)],
    files: [(name: String, text: String)] = []
  ) throws {
    folder = try ScratchFolder.make("dns")
    for file in files { try write(file.name, file.text) }
    var isServing = false
    for _ in 0..<5 where !isServing {
      port = try freePort()
      try write(
        "settings",
        kind.settings(
          folder: folder, port: port, zones: zones.map { .init("\($0.name)", $0.source) }))
      try start(kind.command + ["\(folder)/settings"])
      isServing = try isServed(zones.map(\.name))
      if !isServing { end() }
    }
    try #require(isServing, "\(run("tail -5 \(folder)/log"))")
  }

  deinit {
    end()
    ScratchFolder.remove(folder)
  }

  private func end() {
    guard process > 0 else { return }
    // They hold nothing worth saving, and a signal that asks may be blocked: masks are inherited.
    kill(-process, SIGKILL)
    var status: Int32 = 0
    waitpid(process, &status, 0)
    process = 0
  }

  private func write(_ name: String, _ text: String) throws {
    let file = try #require(fopen("\(folder)/\(name)", "w"))
    defer { fclose(file) }
    fputs(text, file)
  }

  /// In a process group of its own, its output in the folder.
  private func start(_ arguments: [String]) throws {
    try #require(access(arguments[0], X_OK) == 0, "\(arguments[0]) is missing: run scripts/setup-tests.sh")
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    for descriptor in [1, 2] as [Int32] {
      posix_spawn_file_actions_addopen(
        &actions, descriptor, "\(folder)/log", O_WRONLY | O_CREAT | O_APPEND, 0o644)
    }
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETPGROUP))
    posix_spawnattr_setpgroup(&attributes, 0)
    let words = arguments.map { strdup($0) } + [nil]
    defer { for word in words { free(word) } }
    try #require(posix_spawn(&process, arguments[0], &actions, &attributes, words, environ) == 0)
  }

  /// Waits until every zone is answered; false when the program has ended or takes too long.
  private func isServed(_ zones: [DomainName]) throws -> Bool {
    let client = try QueryClient(port, patience: 500)
    for zone in zones {
      var tries = 0
      while client.ask(Message(query: zone, .soa, id: 1))?.answer.isEmpty != false {
        tries += 1
        var status: Int32 = 0
        if waitpid(process, &status, WNOHANG) != 0 {
          process = 0
          return false
        }
        guard tries < 150 else { return false }
        usleep(100_000)
      }
    }
    return true
  }
}

/// Asks over UDP and waits for the reply, again when one is lost.
final class QueryClient {
  private let descriptor: Int32
  private let patience: Int32
  private var space = [UInt8](repeating: 0, count: 65536)

  init(_ port: UInt16, patience: Int32 = 5000) throws {
    descriptor = try Sockets.connectUDP(SocketEndpoint(.v4(IPv4Address(127, 0, 0, 1)), port)).release()
    self.patience = patience
  }

  deinit { close(descriptor) }

  func ask(_ query: Message) -> Message? {
    var query = query
    query.edns = Message.EDNS()
    let bytes = query.encoded
    for _ in 0..<3 {
      guard send(descriptor, bytes, bytes.count, 0) == bytes.count else { return nil }
      var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
      while poll(&entry, 1, patience) == 1 {
        let count = recv(descriptor, &space, space.count, 0)
        guard count > 0 else { return nil }
        if let reply = try? Message(Array(space[..<count]).span.bytes), reply.id == query.id { return reply }
      }
    }
    return nil
  }
}

extension Message {
  /// What two servers must agree on: code, authority, records without their order, and which denial or referral it is.
  var essence: String { essence(answer.map { "\($0)".lowercased() }) }

  /// The same of an answer that says a record twice, as other servers do when a wildcard's alias leads to the name that was asked: a
  /// set of records has each once (RFC 2181 section 5).
  var essenceWithoutRepeats: String { essence(Array(Set(answer.map { "\($0)".lowercased() }))) }

  private func essence(_ answers: [String]) -> String {
    let answers = answers.sorted()
    let denial = authority.filter { $0.data.type == .soa || answer.isEmpty && $0.data.type == .ns }
      .map { "\($0.owner) \($0.ttl) \($0.data.type)".lowercased() }.sorted()
    return "\(code)\(isAuthoritative ? " aa" : "")\(isTruncated ? " tc" : "") \(answers) \(denial)"
  }
}
