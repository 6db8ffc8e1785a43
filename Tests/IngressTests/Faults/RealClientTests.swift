// Clients that people have: wrk over many connections, three WebSocket libraries (websocket-client, aiohttp, autobahn). curl, h2load, nghttp
// and grpcio are in HTTP2Tests, TLSTests and GRPCTests.

import Addresses
import Foundation
import Glibc
import Reactor
import Synchronization
import Testing

@testable import Ingress

@Suite(.serialized) struct RealClientTests {
  private static let python =
    URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().deletingLastPathComponent().path + "/.tools/clients/bin/python"

  @Test func `wrk gets nothing but answers over many connections, with and without TLS`() throws {
    let backend = try Backend("b")
    let authority = try Authority()
    let tls = TLSTable(certificates: [try authority.issue("web.demo")], defaultCertificate: 0)
    let ingress = try TestIngress(everything(to: [backend.endpoint]), tls: tls)
    defer {
      ingress.stop()
      backend.kill()
    }
    for url in ["http://\(ingress.endpoint)/large/1024", "https://\(ingress.secure)/"] {
      let output = run(["wrk", "-t", "1", "-c", "64", "-d", "1", "--timeout", "30", url])
      #expect(output.status == 0 && output.text.contains("requests in"), "\(output)")
      #expect(!output.text.contains("Non-2xx") && !output.text.contains("Socket errors"), "\(output)")
    }
    #expect(backend.served.load(ordering: .relaxed) > 100)
  }

  @Test(arguments: ["websocket-client", "aiohttp", "autobahn"])
  func `a WebSocket library speaks with a server of another through the ingress`(library: String) throws {
    let folder = NSTemporaryDirectory() + "/weft-ws-\(UInt64.random(in: 0 ..< .max))"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let endpoint = try local(Sockets.listenTCP(SocketEndpoint(loopback, 0)))
    let server = Process()
    server.executableURL = URL(fileURLWithPath: Self.python)
    server.arguments = ["-c", Self.server, "\(endpoint.port)"]
    server.standardError = FileHandle.nullDevice
    try server.run()
    defer {
      kill(server.processIdentifier, SIGKILL)
      server.waitUntilExit()
    }
    try #require(eventually { Client(endpoint).get("/up")?.status == 200 })
    let authority = try Authority()
    let tls = TLSTable(certificates: [try authority.issue("localhost")], defaultCertificate: 0)
    let ingress = try TestIngress(everything(to: [endpoint]), tls: tls)
    defer { ingress.stop() }
    for url in ["ws://127.0.0.1:\(ingress.endpoint.port)/ws", "wss://localhost:\(ingress.secure.port)/ws"] {
      let output = run([Self.python, "-c", Self.clients[library] ?? "", url, authority.root])
      #expect(output.status == 0 && output.text == Self.expected, "\(url) \(output)")
    }
  }

  private static let expected = """
    text 5 hello
    empty 0
    binary 65536
    large 1000000
    many 200
    close 4001

    """

  private static let server = """
    import sys
    from aiohttp import web, WSMsgType
    async def echo(request):
        socket = web.WebSocketResponse(max_msg_size=1 << 24, compress=False)
        await socket.prepare(request)
        async for message in socket:
            if message.type == WSMsgType.TEXT:
                if message.data == "close": await socket.close(code=4001, message=b"as asked")
                else: await socket.send_str(message.data)
            elif message.type == WSMsgType.BINARY: await socket.send_bytes(message.data)
        return socket
    async def up(request): return web.Response(text="up")
    app = web.Application()
    app.router.add_get("/ws", echo)
    app.router.add_get("/up", up)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)
    """

  private static let clients = [
    "websocket-client": """
    import os, sys, websocket
    w = websocket.create_connection(sys.argv[1], timeout=30, sslopt={"ca_certs": sys.argv[2]})
    w.send("hello"); r = w.recv(); print("text", len(r), r)
    w.send(""); print("empty", len(w.recv()))
    b = os.urandom(65536); w.send_binary(b); r = w.recv(); assert r == b; print("binary", len(r))
    w.ping("x")
    b = os.urandom(1000000); w.send_binary(b); r = w.recv(); assert r == b; print("large", len(r))
    for i in range(200): w.send(str(i))
    print("many", sum(w.recv() == str(i) for i in range(200)))
    w.send("close")
    code, data = w.recv_data()
    print("close", int.from_bytes(data[:2], "big"))
    """,
    "aiohttp": """
    import aiohttp, asyncio, os, ssl, sys
    async def main():
        tls = ssl.create_default_context(cafile=sys.argv[2]) if sys.argv[1].startswith("wss") else None
        async with aiohttp.ClientSession() as session:
            async with session.ws_connect(sys.argv[1], ssl=tls or True, max_msg_size=1 << 24) as w:
                await w.send_str("hello"); r = await w.receive_str(); print("text", len(r), r)
                await w.send_str(""); print("empty", len(await w.receive_str()))
                b = os.urandom(65536); await w.send_bytes(b); r = await w.receive_bytes(); assert r == b; print("binary", len(r))
                await w.ping(b"x")
                b = os.urandom(1000000); await w.send_bytes(b); r = await w.receive_bytes(); assert r == b; print("large", len(r))
                for i in range(200): await w.send_str(str(i))
                print("many", sum([await w.receive_str() == str(i) for i in range(200)]))
                await w.send_str("close")
                await w.receive()
                print("close", w.close_code)
    asyncio.run(main())
    """,
    "autobahn": """
    import asyncio, os, ssl, sys
    from autobahn.asyncio.websocket import WebSocketClientFactory, WebSocketClientProtocol
    from urllib.parse import urlsplit
    class Client(WebSocketClientProtocol):
        def onOpen(self): self.task = asyncio.ensure_future(self.talk())
        def onConnect(self, response): self.queue = asyncio.Queue()
        def onMessage(self, payload, isBinary): self.queue.put_nowait(payload)
        def onClose(self, clean, code, reason):
            print("close", code)
            over.set_result(None)
        async def ask(self, payload, binary=False, fragment=None):
            self.sendMessage(payload, isBinary=binary, fragmentSize=fragment)
            return await self.queue.get()
        async def talk(self):
            r = await self.ask(b"hello", fragment=2); print("text", len(r), r.decode())
            print("empty", len(await self.ask(b"")))
            b = os.urandom(65536); r = await self.ask(b, True); assert r == b; print("binary", len(r))
            self.sendPing(b"x")
            b = os.urandom(1000000); r = await self.ask(b, True, 1000); assert r == b; print("large", len(r))
            for i in range(200): self.sendMessage(str(i).encode())
            print("many", sum([await self.queue.get() == str(i).encode() for i in range(200)]))
            self.sendMessage(b"close")
    async def main():
        global over
        loop = asyncio.get_running_loop()
        over = loop.create_future()
        factory = WebSocketClientFactory(sys.argv[1])
        factory.protocol = Client
        parts = urlsplit(sys.argv[1])
        tls = ssl.create_default_context(cafile=sys.argv[2]) if parts.scheme == "wss" else None
        await loop.create_connection(factory, parts.hostname, parts.port, ssl=tls)
        await asyncio.wait_for(over, 40)
    asyncio.run(main())
    """,
  ]
}
