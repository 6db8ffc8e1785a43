// What cluster DNS must answer, one row a rule, and how a server is held against it: with dig and with a client that shares no code with
// the server.

import Foundation
import Testing

/// A question and what must come of it.
struct NameRule {
  var name: String
  var type: String
  /// The records' data, sorted; empty for none.
  var data: [String]
  var status = "NOERROR"
  /// Follows from the zone's records alone.
  var isPlain = true

  /// What stands at the end of an alias some leave to those who ask.
  var isBehindAlias: Bool { ["inside.", "port.", "astray."].contains { name.hasPrefix($0) } }
}

extension NameRule {
  static let all: [NameRule] = [
    // Kubernetes DNS-Based Service Discovery 1.1.0, section by section.
    NameRule(name: "dns-version.cluster.local", type: "TXT", data: ["\"1.1.0\""]),
    NameRule(name: "web.demo.svc.cluster.local", type: "A", data: ["10.43.7.20"]),
    NameRule(name: "WEB.Demo.svc.Cluster.LOCAL", type: "A", data: ["10.43.7.20"]),
    NameRule(name: "web.demo.svc.cluster.local", type: "AAAA", data: []),
    NameRule(
      name: "_http._tcp.web.demo.svc.cluster.local", type: "SRV",
      data: ["0 100 80 web.demo.svc.cluster.local."]
    ),
    NameRule(
      name: "_dns._udp.web.demo.svc.cluster.local", type: "SRV",
      data: ["0 100 53 web.demo.svc.cluster.local."]),
    NameRule(name: "_absent._tcp.web.demo.svc.cluster.local", type: "SRV", data: [], status: "NXDOMAIN"),
    NameRule(
      name: "20.7.43.10.in-addr.arpa", type: "PTR", data: ["web.demo.svc.cluster.local."], isPlain: false),
    NameRule(name: "db.demo.svc.cluster.local", type: "A", data: ["10.42.7.5", "10.42.7.6"]),
    NameRule(name: "db.demo.svc.cluster.local", type: "AAAA", data: ["fd00:42::5"]),
    NameRule(name: "db-0.db.demo.svc.cluster.local", type: "A", data: ["10.42.7.5"]),
    NameRule(name: "db-0.db.demo.svc.cluster.local", type: "AAAA", data: ["fd00:42::5"]),
    NameRule(name: "10-42-7-6.db.demo.svc.cluster.local", type: "A", data: ["10.42.7.6"]),
    NameRule(name: "10-42-7-7.db.demo.svc.cluster.local", type: "A", data: [], status: "NXDOMAIN"),
    NameRule(
      name: "_pg._tcp.db.demo.svc.cluster.local", type: "SRV",
      data: ["0 50 5432 10-42-7-6.db.demo.svc.cluster.local.", "0 50 5432 db-0.db.demo.svc.cluster.local."]),
    NameRule(
      name: "5.7.42.10.in-addr.arpa", type: "PTR", data: ["db-0.db.demo.svc.cluster.local."], isPlain: false),
    NameRule(
      name: "5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.2.4.0.0.0.0.d.f.ip6.arpa", type: "PTR",
      data: ["db-0.db.demo.svc.cluster.local."], isPlain: false),
    NameRule(name: "idle.demo.svc.cluster.local", type: "A", data: [], status: "NXDOMAIN"),
    NameRule(name: "early.demo.svc.cluster.local", type: "A", data: ["10.42.7.9"]),
    NameRule(name: "outside.demo.svc.cluster.local", type: "CNAME", data: ["www.interwebs.test."]),
    NameRule(
      name: "inside.demo.svc.cluster.local", type: "A", data: ["10.43.7.20", "web.demo.svc.cluster.local."]),
    NameRule(name: "inside.demo.svc.cluster.local", type: "AAAA", data: ["web.demo.svc.cluster.local."]),
    NameRule(
      name: "port.demo.svc.cluster.local", type: "SRV",
      data: ["0 100 80 web.demo.svc.cluster.local.", "_http._tcp.web.demo.svc.cluster.local."]),
    NameRule(
      name: "astray.demo.svc.cluster.local", type: "A", data: ["absent.demo.svc.cluster.local."],
      status: "NXDOMAIN"),
    // DNS itself: what exists and what does not.
    NameRule(name: "cluster.local", type: "NS", data: ["ns.dns.cluster.local."]),
    NameRule(name: "cluster.local", type: "A", data: []),
    NameRule(name: "svc.cluster.local", type: "A", data: []),
    NameRule(name: "demo.svc.cluster.local", type: "A", data: []),
    NameRule(name: "_tcp.web.demo.svc.cluster.local", type: "A", data: []),
    NameRule(name: "dns-version.cluster.local", type: "A", data: []),
    NameRule(name: "web.demo.svc.cluster.local", type: "MX", data: []),
    NameRule(name: "web.demo.svc.cluster.local", type: "HTTPS", data: []),
    NameRule(name: "web.demo.svc.cluster.local", type: "TYPE1000", data: []),
    NameRule(name: "absent.demo.svc.cluster.local", type: "A", data: [], status: "NXDOMAIN"),
    NameRule(name: "web.absent.svc.cluster.local", type: "A", data: [], status: "NXDOMAIN"),
    NameRule(name: "x.web.demo.svc.cluster.local", type: "A", data: [], status: "NXDOMAIN"),
    NameRule(name: "*.demo.svc.cluster.local", type: "A", data: [], status: "NXDOMAIN"),
    // What CoreDNS adds.
    NameRule(
      name: "web.demo.svc.cluster.local", type: "SRV",
      data: ["0 100 53 web.demo.svc.cluster.local.", "0 100 80 web.demo.svc.cluster.local."]),
    NameRule(name: "_http._tcp.web.demo.svc.cluster.local", type: "A", data: ["10.43.7.20"]),
    NameRule(
      name: "http.tcp.web.demo.svc.cluster.local", type: "SRV",
      data: ["0 100 80 web.demo.svc.cluster.local."],
      isPlain: false),
    NameRule(name: "10-1-2-3.demo.pod.cluster.local", type: "A", data: ["10.1.2.3"], isPlain: false),
    NameRule(name: "fd00--7.demo.pod.cluster.local", type: "AAAA", data: ["fd00::7"], isPlain: false),
    NameRule(
      name: "10-1-2-300.demo.pod.cluster.local", type: "A", data: [], status: "NXDOMAIN", isPlain: false),
  ]

