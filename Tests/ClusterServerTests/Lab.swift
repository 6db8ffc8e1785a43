// A server on a free loopback port with a folder of its own, and programs run against it.

import ClusterClient
import ClusterObjects
import ClusterServer
import ClusterStoreEtcd
import Diagnostics
import Glibc
import SoakLab
import StoreLab

/// Starts a server, gives it to `body`, stops it and removes what it left.
func withServer<T>(_ body: (ClusterServer, String) async throws -> T) async throws -> T {
  try await withFolder { folder in
    var settings = ServerSettings(dataFolder: folder + "/data")
    settings.port = 0
    settings.store = try testStore(folder)
    let server = try await ClusterServer.start(settings)
    do {
      let value = try await body(server, folder)
      await server.shutdown()
      return value
    } catch {
      await server.shutdown()
      throw error
    }
  }
}

extension ClusterServer {
  /// A client that may do everything.
  func client(user: String) -> InProcessClient { client(user: user, groups: ["system:masters"]) }
}

/// SQLite, or with WEFT_TEST_STORE=etcd a prefix of its own in a real etcd: every suite holds for both.
func testStore(_ folder: String) throws -> ServerStore {
  guard getenv("WEFT_TEST_STORE").map({ String(cString: $0) }) == "etcd" else { return .sqlite }
  return try etcdStore(prefix: folder)
}

func etcdStore(prefix: String, _ version: EtcdServer.Version = .newer) throws -> ServerStore {
  let settings = try EtcdServer.shared(version).settings(prefix: prefix, root: "/registry")
  return .shared { () async throws(WeftError) in try await EtcdStore(settings: settings, metrics: Metrics()) }
}

func withFolder<T>(_ body: (String) async throws -> T) async throws -> T {
  let folder = try ScratchFolder.make("server")
  defer { ScratchFolder.remove(folder) }
  return try await body(folder)
}

/// A program that ran to its end.
struct Program {
  var status: Int32
  var output: String
  var errors: String

  /// Its errors without what kubectl says of itself on a machine that is busy: that it has kept back a request for a second.
  var complaints: [Substring] {
    errors.split(separator: "\n").filter { !$0.contains("due to client-side throttling") }
  }

  /// Runs a program with `input`, killed after `limit` seconds by way of `timeout`. On a thread of its own:
  /// a blocked thread of the pool would be one the server lacks.
  static func run(
    _ path: String, _ arguments: [String], input: String = "", limit: Int = 30
  ) async throws -> Program {
    try await withCheckedThrowingContinuation { continuation in
      Thread.detach {
        continuation.resume(with: Result { try runBlocking(path, arguments, input, limit) })
      }
    }
  }

  static func runBlocking(
    _ path: String, _ arguments: [String], _ input: String = "", _ limit: Int = 30
  ) throws -> Program {
    let folder = try ScratchFolder.make("run")
    defer { ScratchFolder.remove(folder) }
    let files = ["in", "out", "err"].map { "\(folder)/\($0)" }
    if let file = fopen(files[0], "w") {
      fputs(input, file)
      fclose(file)
    }
    let streams = [
      open(files[0], O_RDONLY | O_CLOEXEC), open(files[1], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600),
      open(files[2], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600),
    ]
    defer { for stream in streams { close(stream) } }
    let pid = try StoreLab.Program.spawn(
      "/usr/bin/timeout", [String(limit), path] + arguments, streams: streams, environment: ["HOME=\(folder)"]
    )
    var status: Int32 = 0
    while waitpid(pid, &status, 0) < 0, errno == EINTR {}
    return Program(
      status: status & 0x7f == 0 ? status >> 8 & 0xff : -1, output: read(files[1]), errors: read(files[2]))
  }

  static func read(_ path: String) -> String {
    guard let file = fopen(path, "r") else { return "" }
    defer { fclose(file) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 65_536)
    while true {
      let count = fread(&chunk, 1, chunk.count, file)
      if count == 0 { break }
      bytes += chunk[..<count]
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}

/// kubectl against one server. `make setup` puts it under `.tools`; a version on the PATH is taken else.
struct Kubectl {
  var server: ClusterServer
  var cache: String

  static let path: String? = {
    let named = getenv("WEFT_KUBECTL").map { String(cString: $0) }
    return
      ([named].compactMap { $0 } + [
        ".tools/bin/kubectl", ".tools/kubectl", "/usr/local/bin/kubectl", "/usr/bin/kubectl",
      ])
      .first { access($0, X_OK) == 0 }
  }()

  @discardableResult func callAsFunction(
    _ arguments: String, input: String = "", limit: Int = 30
  ) async throws -> Program {
    guard let path = Self.path else { throw Failed(text: "no kubectl; make setup installs it") }
    let words = arguments.split(separator: " ").map(String.init)
    return try await Program.run(
      path, ["--kubeconfig", server.kubeconfigPath, "--cache-dir", cache] + words, input: input, limit: limit)
  }
}

private enum Thread {
  private final class Body: Sendable {
    let run: @Sendable () -> Void
    init(_ run: @escaping @Sendable () -> Void) { self.run = run }
  }

  static func detach(_ run: @escaping @Sendable () -> Void) {
    var thread = pthread_t()
    let argument = Unmanaged.passRetained(Body(run)).toOpaque()
    pthread_create(
      &thread, nil,
      { argument in
        if let argument { Unmanaged<Body>.fromOpaque(argument).takeRetainedValue().run() }
        return nil
      }, argument)
    pthread_detach(thread)
  }
}
