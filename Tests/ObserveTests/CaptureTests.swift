// What is captured is planned, noted, written, read back and shown as lines: all on values, and on files of their own.

import Addresses
import ClusterObjects
import ClusterView
import Diagnostics
import FuzzLab
import Glibc
import KernelNftables
import KernelSockets
import NamespaceLab
import Policy
import Testing

@testable import Observe

let webSlice: JSON = [
  "kind": "EndpointSlice", "addressType": "IPv4",
  "metadata": [
    "name": "web-a", "namespace": "demo", "labels": ["kubernetes.io/service-name": "web"],
  ],
  "ports": [["name": "http", "port": 8080, "protocol": "TCP"]],
  "endpoints": [
    ["addresses": ["10.42.0.11"], "conditions": ["ready": true]],
    ["addresses": ["10.42.1.11"], "conditions": ["ready": true]],
  ],
]

func attached(_ name: String, _ address: String, _ link: String) -> PodAttachment {
  PodAttachment(
    pod: ObjectKey("demo", name), addresses: [IPAddress(address)!], hardwareAddress: nil, hostInterface: link)
}

private let elsewhere: [JSON] = [
  [
    "kind": "Pod", "metadata": ["name": "far", "namespace": "demo", "labels": ["app": "far"]],
    "spec": ["nodeName": "n2"], "status": ["phase": "Running", "podIP": "10.42.1.5"],
  ],
  [
    "kind": "Pod", "metadata": ["name": "host", "namespace": "demo"],
    "spec": ["nodeName": "n1", "hostNetwork": true], "status": ["phase": "Running", "podIP": "192.168.50.1"],
  ],
]

private func clusterPolicy(_ name: String, _ subject: JSON) -> JSON {
  [
    "kind": "ClusterNetworkPolicy", "metadata": ["name": JSON(name)],
    "spec": ["tier": "Admin", "priority": 1, "subject": subject],
  ]
}

private let clusterPolicies: [JSON] = [
  clusterPolicy("guests", ["namespaces": [:]]),
  clusterPolicy(
    "webs", ["pods": ["namespaceSelector": [:], "podSelector": ["matchLabels": ["app": "web"]]]]),
  clusterPolicy(
    "others", ["pods": ["namespaceSelector": [:], "podSelector": ["matchLabels": ["app": "far"]]]]),
]

private let ground = CaptureGround(
  nodeName: "n1", view: ClusterView(objects: flowObjects + [webSlice] + elsewhere + clusterPolicies),
  attachments: [attached("client-1", "10.42.0.10", "v0"), attached("web-1", "10.42.0.11", "v1")],
  links: [(1, "lo"), (2, "eth0"), (7, "v0"), (8, "v1")])

private func plan(_ text: String) throws -> CapturePlan {
  try planCapture(CaptureTarget.read(text, namespace: "demo"), on: ground)
}

/// A TCP segment in an Ethernet frame.
func segment(
  _ from: String, _ to: String, flags: UInt8 = 2, payload: [UInt8] = [], transport: UInt8 = 6
) -> [UInt8] {
  let (source, destination) = (endpoint(from), endpoint(to))
  func two(_ value: Int) -> [UInt8] { [UInt8(value >> 8 & 0xff), UInt8(value & 0xff)] }
  let head: [UInt8] =
    two(Int(source.port)) + two(Int(destination.port))
    + (transport == 6
      ? [UInt8](repeating: 0, count: 8) + [0x50, flags] + [UInt8](repeating: 0, count: 6)
      : two(8 + payload.count) + [0, 0])
  let ethernet = [UInt8](repeating: 2, count: 12) + [8, 0]
  return ethernet + [0x45, 0] + two(20 + head.count + payload.count) + [0, 0, 0, 0, 64, transport, 0, 0]
    + source.address.bytes + destination.address.bytes + head + payload
}

