// `weft bench`: a whole control plane in this process with hollow nodes, or the pods of a node that runs; how long it takes.

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
    commandName: "bench", abstract: "Measure on this machine.", subcommands: [Cluster.self, Pods.self])

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
      let folder = try dataDir ?? BenchCommand.temporaryFolder()
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
  }

  struct Pods: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "pods",
      abstract: "Pods of this machine's node, beside the same by the runtime's bare calls.",
      discussion: """
        Starts pods one after the other in a namespace of their own, weft-bench, and after each the same sandbox and container \
        by three calls to containerd; then many pods at once. Nothing is left.
        """)

    @OptionGroup var cluster: ClusterOptions
    @Option(help: "The run directory of this machine's `weft up` or `weft node`.") var runDir = "/run/weft"
    @Option(help: "The node's name. Default: the machine's.") var nodeName: String?
    @Option(help: "Pods one after the other.") var pods = 50
    @Option(help: "Pods at once, at the end.") var burst = 100
    @Option(name: .shortAndLong, help: "json, or text.") var output: OutputFormat = .text
    @OptionGroup var logging: LogOptions

    func run() async throws {
      logging.apply(quiet: true)
      guard pods > 0, pods <= 1000, burst >= 0, burst <= 110 else {
        throw WeftError(
          "CTL0013", object: "weft bench pods", cause: "1 to 1,000 pods, and at most 110 at once",
          next: "see: weft bench pods --help")
      }
      let folder = try BenchCommand.temporaryFolder()
      defer { Folders.removeTree(folder) }
      let node = nodeName ?? NodeAddress.hostName
      let runtime = try BareRuntime(
        NodeSettings(nodeName: node, addresses: [], dataDirectory: folder, runDirectory: runDir),
        folder: folder)
      defer { runtime.close() }
      let bench = PodBench(api: try cluster.remote(), runtime: runtime, node: node)
      let figures = try await bench.measure(rounds: pods, burst: burst)
      Terminal.say(output == .json ? figures.json.text : figures.table)
    }
  }

  static func temporaryFolder() throws(WeftError) -> String {
    var template = Array(
      "\(getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp")/weft-bench-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else {
      throw WeftError(
        "SCH0006", object: "temporary folder", cause: String(cString: strerror(errno)),
        next: "set TMPDIR to a folder that can be written")
    }
    return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
}
