// Connection tracking that runs out of room: what the kernel counts is read, told apart, counted and said.

import Diagnostics
import FuzzLab
import Glibc
import KernelNftables
import Logging
import NamespaceLab
@testable import Proxy
import Testing

private let twoProcessors = """
  entries  clashres found new invalid ignore delete chainlength insert insert_failed drop early_drop icmp_error  expect_new
  000004d2  00000000 00000000 00000000 00000001 00000000 00000000 00000000 00000000 00000003 0000000a 00000005 00000000  00000000
  000004d2  00000000 00000000 00000000 00000001 00000000 00000000 00000000 00000000 00000001 00000002 00000000 00000000  00000000

  """

@Test func `statistics are summed over processors, whatever columns a kernel has`() throws {
  let read = try #require(ConntrackStatistics(Array(twoProcessors.utf8)))
  #expect(read.entries == 1234 && read.drop == 12 && read.insertFailed == 4 && read.earlyDrop == 5)
  let other = """
    entries  searched found insert insert_failed drop early_drop
    00000001  00000000 00000000 00000000 00000007 00000008 00000009
    """
  let second = try #require(ConntrackStatistics(Array(other.utf8)))
  #expect(second.entries == 1 && second.insertFailed == 7 && second.drop == 8 && second.earlyDrop == 9)
  #expect(ConntrackStatistics(Array("entries drop\n1 2\n".utf8)) == nil)
  #expect(ConntrackStatistics([]) == nil)
}

@Test func `statistics that are cut off or damaged never trap`() {
  var isRead = 0
  for bytes in mutations(of: Array(twoProcessors.utf8), count: 5000, seed: 0x636f_6e6e) {
    if ConntrackStatistics(bytes) != nil { isRead += 1 }
  }
  #expect(isRead > 500 && isRead < 5000)
}

@Test func `a full table, taken places and a table that fills up are told apart, each once`() {
  var pressure = ConntrackPressure()
  var now = ConntrackStatistics()
  (now.limit, now.entries, now.drop, now.insertFailed) = (1000, 100, 50, 20)
  #expect(pressure.take(now) == [], "what was before this process is not news")
  #expect(pressure.take(now) == [])
  now.entries = 950
  #expect(pressure.take(now) == [.init(kind: .nearlyFull, packets: 0)])
  #expect(pressure.take(now) == [], "said once")
  (now.entries, now.drop) = (1000, 57)
  #expect(pressure.take(now) == [.init(kind: .full, packets: 7)])
  (now.entries, now.drop, now.insertFailed) = (700, 60, 23)
  #expect(pressure.take(now) == [.init(kind: .taken, packets: 3)])
  now.entries = 900
  #expect(pressure.take(now) == [.init(kind: .nearlyFull, packets: 0)], "it had relaxed meanwhile")
  // Counters of 32 bits go on past their end.
  var old = ConntrackPressure()
  now.drop = .max - 1
  #expect(old.take(now) == [.init(kind: .nearlyFull, packets: 0)])
  now.drop = 5
  #expect(old.take(now) == [.init(kind: .full, packets: 7)])
}

@Suite(.serialized, .timeLimit(.minutes(2))) struct ConntrackWatchTests {
  /// Three ports for many sources: what a masquerade without a free port looks like.
  @Test func `flows for which no port is free are counted from the kernel's own figures, and named`() throws {
    try inFreshNamespace {
      let rules = """
        table ip elsewhere {
          chain post {
            type nat hook postrouting priority 100;
            ip daddr 10.9.0.9 udp dport 5353 snat to 10.9.0.1:40000-40002
          }
        }
        """
      #expect(run("ip addr add 10.9.0.1/24 dev lo").status == 0)
      #expect(run("ip addr add 10.9.0.9/32 dev lo").status == 0)
      let loaded = run("nft -f -", input: rules)
      #expect(loaded.status == 0, "\(loaded.output)")
      let metrics = Metrics()
      let lines = InMemoryLines()
      var watch = ConntrackWatch(logger: Logger(label: "test") { _ in lines }, metrics: metrics)
      let before = try #require(ConntrackStatistics.read())
      watch.take(before)
      let script = """
        import socket
        refused = 0
        for number in range(20):
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            s.bind(("10.9.0.1", 50000 + number))
            try: s.sendto(b"x", ("10.9.0.9", 5353))
            except OSError: refused += 1
        print(refused)
        """
      let sent = run("python3 -", input: script)
      #expect(sent.output == "17\n", "three found a port: \(sent.output)")
      let after = try #require(ConntrackStatistics.read())
      let taken = after.insertFailed &- before.insertFailed
      #expect(taken == 17, "\(before) \(after)")
      #expect(after.limit > 0 && after.entries >= 3)
      watch.take(after)
      #expect(metrics.text().contains(#"weft_conntrack_dropped_packets_total{reason="no_free_tuple"} 17"#))
      #expect(metrics.text().contains(#"weft_conntrack_dropped_packets_total{reason="table_full"} 0"#))
      #expect(lines.all.count == 1 && lines.all[0].contains("PRX0031"), "\(lines.all)")
    }
  }
}

/// Keeps what is logged.
private struct InMemoryLines: LogHandler {
  private final class Box: @unchecked Sendable { var lines: [String] = [] }
  private let box = Box()
  var all: [String] { box.lines }
  var logLevel = Logger.Level.trace
  var metadata: Logger.Metadata = [:]
  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }
  func log(event: LogEvent) { box.lines.append("\(event.message)") }
}
