// A pod that sends at a steady rate, captured to a file by both ends of the socket in this process: how much of it is there, at what cost.
//
//   CaptureBenchmark capture LINK POD-NAMESPACE RATE SECONDS BYTES FILE     figures on standard output
//   CaptureBenchmark send ADDRESS RATE SECONDS BYTES                        run in the pod's namespace by the former

import Addresses
import ClusterObjects
import ClusterView
import Diagnostics
import Glibc
import KernelSockets
import Observe
import Policy
import Synchronization

/// A line at once: who reads it waits for it.
func say(_ line: String) {
  var line = line + "\n"
  _ = line.withUTF8 { write(1, $0.baseAddress, $0.count) }
}

struct CaptureBenchmark {
  static func processorSeconds() -> Double {
    var usage = rusage()
    getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
    func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) / 1e6 }
    return seconds(usage.ru_utime) + seconds(usage.ru_stime)
  }

  /// `run.sh` binds this process to one processor: who sends is not to have the same one.
  static let elsewhere = getenv("SENDER_CORE").map { "taskset -c \(String(cString: $0)) " } ?? ""

  /// Datagrams in batches, half a millisecond apart; prints how many left, and how many in a second.
  static func send(_ address: String, _ rate: Int, _ seconds: Int, _ bytes: Int) {
    var place = sockaddr_in()
    place.sin_family = sa_family_t(AF_INET)
    place.sin_port = UInt16(9).bigEndian
    place.sin_addr.s_addr = inet_addr(address)
    let descriptor = socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
    let payload = [UInt8](repeating: 7, count: max(1, bytes - 42))
    _ = withUnsafePointer(to: &place) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    let began = ContinuousClock.now
    var sent = 0
    let wanted = rate * seconds
    while sent < wanted {
      let due = min(wanted, Int((ContinuousClock.now - began) / .seconds(1) * Double(rate)))
      while sent < due {
        // A refusal that came back for an earlier one is no failure of this one.
        _ = Glibc.send(descriptor, payload, payload.count, 0)
        sent += 1
      }
      usleep(500)
    }
    say("sent \(sent)")
    say("rate \(Int(Double(sent) / ((ContinuousClock.now - began) / .seconds(1))))")
  }

  static func capture(_ words: [String]) throws {
    let (link, namespace, rate, seconds, bytes, file) = (
      words[0], words[1], words[2], words[3], words[4], words[5]
    )
    let path = "/tmp/weft-capture-benchmark-\(getpid()).sock"
    let pod = PodAttachment(
      pod: ObjectKey("demo", "sender"), addresses: [IPAddress("10.200.9.2")].compactMap { $0 },
      hardwareAddress: nil, hostInterface: link)
    let server = CaptureServer(
      path: path,
      source: CaptureSource(nodeName: "n1", view: { ClusterView() }, attachments: { [pod] }, flows: nil))
    try server.start()
    defer { server.stop() }
    var ends: [Int32] = [-1, -1]
    guard pipe(&ends) == 0 else { return }
    let isBegun = Atomic<Bool>(false)
    let result = Mutex<(packets: Int, lost: UInt64)?>(nil)
    let stop = ends[0]
    DetachedThread.start {
      do throws(WeftError) {
        var files = try CaptureFiles(file)
        var question = CaptureQuestion(targets: "demo/sender")
        question.filter = try PacketFilter(typed: "udp port 9")
        let summary = try CaptureClient.run(question, at: path, stop: stop, into: &files) { _ in
          isBegun.store(true, ordering: .releasing)
        }
        result.withLock { $0 = (files.packets, summary.lost) }
      } catch {
        say("\(error)")
        exit(1)
      }
    }
    while !isBegun.load(ordering: .acquiring) { usleep(1000) }
    let before = processorSeconds()
    let began = ContinuousClock.now
    let program = CommandLine.arguments[0]
    // Its output is ours.
    let status = system(
      "\(elsewhere)ip netns exec \(namespace) \(program) send 10.200.9.1 \(rate) \(seconds) \(bytes)")
    let took = (ContinuousClock.now - began) / .seconds(1)
    usleep(500_000)
    let used = processorSeconds() - before
    _ = write(ends[1], "x", 1)
    while result.withLock({ $0 == nil }) { usleep(1000) }
    let (packets, lost) = result.withLock { $0 ?? (0, 0) }
    guard status == 0 else { return say("failed \(status)") }
    say("written \(packets)")
    say("lost \(lost)")
    say("core_percent \(Int(used / took * 1000) / 10)")
  }
}

let words = Array(CommandLine.arguments.dropFirst())
if words.first == "send", words.count == 5, let rate = Int(words[2]), let seconds = Int(words[3]),
  let bytes = Int(words[4])
{
  CaptureBenchmark.send(words[1], rate, seconds, bytes)
} else if words.first == "capture", words.count == 7 {
  try CaptureBenchmark.capture(Array(words.dropFirst()))
} else if words.first == "begin", words.count == 4, let rate = Int(words[2]), let seconds = Int(words[3]) {
  FlowLoad.begin(words[1], rate, seconds)
} else if words.first == "flows", words.count == 5, let rate = Int(words[3]), let seconds = Int(words[4]) {
  try FlowLoad.run(words[1], words[2], rate, seconds)
} else {
  say("CaptureBenchmark flows LINK NAMESPACE RATE SECONDS")
  say("CaptureBenchmark capture LINK NAMESPACE RATE SECONDS BYTES FILE")
  exit(2)
}
