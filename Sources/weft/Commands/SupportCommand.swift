// `weft support`: one archive for a bug report, with what can be seen of a cluster and of this machine's network, without secrets.

import ArgumentParser
import CLinux
import CNI
import ClusterClient
import ClusterObjects
import ClusterView
import Diagnostics
import Glibc
import Observe

struct SupportCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "support",
    abstract: "Write one archive for a bug report: objects, rules, links and metrics, without secrets.",
    discussion: """
      Values of Secrets, ConfigMaps and environment variables, words of containers and tokens are taken out before anything \
      is written. What cannot be read is said in errors.txt, and the rest is written all the same. Look at it before you send \
      it: tar tf FILE. Exit code: 0 all was read, 1 something was not.
      """)

  @OptionGroup var cluster: ClusterOptions
  @OptionGroup var logging: LogOptions
  @Option(name: [.customShort("f"), .long], help: "The archive. Default: weft-support-HOST-TIME.tar here.")
  var file: String?

  func run() async throws {
    logging.apply(quiet: true)
    let now = Int64(time(nil))
    let stamp = Timestamp.text(seconds: now).filter { $0.isNumber || $0 == "T" || $0 == "Z" }
    let name = "weft-support-\(NodeAddress.hostName)-\(stamp)"
    var collector = SupportCollector(folder: name, modified: now)
    if let api = collector.attempt("api", { () throws(WeftError) in try cluster.remote() }) {
      await collector.takeCluster(api)
    }
    await collector.takeMachine()
    if let kubeconfig = try? cluster.path() { await collector.takeVerdicts(kubeconfig) }
    let path = file ?? "\(name).tar"
    try HomeFiles.write(collector.finish(), to: path, mode: 0o600)
    Terminal.say(path)
    for error in collector.errors { Terminal.complain("left out: \(error)") }
    if !collector.errors.isEmpty { throw Finding(status: .finding) }
  }
}

/// Gathers files and what could not be read.
struct SupportCollector {
  /// Objects of one resource that are taken.
  static let objectsMax = 5_000
  /// Bytes of one file; the rest of a longer one is cut off.
  static let fileBytesMax = 16 << 20
  private static let resources: [GroupVersionResource] =
    ClusterView.resources + [
      .events, .leases, .configMaps, .secrets, .init("apps", "v1", "deployments"),
      .init("apps", "v1", "daemonsets"),
      .init("apps", "v1", "statefulsets"), .init("apps", "v1", "replicasets"),
    ]
  /// What a reader of this machine's network would type.
  private static let questions: [(file: String, words: [String])] = [
    ("kernel/ruleset.nft", ["nft", "list", "ruleset"]),
    ("kernel/iptables.txt", ["iptables-save", "-c"]),
    ("kernel/links.txt", ["ip", "-d", "-s", "link"]),
    ("kernel/addresses.txt", ["ip", "address"]),
    ("kernel/routes.txt", ["ip", "route", "show", "table", "all"]),
    ("kernel/routes6.txt", ["ip", "-6", "route", "show", "table", "all"]),
    ("kernel/rules.txt", ["ip", "rule"]),
    ("kernel/neighbours.txt", ["ip", "neighbour"]),
    ("kernel/fdb.txt", ["bridge", "fdb"]),
    ("kernel/conntrack.txt", ["conntrack", "-S"]),
    ("kernel/sockets.txt", ["ss", "-ntulp"]),
    ("kernel/sysctl.txt", ["sysctl", "net.ipv4", "net.ipv6.conf", "net.netfilter", "net.core"]),
    ("kernel/release.txt", ["uname", "-a"]),
  ]
  /// Where parts of a node answer without credentials.
  private static let pages: [(file: String, port: Int)] = [
    ("metrics/proxy.txt", 10249), ("metrics/dns.txt", 9153), ("metrics/ingress.txt", 10254),
  ]

  private static let places = InspectionPlaces(
    binaryFolder: "/opt/cni/bin", configurationFolder: "/etc/cni/net.d")

  private let folder: String
  private var archive: TarArchive
  private(set) var errors: [String] = []

  init(folder: String, modified: Int64) {
    self.folder = folder
    archive = TarArchive(modified: modified)
    add("version.txt", "weft \(Weft.version)\n")
  }

  private mutating func add(_ name: String, _ text: String) {
    archive.add("\(folder)/\(name)", Array(Redaction.text(text).utf8.prefix(Self.fileBytesMax)))
  }

  mutating func attempt<T>(_ what: String, _ body: () throws -> T) -> T? {
    do { return try body() } catch {
      errors.append("\(what): \(error)")
      return nil
    }
  }

  mutating func finish() -> [UInt8] {
    add("errors.txt", errors.map { $0 + "\n" }.joined())
    return archive.bytes
  }

  // MARK: The cluster

  mutating func takeCluster(_ api: RemoteClient) async {
    for path in ["/version", "/readyz?verbose", "/metrics"] {
      do {
        let answer = try await api.raw(path)
        let name = path.split(separator: "?").first.map { $0.dropFirst() } ?? ""
        add("api/\(name).txt", String(decoding: answer.body, as: UTF8.self))
      } catch {
        errors.append("\(path): \(error)")
        // Who does not answer this answers nothing.
        if path == "/version" { return }
      }
    }
    for resource in Self.resources {
      do {
        var options = ListOptions()
        options.limit = Self.objectsMax
        let list = try await api.list(resource, namespace: "", options: options)
        let items = list.items.map { Redaction.object(named($0, resource)) }
        add("api/\(resource.resource).json", items.map { $0.text + "\n" }.joined())
        if items.count >= Self.objectsMax {
          errors.append("\(resource.resource): only the first \(items.count)")
        }
      } catch {
        errors.append("\(resource.resource): \(error)")
      }
    }
  }

  /// Lists of these kinds carry none in their items.
  private func named(_ item: JSON, _ resource: GroupVersionResource) -> JSON {
    guard item.kind.isEmpty else { return item }
    var item = item
    item["kind"] = .string(
      resource.resource == "secrets" ? "Secret" : resource.resource == "configmaps" ? "ConfigMap" : "")
    return item
  }

  // MARK: This machine

  /// What `weft status` and `weft diff` say here.
  mutating func takeVerdicts(_ kubeconfig: String) async {
    for command in ["status", "diff"] {
      await ask("\(command).txt", [Programs.own, command, "--kubeconfig", kubeconfig])
    }
  }

  private mutating func ask(_ file: String, _ words: [String]) async {
    switch await ProgramOutput.read(words, seconds: 10, bytesMax: Self.fileBytesMax) {
    case .success(let text): add(file, text)
    // Not every machine has every program.
    case .failure(.missing): return
    case .failure(.failed(let reason)): errors.append("\(words.joined(separator: " ")): \(reason)")
    }
  }

  mutating func takeMachine() async {
    for (file, words) in Self.questions { await ask(file, words) }
    if let findings = attempt("cni check", { try inspect(NodeFacts.observe(SupportCollector.places)) }) {
      add("cni-check.json", JSONValue.array(findings.map(\.json)).text + "\n")
    }
    for (file, port) in Self.pages {
      if let page = LocalPage.read(port: port, path: "/metrics") { add(file, page) }
    }
  }
}
