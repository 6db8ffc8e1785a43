// The data plane as the program runs it: routes over a socket pair, an end when the parent goes.

import Addresses
import CLinux
import Diagnostics
import Glibc
import Reactor
import Synchronization
import Testing

@testable import Ingress

final class Runner: Sendable {
  let outcome = Mutex<String?>(nil)
  let isDone = Flag()

  static func start(_ body: @escaping @Sendable () throws -> String) throws -> Runner {
    final class Work {
      let body: () -> Void
      init(_ body: @escaping () -> Void) { self.body = body }
    }
    let runner = Runner()
    let work = Unmanaged.passRetained(
      Work {
        let text: String
        do { text = try body() } catch { text = "\(error)" }
        runner.outcome.withLock { $0 = text }
        runner.isDone.raise()
      })
    var thread = pthread_t()
    let result = pthread_create(
      &thread, nil,
      { argument in
        argument.map { Unmanaged<Work>.fromOpaque($0).takeRetainedValue().body() }
        return nil
      }, work.toOpaque())
    guard result == 0 else { throw SetUpFailed() }
    pthread_detach(thread)
    return runner
  }

  /// - Parameter seconds: that the body may take besides what a wait for anything lasts.
  func wait(_ seconds: Int = 0) -> String? {
    for _ in 0..<seconds * 10 where !isDone.isRaised { usleep(100_000) }
    _ = eventually { isDone.isRaised }
    return outcome.withLock { $0 }
  }
}

@Suite struct DataPlaneTests {
  private func plane(workers: Int) throws -> (
    feeder: IngressFeeder, http: SocketEndpoint, status: SocketEndpoint, runner: Runner
  ) {
    let (feeder, child) = try IngressFeeder.pair()
    let listening = try Sockets.listenTCP(SocketEndpoint(loopback, 0))
    let status = try Sockets.listenTCP(SocketEndpoint(loopback, 0))
    let endpoints = (try local(listening), try local(status))
    var configuration = IngressDataPlaneConfiguration(
      listeners: [listening.release()], status: status.release(), snapshots: child, workers: workers)
    // The test's own process keeps its capabilities; the drop has a test of its own.
    configuration.dropsPrivileges = false
    configuration.drain = .seconds(2)
    let ready = configuration
    let runner = try Runner.start {
      try runIngressDataPlane(ready)
      return "ended"
    }
    return (feeder, endpoints.0, endpoints.1, runner)
  }

  @Test(arguments: [1, 2])
  func `tables that the feeder sends are in force, and the plane ends with its parent`(
    workers: Int
  ) throws {
    let backends = try ["a", "b"].map { try Backend($0) }
    let (feeder, http, status, runner) = try plane(workers: workers)
    // Before the first table a connection waits instead of getting a 404.
    let early = Client(http)
    early.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    #expect(try feeder.send(everything(to: [backends[0].endpoint])))
    #expect(text(early.response()?.body) == "a")
    #expect(try !feeder.send(everything(to: [backends[0].endpoint])))
    #expect(try feeder.send(everything(to: [backends[1].endpoint])))
    #expect(eventually { text(early.get()?.body) == "b" })
    #expect(eventually { text(Client(http).get()?.body) == "b" })
    let probe = Client(status)
    probe.send("GET /metrics HTTP/1.1\r\n\r\n")
    #expect(probe.readAll().contains("nginx_ingress_controller_requests{"))
    feeder.close()
    #expect(runner.wait() == "ended")
    #expect(Client(http).get() == nil)
    for backend in backends { backend.kill() }
  }

  @Test func `a frame that is no table ends the plane with a code`() throws {
    for frame in [[5, 0, 0, 0, 1, 2, 3, 4, 5], [255, 255, 255, 255], [9, 0, 0, 0, 1]] as [[UInt8]] {
      var ends: [Int32] = [-1, -1]
      #expect(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends) == 0)
      let child = ends[1]
      let runner = try Runner.start {
        var configuration = IngressDataPlaneConfiguration(listeners: [], snapshots: child, workers: 1)
        configuration.dropsPrivileges = false
        try runIngressDataPlane(configuration)
        return "ended"
      }
      _ = frame.withUnsafeBytes { write(ends[0], $0.baseAddress, $0.count) }
      close(ends[0])
      #expect(runner.wait()?.hasPrefix("ING0002 ") == true)
    }
  }

  @Test func `dropped privileges leave a thread without capabilities for good`() throws {
    let runner = try Runner.start {
      let result = weft_drop_privileges()
      let descriptor = Descriptor(owning: open("/proc/thread-self/status", O_RDONLY))
      var bytes = [UInt8](repeating: 0, count: 8192)
      let count = read(descriptor.raw, &bytes, bytes.count)
      return "\(result)\n" + String(decoding: bytes[..<max(0, count)], as: UTF8.self)
    }
    let status = runner.wait() ?? ""
    #expect(status.hasPrefix("0\n"))
    for line in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
      #expect(status.contains("\(line):\t0000000000000000\n"))
    }
    #expect(status.contains("CapBnd:\t0000000000000000\n"))
    #expect(status.contains("NoNewPrivs:\t1\n"))
  }
}
