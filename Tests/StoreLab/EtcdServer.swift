// A real etcd for tests: one member on the loopback, its data in a folder under /tmp.

import ClusterStore
import ClusterStoreEtcd
import Diagnostics
import Glibc
import SoakLab
import Synchronization

public final class EtcdServer: Sendable {
  public enum Version: String, CaseIterable, Sendable {
    case newer = "etcd"
    case debian = "etcd-3.4"
  }

  public let folder: String
  public let clientPort: UInt16
  private let path: String
  private let arguments: [String]
  private let program = Mutex<Program?>(nil)
  private let isSecure: Bool

  /// `make setup` puts both versions into `.tools/bin`.
  public static func binary(_ version: Version) throws -> String {
    for folder in [".tools/bin/", "/usr/local/bin/", "/usr/bin/"]
    where access(folder + version.rawValue, X_OK) == 0 {
      return folder + version.rawValue
    }
    throw Failed(text: "no \(version.rawValue) in .tools/bin; make setup installs it")
  }

  public init(_ version: Version, secure: Bool = false, certificates: String = "") throws {
    path = try Self.binary(version)
    folder = try ScratchFolder.make("etcd")
    clientPort = try freePort()
    let peerPort = try freePort()
    isSecure = secure
    let scheme = secure ? "https" : "http"
    arguments =
      [
        "--name", "a", "--data-dir", folder + "/data", "--log-level", "error", "--logger", "zap",
        "--listen-client-urls", "\(scheme)://127.0.0.1:\(clientPort)",
        "--advertise-client-urls", "\(scheme)://127.0.0.1:\(clientPort)",
        "--listen-peer-urls", "http://127.0.0.1:\(peerPort)",
        "--initial-advertise-peer-urls", "http://127.0.0.1:\(peerPort)",
        "--initial-cluster", "a=http://127.0.0.1:\(peerPort)",
      ]
      + (secure
        ? [
          "--cert-file", certificates + "/server.crt", "--key-file", certificates + "/server.key",
          "--trusted-ca-file", certificates + "/ca.crt", "--client-cert-auth",
        ] : [])
    try start()
  }

  public func start() throws {
    let started = try Program(path, arguments, output: folder + "/log")
    program.withLock { $0 = started }
  }

  /// SIGKILL.
  public func kill() {
    program.withLock { program in
      program?.stop()
      program = nil
    }
  }

  /// SIGSTOP, SIGCONT.
  public func signal(_ number: Int32) { program.withLock { $0?.signal(number) } }

  public func remove() {
    kill()
    ScratchFolder.remove(folder)
  }

  deinit { remove() }

  public var endpoint: String { "\(isSecure ? "https" : "http")://127.0.0.1:\(clientPort)" }

  /// Settings of a store that keeps keys beginning with `root` under `prefix`.
  public func settings(prefix: String, root: String = "") throws -> EtcdStoreSettings {
    var settings = try EtcdStoreSettings(store: "etcd:\(endpoint)")
    settings.root = root
    settings.prefix = prefix
    if root.isEmpty { settings.ephemeral = [] }
    return settings
  }

  public func open(prefix: String, root: String = "") async throws -> EtcdStore {
    try await EtcdStore(settings: settings(prefix: prefix, root: root), metrics: Metrics())
  }

  // MARK: One for all tests

  private static let running = Mutex<[Version: EtcdServer]>([:])

  /// Started by the first test that asks, killed with this process.
  public static func shared(_ version: Version) throws -> EtcdServer {
    try running.withLock { running in
      if let found = running[version] { return found }
      let server = try EtcdServer(version)
      running[version] = server
      if running.count == 1 { atexit { EtcdServer.removeAll() } }
      return server
    }
  }

  private static func removeAll() {
    running.withLock { running in
      for server in running.values { server.remove() }
      running = [:]
    }
  }
}
