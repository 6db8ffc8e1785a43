// Real packets between pods' namespaces, captured by the node's end of the socket, and read by tshark: names, both sides of a
// translation, verdicts, order; and what happens when the pod dies.

import Addresses
import ClusterObjects
import ClusterView
import Diagnostics
import Glibc
import KernelNftables
import KernelSockets
import NamespaceLab
import Policy
import Synchronization
import Testing

@testable import Observe

/// `weft capture` on a thread of its own.
private final class RunningCapture: Sendable {
  private enum Ending {
    case over(CaptureSummary)
    case failed(WeftError)
  }

  let file: String
  private let stop: [Int32]
  private let ending = Mutex<Ending?>(nil)
  private let beginning = Mutex<CaptureClient.Beginning?>(nil)

  init(_ question: CaptureQuestion, at path: String, limits: CaptureLimits = CaptureLimits()) throws {
    var template = Array("/tmp/weft-live-XXXXXX".utf8CString)
    close(mkstemp(&template))
    file = template.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
    var pipes: [Int32] = [-1, -1]
    guard pipe(&pipes) == 0 else { throw NamespaceError(text: "pipe") }
    stop = pipes
    DetachedThread.start { [self] in
      do throws(WeftError) {
        var files = try CaptureFiles(file, limits: limits)
        let summary = try CaptureClient.run(question, at: path, stop: stop[0], into: &files) { begun in
          beginning.withLock { $0 = begun }
        }
        ending.withLock { $0 = .over(summary) }
      } catch {
        ending.withLock { $0 = .failed(error) }
      }
    }
    // A refusal is an ending, too.
    guard becomesTrue({ begun != nil || isOver }) else {
      throw NamespaceError(text: "the capture does not begin")
    }
  }

  deinit {
    unlink(file)
    for descriptor in stop { close(descriptor) }
  }

  var begun: CaptureClient.Beginning? { beginning.withLock { $0 } }
  var isOver: Bool { ending.withLock { $0 != nil } }

  /// Waits for the end by itself.
  func result() throws -> CaptureSummary {
    guard becomesTrue({ isOver }) else { throw NamespaceError(text: "the capture does not end") }
    switch ending.withLock({ $0 }) {
    case .over(let summary)?: return summary
    case .failed(let error)?: throw error
    case nil: throw NamespaceError(text: "no ending")
    }
  }

  func end() throws -> CaptureSummary {
    _ = Glibc.write(stop[1], "x", 1)
    return try result()
  }

  /// Fields of each packet, as tshark reads them; names are the file's own.
  func fields(_ names: String..., filter: String = "") -> [[String]] {
    let words = names.map { "-e \($0)" }.joined(separator: " ")
    let condition = filter.isEmpty ? "" : "-Y '\(filter)'"
    let answer = run("(tshark -r \(file) -N n -T fields -E separator='|' \(words) \(condition) 2>/dev/null)")
    return answer.output.split(separator: "\n").map {
      $0.split(separator: "|", omittingEmptySubsequences: false).map(String.init)
    }
  }
}

/// The node of `PodLab` with rules, verdicts and the capture's socket.
private final class CaptureLab {
  let pods = PodLab()
  let view = PodLab.view(ports: [8080])
  let keeper: FlowKeeper
  let server: CaptureServer
  let path = "/tmp/weft-capture-\(getpid()).sock"

  init() throws {
    // What the proxy would do for Service demo/web.
    run("nft add table ip nat; nft 'add chain ip nat pre { type nat hook prerouting priority dstnat ; }'")
    run("nft add rule ip nat pre ip daddr 10.43.0.7 tcp dport 80 dnat to 10.42.0.11:8080")
    let control = try NftablesSocket()
    let whole = ClusterView(
      objects: flowObjects.filter { $0.kind != "NetworkPolicy" } + [PodLab.policy(ports: [8080]), webSlice])
    try PodLab.apply(whole, control)
    keeper = try FlowKeeper(
      nodeName: "n1", group: PolicyLogging.defaultGroup, source: ChangingView(whole).source,
      metrics: Metrics())
    try keeper.start()
    let attachments = [
      attached("client-1", "\(PodLab.client)", "v0"), attached("web-1", "\(PodLab.server)", "v1"),
    ]
    server = CaptureServer(
      path: path,
      source: CaptureSource(nodeName: "n1", view: { whole }, attachments: { attachments }, flows: keeper))
    try server.start()
  }