  /// An API server takes no Service with such a name as target; whoever reads manifests may meet one.
  static let ofServer = all.filter { !$0.name.hasPrefix("port.") }
}

extension TestNode {
  func dig(_ port: Int, _ arguments: [String]) -> Output {
    exec(["dig", "@127.0.0.1", "-p", "\(port)", "+time=5", "+tries=2"] + arguments, seconds: 60)
  }

  /// Asks every rule of one server over one transport.
  func check(_ port: Int, _ rules: [NameRule], _ transport: String) {
    let questions = rules.flatMap { [$0.name, $0.type] }
    let out = dig(port, [transport, "+noall", "+comments", "+answer", "+authority"] + questions)
      .standardOutput
    let replies = out.components(separatedBy: "->>HEADER<<-").dropFirst()
    #expect(replies.count == rules.count, "\(out)")
    for (rule, reply) in zip(rules, replies) {
      var records: [String] = []
      var section = ""
      for line in reply.split(separator: "\n") {
        if line.hasPrefix(";; ") { section = String(line) }
        let words = line.split(whereSeparator: \.isWhitespace).map(String.init)
        guard !line.hasPrefix(";"), words.count > 4, section.contains("ANSWER SECTION") else { continue }
        records.append(words[4...].joined(separator: " "))
      }
      let place = "\(rule.name) \(rule.type) at port \(port) \(transport): \(reply)"
      #expect(reply.contains("status: \(rule.status)"), "\(place)")
      #expect(records.sorted() == rule.data, "\(place)")
      let isDenied = rule.data.isEmpty || rule.status == "NXDOMAIN"
      if isDenied { #expect(reply.contains("SOA"), "a denial says how long it holds: \(place)") }
    }
    checkRaw(port, rules, transport == "+tcp" ? "tcp" : "udp")
  }

  /// The same with a client that reads every octet of a reply itself.
  private func checkRaw(_ port: Int, _ rules: [NameRule], _ transport: String) {
    let script = Project.root.appending(path: "Tests/EndToEnd/Clients/names.py").path()
    let out = exec(
      ["python3", script, "\(port)", transport] + rules.flatMap { [$0.name, $0.type] }, seconds: 120)
    #expect(out.status == 0, "\(out)")
    for (rule, line) in zip(rules, out.lines) {
      let words = line.components(separatedBy: "\t")
      let isDenied = rule.data.isEmpty || rule.status == "NXDOMAIN"
      let place = "\(rule.name) \(rule.type) at port \(port) \(transport): \(line)"
      #expect(words.count > 1 && words[0] == rule.status, "\(place)")
      #expect(words.dropFirst(2).sorted() == rule.data, "\(place)")
      if isDenied { #expect(words.count > 1 && words[1] == "SOA", "\(place)") }
    }
    #expect(out.lines.count == rules.count, "\(out)")
  }

  func answers(
    _ port: Int, _ arguments: String..., within seconds: Double = 30, says text: String
  )
    -> Bool
  {
    eventually(within: seconds) { self.dig(port, arguments).standardOutput.contains(text) } != nil
  }

  func write(_ name: String, _ text: String) throws -> String {
    let path = "\(dataFolder)/\(name)"
    try FileManager.default.createDirectory(
      atPath: URL(filePath: path).deletingLastPathComponent().path(), withIntermediateDirectories: true)
    try text.write(toFile: path, atomically: true, encoding: .utf8)
    return path
  }
}
