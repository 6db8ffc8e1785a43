// `weft status`: is everything there? Every part of the control plane and of each node: version, how far it is behind the API, its last
// commit, what it dropped.

import ArgumentParser
import ClusterClient
import ClusterObjects
import ClusterView
import Diagnostics
import Glibc
import Observe

struct StatusCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "status",
    abstract: "Every part: version, lag behind the API, last commit, drops.",
    discussion: """
      Nodes are asked through the API server (`get` on `nodes/proxy`). Where a node's agent does not tell, the rules of this machine are
      compared with the plan, as `weft diff` does. BEHIND is how long the oldest change that a node has heard of waits to be in force.
      Exit code: 0 all well, 1 something is not, 3 the API server does not answer, 124 with --wait: not well in time.
      """)

  @OptionGroup var cluster: ClusterOptions
  @OptionGroup var logging: LogOptions
  @Flag(help: "Wait until all is well.") var wait = false
  @Option(help: "How long to wait: 90s, 5m, 1h.") var waitDuration = "5m"
  @Option(help: "The node whose rules are compared. Default: this machine.") var nodeName: String?
  @Option(
    help: "The data directory of this machine's `weft up` or `weft node`. Default: the kubeconfig's folder.")
  var dataDir: String?
  @Flag(help: "NetworkPolicy is not enforced here (`weft proxy --no-policy`).") var noPolicy = false
  @Option(name: .shortAndLong, help: "json, or text.") var output: OutputFormat = .text

  /// Between two looks.
  private static let pause: Duration = .milliseconds(500)

  func run() async throws {
    logging.apply(quiet: true)
    guard cluster.manifests == nil else {
      throw WeftError(
        "CLI0034", object: "--manifests", cause: "a folder has no status",
        next: "ask a cluster, with --kubeconfig FILE")
    }
    let limit = try Self.duration(waitDuration)
    guard wait else {
      let status = try await look()
      show(status)
      if !status.report.isWell { throw Finding(status: .finding) }
      return
    }
    let deadline = ContinuousClock.now + limit
    var last: Result<Status, any Error>
    var progress = WaitProgress()
    repeat {
      do {
        let status = try await look()
        if status.report.isWell {
          progress.end()
          return show(status)
        }
        last = .success(status)
        progress.show(status.report)
      } catch {
        // A server that is being started does not answer yet.
        last = .failure(error)
        progress.show("\((error as? WeftError)?.cause ?? "\(error)")")
      }
      try await Task.sleep(for: Self.pause)
    } while ContinuousClock.now < deadline
    progress.end()
    if case .success(let status) = last { show(status) }
    if case .failure(let error) = last { Terminal.complain("\(error)") }
    Terminal.complain("not well within \(waitDuration)")
    throw Finding(status: .timedOut)
  }

  private struct Status {
    var report: StatusReport
    var reading: StatusReader.Reading
    var kernel: KernelState?
    var nodeName = ""
  }

  private func look() async throws -> Status {
    let api = try cluster.remote()
    let reading = try await StatusReader(api: api).read()
    var status = Status(report: reading.report, reading: reading)
    if reading.isComplete { return status }
    // Rules of `weft proxy`, or of a node that does not tell.
    let view = try await cluster.view()
    let source = NodeRules.Source(
      nodeName: nodeName, kubeconfig: try? cluster.path(), view: view, policy: !noPolicy, dataFolder: dataDir)
    let kernel: KernelState
    do {
      let (rules, _) = try await NodeRules.settled(source) { try await cluster.view() }
      kernel = KernelState(rules, isNode: source.isOfThisMachine)
    } catch let error as WeftError where error.code == "NET0010" {
      kernel = .unreadable(error.cause)
    }
    let left = view.quarantined.map { "\($0.key.kind) \($0.key.key): \($0.value)" }
    status.report.leftOut = Set(status.report.leftOut + left).sorted()
    status.report.parts.append(kernel.part(source.nodeName))
    (status.kernel, status.nodeName) = (kernel, source.nodeName)
    return status
  }

  private func show(_ status: Status) {
    guard output == .json else { return Terminal.say(status.report.text(colour: Terminal.usesColour)) }
    var tree = status.report.json
    let server = status.reading.server
    tree["api"] = ["version": JSON(server.version), "ready": JSON(server.isReady)]
    tree["nodes"] = .array(status.reading.nodes.map { ["name": JSON($0.name), "ready": JSON($0.isReady)] })
    if let kernel = status.kernel {
      tree["node"] = JSON(status.nodeName)
      tree["kernel"] = ["state": JSON(kernel.word), "detail": JSON(kernel.text)]
    }
    Terminal.say(tree.text)
  }

  /// `90s`, `5m`, `1h`, or seconds. Throws `CLI0171`.
  static func duration(_ text: String) throws(WeftError) -> Duration {
    let units: [Character: Int64] = ["s": 1, "m": 60, "h": 3600]
    let unit = text.last.flatMap { units[$0] }
    guard let number = Int64(unit == nil ? text[...] : text.dropLast()), (0...1_000_000).contains(number)
    else {
      throw WeftError(
        "CLI0171", object: "--wait-duration \(text)", cause: "is no time", next: "write 90s, 5m or 1h",
        exit: .usage)
    }
    return .seconds(number * (unit ?? 1))
  }
}

/// What is waited for, on standard error: one line that changes on a terminal, a line when it changes elsewhere.
private struct WaitProgress {
  private var last = ""
  private let isTerminal = isatty(2) == 1

  mutating func show(_ report: StatusReport) {
    let bad = report.parts.filter { $0.state == .failed }
    let names = bad.prefix(3).map { $0.node.isEmpty ? $0.name : "\($0.name) of \($0.node)" }
    let rest = bad.count > 3 ? " and \(bad.count - 3) more" : ""
    show(
      bad.isEmpty
        ? "\(report.leftOut.count) objects are left out" : names.joined(separator: ", ") + rest)
  }

  mutating func show(_ text: String) {
    guard text != last else { return }
    last = text
    if isTerminal {
      Terminal.write("\r\u{1b}[Kwaiting for: \(text)", to: 2)
    } else {
      Terminal.complain("waiting for: \(text)")
    }
  }

  mutating func end() { if isTerminal, !last.isEmpty { Terminal.write("\r\u{1b}[K", to: 2) } }
}