  deinit {
    server.stop()
    keeper.stop()
  }

  func capture(
    _ targets: String, filter: String? = nil, limits: CaptureLimits = CaptureLimits(),
    _ change: (inout CaptureQuestion) -> Void = { _ in }
  ) throws -> RunningCapture {
    var question = CaptureQuestion(targets: targets)
    question.namespace = "demo"
    question.filter = try filter.map { text throws(WeftError) in try PacketFilter(typed: text) }
    change(&question)
    return try RunningCapture(question, at: path, limits: limits)
  }

  /// A connection through the Service that says something.
  func talk(_ address: IPAddress = IPAddress("10.43.0.7")!, _ port: UInt16 = 80) throws {
    let listener = try pods.listen(8080)
    defer { close(listener) }
    let client = try #require(try pods.connect(to: address, port))
    defer { close(client) }
    let accepted = accept(listener, nil, nil)
    defer { close(accepted) }
    #expect(send(client, "GET /live HTTP/1.1\r\n\r\n", 22, 0) == 22)
    #expect(text(accepted, milliseconds: 20_000) == "GET /live HTTP/1.1\r\n\r\n")
  }
}

@Suite(.serialized) struct CaptureLiveTests {
  @Test func `a Service is captured on both sides of its translation, and tshark shows the names`() throws {
    try inFreshNamespace {
      let lab = try CaptureLab()
      let capture = try lab.capture("svc/web")
      #expect(capture.begun?.links == ["demo/client-1", "demo/web-1"])
      try lab.talk()
      usleep(100_000)
      let summary = try capture.end()
      #expect(summary.failure == nil && summary.lost == 0 && summary.received >= 10)
      let rows = capture.fields(
        "frame.interface_name", "ip.src_host", "ip.dst_host", "tcp.dstport", "frame.comment",
        "frame.time_epoch",
        "http.request.uri")
      try #require(rows.count >= 10, "\(rows)")
      let before = rows.filter { $0[0] == "demo/client-1" }
      let after = rows.filter { $0[0] == "demo/web-1" }
      #expect(before[0][1...3] == ["demo/client-1", "svc/demo/web", "80"], "\(before)")
      #expect(after[0][1...3] == ["demo/client-1", "demo/web-1", "8080"], "\(after)")
      #expect(
        before.allSatisfy { $0[4].hasPrefix("svc/demo/web:http → 10.42.0.11:8080 demo/web-1") }, "\(before)")
      #expect(before.contains { $0[4].contains("forwarded: allowed by demo/web-from-client") }, "\(before)")
      let asked = "svc/demo/web:http 10.43.0.7:80; asked by 10.42.0.10:"
      #expect(after.allSatisfy { $0[4].hasPrefix(asked) && $0[4].contains("demo/client-1") }, "\(after)")
      // One after the other in time, from two pods.
      let times = rows.map { $0[5] }
      #expect(times == times.sorted())
      #expect(capture.fields("frame.number", filter: "http.request.uri == \"/live\"").count >= 1)
      // Wireshark's own view of directions, from the pod's side.
      let inward = capture.fields("frame.interface_name", filter: "frame.packet_flags_direction == 1")
      #expect(inward.contains { $0[0] == "demo/web-1" })
    }
  }

  @Test func `what a policy refuses is captured alone, with the policy that refused it`() throws {
    try inFreshNamespace {
      let lab = try CaptureLab()
      let dropped = try lab.capture("web-1,client-1") { $0.isDroppedOnly = true }
      try lab.talk(PodLab.server, 8080)
      #expect(try lab.pods.connect(to: PodLab.server, 9090, milliseconds: 500) == nil)
      usleep(200_000)
      let summary = try dropped.end()
      #expect(summary.failure == nil)
      let rows = dropped.fields("tcp.dstport", "frame.comment", "ip.dst_host")
      #expect(!rows.isEmpty && rows.allSatisfy { $0[0] == "9090" && $0[2] == "demo/web-1" }, "\(rows)")
      #expect(
        rows.allSatisfy { $0[1].contains("no ingress rule of demo/web-from-client allows it") }, "\(rows)")
    }
  }

  @Test func `a filter, a bound on packets and their length hold`() throws {
    try inFreshNamespace {
      let lab = try CaptureLab()
      let capture = try lab.capture(
        "client-1", filter: "tcp[tcpflags] & tcp-syn != 0", limits: CaptureLimits(packets: 3))
      for _ in 0..<3 { try lab.talk() }
      let summary = try capture.result()
      #expect(summary.failure == nil)
      let rows = capture.fields("tcp.flags.syn", "frame.len", "frame.cap_len")
      #expect(rows.count == 3 && rows.allSatisfy { ["1", "True"].contains($0[0]) }, "\(rows)")
      let short = try lab.capture("client-1") { $0.snapLength = 60 }
      try lab.talk()
      usleep(100_000)
      _ = try short.end()
      let cut = short.fields("frame.len", "frame.cap_len")
      #expect(!cut.isEmpty && cut.allSatisfy { Int($0[1]) == min(60, Int($0[0]) ?? 0) }, "\(cut)")
    }
  }

  @Test func `a pod that dies ends its capture, and the file so far is whole`() throws {
    try inFreshNamespace {
      let lab = try CaptureLab()
      let capture = try lab.capture("web-1")
      try lab.talk()
      usleep(100_000)
      run("ip link del v1")
      let summary = try capture.result()
      #expect(summary.failure?.code == "CAP0010")
      #expect(summary.failure?.description.contains("pod demo/web-1: has gone") == true)
      let rows = capture.fields("ip.dst_host")
      #expect(rows.contains { $0[0] == "demo/web-1" })
      #expect(run("tshark -r \(capture.file) 2>&1 >/dev/null | grep -v root").output.isEmpty)
    }
  }

  @Test func `who asks for what is not there is told, and captures are bounded`() throws {
    try inFreshNamespace {
      let lab = try CaptureLab()
      for (text, code) in [("nobody", "CAP0002"), ("a/b/c/d", "CAP0001"), ("node/other", "CAP0003")] {
        #expect { try lab.capture(text).result() } throws: { ($0 as? WeftError)?.code.text == code }
      }
      // A program that the kernel does not take.
      #expect {
        try lab.capture("web-1") { $0.filter = PacketFilter(instructions: [.init(0xffff, 0)]) }.result()
      } throws: { ($0 as? WeftError)?.code == "CAP0007" }
      let many = try (0..<CaptureServer.capturesMax).map { _ in try lab.capture("web-1") }
      #expect { try lab.capture("web-1").result() } throws: {
        ($0 as? WeftError)?.code == "CAP0006" && "\($0)".contains("captures already")
      }
      for capture in many { #expect(try capture.end().failure == nil) }
      #expect(becomesTrue { lab.server.running == 0 })
      // The node process ends: so do its captures.
      let last = try lab.capture("web-1")
      lab.server.stop()
      #expect(try last.result().failure == nil)
      #expect { try lab.capture("web-1").result() } throws: { ($0 as? WeftError)?.code == "CAP0005" }
    }
  }

  @Test func `packets come faster than they can be read, and what is lost is counted`() throws {
    try inFreshNamespace {
      let lab = try CaptureLab()
      let capture = try lab.capture("client-1", filter: "udp")
      let sent = try lab.pods.flood(ports: 10_000...29_999)
      usleep(300_000)
      let summary = try capture.end()
      #expect(sent == 20_000 && summary.received >= UInt64(sent))
      let written = capture.fields("frame.number").count
      #expect(UInt64(written) + summary.lost == summary.received)
    }
  }
}
