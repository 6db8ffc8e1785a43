// `weft flows`: who speaks to whom on this node, and what was refused, by name.

import ArgumentParser
import ClusterObjects
import Diagnostics
import Glibc
import Observe

struct FlowsCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "flows", abstract: "Connections of a node's pods: names, verdicts, bytes, durations.",
    discussion: """
      Shows what the node process here has kept, the oldest first; with -f it goes on. An end of --from and --to is NAMESPACE/POD,
      NAMESPACE/POD-*, NAMESPACE/, an address, a block, or labels (app=web).
      With --node or --all-nodes nodes are asked through the API server (`get` on `nodes/proxy`).
      Saved with -o json or --to-file, flows are read back with --input, and every filter works on them.
      Exit code: 0, 1 a node does not tell, 2 a filter or a file cannot be read, 3 no node process answers.
      """)

  enum Format: String, ExpressibleByArgument { case compact, table, json }

  @OptionGroup var filter: FlowFilterOptions
  @Flag(name: .shortAndLong, help: "Go on with what comes.") var follow = false
  @Option(help: "The newest so many. Default: with -f 20, else all that are kept.") var limit: Int?
  @Option(name: .shortAndLong, help: "compact, table or json (a flow a line).") var output: Format = .compact
  @Flag(help: "Addresses instead of names.") var numeric = false
  @Option(help: "Write flows to this file as lines of JSON, and nothing to the terminal.") var toFile: String?
  @Option(help: "Read flows from this file, - for standard input, instead of asking a node.") var input:
    String?
  @Option(help: "Where the node process has its sockets. Default: where the one of this machine has them.")
  var runDir: String?
  @Option(help: "Ask this node, by way of the API server.") var node: String?
  @Flag(help: "Ask all nodes, by way of the API server.") var allNodes = false
  @OptionGroup var cluster: KubeconfigOptions

  func run() async throws {
    let out = try toFile.map { path throws(WeftError) in try OutputFile(path) }
    var printer = FlowPrinter(format: output, numeric: numeric, isStreaming: follow || out != nil)
    func show(_ flow: Flow) throws(WeftError) {
      if let out { try out.write(flow.json.text + "\n") } else { printer.show(flow) }
    }
    var failure: WeftError?
    var isWhole = true
    func take(_ flow: Flow) -> Bool {
      do throws(WeftError) { try show(flow) } catch {
        failure = error
        return false
      }
      return true
    }
    if let input {
      try read(input, take)
    } else {
      var question = try filter.question(cluster)
      question.follows = follow
      question.limit = limit ?? (follow && filter.since == nil ? 20 : nil)
      func answered(_ answer: FlowAnswer) -> Bool {
        switch answer {
        case .flow(let flow): return take(flow)
        case .missed(let count):
          Terminal.complain("\(count) flows came faster than they could be shown")
          return true
        }
      }
      if allNodes || node != nil {
        let pages = try NodePageClient(cluster.remote())
        let nodes = if let node { [node] } else { try await pages.nodes() }
        var flows = RemoteFlows(pages, of: nodes, question)
        isWhole = try await flows.read(answered)
      } else {
        try FlowClient.ask(
          question, at: "\(NodeNote.runFolder(runDir))/\(FlowSettings.socketName)", answered)
      }
    }
    if let failure { throw failure }
    printer.finish()
    if let out, let toFile { Terminal.complain("\(out.lines) flows written to \(toFile)") }
    if !isWhole { throw Finding(status: .finding) }
  }

  private func read(_ path: String, _ take: @escaping (Flow) -> Bool) throws(WeftError) {
    let wanted = try filter.question(cluster).filter()
    let input = try InputFile(path)
    var newest: [Flow] = []
    var others = 0
    if let limit, limit >= 0 {
      // The newest so many: the file is read to its end.
      others = FlowClient.read(input.descriptor, filter: wanted) { flow in
        newest.append(flow)
        if newest.count >= 2 * max(limit, 512) { newest.removeFirst(newest.count - limit) }
        return true
      }
      for flow in newest.suffix(limit) where !take(flow) { return }
    } else {
      others = FlowClient.read(input.descriptor, filter: wanted, take)
    }
    if others > 0 { Terminal.complain("\(others) lines of \(path) are no flows") }
  }
}

