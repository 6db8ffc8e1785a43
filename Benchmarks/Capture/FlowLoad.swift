// A pod that begins connections at a steady rate, and the node's memory of flows: how many are kept, how many counted as lost, at what
// cost in time and memory.
//
//   CaptureBenchmark flows LINK POD-NAMESPACE RATE SECONDS                figures on standard output
//   CaptureBenchmark begin ADDRESS RATE SECONDS                           run in the pod's namespace by the former

import Addresses
import ClusterObjects
import ClusterView
import Diagnostics
import Glibc
import KernelNftables
import KernelSockets
import Observe
import Policy
import Synchronization

enum FlowLoad {
  /// Connections of one socket: each goes to a port of its own.
  private static let ports = 40_000
  private static let firstPort = 20_000

  /// Datagrams, each the first of its connection; prints how many left, and how many in a second.
  static func begin(_ address: String, _ rate: Int, _ seconds: Int) {
    let began = ContinuousClock.now
    let wanted = rate * seconds
    var sent = 0
    var descriptor: Int32 = -1
    while sent < wanted {
      let due = min(wanted, Int((ContinuousClock.now - began) / .seconds(1) * Double(rate)))
      while sent < due {
        if sent % ports == 0 {
          if descriptor >= 0 { close(descriptor) }
          descriptor = socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
        }
        var place = sockaddr_in()
        place.sin_family = sa_family_t(AF_INET)
        place.sin_port = UInt16(firstPort + sent % ports).bigEndian
        place.sin_addr.s_addr = inet_addr(address)
        withUnsafePointer(to: &place) {
          $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            _ = sendto(descriptor, "x", 1, 0, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
          }
        }
        sent += 1
      }
      usleep(500)
    }
    say("sent \(sent)")
    say("rate \(Int(Double(sent) / ((ContinuousClock.now - began) / .seconds(1))))")
  }

  private static func memoryMegabytes() -> Int {
    guard let file = fopen("/proc/self/statm", "r") else { return 0 }
    defer { fclose(file) }
    var line = [CChar](repeating: 0, count: 256)
    guard fgets(&line, 256, file) != nil else { return 0 }
    let words = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self).split(
      separator: " ")
    return (words.count > 1 ? Int(words[1]) ?? 0 : 0) * 4 / 1024
  }

  static func run(_ link: String, _ namespace: String, _ rate: Int, _ seconds: Int) throws {
    let view = ClusterView()
    let keeper = try FlowKeeper(
      nodeName: "n1", group: nil,
      source: .init(changes: { ViewChanges() }, view: { view }), metrics: Metrics())
    keeper.attach(
      PodAttachment(
        pod: ObjectKey("demo", "sender"), addresses: [IPAddress("10.200.9.2")].compactMap { $0 },
        hardwareAddress: nil, hostInterface: link), containerID: "1")
    try keeper.start()
    defer { keeper.stop() }
    let isOver = Atomic<Bool>(false)
    let begun = Atomic<Int>(0)
    let missed = Atomic<Int>(0)
    let halfway = Atomic<Int>(0)
    DetachedThread.start {
      var next: UInt64 = 0
      var looks = 0
      while !isOver.load(ordering: .acquiring) {
        let page = keeper.read(from: next, limit: 65_536)
        begun.add(page.flows.count { $0.event == .new }, ordering: .relaxed)
        missed.add(Int(page.missed), ordering: .relaxed)
        next = page.next
        looks += 1
        if looks == seconds * 10 { halfway.store(memoryMegabytes(), ordering: .relaxed) }
        usleep(50_000)
      }
    }
    let before = CaptureBenchmark.processorSeconds()
    let start = ContinuousClock.now
    let program = CommandLine.arguments[0]
    let status = system(
      "\(CaptureBenchmark.elsewhere)ip netns exec \(namespace) \(program) begin 10.200.9.1 \(rate) \(seconds)"
    )
    let took = (ContinuousClock.now - start) / .seconds(1)
    // What waits in the kernel's buffer is on its way; two seconds without a beginning are the end.
    var (last, quiet, looks) = (-1, 0, 0)
    while quiet < 4, looks < 240 {
      usleep(500_000)
      let now = begun.load(ordering: .relaxed) + missed.load(ordering: .relaxed)
      quiet = now == last ? quiet + 1 : 0
      last = now
      looks += 1
    }
    let used = CaptureBenchmark.processorSeconds() - before
    isOver.store(true, ordering: .releasing)
    guard status == 0 else { return say("failed \(status)") }
    say("begun \(begun.load(ordering: .relaxed))")
    say("lost \(keeper.losses.flows)")
    say("overwritten \(missed.load(ordering: .relaxed))")
    say("memory \(memoryMegabytes())")
    say("growth \(max(0, memoryMegabytes() - halfway.load(ordering: .relaxed)))")
    say("core_percent \(Int(used / took * 1000) / 10)")
  }
}
