// A data plane as the program runs it, in the test's own process; load at a pace; WebSockets that are asked one after the other.

import Addresses
import CLinux
import Diagnostics
import Glibc
import Reactor
import Synchronization
import Testing

@testable import Ingress

/// A port that data planes serve one after the other, as the parent holds it for them.
final class SharedPort: Sendable {
  let endpoint: SocketEndpoint
  private let raw: Int32

  init() throws {
    let listening = try Sockets.listenTCP(SocketEndpoint(loopback, 0))
    endpoint = try local(listening)
    raw = listening.release()
  }
  deinit { close(raw) }

  /// A data plane beside those that run, which serves when this returns.
  func start(_ table: RouteTable, workers: Int = 2, leave: Duration = .seconds(60)) throws -> RunningPlane {
    let plane = try RunningPlane(dup(raw), workers: workers, leave: leave)
    try plane.feeder.send(table)
    try #require(plane.feeder.waitUntilServing(seconds: 20))
    return plane
  }
}

/// One data plane and its feeder.
final class RunningPlane: Sendable {
  let feeder: IngressFeeder
  private let runner: Runner

  fileprivate init(_ listener: Int32, workers: Int, leave: Duration) throws {
    let (feeder, child) = try IngressFeeder.pair()
    self.feeder = feeder
    var configuration = IngressDataPlaneConfiguration(
      listeners: [listener], snapshots: child, workers: workers)
    configuration.dropsPrivileges = false
    configuration.drain = .milliseconds(200)
    configuration.leave = leave
    configuration.limits.patienceMilliseconds = 2_000
    configuration.limits.tickMilliseconds = 100
    let ready = configuration
    runner = try Runner.start {
      try runIngressDataPlane(ready)
      return "ended"
    }
  }

  /// What the plane ended with; nil while it runs.
  func wait() -> String? { runner.wait() }

  func stop() {
    feeder.close()
    #expect(wait() == "ended")
  }
}

/// Requests at a pace from threads of their own, each on one connection that is made anew when an answer says so.
final class PacedLoad: Sendable {
  struct Outcome: Sendable {
    var good = 0
    var bad: [String] = []
    var microseconds: [Int] = []

    /// The time that this share of the answers had come within.
    func quantile(_ share: Double) -> Int {
      let sorted = microseconds.sorted()
      return sorted.isEmpty ? 0 : sorted[min(sorted.count - 1, Int(Double(sorted.count) * share))]
    }
  }
  private let state = Mutex(Outcome())
  private let isOver = Flag()
  private let runners = Mutex<[Runner]>([])

  /// - Parameters:
  ///   - perSecond: of all threads together.
  ///   - reconnects: each request on a connection of its own.
  init(
    _ endpoint: SocketEndpoint, threads: Int, perSecond: Int, reconnects: Bool = false,
    path: @escaping @Sendable (Int) -> String = { _ in "/" }
  ) throws {
    for thread in 0..<threads {
      let pause = UInt64(threads) * 1_000_000_000 / UInt64(perSecond)
      let runner = try Runner.start { [self] in
        var client: Client?
        var next = Reactor.monotonicNanoseconds() + pause * UInt64(thread) / UInt64(threads)
        var number = thread
        while !isOver.isRaised {
          let now = Reactor.monotonicNanoseconds()
          if now < next { usleep(UInt32((next - now) / 1000)) }
          // A machine that was held up does not catch up with a flood.
          next = max(next + pause, Reactor.monotonicNanoseconds() - pause)
          let begin = Reactor.monotonicNanoseconds()
          let open = client ?? Client(endpoint)
          let answer = open.get(path(number))
          client = reconnects || answer?.head.contains("Connection: close") != false ? nil : open
          note(answer?.status, path(number), Int((Reactor.monotonicNanoseconds() - begin) / 1000))
          number += threads
        }
        return "over"
      }
      runners.withLock { $0.append(runner) }
    }
  }

  private func note(_ status: Int?, _ path: String, _ microseconds: Int) {
    state.withLock { state in
      state.microseconds.append(microseconds)
      if status == 200 {
        state.good += 1
      } else if state.bad.count < 100 {
        state.bad.append("\(path): \(status.map { "\($0)" } ?? "no answer")")
      }
    }
  }

  var count: Int { state.withLock { $0.microseconds.count } }

  /// What came since the last call.
  func take() -> Outcome {
    state.withLock { state in
      defer { state = Outcome() }
      return state
    }
  }

  func stop() -> Outcome {
    isOver.raise()
    for runner in runners.withLock({ $0 }) { #expect(runner.wait() == "over") }
    return take()
  }
}

/// Upgraded connections. Asked one after the other: each has to echo.
final class OpenSockets {
  private let clients: [Client]

  init(_ endpoint: SocketEndpoint, count: Int) throws {
    clients = (0..<count).map { _ in Client(endpoint) }
    for client in clients {
      client.send("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    }
    for client in clients { try #require(client.response()?.status == 101) }
  }

  /// How many of them do not answer.
  func broken(_ round: Int) -> Int {
    let text = "ping \(round)"
    for client in clients { client.send(text) }
    return clients.count { $0.read(text.utf8.count) != Array(text.utf8) }
  }
}
