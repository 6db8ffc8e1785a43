// `weft capture TARGET [FILTER]`: the packets of a pod, a Service, a policy or a node, with names, to a file or the terminal.

import ArgumentParser
import CLinux
import ClusterClient
import ClusterObjects
import DNS
import Diagnostics
import Glibc
import KernelSockets
import Observe

struct CaptureCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "capture",
    abstract: "Packets of a pod, Service, policy or node: pcapng, or lines with names.",
    discussion: """
      TARGET is NAMESPACE/POD, NAMESPACE/POD-*, svc/NAMESPACE/NAME (both sides of its translation), policy/NAMESPACE/NAME or
      clusterpolicy/NAME (the pods it selects) or node/NAME; several with commas between. FILTER is pcap-filter(7), compiled by libpcap: tcp port 80.
      It is captured by the node process on the pod's link: no image, no upload. Without -w packets are shown a line each.
      What is on other nodes comes through the API server's node proxy, several nodes as one capture in the order of time.
      To Wireshark: weft capture demo/web -w - | wireshark -k -i -
      Exit code: 0, 1 what was captured has gone (the file is whole), 2 it cannot be done as asked, 3 no node process answers.
      """)

  @Argument(help: "What to capture.") var target: String?
  @Argument(help: "Which packets of it.") var filter: [String] = []
  @OptionGroup var names: NamespaceOption
  @OptionGroup var cluster: KubeconfigOptions
  @Flag(help: "Ask every node that the target concerns, not this one alone.") var allNodes = false
  @Option(name: .shortAndLong, help: "Write pcapng to this file, - for standard output.") var write: String?
  @Option(name: .shortAndLong, help: "End after so many packets.") var count: Int?
  @Option(help: "End after so long: 30s, 5m.") var duration: String?
  @Option(help: "End before the file is larger: 100M, 1Gi. With --ring: begin the next file.") var maxSize:
    String?
  @Option(help: "Keep so many files, the newest: web-00001.pcapng and so on, each as large as --max-size.")
  var ring: Int?
  @Option(help: "Bytes of each packet at most.") var snaplen: UInt32 = PacketFilter.wholeFrame
  @Flag(help: "Only packets of connections that policies refused.") var droppedOnly = false
  @Option(help: "Look into payloads for the terminal: dns, http, or both with a comma.") var decode: String?
  @Flag(help: "Addresses instead of names.") var numeric = false
  @Option(help: "Show a saved capture, - for standard input, instead of asking a node.") var input: String?
  @Option(help: "Where the node process has its sockets. Default: where the one of this machine has them.")
  var runDir: String?

  func run() async throws {
    let limits = try limits()
    var text = PacketText()
    text.isNumeric = numeric
    text.decodings = try decodings()
    text.dns = Self.words(ofDNS:)
    if let input {
      var lines = PacketLines(text, packetsMax: count) { Terminal.say($0) }
      let file = try InputFile(input)
      try lines.read(file.descriptor, path: input)
      return
    }
    guard let target else {
      throw WeftError(
        "CLI0124", object: "weft capture", cause: "does not say what to capture",
        next:
          "write NAMESPACE/POD, svc/NAMESPACE/NAME, policy/NAMESPACE/NAME, clusterpolicy/NAME or node/NAME")
    }
    var question = CaptureQuestion(targets: target)
    // What cannot be read is said before anybody is asked.
    let namespace = names.chosen(cluster)
    _ = try CaptureTarget.read(target, namespace: namespace)
    question.namespace = namespace
    question.snapLength = max(1, min(snaplen, PacketFilter.wholeFrame))
    question.isDroppedOnly = droppedOnly
    if !filter.isEmpty {
      question.filter = try PacketFilter(
        typed: filter.joined(separator: " "), snapLength: question.snapLength)
    }
    if write == "-", isatty(1) == 1 {
      throw WeftError(
        "CLI0125", object: "-w -", cause: "would write packets to the terminal",
        next: "leave it out to see lines, or: weft capture … -w - | wireshark -k -i -")
    }
    let asking = CaptureAsking(
      question: question, seconds: try seconds(), stop: weft_watch_signals(),
      socket: "\(NodeNote.runFolder(runDir))/\(CaptureServer.socketName)")
    if let write {
      var files = try CaptureFiles(write, limits: limits)
      let summary = try await capture(asking, into: &files)
      let places = write == "-" ? "" : " in \(files.paths.joined(separator: ", "))"
      try end(summary, files.packets, places)
    } else {
      var lines = PacketLines(text, packetsMax: count) { Terminal.say($0) }
      let summary = try await capture(asking, into: &lines)
      try end(summary, lines.packets, "")
    }
  }

  /// At this node; and at others when the target is there, or nobody captures here.
  private func capture(
    _ asking: CaptureAsking, into sink: inout some CaptureSink
  ) async throws -> CaptureSummary {
    if !allNodes {
      do {
        return try await asking.run(into: &sink)
      } catch let error as WeftError {
        let isElsewhere = error.code == "CAP0003" || error.code == "CAP0005" && runDir == nil
        guard isElsewhere, (try? cluster.configuration()) != nil else { throw error }
      }
    }
    let api = try cluster.remote()
    return try await asking.run(by: api, view: ClusterOptions.view(of: api), into: &sink)
  }

  private func end(_ summary: CaptureSummary, _ packets: Int, _ places: String) throws {
    let lost =
      summary.lost > 0 ? ", \(summary.lost) lost: they came faster than they were taken" : ", none lost"
    Terminal.complain("\(packets) packets\(places)\(lost)")
    if let failure = summary.failure { throw failure }
  }

  // MARK: Words

  private func limits() throws(WeftError) -> CaptureLimits {
    var limits = CaptureLimits()
    if let count {
      guard count > 0 else { throw Self.unreadable("--count \(count)", "is no number of packets", "use 100") }
      limits.packets = count
    }
    if let maxSize {
      guard let bytes = Quantity(maxSize)?.value, bytes >= 4096 else {
        throw Self.unreadable(
          "--max-size \(maxSize)", "is no size of at least 4096 bytes", "write 100M or 1Gi")
      }
      limits.bytes = Int(clamping: bytes)
    }
    if let ring {
      guard (1...10_000).contains(ring), limits.bytes != nil, let write, write != "-" else {
        throw Self.unreadable(
          "--ring \(ring)", "needs files and their size, and is from 1 to 10000",
          "add -w FILE --max-size 100M")
      }
      limits.ring = ring
    }
    return limits
  }

  private func seconds() throws(WeftError) -> Double? {
    guard let duration else { return nil }
    guard let parsed = GoDuration.parse(duration), parsed > .zero else {
      throw Self.unreadable("--duration \(duration)", "is no length of time", "write 30s or 5m")
    }
    return parsed / .seconds(1)
  }

  private func decodings() throws(WeftError) -> Set<PacketText.Decoding> {
    var found: Set<PacketText.Decoding> = []
    for word in (decode ?? "").split(separator: ",") {
      guard let one = PacketText.Decoding(rawValue: word.lowercased()) else {
        throw Self.unreadable("--decode \(word)", "is not known", "use dns, http, or dns,http")
      }
      found.insert(one)
    }
    return found
  }

  private static func unreadable(_ object: String, _ cause: String, _ next: String) -> WeftError {
    WeftError("CAP0011", object: object, cause: cause, next: next)
  }

  /// `web.demo.svc.cluster.local A → 10.43.0.9`, or the code of a refusal.
  private static func words(ofDNS bytes: UnsafeRawBufferPointer) -> String? {
    guard let message = try? Message(bytes.bytes), let question = message.question else { return nil }
    let asked = "\(question.name) \(question.type)"
    guard message.isResponse else { return "\(asked)?" }
    if message.code != .noError { return "\(asked) → \(message.code)" }
    let answers = message.answer.prefix(4).map { "\($0)".split(separator: " ").last.map(String.init) ?? "" }
    return "\(asked) → \(answers.isEmpty ? "nothing" : answers.joined(separator: ", "))"
  }
}