/// The filter's flags, for every command that reads flows.
struct FlowFilterOptions: ParsableArguments {
  @Option(help: "Where it comes from.") var from: String?
  @Option(help: "Where it goes to.") var to: String?
  @Option(help: "forwarded, denied or audited, several with commas between.") var verdict: String?
  @Option(help: "The Service that was asked for: NAMESPACE/NAME.") var service: String?
  @Option(help: "The port of the destination or of the Service.") var port: String?
  @Option(help: "Not older: 90s, 5m, 2h, 1d, or a time of RFC 3339.") var since: String?
  @OptionGroup var names: NamespaceOption

  /// Names without a namespace are those of the context of `server`. Throws `FLW0002` for a word that cannot be read.
  func question(_ server: KubeconfigOptions) throws(WeftError) -> FlowQuestion {
    var question = FlowQuestion()
    question.from = from
    question.to = to
    question.verdict = verdict
    question.service = service
    question.port = port
    question.namespace = names.chosen(server)
    if let since { question.since = try Self.moment(since) }
    _ = try question.filter()
    return question
  }

  /// Nanoseconds since 1970. Throws `FLW0002`.
  static func moment(_ text: String) throws(WeftError) -> UInt64 {
    let now = Timestamp.now()
    return try FlowFilter.moment(text, now: UInt64(now.seconds) * 1_000_000_000 + UInt64(now.nanoseconds))
  }
}

/// Shows flows one by one, or as a table at the end.
private struct FlowPrinter {
  let format: FlowsCommand.Format
  let numeric: Bool
  /// Rows are shown as they come: columns have the width of what most flows have.
  let isStreaming: Bool
  private var rows: [[String]] = []
  private var hasHeader = false

  init(format: FlowsCommand.Format, numeric: Bool, isStreaming: Bool) {
    self.format = format
    self.numeric = numeric
    self.isStreaming = isStreaming
  }

  private static let widths = [27, 10, 9, 6, 34, 34, 24, 5, 16, 9]

  mutating func show(_ flow: Flow) {
    switch format {
    case .json: Terminal.say(flow.json.text)
    case .compact:
      Terminal.say(flow.compact(numeric: numeric, colour: Terminal.usesColour ? .always : .never))
    case .table:
      guard isStreaming else {
        rows.append(flow.cells(numeric: numeric))
        return
      }
      if !hasHeader { Terminal.say(Self.padded(Flow.header)) }
      hasHeader = true
      Terminal.say(Self.padded(flow.cells(numeric: numeric)))
    }
  }

  func finish() {
    if format == .table, !isStreaming { Terminal.say(Terminal.table([Flow.header] + rows)) }
  }

  private static func padded(_ cells: [String]) -> String {
    cells.enumerated().map { index, cell in
      index < widths.count
        ? cell + String(repeating: " ", count: max(0, widths[index] - cell.count)) : cell
    }.joined(separator: "  ")
  }
}

/// A file that is written line by line; what was written is whole lines whatever happens.
final class OutputFile {
  private let path: String
  private let descriptor: Int32
  private(set) var lines = 0

  /// Throws `FLW0008`.
  init(_ path: String) throws(WeftError) {
    self.path = path
    descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw Self.failure(path) }
  }

  deinit { close(descriptor) }

  func write(_ line: String) throws(WeftError) {
    let start = lseek(descriptor, 0, SEEK_CUR)
    var bytes = Array(line.utf8)[...]
    while !bytes.isEmpty {
      let count = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else {
        let error = Self.failure(path)
        // Half a line would not be read back.
        if start >= 0 { _ = ftruncate(descriptor, start) }
        throw error
      }
      bytes = bytes.dropFirst(count)
    }
    lines += 1
  }

  private static func failure(_ path: String) -> WeftError {
    WeftError(
      "FLW0008", object: path, cause: "cannot be written: \(String(cString: strerror(errno)))",
      next: "see that its folder is there and has room: df -h \(path)")
  }
}

/// A file to read, or standard input.
final class InputFile {
  let descriptor: Int32

  /// Throws `FLW0009`.
  init(_ path: String) throws(WeftError) {
    descriptor = path == "-" ? 0 : open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else {
      throw WeftError(
        "FLW0009", object: path, cause: "cannot be read: \(String(cString: strerror(errno)))",
        next: "give the file that `weft flows --to-file` or `-o json` wrote")
    }
  }

  deinit { if descriptor > 0 { close(descriptor) } }
}
