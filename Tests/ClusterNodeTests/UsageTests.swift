// What pods use: the kernel's tables read, rates computed, kubelet's documents written.

import ClusterObjects
import FuzzLab
import Testing

@testable import ClusterNode

private let second: Int64 = 1_000_000_000

private var sample: NodeUsage {
  var usage = NodeUsage(at: 1_700_000_000 * second)
  usage.bootedAt = 1_699_999_000 * second
  usage.cpu = CPUUsage(coreNanoseconds: 5_000_000_000, nanoCores: 250_000_000)
  usage.memory = MemoryUsage(usage: 1000, workingSet: 900, available: 3000)
  usage.disk = FilesystemUsage(capacity: 10_000, available: 4000, free: 4000, inodes: 100, inodesFree: 60)
  usage.imageDisk = usage.disk
  var group = CgroupUsage()
  group.cpu = CPUUsage(coreNanoseconds: 2_500_000_000, nanoCores: 100_000_000)
  group.memory = MemoryUsage(usage: 500, workingSet: 400, resident: 300, pageFaults: 7, majorPageFaults: 1)
  group.processes = 3
  usage.pods = [
    PodUsage(
      namespace: "demo", name: "web", uid: "u1", sandbox: "s1", startedAt: 1_699_999_900 * second,
      group: group,
      interfaces: [InterfaceUsage(name: "eth0", receivedBytes: 10, sentBytes: 20)],
      volumes: ["cache": DiskUsage(bytes: 100, inodes: 2)],
      containers: [
        ContainerUsage(
          name: "main", id: "c1", image: "demo:1", startedAt: 1_699_999_950 * second, group: group,
          rootfs: DiskUsage(bytes: 40, inodes: 4), logs: DiskUsage(bytes: 60, inodes: 1))
      ])
  ]
  return usage
}

