// T-I8 under a bound of memory: an ingress whose process may take only so much (RLIMIT_AS) is asked for more than that, by clients that do
// not read what they asked for, and by ten times as many others as their endpoint takes. It lives, serves as many as before, and says 503
// to the rest at once.

import Foundation
import SoakLab
import Testing

@Suite(.serialized) struct IngressMemoryTests {
  private struct Outcome: Decodable {
    var peak: Int
    var good: Int
    var refused: Int
    var lateMilliseconds: Double
    var others: [String]
    var readers: Int
  }

  /// A field of /proc/PID/status in bytes.
  private func memory(_ field: String, _ process: Int32) -> Int {
    let text = (try? String(contentsOfFile: "/proc/\(process)/status", encoding: .utf8)) ?? ""
    for line in text.split(separator: "\n") where line.hasPrefix(field + ":") {
      return (line.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0) << 10
    }
    return 0
  }

  private func ingress(_ node: TestNode, _ folder: String, bound: Int?) throws -> Process {
    // With the soft limit of descriptors that most systems begin with.
    try node.background(
      ["prlimit", "--nofile=1024:20000"] + (bound.map { ["--as=\($0)"] } ?? []) + [
        Project.weft, "ingress", "--manifests", folder + "/manifests", "--http", "127.0.0.1:8080", "--https",
        "none", "--metrics", "none",
      ])
  }

  @Test(.timeLimit(.minutes(4)))
  func `a data plane with little memory serves what it can and refuses the rest at once`() throws {
    let node = try TestNode()
    defer { node.remove() }
    let folder = node.dataFolder + "-memory"
    try FileManager.default.createDirectory(atPath: folder + "/manifests", withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    try Self.manifests.replacing("ADDRESS", with: node.address).write(
      toFile: folder + "/manifests/objects.yaml", atomically: true, encoding: .utf8)
    let server = try node.background(["python3", "-c", Self.server, node.address])
    defer { kill(server.processIdentifier, SIGKILL) }
    func answers() -> Bool {
      node.exec("curl", "-s", "-m", "20", "-H", "Host: shop.test", "http://127.0.0.1:8080/").standardOutput
        == "ok"
    }

    // What both processes take of address space when they do nothing.
    let free = try ingress(node, folder, bound: nil)
    defer { kill(free.processIdentifier, SIGKILL) }
    try #require(eventually(within: 40) { answers() } != nil)
    let plane = try #require(children(of: free.processIdentifier).first)
    let (whole, own) = (memory("VmPeak", free.processIdentifier), memory("VmSize", plane))
    try #require(own > 0 && whole > own)
    kill(free.processIdentifier, SIGTERM)
    free.waitUntilExit()

    let bound = whole + 64 << 20
    let bounded = try ingress(node, folder, bound: bound)
    defer { kill(bounded.processIdentifier, SIGKILL) }
    try #require(eventually(within: 40) { answers() } != nil)
    let first = children(of: bounded.processIdentifier)
    #expect(first.count == 1)
    // Each holds 160 KiB when it does not read: together they would take half as much again as there is.
    let readers = (bound - own) * 3 / 2 / (160 << 10)
    let seconds = Soak.rounds(2, long: 20)
    let output = node.exec(
      ["prlimit", "--nofile=20000", "python3", "-c", Self.clients, "\(readers)", "\(seconds)"], seconds: 150)
    let outcome = try #require(
      try? JSONDecoder().decode(Outcome.self, from: Data(output.standardOutput.utf8)), "\(output)")
    #expect(outcome.others.isEmpty, "\(outcome)")
    #expect(outcome.peak > 10 && outcome.good > 10 && outcome.refused > 0, "\(outcome)")
    // So many were there that a process without such limits would have ended.
    #expect(outcome.readers == readers, "\(outcome)")
    if Soak.isLong {
      #expect(Double(outcome.good) >= 0.8 * Double(outcome.peak), "\(outcome)")
      #expect(outcome.lateMilliseconds <= 50, "\(outcome)")
    }
    Soak.report(
      "memory bound \((bound - own) >> 20) MiB, \(readers) slow readers: \(outcome.good) served of \(outcome.peak) at capacity, \(outcome.refused) refused, p99 \(outcome.lateMilliseconds) ms"
    )
    #expect(children(of: bounded.processIdentifier) == first, "it ended, and another began")
    #expect(answers())
    kill(bounded.processIdentifier, SIGTERM)
    bounded.waitUntilExit()
    #expect(bounded.terminationStatus == 0)
  }