/// A capture with a section, two links, a name and these packets.
func sampleCapture(_ packets: [([UInt8], String)]) -> [UInt8] {
  let writer = PcapngWriter()
  writer.section(application: "weft", system: "Linux")
  writer.interface(name: "demo/client-1", description: "pod demo/client-1 at v0", snapLength: 262_144)
  writer.interface(name: "demo/web-1", description: "", snapLength: 262_144)
  writer.name(IPAddress("10.42.0.10")!, "demo/client-1")
  writer.name(IPAddress("10.43.0.7")!, "svc/demo/web")
  writer.name(IPAddress("fd00::1")!, "node/n1")
  for (index, (bytes, remark)) in packets.enumerated() {
    bytes.withUnsafeBytes {
      writer.packet(
        interface: UInt32(index % 2), nanoseconds: start + UInt64(index) * 1_000, bytes: $0, length: $0.count,
        isInbound: index % 2 == 1, remark: Array(remark.utf8))
    }
  }
  writer.statistics(interface: 0, nanoseconds: start, received: UInt64(packets.count), dropped: 0)
  return Array(writer.bytes)
}

private func lines(_ capture: [UInt8], _ change: (inout PacketText) -> Void = { _ in }) throws -> [String] {
  var text = PacketText()
  change(&text)
  var found: [String] = []
  let taken = try capture.withUnsafeBytes { bytes in
    try PcapngBlocks.read(bytes) {
      if let line = text.line($0) { found.append(line) }
      return true
    }
  }
  #expect(taken == capture.count)
  return found
}

@Suite struct CaptureTests {
  @Test(arguments: [
    ("client-1", ["v0"]), ("demo/web-1", ["v1"]), ("pod/web-1", ["v1"]), ("pod/demo/*", ["v0", "v1"]),
    ("web-*,client-1", ["v0", "v1"]), ("policy/web-from-client", ["v1"]),
    ("netpol/demo/web-from-client", ["v1"]), ("clusterpolicy/guests", ["v0", "v1"]), ("cnp/webs", ["v1"]),
    ("node/n1", ["lo", "eth0", "v0", "v1"]), ("svc/demo/web", ["v0", "v1"]), ("demo/web", ["v0", "v1"]),
  ])
  func `targets become links`(text: String, links: [String]) throws {
    let plan = try plan(text)
    #expect(plan.links.map(\.name) == links)
    #expect(plan.links.allSatisfy { $0.isPod == $0.title.hasPrefix("demo/") })
  }

