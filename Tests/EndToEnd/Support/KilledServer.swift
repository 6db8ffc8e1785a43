// `weft server` as a program on the loopback, killed, paused and started again by tests; and clients of it that remember what
// they sent and what was acknowledged.
import ClusterClient
import ClusterObjects
import Diagnostics
import Foundation
import SoakLab
import StoreLab
import Synchronization

/// One API server with a data folder of its own. Killed with this process.
final class KilledServer: Sendable {
  let folder: String
  let port: UInt16
  private let store: String
  private let flags: [String]
  private let program = Mutex<StoreLab.Program?>(nil)

  init(folder: String, store: String = "sqlite", flags: [String] = []) throws {
    self.folder = folder
    self.flags = flags
    self.store = store
    port = try freePort()
  }

  deinit { kill() }

  /// Starts it and waits until it is ready; how long that took. At most a minute.
  @discardableResult func start() async throws -> Duration {
    let begin = ContinuousClock.now
    let started = try StoreLab.Program(
      Project.weft,
      ["server", "--data-dir", folder, "--listen", "127.0.0.1:\(port)", "--store", store] + flags,
      output: "\(folder).log")
    program.withLock { $0 = started }
    while ContinuousClock.now - begin < .seconds(60) {
      if let client = try? client(), let answer = try? await client.raw("/readyz"), answer.status == 200 {
        return ContinuousClock.now - begin
      }
      try await Task.sleep(for: .milliseconds(5))
    }
    throw Failed(
      text: "not ready within a minute: \((try? StoreLab.Program.contents(of: "\(folder).log")) ?? "")")
  }

  /// SIGKILL.
  func kill() {
    let killed = program.withLock { program in
      defer { program = nil }
      return program
    }
    killed?.stop()
  }

  func signal(_ number: Int32) { program.withLock { $0?.signal(number) } }

  /// A client with connections of its own.
  func client() throws -> RemoteClient {
    try RemoteClient(kubeconfig: Kubeconfig(path: "\(folder)/admin.kubeconfig"), metrics: Metrics())
  }
}

/// What clients of a server sent, and what was acknowledged to them.
final class SentAndAcknowledged: Sendable {
  struct Write: Sendable {
    var tag: String
    var version: Int64
  }
  struct Key: Sendable {
    var acknowledged: Write?
    /// Sent after the last acknowledgement: there or not.
    var sent: [String] = []
  }
  private struct State {
    var keys: [String: Key] = [:]
    var versions: Set<Int64> = []
    var newest: Int64 = 0
    var problems: [String] = []
  }
  private let state = Mutex(State())

  var keys: [String: Key] { state.withLock { $0.keys } }
  var count: Int { state.withLock { $0.versions.count } }
  /// The highest version that any client was told.
  var newest: Int64 { state.withLock { $0.newest } }
  var problems: [String] { state.withLock { $0.problems } }

  func send(_ name: String, _ tag: String) {
    state.withLock { $0.keys[name, default: Key()].sent.append(tag) }
  }

  func acknowledge(_ name: String, _ tag: String, _ version: Int64) {
    state.withLock { state in
      if !state.versions.insert(version).inserted {
        state.problems.append("version \(version) was given twice, now to \(name)")
      }
      state.newest = max(state.newest, version)
      state.keys[name] = Key(acknowledged: Write(tag: tag, version: version))
    }
  }

  func complain(_ text: String) { state.withLock { $0.problems.append(text) } }

  /// Holds a list against what is known: every acknowledged write is there at its version, or one that was sent after it; nothing
  /// else is there; no version went back. What is there counts as acknowledged from then on.
  func check(_ list: [JSON], version: Int64, _ label: String) {
    state.withLock { state in
      func complain(_ text: String) { state.problems.append("\(label): \(text)") }
      if version < state.newest { complain("the version went back from \(state.newest) to \(version)") }
      state.newest = max(state.newest, version)
      var found: [String: Write] = [:]
      for object in list {
        found[object.name] = Write(
          tag: object.at("data", "tag")?.string ?? "", version: Int64(object.resourceVersion) ?? 0)
      }
      for (name, write) in found where state.keys[name] == nil {
        complain("\(name) (\(write.tag)) was never sent")
      }
      for (name, key) in state.keys {
        guard let write = found[name] else {
          if let lost = key.acknowledged { complain("\(name) is gone, acknowledged as \(lost)") }
          state.keys[name] = Key()
          continue
        }
        if let known = key.acknowledged, known.tag == write.tag {
          if known.version != write.version { complain("\(name): \(known) became \(write)") }
        } else if !key.sent.contains(write.tag) {
          complain(
            "\(name) holds \(write), acknowledged \(String(describing: key.acknowledged)), sent \(key.sent)")
        } else if let known = key.acknowledged, write.version <= known.version {
          complain("\(name): \(known) went back to \(write)")
        }
        state.versions.insert(write.version)
        state.keys[name] = Key(acknowledged: write)
      }
    }
  }
}