  private static let manifests =
    ["shop", "big"].map { name in
      """
      apiVersion: v1
      kind: Service
      metadata: {name: \(name), namespace: default, annotations: {\(name == "shop" ? "weft.dev/max-requests: '6'" : "")}}
      spec: {ports: [{port: 80, targetPort: 9000}]}
      ---
      apiVersion: discovery.k8s.io/v1
      kind: EndpointSlice
      metadata: {name: \(name)-1, namespace: default, labels: {kubernetes.io/service-name: \(name)}}
      addressType: IPv4
      ports: [{port: 9000, protocol: TCP}]
      endpoints: [{addresses: [ADDRESS]}]
      ---
      apiVersion: networking.k8s.io/v1
      kind: Ingress
      metadata: {name: \(name), namespace: default, annotations: {kubernetes.io/ingress.class: weft}}
      spec:
        rules:
        - host: \(name).test
          http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: \(name), port: {number: 80}}}}]}
      ---

      """
    }.joined() + """
      apiVersion: networking.k8s.io/v1
      kind: IngressClass
      metadata: {name: weft}
      spec: {controller: weft.dev/ingress}
      """

  /// Takes 20 milliseconds for an answer, or gives one of a megabyte.
  private static let server = """
    import asyncio, resource, sys
    resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000))
    piece = bytes(65536)
    async def serve(reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\\r\\n\\r\\n")
                if b"Host: big.test" in head:
                    writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 1048576\\r\\n\\r\\n")
                    for _ in range(16):
                        writer.write(piece)
                        await writer.drain()
                else:
                    await asyncio.sleep(0.02)
                    writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok")
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
    async def main():
        server = await asyncio.start_server(serve, sys.argv[1], 9000, backlog=4096)
        await server.serve_forever()
    asyncio.run(main())
    """

  /// Six users, then clients that do not read, then sixty users; who is refused rests as long as an answer takes.
  private static let clients = """
    import asyncio, json, socket, sys, time
    readers, seconds = int(sys.argv[1]), float(sys.argv[2])
    async def user(until, out):
        reader, writer = await asyncio.open_connection("127.0.0.1", 8080)
        while time.monotonic() < until:
            begin = time.monotonic()
            try:
                writer.write(b"GET / HTTP/1.1\\r\\nHost: shop.test\\r\\n\\r\\n")
                head = await asyncio.wait_for(reader.readuntil(b"\\r\\n\\r\\n"), 20)
                length = next(int(l[16:]) for l in head.split(b"\\r\\n") if l.lower().startswith(b"content-length: "))
                await reader.readexactly(length)
                status = head[9:12].decode()
            except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError, StopIteration) as error:
                out["others"].append(repr(error)[:100])
                return
            if status == "200": out["good"] += 1
            elif status == "503":
                out["late"].append(time.monotonic() - begin)
                await asyncio.sleep(0.02)
            else: out["others"].append(status)
        writer.close()
    async def load(count):
        out = {"good": 0, "late": [], "others": []}
        until = time.monotonic() + seconds
        await asyncio.gather(*[user(until, out) for _ in range(count)])
        return out
    async def main():
        peak = await load(6)
        slow = []
        for _ in range(readers):
            s = socket.socket()
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.settimeout(30)
            s.connect(("127.0.0.1", 8080))
            s.sendall(b"GET / HTTP/1.1\\r\\nHost: big.test\\r\\n\\r\\n")
            slow.append(s)
        # All of them have been served as far as may be.
        for s in slow[-20:]:
            try: s.recv(1, socket.MSG_PEEK)
            except OSError: pass
        over = await load(60)
        late = sorted(over["late"])
        print(json.dumps({
            "peak": peak["good"], "good": over["good"], "refused": len(late), "readers": len(slow),
            "lateMilliseconds": round(late[len(late) * 99 // 100] * 1000, 1) if late else 0,
            "others": (peak["others"] + over["others"])[:10]}))
    asyncio.run(main())
    """
}
