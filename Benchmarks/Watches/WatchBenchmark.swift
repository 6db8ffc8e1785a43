// Ten thousand watches: what an idle one costs in memory, and how late an event is at all of them.
//
//   WatchBenchmark weft|etcd HOST PORT PID TOKEN WATCHES CONNECTIONS EVENTS-A-SECOND SECONDS

import Glibc
import NIOCore
import NIOPosix

@main struct WatchBenchmark {
  static func main() async throws {
    let words = CommandLine.arguments
    guard words.count == 10, let port = Int(words[3]), let pid = Int(words[4]), let watches = Int(words[6]),
      let connections = Int(words[7]), let rate = Double(words[8]), let seconds = Double(words[9])
    else {
      say("WatchBenchmark weft|etcd HOST PORT PID TOKEN WATCHES CONNECTIONS EVENTS-A-SECOND SECONDS")
      exit(2)
    }
    let isWeft = words[1] == "weft"
    let target = Target(host: words[2], port: port, isTLS: isWeft)
    let subject: any Subject =
      isWeft ? WeftSubject(target: target, token: words[5]) : EtcdSubject(target: target)
    let server = Other(pid: pid)
    let keys = 10
    // As many threads as processors: one alone would lag behind whenever it shares its processor with a thread of the server.
    let group = MultiThreadedEventLoopGroup(numberOfThreads: max(2, System.coreCount))

    /// Polls until `body` holds, for at most `limit` seconds.
    func wait(_ limit: Double, _ body: () -> Bool) async throws -> Bool {
      let end = milliseconds() + Int(limit * 1000)
      while milliseconds() < end {
        if body() { return true }
        try await Task.sleep(for: .milliseconds(20))
      }
      return body()
    }
    func settled() async throws -> Int {
      // The server's allocator is given time to hand pages back.
      var last = server.anonymousKilobytes
      for _ in 0..<20 {
        try await Task.sleep(for: .milliseconds(250))
        let now = server.anonymousKilobytes
        if abs(now - last) < 64 { return now }
        last = now
      }
      return last
    }

    let (writer, writerChannel) = try await FrameClient.connect(target, on: group)
    for number in 0..<keys {
      let (headers, body) = subject.create(number)
      writerChannel.eventLoop.execute { writer.request(headers, body: body) }
    }
    try await Task.sleep(for: .milliseconds(500))
    // What the first watches need once is no cost of a watch.
    var clients: [(client: FrameClient, channel: any Channel)] = []
    func open(_ count: Int, over connections: Int) async throws {
      for index in 0..<connections {
        let pair = try await FrameClient.connect(target, on: group)
        clients.append(pair)
        let share = count / connections + (index < count % connections ? 1 : 0)
        let (headers, body, staysOpen) = subject.watch()
        pair.channel.eventLoop.execute {
          for _ in 0..<share { pair.client.request(headers, body: body, staysOpen: staysOpen) }
        }
      }
    }
    try await open(10, over: 1)
    _ = try await wait(5) { clients.reduce(0) { $0 + $1.client.opened } == 10 }
    let before = try await settled()
    let openedAt = milliseconds()
    try await open(watches, over: connections)
    guard try await wait(60, { clients.reduce(0) { $0 + $1.client.opened } == watches + 10 }) else {
      say("only \(clients.reduce(0) { $0 + $1.client.opened }) watches were answered")
      exit(1)
    }
    let openSeconds = Double(milliseconds() - openedAt) / 1000
    let after = try await settled()
    let each = Double(after - before) / Double(watches)

    let startMarks = clients.reduce(0) { $0 + $1.client.marks }
    let startFrames = clients.reduce(0) { $0 + $1.client.frames }
    let startBytes = clients.reduce(0) { $0 + $1.client.bytes }
    let startSeconds = server.processorSeconds
    let startOwn = ownSeconds()
    let events = Int(rate * seconds)
    let start = milliseconds()
    for number in 0..<events {
      let due = start + Int(Double(number) * 1000 / rate)
      while milliseconds() < due { try await Task.sleep(for: .milliseconds(1)) }
      writerChannel.eventLoop.execute {
        let (headers, body) = subject.write(number % keys, serial: number, time: milliseconds())
        writer.request(headers, body: body)
      }
    }
    let writtenAfter = Double(milliseconds() - start) / 1000
    let expected = (watches + 10) * events
    func arrived() -> Int { clients.reduce(0) { $0 + $1.client.marks } - startMarks }
    let isWhole = try await wait(30) { arrived() >= expected }
    let took = Double(milliseconds() - start) / 1000
    let serverSeconds = server.processorSeconds - startSeconds
    let own = ownSeconds() - startOwn

    var late = [Int](repeating: 0, count: 20_001)
    for (client, _) in clients { for (index, count) in client.arrivals.enumerated() { late[index] += count } }
    // The states at the beginning carry no time: they stand at the end, and are taken away.
    late[20_000] -= startMarks
    let total = late.reduce(0, +)
    func percentile(_ share: Double) -> Int {
      var left = Int(Double(total) * share)
      for (index, count) in late.enumerated() {
        left -= count
        if left < 0 { return index }
      }
      return 20_000
    }
    let deliveries = Double(max(1, arrived()))
    let frames = Double(max(1, clients.reduce(0) { $0 + $1.client.frames } - startFrames))
    let bytes = Double(clients.reduce(0) { $0 + $1.client.bytes } - startBytes)
    say(
      "\(subject.name): \(watches) watches over \(connections) connections, open after \(rounded(openSeconds)) s; "
        + "\(rounded(each)) kB each (anonymous memory \(before / 1024) -> \(after / 1024) MB, "
        + "\(server.anonymousKilobytes / 1024) MB after the events)")
    say(
      "\(subject.name): \(events) events in \(rounded(writtenAfter)) s to \(watches + 10) watches: \(arrived()) of \(expected) "
        + "arrived within \(rounded(took)) s; p50 \(percentile(0.5)) ms, p99 \(percentile(0.99)) ms, "
        + "latest \(percentile(0.999999)) ms")
    say(
      "\(subject.name): processor per delivery \(rounded(serverSeconds * 1e6 / deliveries)) us there, "
        + "\(rounded(own * 1e6 / deliveries)) us here; \(rounded(serverSeconds / took)) and \(rounded(own / took)) processors; "
        + "\(rounded(deliveries / frames)) events a frame, \(rounded(bytes / deliveries)) bytes an event"
    )
    say("result \(subject.name) \(rounded(each)) \(percentile(0.99)) \(isWhole ? "whole" : "partial")")
  }
}
