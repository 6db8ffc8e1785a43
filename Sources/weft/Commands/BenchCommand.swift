// `weft bench cluster`: a whole control plane in this process with hollow nodes, and how long it takes.

import ArgumentParser
import ClusterClient
import ClusterControllers
import ClusterNode
import ClusterObjects
import ClusterScheduler
import ClusterServer
import Diagnostics
import Glibc
import Synchronization

struct BenchCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bench", abstract: "Measure on this machine.", subcommands: [Cluster.self])

  struct Cluster: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "cluster", abstract: "Hollow nodes and pods in one process: what would so many cost?",
      discussion: """
        Starts an API server on a free port of loopback with a data directory of its own, controllers and the scheduler; \
        makes the nodes, then the pods, and prints when all were registered, ready, scheduled and running. Nothing is left.
        """)

    @Option(help: "Hollow nodes.") var nodes = 100
    @Option(help: "Pods, made at once.") var pods = 1000
    @Option(help: "Seconds to keep on after the last pod runs, so that heartbeats are measured too.")
    var hold = 0
    @Option(help: "Where the store lives meanwhile. Default: a new folder in the temporary directory.")
    var dataDir: String?
    @OptionGroup var logging: LogOptions

    func run() async throws {
      logging.apply(quiet: true)
      guard nodes > 0, nodes <= 20_000, pods >= 0, pods <= 500_000, hold >= 0 else {
        throw WeftError(
          "SCH0006", object: "weft bench cluster", cause: "1 to 20,000 nodes and at most 500,000 pods",
          next: "see: weft bench cluster --help")
      }
      let folder = try dataDir ?? Self.temporaryFolder()
      var settings = ServerSettings(dataFolder: folder)
      settings.port = 0
      let server = try await ClusterServer.start(settings)
      let informers = server.sharedInformers()
      let run = ClusterBench(server: server, informers: informers, nodes: nodes, pods: pods)
      let result: Result<String, any Error>
      do { result = .success(try await run.measure(hold: hold)) } catch { result = .failure(error) }
      await informers.stop()
      await server.shutdown()
      if dataDir == nil { Folders.removeTree(folder) }
      Terminal.say(try result.get())
    }

    private static func temporaryFolder() throws(WeftError) -> String {
      var template = Array(
        "\(getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp")/weft-bench-XXXXXX".utf8CString)
      guard mkdtemp(&template) != nil else {
        throw WeftError(
          "SCH0006", object: "temporary folder", cause: String(cString: strerror(errno)),
          next: "name one: --data-dir FOLDER")
      }
      return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
  }
}