@Suite struct UsageTests {
  @Test func `a rate is of the last seconds, and of the whole life at first`() {
    var rates = CPURates()
    // Started at 0, half a processor for ten seconds.
    #expect(rates.rate("a", at: 10 * second, coreNanoseconds: 5_000_000_000, startedAt: 0) == 500_000_000)
    // Two processors since; asked too early to be compared with the newest reading.
    #expect(rates.rate("a", at: 12 * second, coreNanoseconds: 9_000_000_000, startedAt: 0) == 750_000_000)
    #expect(rates.rate("a", at: 20 * second, coreNanoseconds: 25_000_000_000, startedAt: 0) == 2_000_000_000)
    // Made anew: the counter is smaller than it was.
    #expect(
      rates.rate("a", at: 30 * second, coreNanoseconds: 1_000_000_000, startedAt: 28 * second) == 500_000_000)
    #expect(rates.rate("b", at: second, coreNanoseconds: 1, startedAt: second) == 0)
    rates.retain(["a"])
    #expect(rates.count == 1)
  }

  @Test func `a control group's memory is read in both versions`() {
    let one = planMemoryUsage(
      usage: 1000,
      statistics: parseFlatTable("cache 5\ntotal_inactive_file 300\ntotal_rss 200\ntotal_pgfault 9\n"),
      limit: 2000)
    #expect(one.workingSet == 700 && one.resident == 200 && one.pageFaults == 9 && one.available == 1300)
    let two = planMemoryUsage(
      usage: 100, statistics: parseFlatTable("anon 60\ninactive_file 300\npgmajfault 2\n"), limit: nil)
    #expect(two.workingSet == 0 && two.resident == 60 && two.majorPageFaults == 2 && two.available == nil)
    #expect(planMemoryUsage(usage: 1, statistics: [:], limit: 9_223_372_036_854_771_712).available == nil)
    #expect(parseNumber("max\n") == nil && parseNumber("12\n") == 12 && parseNumber(nil) == nil)
  }

  @Test func `devices and processor time are read from the kernel's tables`() {
    let devices = parseNetworkDevices(
      """
      Inter-|   Receive                                                |  Transmit
       face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier
          lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0
        eth0: 1234        5    1    0    0     0          0         0     4321       6    2    0    0     0       0
      """)
    #expect(
      devices == [
        InterfaceUsage(name: "eth0", receivedBytes: 1234, receiveErrors: 1, sentBytes: 4321, sendErrors: 2)
      ])
    let stat = "cpu  100 10 50 1000 7 3 2 0 0 0\ncpu0 1 1 1 1\nbtime 1700000000\n"
    #expect(parseProcessorTime(stat, ticksPerSecond: 100) == 165 * 10_000_000)
    #expect(parseBootTime(stat) == 1_700_000_000)
    #expect(parseProcessorTime("nothing", ticksPerSecond: 100) == nil)
  }

  @Test func `no table of the kernel's, however broken, ends the agent`() {
    let corpus = [
      "cpu  100 10 50 1000 7 3 2\nbtime 17\n", "eth0: 1 2 3 4 5 6 7 8 9 10 11 12\n", "anon 60\nmax\n",
    ]
    for bytes in mutants(of: corpus.map { Array($0.utf8) }, count: 2000, seed: 0x57A7) {
      let text = String(decoding: bytes, as: UTF8.self)
      _ = parseFlatTable(text)
      _ = parseNetworkDevices(text)
      _ = parseProcessorTime(text, ticksPerSecond: 100)
      _ = parseBootTime(text)
      _ = parseNumber(text)
    }
  }

  @Test func `the summary has what metrics-server and kubectl top read`() {
    let summary = planStatsSummary(nodeName: "n1", sample)
    #expect(summary.at("node", "nodeName") == "n1")
    #expect(summary.at("node", "cpu", "usageNanoCores") == 250_000_000)
    #expect(summary.at("node", "memory", "availableBytes") == 3000)
    #expect(summary.at("node", "fs", "usedBytes") == 6000 && summary.at("node", "fs", "inodesUsed") == 40)
    let pod = summary["pods"]?[0]
    #expect(pod?["podRef"] == ["name": "web", "namespace": "demo", "uid": "u1"])
    #expect(pod?.at("cpu", "usageCoreNanoSeconds") == 2_500_000_000)
    #expect(pod?.at("memory", "workingSetBytes") == 400)
    #expect(pod?.at("network", "rxBytes") == 10 && pod?.at("network", "name") == "eth0")
    #expect(pod?.at("ephemeral-storage", "usedBytes") == 200)
    #expect(pod?["volume"]?[0]?["name"] == "cache" && pod?["volume"]?[0]?["usedBytes"] == 100)
    #expect(pod?.at("process_stats", "process_count") == 3)
    let container = pod?["containers"]?[0]
    #expect(container?["name"] == "main" && container?.at("cpu", "usageNanoCores") == 100_000_000)
    #expect(container?.at("memory", "rssBytes") == 300 && container?.at("rootfs", "usedBytes") == 40)
    #expect(container?.at("cpu", "time") == "2023-11-14T22:13:20Z")
  }

  @Test func `the metrics of pods have the names dashboards know`() {
    let resource = planResourceMetrics(sample)
    for line in [
      "container_cpu_usage_seconds_total{container=\"main\",namespace=\"demo\",pod=\"web\"} 2.5 1700000000000",
      "container_memory_working_set_bytes{container=\"main\",namespace=\"demo\",pod=\"web\"} 400 1700000000000",
      "pod_cpu_usage_seconds_total{namespace=\"demo\",pod=\"web\"} 2.5 1700000000000",
      "node_memory_working_set_bytes 900 1700000000000", "resource_scrape_error 0",
    ] { #expect(resource.contains(line + "\n"), "\(resource)") }
    let advisor = planCadvisorMetrics(sample, cpus: 2, memoryBytes: 1 << 30)
    for part in [
      "container_memory_usage_bytes{container=\"main\",id=\"/podu1/c1\",image=\"demo:1\",name=\"c1\",namespace=\"demo\",pod=\"web\"} 500",
      "container_network_transmit_bytes_total{id=\"/podu1\",interface=\"eth0\",namespace=\"demo\",pod=\"web\"} 20",
      "cpu=\"total\"} 2.5", "machine_cpu_cores 2\n",
    ] { #expect(advisor.contains(part), "\(advisor)") }
    var text = MetricText()
    text.sample("a", [("b", "x\"y\\z\n")], 1.5)
    #expect(text.text == "a{b=\"x\\\"y\\\\z\\n\"} 1.5\n")
  }
}
