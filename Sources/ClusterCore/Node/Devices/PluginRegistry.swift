// `plugins_registry`: plugins put a socket there, are asked who they are, and are told what came of it. A socket that goes takes
// its plugin with it.
//
//   socket appears -> GetInfo -> register -> NotifyRegistrationStatus      socket goes, or another is there -> deregister

import CLinux
import Diagnostics
import GRPCCore
import Glibc
import Logging

/// What plugins of one type are registered with.
struct PluginHandler: Sendable {
  /// Throws, in words for the plugin's log.
  var register: @Sendable (_ info: PluginInfo, _ socket: String) async throws -> Void
  var deregister: @Sendable (_ name: String, _ socket: String) async -> Void
}

/// Looks after a folder from `start` to `stop`. At most `pluginsMax` sockets; more are not looked at.
actor PluginRegistry {
  static let pluginsMax = 64
  /// Folders below the folder that are looked into.
  static let depthMax = 3
  /// How soon a socket is tried again that could not be registered, and one that appeared in a folder below.
  static let period: Duration = .seconds(10)
  /// The longest that one waits which was refused again and again.
  static let periodMax: Duration = .seconds(120)

  private struct Entry {
    /// Tells a socket from another that took its place.
    var identity: UInt64
    var name = ""
    var type = ""
    var isRegistered = false
    var isBusy = false
    var failures = 0
    var notBefore = ContinuousClock.now
  }
  private let folder: String
  private let handlers: [String: PluginHandler]
  private let period: Duration
  private var entries: [String: Entry] = [:]
  private var watching: Task<Void, Never>?
  private let log = Logger(label: "node")

  init(folder: String, handlers: [String: PluginHandler], period: Duration = PluginRegistry.period) {
    self.folder = folder
    self.handlers = handlers
    self.period = period
  }

  /// Errors: what makes the folder unusable.
  func start() throws(WeftError) {
    try Files.makeDirectory(folder, mode: 0o750)
    let (folder, period) = (folder, period)
    let watch = FolderWatch(folder)
    watching = Task { [weak self] in
      while !Task.isCancelled {
        let isArmed = watch?.arm() ?? false
        await self?.look()
        if let watch, isArmed { await watch.wait(period) } else { try? await Task.sleep(for: period) }
      }
    }
  }

  func stop() async {
    watching?.cancel()
    await watching?.value
  }

  /// The plugin behind this socket does not serve any more: it is asked anew who it is, if the socket is still there.
  func lost(_ socket: String) {
    if entries[socket]?.isBusy == false { entries[socket] = nil }
  }

  private func look() async {
    var found: [String: UInt64] = [:]
    Self.sockets(folder, Self.depthMax, &found)
    for (path, entry) in entries where found[path] != entry.identity && !entry.isBusy {
      entries[path] = nil
      guard entry.isRegistered else { continue }
      log.info("plugin went away", metadata: ["plugin": "\(entry.name)", "socket": "\(path)"])
      await handlers[entry.type]?.deregister(entry.name, path)
    }
    for (path, identity) in found.sorted(by: { $0.key < $1.key }) {
      if let entry = entries[path], entry.isRegistered || entry.isBusy || entry.notBefore > .now { continue }
      guard entries[path] != nil || entries.count < Self.pluginsMax else { continue }
      entries[path, default: Entry(identity: identity)].isBusy = true
      // One that does not answer keeps no other waiting.
      Task { await register(path) }
    }
  }

  private static func sockets(_ folder: String, _ depth: Int, _ found: inout [String: UInt64]) {
    for name in Files.list(folder) where !name.hasPrefix(".") && found.count < pluginsMax {
      let path = "\(folder)/\(name)"
      guard let info = Files.info(path) else { continue }
      if info.isSocket { found[path] = info.inode }
      if info.isDirectory, depth > 0 { sockets(path, depth - 1, &found) }
    }
  }

  private func register(_ path: String) async {
    do {
      let connection = try PluginConnection(path)
      defer { connection.close() }
      let info: PluginInfo = try await connection.call(
        PluginService.info, NoMessage(), timeout: PluginConnection.connectTimeout)
      var problem: String?
      if let handler = handlers[info.type] {
        do { try await handler.register(info, path) } catch {
          problem = "RegisterPlugin error -- plugin registration failed with err: \(runtimeMessage(error))"
        }
      } else {
        problem =
          "RegisterPlugin error -- no handler registered for plugin type: \(info.type) at socket \(path)"
      }
      if problem == nil {
        entries[path]?.name = info.name
        entries[path]?.type = info.type
        entries[path]?.isRegistered = true
      }
      log.log(
        level: problem == nil ? .info : .warning, problem == nil ? "plugin registered" : "plugin refused",
        metadata: [
          "plugin": "\(info.name)", "type": "\(info.type)", "socket": "\(path)", "cause": "\(problem ?? "")",
        ])
      let _: NoMessage = try await connection.call(
        PluginService.notify, PluginStatus(isRegistered: problem == nil, error: problem ?? ""),
        timeout: PluginConnection.connectTimeout)
    } catch {
      log.warning(
        "plugin does not answer", metadata: ["socket": "\(path)", "cause": "\(runtimeMessage(error))"])
    }
    guard var entry = entries[path] else { return }
    entry.isBusy = false
    if !entry.isRegistered {
      entry.failures = min(entry.failures + 1, 8)
      entry.notBefore = .now + min(Self.periodMax, period * (1 << entry.failures) / 2)
    }
    entries[path] = entry
  }
}