  @Test func `a Service is captured in front of its translation and behind it`() throws {
    let plan = try plan("svc/web")
    #expect(
      plan.ends == [
        .init(IPAddress("10.43.0.7")!, port: 80, transport: .tcp),
        .init(IPAddress("10.42.0.11")!, port: 8080, transport: .tcp),
      ])
    #expect(
      plan.remarks == [
        "1 endpoints of Service demo/web are on other nodes: --all-nodes captures them as well"
      ])
  }

  @Test(arguments: [
    ("a/b/c/d", "CAP0001", "names nothing"), ("/web", "CAP0001", "names nothing"),
    ("deploy/demo/web", "CAP0001", "names nothing"), ("svc/web,web-1", "CAP0001", "together"),
    ("nobody", "CAP0002", "not in the cluster"), ("svc/nobody", "CAP0002", "not in the cluster"),
    ("policy/nobody", "CAP0002", "not in the cluster"),
    ("clusterpolicy/none", "CAP0002", "not in the cluster"), ("cnp/a/b", "CAP0001", "names nothing"),
    ("clusterpolicy/others", "CAP0003", "selects no pod of node n1"), ("nobody-*", "CAP0002", "no such pod"),
    ("host", "CAP0002", "node's network"), ("stranger", "CAP0002", "no link on this node"),
    ("far", "CAP0003", "is on node n2"), ("far*", "CAP0003", "is on node n2"),
    ("node/n2", "CAP0003", "is on node n2"),
  ])
  func `what cannot be captured is refused with its reason`(text: String, code: String, words: String) {
    #expect { try plan(text) } throws: {
      guard let error = $0 as? WeftError else { return false }
      return error.code.text == code && "\(error)".contains(words) && !error.next.isEmpty
    }
  }

  @Test func `both sides of a translation are noted, and what policies said of it`() {
    let names = FlowNames(ground.view, ground.attachments, now: start)
    var notes = CaptureNotes()
    notes.take(
      flowRecord(.new, "10.42.0.10:4000", "10.43.0.7:80", answered: "10.42.0.11:8080"), names: names)
    func note(_ from: String, _ to: String) -> CaptureNotes.Note? {
      segment(from, to).withUnsafeBytes { PacketHeaders(ethernet: $0).flatMap { notes.note($0) } }
    }
    let before = "svc/demo/web:http → 10.42.0.11:8080 demo/web-1"
    let after = "svc/demo/web:http 10.43.0.7:80; asked by 10.42.0.10:4000 demo/client-1"
    #expect(note("10.42.0.10:4000", "10.43.0.7:80")?.translation == before)
    #expect(note("10.43.0.7:80", "10.42.0.10:4000")?.translation == before)
    #expect(note("10.42.0.11:8080", "10.42.0.10:4000")?.translation == after)
    #expect(note("10.42.0.11:8080", "10.42.0.10:4001") == nil)
    // An untranslated one is nothing to note, until it is refused.
    notes.take(flowRecord(.new, "10.42.0.12:5000", "10.42.0.11:8080"), names: names)
    #expect(note("10.42.0.12:5000", "10.42.0.11:8080") == nil)
    var flow = Flow(
      time: start, event: .packet, verdict: .denied, node: "n1", transport: 6,
      source: .init(endpoint("10.42.0.12:5000")), destination: .init(endpoint("10.42.0.11:8080")))
    flow.service = .init(ObjectKey("demo", "web"), portName: "http", asked: endpoint("10.43.0.7:80"))
    flow.decision = .init(reason: "no ingress rule of demo/web-from-client allows it")
    notes.take(flow)
    for to in ["10.42.0.11:8080", "10.43.0.7:80"] {
      let denied = note("10.42.0.12:5000", to)
      #expect(denied?.isDenied == true)
      #expect(denied?.verdict == "denied: no ingress rule of demo/web-from-client allows it")
    }
    // Allowed later: the refusal is another connection's.
    notes.take(flowRecord(.new, "10.42.0.12:5000", "10.42.0.11:8080"), names: names)
    #expect(note("10.42.0.12:5000", "10.42.0.11:8080") == nil)
    // Masqueraded: the endpoint sees another asker.
    var masked = flowRecord(.new, "10.42.0.10:4444", "10.43.0.7:80", answered: "10.42.0.11:8080")
    masked.reply.destination = endpoint("10.42.0.1:61000")
    notes.take(masked, names: names)
    #expect(
      note("10.42.0.1:61000", "10.42.0.11:8080")?.translation
        == "svc/demo/web:http 10.43.0.7:80; asked by 10.42.0.10:4444 demo/client-1")
  }

  @Test func `notes are bounded`() {
    let names = FlowNames()
    var notes = CaptureNotes(countMax: 1000)
    var most = 0
    for index in 0..<3000 {
      let from = "10.0.\(index >> 8).\(index & 255):1"
      notes.take(flowRecord(.new, from, "10.43.0.7:80", answered: "10.42.0.11:8080"), names: names)
      most = max(most, notes.count)
    }
    #expect(most <= 1000 && most > 900 && !notes.isEmpty)
  }

  @Test func `packets are shown a line each, with names, remarks and payloads`() throws {
    let request = Array("GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n".utf8)
    let icmp: [UInt8] = segment("10.42.0.10:1", "10.43.0.7:2", transport: 1)
    let capture = sampleCapture([
      (segment("10.42.0.10:4000", "10.43.0.7:80"), "svc/demo/web:http → 10.42.0.11:8080"),
      (segment("10.43.0.7:80", "10.42.0.10:4000", flags: 0x12), ""),
      (segment("10.42.0.10:4000", "10.43.0.7:80", flags: 0x18, payload: request), ""),
      (segment("10.42.0.99:53", "10.42.0.10:999", payload: [1, 2, 3], transport: 17), "line\u{1b}[31m"),
      (icmp, ""), ([UInt8](repeating: 2, count: 12) + [0x88, 0xcc, 1, 2], ""), ([1, 2, 3], ""),
      (
        [UInt8](repeating: 255, count: 12) + [8, 6, 0, 1, 8, 0, 6, 4, 0, 1] + [UInt8](repeating: 2, count: 6)
          + [10, 42, 0, 10] + [UInt8](repeating: 0, count: 6) + [10, 43, 0, 7], ""
      ),
    ])
    let shown = try lines(capture) {
      $0.decodings = [.dns, .http]
      $0.dns = { "\($0.count) bytes" }
    }
    #expect(
      shown.joined(separator: "\n") == """
        14:13:20.000000  demo/client-1 out  demo/client-1:4000 → svc/demo/web:80  TCP [S] 0 bytes  (svc/demo/web:http → 10.42.0.11:8080)
        14:13:20.000001  demo/web-1 in  svc/demo/web:80 → demo/client-1:4000  TCP [S.] 0 bytes
        14:13:20.000002  demo/client-1 out  demo/client-1:4000 → svc/demo/web:80  TCP [P.] 32 bytes  HTTP GET /a?b=c HTTP/1.1
        14:13:20.000003  demo/web-1 in  10.42.0.99:53 → demo/client-1:999  UDP 3 bytes  DNS 3 bytes  (line?[31m)
        14:13:20.000004  demo/client-1 out  demo/client-1 → svc/demo/web  ICMP echo reply, code 1
        14:13:20.000005  demo/web-1 in  Ethernet type 0x88cc, 16 bytes
        14:13:20.000006  demo/client-1 out  a frame, cut
        14:13:20.000007  demo/web-1 in  ARP who has svc/demo/web? asks demo/client-1
        """)
    let numeric = try lines(capture) { $0.isNumeric = true }
    #expect(numeric[0].contains("10.42.0.10:4000 → 10.43.0.7:80"))
  }

  @Test func `questions and errors survive the way over the socket`() throws {
    var question = CaptureQuestion(targets: "demo/web")
    question.filter = try PacketFilter(pcap: "tcp port 80")
    question.snapLength = 96
    question.isDroppedOnly = true
    question.namespace = "x"
    #expect(CaptureQuestion(try JSON(parsing: question.json.bytes)) == question)
    for text in [
      "[]", "{}", #"{"targets":1}"#, #"{"targets":"a","snap":0}"#, #"{"targets":"a","filter":[[1,2,3]]}"#,
      #"{"targets":"a","filter":[[70000,0,0,0]]}"#,
    ] { #expect(CaptureQuestion(try JSON(parsing: Array(text.utf8))) == nil, "\(text)") }
    let error = WeftError("CAP0010", object: "pod a", cause: "has gone", next: "look", exit: .finding)
    let back = try #require(WeftError(captureLine: .object(error.captureLine)))
    #expect(back.description == error.description && back.exit == .finding)
  }

  @Test(arguments: [
    ("tcp prt 80", "prt", "syntax error"), ("tcp port 80 and and host 10.0.0.1", "and host", "syntax error"),
    ("tcp port 80 and (udp or", "", "syntax error"), ("host 10.0.0.1 )", ")", "syntax error"),
    ("tcp port nosuchport", "nosuchport", "nosuchport"), ("tcp[13 & 2 != 0", "!=", "syntax error"),
  ])
  func `a filter that does not parse has the caret under the place`(text: String, rest: String, words: String)
  {
    #expect { try PacketFilter(typed: text) } throws: {
      guard let error = $0 as? WeftError, error.code == "CAP0007" else { return false }
      let lines = error.cause.split(separator: "\n", omittingEmptySubsequences: false)
      guard lines.count >= 3, lines[1] == "  \(text)", lines[0].contains(words) else {
        Issue.record("\(error)")
        return false
      }
      let at = lines[2].count - 3
      let place = String(text.dropFirst(at))
      let isThere = rest.isEmpty ? at >= text.count - 8 : place.hasPrefix(rest)
      if !isThere { Issue.record("\(error)") }
      return isThere
    }
  }

  @Test func `changed bytes are refused or read, and never trapped on`() {
    let corpus = [
      sampleCapture([
        (
          segment("10.42.0.10:4000", "10.43.0.7:80", flags: 0x18, payload: Array("HTTP/1.1 200 OK\r\n".utf8)),
          "a"
        ),
        (segment("10.42.0.10:4000", "10.43.0.7:53", payload: [0, 1, 2, 3, 4, 5, 6, 7], transport: 17), ""),
      ]), sampleCapture([]),
    ]
    var read = 0
    for bytes in mutants(of: corpus, count: 20_000, seed: 11) {
      var text = PacketText()
      text.decodings = [.dns, .http]
      _ = try? bytes.withUnsafeBytes { all in
        try PcapngBlocks.read(all) {
          _ = text.line($0)
          read += 1
          return true
        }
      }
    }
    #expect(read > 20_000)
    // Frames by themselves, cut and changed everywhere.
    let frames = [
      segment("10.42.0.10:4000", "10.43.0.7:80"), segment("10.42.0.10:4000", "10.43.0.7:80", transport: 17),
      [UInt8](repeating: 2, count: 12) + [0x86, 0xdd, 0x60, 0, 0, 0, 0, 24, 44, 64]
        + [UInt8](repeating: 0xfd, count: 32) + [6, 0, 0, 1, 0, 0, 0, 9] + [UInt8](repeating: 7, count: 20),
      [UInt8](repeating: 2, count: 12) + [0x81, 0, 0, 5, 8, 0, 0x45, 0, 0, 20],
    ]
    var known = 0
    for bytes in mutants(of: frames, count: 20_000, seed: 12) {
      if bytes.withUnsafeBytes({ PacketHeaders(ethernet: $0) }) != nil { known += 1 }
      _ = bytes.withUnsafeBytes { PacketHeaders(ip: $0) }
    }
    #expect(known > 1000)
  }
}

