// A host that relays, in one fresh namespace: endpoints on addresses of loopback, real servers and clients (Python sockets).

import Addresses
import ClusterObjects
import ClusterView
import Diagnostics
import Glibc
import NamespaceLab
@testable import Proxy
import Reactor
import SoakLab
import Synchronization

/// Lives within `inFreshNamespace`. `tearDown` must be called.
final class RelayLab {
  static let endpoints: [IPFamily: [String]] = [
    .v4: ["10.42.0.11", "10.42.0.12"], .v6: ["fd00:42::11", "fd00:42::12"],
  ]
  private let folder: String
  let metrics = Metrics()
  let proxy: UserspaceProxy

  /// Servers greet with their address and echo until the client has finished sending.
  private static let server = """
    import asyncio, resource, socket, sys
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    async def serve(reader, writer):
        try:
            writer.write(writer.get_extra_info("sockname")[0].encode() + b"\\n")
            while data := await reader.read(65536):
                writer.write(data); await writer.drain()
            writer.close()
        except OSError: pass
    class Echo(asyncio.DatagramProtocol):
        def __init__(self, name): self.name = name
        def connection_made(self, transport): self.transport = transport
        def datagram_received(self, data, peer): self.transport.sendto(self.name.encode() + b" " + data, peer)
    async def main():
        for address in sys.argv[1:]:
            await asyncio.start_server(serve, address, 8080, backlog=4096)
            await asyncio.get_running_loop().create_datagram_endpoint(
                lambda name=address: Echo(name), local_addr=(address, 5353))
        print("ready", flush=True)
        await asyncio.sleep(300)
    asyncio.run(main())
    """
  private static let client = """
    import asyncio, collections, json, os, resource, socket, sys
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    async def talk(host, port, size, gate):
        # Greeting, size bytes there and back, half-closed before the answer is read to its end.
        try: reader, writer = await asyncio.wait_for(asyncio.open_connection(host, port), 60)
        except ConnectionRefusedError: return "refused"
        except ConnectionResetError: return "reset"
        except (TimeoutError, asyncio.TimeoutError): return "silent"
        except OSError as e: return f"error {e}"
        try:
            name = (await asyncio.wait_for(reader.readline(), 60)).decode().strip() or "closed"
            await gate()
            sent = os.urandom(size)
            async def send():
                writer.write(sent); await writer.drain(); writer.write_eof()
            _, got = await asyncio.wait_for(asyncio.gather(send(), reader.read(-1)), 60)
            return name if got == sent else f"damaged {len(got)} of {size}"
        except ConnectionResetError: return "reset"
        except (TimeoutError, asyncio.TimeoutError): return "stuck"
        finally: writer.close()
    async def many(host, port, count, size):
        here, everybody = 0, asyncio.Event()
        async def gate():
            nonlocal here
            here += 1
            if here == count: everybody.set()
            try: await asyncio.wait_for(everybody.wait(), 20 if count > 1 else 0.01)
            except (TimeoutError, asyncio.TimeoutError): pass
        return await asyncio.gather(*[talk(host, port, size, gate) for _ in range(count)])
    def datagrams(host, port, sockets, rounds):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        answers = []
        for _ in range(sockets):
            with socket.socket(family, socket.SOCK_DGRAM) as s:
                s.settimeout(15)
                s.connect((host, port))
                for n in range(rounds):
                    sent = os.urandom(1 + n * 700)
                    try:
                        s.send(sent)
                        name, _, got = s.recv(65536).partition(b" ")
                        answers.append(name.decode() if got == sent else "damaged")
                    except ConnectionRefusedError: answers.append("refused")
                    except (TimeoutError, socket.timeout): answers.append("silent")
        return answers
    kind, host, port, count, size = sys.argv[1], *[w if i == 0 else int(w) for i, w in enumerate(sys.argv[2:])]
    answers = asyncio.run(many(host, port, count, size)) if kind == "TCP" else datagrams(host, port, count, size)
    for answer, times in collections.Counter(answers).items(): print(answer, times, sep="\\t")
    """

  init(limits: UserspaceLimits = UserspaceLimits()) throws {
    folder = try ScratchFolder.make("relay")
    _ = run("cat > \(folder)/server.py", input: Self.server)
    _ = run("cat > \(folder)/client.py", input: Self.client)
    let own = ["192.168.50.1/32", "fd00:50::1/128"]
    let all = Self.endpoints.values.flatMap { $0 }
    for address in own + all.map({ $0 + ($0.contains(":") ? "/128" : "/32") }) {
      _ = run("ip addr add \(address) dev lo")
    }
    let configuration = ProxyConfiguration(
      nodeName: "n1", podNetworks: [], clusterNetworks: [],
      nodePortAddresses: own.compactMap { IPAddress($0.split(separator: "/")[0]) })
    proxy = try UserspaceProxy(configuration: configuration, limits: limits, metrics: metrics)
    _ = run(
      "python3 \(folder)/server.py \(all.joined(separator: " ")) > \(folder)/log 2>&1 < /dev/null & echo $! > \(folder)/pid"
    )
    guard becomesTrue({ run("cat \(folder)/log").output.contains("ready") }) else {
      tearDown()
      throw NamespaceError(text: "the servers do not start: \(run("cat \(folder)/log").output)")
    }
  }

