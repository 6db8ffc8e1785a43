// `weft check`: what is wrong with this machine, this node and the cluster, each with its cause and the next command.

import ArgumentParser
import CNI
import ClusterClient
import ClusterObjects
import ClusterView
import Diagnostics
import Glibc
import Observe

struct CheckCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "check", abstract: "Find what is wrong: machine, pod network, cluster, Services, rules.",
    discussion: """
      With --pre only the machine is looked at, before `weft up` or `weft node`: rights, programs, the kernel's parts, ports, disk.
      Changes nothing. Warnings (‼) may be meant so. Exit code: 0 nothing is wrong, 1 something is, 3 the API server does not answer.
      """)

  @OptionGroup var cluster: ClusterOptions
  @OptionGroup var logging: LogOptions
  @Flag(help: "Look at the machine alone, before anything of ours runs here.") var pre = false
  @Option(help: "Where the node process has its sockets. Default: where the one of this machine has them.")
  var runDir: String?
  @Option(help: "The data directory of `weft up` or `weft node`. Default: the kubeconfig's folder.")
  var dataDir: String?
  @Option(name: .shortAndLong, help: "json, or text.") var output: OutputFormat = .text

  func run() async throws {
    logging.apply(quiet: true)
    var report = CheckReport([
      MachineCheck.machine(dataDir ?? (pre ? nil : NodeNote.read()?.dataFolder) ?? "/var/lib")
    ])
    var isReached = true
    if pre {
      report.categories.append(MachineCheck.ports())
    } else {
      report.categories.append(podNetwork())
      do {
        let path = try cluster.path()
        let server = try await ServerState(cluster.remote())
        let view = try await cluster.view()
        report.categories.append(Self.api(server, view))
        report.categories.append(checkServices(view))
        report.categories.append(
          await ServedCertificates.check(
            view, try cluster.remote(), folder: dataDir ?? NodeNote.read()?.dataFolder))
        report.categories.append(podLinks(view))
        report.categories.append(await rules(view, path))
        report.categories.append(try await Self.events(cluster.remote(), view))
      } catch let error as WeftError {
        isReached = false
        report.categories.append(.init("cluster", [Self.failed("API server", error)]))
      }
    }
    Terminal.say(output == .json ? report.json.text : report.text(colour: Terminal.usesColour))
    if !isReached { throw Finding(status: .unreachable) }
    if !report.isWell { throw Finding(status: .finding) }
  }

  private static func failed(_ name: String, _ error: WeftError) -> CheckReport.Item {
    .failed(name, error.code.text, "\(error.object): \(error.cause)", next: error.next)
  }

  /// What `weft cni check` finds, at the places of the runtime that `weft up` runs when there is one.
  private func podNetwork() -> CheckReport.Category {
    let runDir = NodeNote.runFolder(runDir)
    let isOwn = access("\(runDir)/cni/net.d", F_OK) == 0
    let places = InspectionPlaces(
      binaryFolder: isOwn ? "\(runDir)/cni/bin" : "/opt/cni/bin",
      configurationFolder: isOwn ? "\(runDir)/cni/net.d" : "/etc/cni/net.d")
    do {
      let found = inspect(try NodeFacts.observe(places))
      let items = found.map { finding in
        CheckReport.Item(
          finding.object, finding.gravity == .problem ? .failed : .warning, finding.cause, code: finding.code,
          next: finding.mend)
      }
      return .init("pod network", items.isEmpty ? [.ok("this node", "no problem found")] : items)
    } catch {
      return .init(
        "pod network", [.failed("this node", "CNI0003", "cannot be read (\(error))", next: "run as root")])
    }
  }

  private func podLinks(_ view: ClusterView) -> CheckReport.Category {
    guard let folder = dataDir ?? NodeNote.read()?.dataFolder else { return .init("pod links", []) }
    do {
      return checkPodLinks(try ObservedPodLinks(dataFolder: folder).links, view: view)
    } catch {
      return .init(
        "pod links",
        [
          .warning(
            "this node", "CLI0147", "its pods' links cannot be read (\(error))",
            next: "run as root in the node's network namespace")
        ])
    }
  }

  private static func api(_ server: ServerState, _ view: ClusterView) -> CheckReport.Category {
    let ready =
      server.isReady
      ? CheckReport.Item.ok("API server", "\(server.version), ready")
      : .failed(
        "API server", "CLI0127", "\(server.version), not ready", next: "kubectl get --raw '/readyz?verbose'")
    let cluster = clusterCategory(view)
    return .init(cluster.name, [ready] + cluster.items)
  }

  /// Events that are read, and how old one may be.
  private static let eventsMax = 5_000
  private static let eventSeconds: Int64 = 3600

  /// What parts of the cluster have warned of within the last hour; of an object and a reason the newest.
  private static func events(_ api: RemoteClient, _ view: ClusterView) async throws -> CheckReport.Category {
    var options = ListOptions()
    options.limit = eventsMax
    let list = try await api.list(.events, namespace: "", options: options)
    let since = Int64(time(nil)) - eventSeconds
    var newest: [String: (time: Int64, item: CheckReport.Item)] = [:]
    for event in list.items where event["type"]?.string == "Warning" {
      let stamp =
        [event["lastTimestamp"], event.at("series", "lastObservedTime"), event["eventTime"]]
        .compactMap { $0?.string.flatMap { Timestamp.parse($0)?.seconds } }.max() ?? 0
      guard stamp >= since else { continue }
      let object = event["involvedObject"] ?? event["regarding"] ?? [:]
      let namespace = object["namespace"]?.string ?? ""
      let name = object["name"]?.string ?? ""
      let who = "\(object["kind"]?.string ?? "") \(namespace.isEmpty ? name : "\(namespace)/\(name)")"
      let reason = event["reason"]?.string ?? ""
      if isOver(reason, of: object["kind"]?.string ?? "", ObjectKey(namespace, name), in: view) { continue }
      let text = (event["message"] ?? event["note"])?.string ?? ""
      let key = "\(who) \(reason)"
      guard stamp >= newest[key]?.time ?? 0 else { continue }
      newest[key] = (
        stamp,
        .warning(
          who, "CLI0142", "\(reason): \(text.prefix(200))",
          next: "kubectl get events -n \(namespace.isEmpty ? "default" : namespace)"
            + " --field-selector involvedObject.name=\(name)")
      )
    }
    let items = newest.sorted { ($1.value.time, $0.key) < ($0.value.time, $1.key) }.map(\.value.item)
    return .init("events of the last hour", items.isEmpty ? [.ok("warnings", "none")] : items)
  }

  private func rules(_ view: ClusterView, _ path: String) async -> CheckReport.Category {
    let source = NodeRules.Source(
      nodeName: nil, kubeconfig: path, view: view, policy: true, dataFolder: dataDir)
    let state: KernelState
    do {
      let (rules, _) = try await NodeRules.settled(source) { try await cluster.view() }
      state = KernelState(rules, isNode: source.isOfThisMachine)
    } catch {
      state = .unreadable("\(error)")
    }
    let item: CheckReport.Item
    switch state {
    case .equal, .notANode: item = .ok("rules", state.text)
    case .unknownNode, .unreadable:
      item = .warning("rules", "CLI0135", state.text, next: "run as root, with --data-dir DIR")
    case .differs, .absent: item = .failed("rules", "CLI0136", state.text, next: "weft diff")
    }
    return .init("kernel", [item] + (await MachineCheck.foreignRules()))
  }
}