@Suite struct CaptureFilesTests {
  private final class Folder {
    let path: String
    private let isMounted: Bool
    init(size: String? = nil) throws {
      var template = Array("/tmp/weft-capture-XXXXXX".utf8CString)
      guard mkdtemp(&template) != nil else { throw NamespaceError(text: "mkdtemp") }
      path = template.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
      isMounted = size != nil
      if let size, run("mount -t tmpfs -o size=\(size) weft \(path)").status != 0 {
        throw NamespaceError(text: "mount")
      }
    }
    deinit {
      if isMounted { run("umount \(path)") }
      run("rm -rf \(path)")
    }
  }

  /// Gives packets to a sink until it has enough; how many it was given.
  private func feed(_ sink: inout some CaptureSink, _ packets: Int, bytes: Int = 1000) throws -> Int {
    let frame = segment("10.42.0.10:4000", "10.43.0.7:80", payload: [UInt8](repeating: 7, count: bytes))
    let capture = sampleCapture([(frame, "")])
    var blocks: [(isPacket: Bool, bytes: [UInt8])] = []
    _ = try capture.withUnsafeBytes { all in
      try PcapngBlocks.read(all) {
        if !$0.isStatistics { blocks.append(($0.isPacket, Array($0.bytes))) }
        return true
      }
    }
    func give(_ bytes: [UInt8], _ sink: inout some CaptureSink) throws -> Bool {
      var wanted = true
      _ = try bytes.withUnsafeBytes { all in
        try PcapngBlocks.read(all) {
          wanted = try sink.take($0)
          return wanted
        }
      }
      return wanted
    }
    for block in blocks where !block.isPacket { _ = try give(block.bytes, &sink) }
    let packet = try #require(blocks.first { $0.isPacket }).bytes
    for index in 0..<packets where try !give(packet, &sink) { return index + 1 }
    try sink.flush()
    return packets
  }