  func tearDown() {
    let proxy = proxy
    waitFor { await proxy.stop(removingAddresses: true) }
    _ = run("kill -9 $(cat \(folder)/pid)")
    ScratchFolder.remove(folder)
  }

  @discardableResult func sync(_ view: ClusterView) -> UserspaceProxy.Report {
    let proxy = proxy
    return waitFor { await proxy.sync(view) }
  }

  /// TCP: `count` connections at once, `size` bytes each; UDP: `count` sockets, `size` datagrams each. Answers with how often.
  func ask(_ transport: TransportProtocol, _ host: String, _ port: Int, count: Int = 1, size: Int = 1)
    -> [String: Int]
  {
    let output = run("python3 \(folder)/client.py \(transport.rawValue) \(host) \(port) \(count) \(size)")
      .output
    var answers: [String: Int] = [:]
    for line in output.split(separator: "\n") {
      let parts = line.split(separator: "\t")
      answers[String(parts[0])] = parts.count == 2 ? Int(parts[1]) : -1
    }
    return answers
  }

  /// A connection that the test holds; nil when it is not taken.
  func connect(_ host: String, _ port: UInt16) -> LabConnection? {
    let connection = LabConnection(host, port)
    connectError = connection == nil ? errno : 0
    return connection
  }
  /// Why the last one was not taken.
  private(set) var connectError: Int32 = 0

  func metric(_ name: String) -> Double? {
    metrics.text().split(separator: "\n").first { $0.hasPrefix(name + " ") }
      .flatMap { Double($0.dropFirst(name.count + 1)) }
  }
}

/// Runs asynchronous work from a thread that must not leave its namespace.
func waitFor<Value: Sendable>(_ body: @escaping @Sendable () async -> Value) -> Value {
  let result = Mutex<Value?>(nil)
  let box = Box(result: result)
  Task.detached {
    let value = await body()
    box.result.withLock { $0 = value }
  }
  while true {
    if let value = box.result.withLock({ $0 }) { return value }
    usleep(500)
  }
}

private final class Box<Value: Sendable>: Sendable {
  let result: Mutex<Value?>
  init(result: consuming Mutex<Value?>) { self.result = result }
}

/// A client's connection from the calling thread's namespace. Every call waits a bounded time.
final class LabConnection {
  private let descriptor: Int32

  fileprivate init?(_ host: String, _ port: UInt16) {
    let family = host.contains(":") ? AF_INET6 : AF_INET
    descriptor = socket(family, Int32(SOCK_STREAM.rawValue), 0)
    wait(seconds: 15)
    guard let address = IPAddress(host),
      SocketAddress(SocketEndpoint(address, port)).withSockaddr({ Glibc.connect(descriptor, $0, $1) }) == 0
    else { return nil }
  }

  deinit { close(descriptor) }

  func wait(seconds: Int, microseconds: Int = 0) {
    var time = timeval(tv_sec: seconds, tv_usec: microseconds)
    let size = socklen_t(MemoryLayout<timeval>.size)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &time, size)
    setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &time, size)
  }

  /// The name the server greets with; nil after a reset, an end or silence.
  func greeting() -> String? {
    var name: [UInt8] = []
    var byte: UInt8 = 0
    while recv(descriptor, &byte, 1, 0) == 1 {
      if byte == 10 { return String(decoding: name, as: UTF8.self) }
      name.append(byte)
    }
    return nil
  }

  /// Sends until `count` bytes are gone or the peer takes no more; how many went.
  func send(_ count: Int) -> Int {
    let piece = [UInt8](repeating: 7, count: 65_536)
    var sent = 0
    while sent < count {
      let result = Glibc.send(descriptor, piece, min(piece.count, count - sent), Int32(MSG_NOSIGNAL))
      guard result > 0 else { break }
      sent += result
    }
    return sent
  }

  func finishSending() { shutdown(descriptor, Int32(SHUT_WR)) }

  /// Bytes until `count` have come or no more do, and what ended it: 0 for the end, else errno.
  func receive(_ count: Int = .max) -> (bytes: Int, end: Int32) {
    var piece = [UInt8](repeating: 0, count: 65_536)
    var received = 0
    while received < count {
      let result = recv(descriptor, &piece, min(piece.count, count - received), 0)
      guard result > 0 else { return (received, result == 0 ? 0 : errno) }
      received += result
    }
    return (received, 0)
  }
}