extension KilledServer {
  /// ConfigMaps named by the tests, in pages; at one version.
  func configMaps(prefix: String = "k-") async throws -> (items: [JSON], version: Int64) {
    let client = try client()
    var options = ListOptions(limit: 500)
    var items: [JSON] = []
    while true {
      let page = try await client.list(.configMaps, namespace: "default", options: options)
      items += page.items
      guard let token = page.continueToken, !token.isEmpty else {
        return (items.filter { $0.name.hasPrefix(prefix) }, Int64(page.resourceVersion) ?? 0)
      }
      options.continueToken = token
    }
  }

  /// One client that creates and updates four ConfigMaps of its own until the server stops answering or `isOver`.
  func write(
    _ client: Int, _ seed: UInt64, _ round: Int, into history: SentAndAcknowledged, size: Int = 200,
    isOver: @Sendable () -> Bool
  ) async {
    guard let api = try? self.client() else { return }
    var number = 0
    while !isOver(), !Task.isCancelled {
      let name = "k-\(client)-\(number % 4)"
      let tag = "\(seed).\(round).\(client).\(number)"
      number += 1
      let known = history.keys[name]?.acknowledged
      var object: JSON = [
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": ["name": JSON(name), "namespace": "default"],
        "data": ["tag": JSON(tag), "filler": JSON(String(repeating: "x", count: size))],
      ]
      if let known { object.set(JSON("\(known.version)"), at: "metadata", "resourceVersion") }
      history.send(name, tag)
      do {
        let made =
          known == nil
          ? try await api.create(.configMaps, object, options: WriteOptions())
          : try await api.update(.configMaps, object, subresource: nil, options: WriteOptions())
        let version = Int64(made.resourceVersion) ?? 0
        if let known, version <= known.version {
          history.complain("\(name): \(version) was acknowledged after \(known.version)")
        }
        history.acknowledge(name, tag, version)
      } catch let error as APIStatusError where error.code == 409 {
        // Each key has one writer, and what it knows was acknowledged or read.
        history.complain("\(name): \(error.message)")
        return
      } catch {
        return
      }
    }
  }
}

/// A client that lists, watches from there, and lists again when it must, as informers do.
final class Follower: Sendable {
  private struct State {
    var objects: [String: String] = [:]
    var version: Int64 = 0
    var problems: [String] = []
    var lists = 0
    var events = 0
  }
  private let state = Mutex(State())

  /// Names and tags.
  var objects: [String: String] { state.withLock { $0.objects } }
  var problems: [String] { state.withLock { $0.problems } }
  var counts: (lists: Int, events: Int) { state.withLock { ($0.lists, $0.events) } }

  func run(_ server: KilledServer) async {
    var isListed = false
    while !Task.isCancelled {
      do {
        let api = try server.client()
        if !isListed {
          let (items, version) = try await server.configMaps()
          state.withLock { state in
            if version < state.version { state.problems.append("a list went back to \(version)") }
            state.objects = Dictionary(
              uniqueKeysWithValues: items.map { ($0.name, $0.at("data", "tag")?.string ?? "") })
            state.version = version
            state.lists += 1
          }
          isListed = true
        }
        let from = state.withLock { $0.version }
        let options = ListOptions(resourceVersion: "\(from)", allowBookmarks: true)
        for try await event in try await api.watch(.configMaps, namespace: "default", options: options) {
          take(event)
        }
      } catch let error as APIStatusError where error.code == 410 {
        isListed = false
      } catch {
        try? await Task.sleep(for: .milliseconds(20))
      }
    }
  }

  private func take(_ event: WatchEvent) {
    state.withLock { state in
      let object: JSON
      let isGone: Bool
      switch event {
      case .added(let told), .modified(let told): (object, isGone) = (told, false)
      case .deleted(let told): (object, isGone) = (told, true)
      case .bookmark(let version, _):
        let version = Int64(version) ?? 0
        if version < state.version { state.problems.append("a bookmark went back to \(version)") }
        state.version = max(state.version, version)
        return
      }
      let version = Int64(object.resourceVersion) ?? 0
      if version <= state.version {
        state.problems.append("\(object.name) at \(version) was told after \(state.version)")
      }
      state.version = version
      state.events += 1
      if object.name.hasPrefix("k-") {
        state.objects[object.name] = isGone ? nil : object.at("data", "tag")?.string ?? ""
      }
    }
  }
}