  private func count(_ path: String) throws -> Int {
    let answer = run("(tshark -r \(path) -T fields -e frame.number 2>/dev/null)")
    #expect(answer.status == 0, "\(answer.output)")
    return answer.output.split(separator: "\n").count
  }

  @Test func `a file ends at its packets or before its size, and tshark reads it`() throws {
    let folder = try Folder()
    var files = try CaptureFiles("\(folder.path)/a.pcapng", limits: CaptureLimits(packets: 7))
    #expect(try feed(&files, 100) == 7)
    try files.flush()
    #expect(try count("\(folder.path)/a.pcapng") == 7)
    var small = try CaptureFiles("\(folder.path)/b.pcapng", limits: CaptureLimits(bytes: 20_000))
    let given = try feed(&small, 100)
    try small.flush()
    #expect(try count("\(folder.path)/b.pcapng") == given - 1 && small.packets == given - 1)
    var info = stat()
    #expect(stat("\(folder.path)/b.pcapng", &info) == 0 && info.st_size <= 20_000 && info.st_size > 18_000)
  }

  @Test func `a ring keeps the newest files, and each can be read by itself`() throws {
    let folder = try Folder()
    var files = try CaptureFiles("\(folder.path)/web.pcapng", limits: CaptureLimits(bytes: 20_000, ring: 3))
    #expect(try feed(&files, 100) == 100)
    #expect(files.paths.count == 3 && files.paths[0] != "\(folder.path)/web-00001.pcapng")
    let there = run("ls \(folder.path)").output.split(separator: "\n").map { "\(folder.path)/\($0)" }
    #expect(there == files.paths)
    for path in files.paths {
      let names = run("(tshark -r \(path) -N n -T fields -e ip.dst_host 2>/dev/null)").output
      #expect(names.split(separator: "\n").first == "svc/demo/web", "\(path): \(names.prefix(200))")
    }
    #expect(
      CaptureFiles.numbered("a/b", 1) == "a/b-00001" && CaptureFiles.numbered("a.b/c", 2) == "a.b/c-00002")
    #expect(CaptureFiles.numbered("/x/.hidden", 100_000) == "/x/.hidden-100000")
  }

  @Test func `a full disk is said, and what is there is whole`() throws {
    let folder = try Folder(size: "128k")
    let path = "\(folder.path)/full.pcapng"
    var files = try CaptureFiles(path)
    #expect { try feed(&files, 2000) } throws: {
      guard let error = $0 as? WeftError else { return false }
      return error.code == "CAP0009" && "\(error)".contains("No space left on device; what is there is whole")
    }
    let kept = try count(path)
    #expect(kept > 90 && kept < 130, "\(kept)")
    #expect(run("tshark -r \(path) 2>&1 >/dev/null | grep -v root").output.isEmpty, "cut short")
    #expect { try CaptureFiles("/nonexistent/x.pcapng") } throws: { ($0 as? WeftError)?.code == "CAP0009" }
  }

  @Test func `a saved capture is shown again, and what is none is refused`() throws {
    let folder = try Folder()
    let path = "\(folder.path)/a.pcapng"
    var files = try CaptureFiles(path)
    _ = try feed(&files, 5)
    func read(_ path: String) throws -> [String] {
      var shown: [String] = []
      var lines = PacketLines(PacketText()) { shown.append($0) }
      let descriptor = open(path, O_RDONLY | O_CLOEXEC)
      defer { close(descriptor) }
      try lines.read(descriptor, path: path)
      return shown
    }
    #expect(try read(path).count == 5)
    #expect(try read(path).allSatisfy { $0.contains("demo/client-1:4000 → svc/demo/web:80") })
    // Cut in the middle of a block: what is whole is shown.
    run("truncate -s -20 \(path)")
    #expect(try read(path).count == 4)
    run("echo hello there, this is no capture > \(path)")
    #expect { try read(path) } throws: { ($0 as? WeftError)?.code == "CAP0012" }
    run(": > \(path)")
    #expect { try read(path) } throws: { ($0 as? WeftError)?.code == "CAP0012" }
  }
}
