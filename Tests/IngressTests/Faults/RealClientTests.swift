// Clients that people have: wrk over many connections, three WebSocket libraries (websocket-client, aiohttp, autobahn). curl, h2load, nghttp
// and grpcio are in HTTP2Tests, TLSTests and GRPCTests.

import Addresses
import Foundation
import Glibc
import Reactor
import SoakLab
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

  /// A server in Python that echoes WebSockets, and an ingress in front of it.
  private final class WebSocketLab {
    let endpoint: SocketEndpoint
    let ingress: TestIngress
    let authority: Authority
    private let server = Process()

    init(compresses: Bool) throws {
      endpoint = SocketEndpoint(loopback, try freePort())
      server.executableURL = URL(fileURLWithPath: RealClientTests.python)
      server.arguments = ["-c", RealClientTests.server, "\(endpoint.port)", compresses ? "deflate" : "plain"]
      server.standardError = FileHandle.nullDevice
      try server.run()
      authority = try Authority()
      let tls = TLSTable(certificates: [try authority.issue("localhost")], defaultCertificate: 0)
      ingress = try TestIngress(everything(to: [endpoint]), tls: tls)
      let endpoint = endpoint
      try #require(eventually { Client(endpoint).get("/up")?.status == 200 })
    }

    deinit {
      ingress.stop()
      guard server.isRunning else { return }
      kill(server.processIdentifier, SIGKILL)
      server.waitUntilExit()
    }

    var direct: String { "ws://127.0.0.1:\(endpoint.port)/ws" }
    var plain: String { "ws://127.0.0.1:\(ingress.endpoint.port)/ws" }
    var secure: String { "wss://localhost:\(ingress.secure.port)/ws" }

    func speak(_ script: String, _ url: String, _ more: String...) -> ToolOutput {
      run([RealClientTests.python, "-c", script, url, authority.root] + more)
    }
  }

  @Test(arguments: ["websocket-client", "aiohttp", "autobahn"])
  func `a WebSocket library speaks with a server of another through the ingress`(library: String) throws {
    let lab = try WebSocketLab(compresses: false)
    for url in [lab.plain, lab.secure] {
      let output = lab.speak(Self.clients[library] ?? "", url)
      #expect(output.status == 0 && output.text == Self.expected, "\(url) \(output)")
    }
  }

  /// Text, binary of sizes around those of the frame's length fields, pieces, pings between pieces, codes of both sides' ends, with
  /// permessage-deflate (RFC 7692) and without: what the client sees is compared line by line.
  @Test(arguments: ["deflate", "plain"])
  func `autobahn sees through the ingress what it sees without it`(compression: String) throws {
    let lab = try WebSocketLab(compresses: compression == "deflate")
    let wanted = lab.speak(Self.longTalk, lab.direct, compression)
    #expect(
      wanted.status == 0 && !wanted.text.contains("False 0") && !wanted.text.contains("failed"), "\(wanted)")
    let agreed = compression == "deflate" ? "['PerMessageDeflate']" : "[]"
    #expect(wanted.text.split(separator: "\n").count { $0 == "agreed \(agreed)" } == 3, "\(wanted)")
    #expect(wanted.text.split(separator: "\n").count { $0.hasPrefix("closed True") } == 3, "\(wanted)")
    for url in [lab.plain, lab.secure] {
      let output = lab.speak(Self.longTalk, url, compression)
      #expect(output.status == 0 && output.text == wanted.text, "\(url) \(output)")
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
        socket = web.WebSocketResponse(max_msg_size=1 << 24, compress=sys.argv[2] == "deflate")
        await socket.prepare(request)
        async for message in socket:
            if message.type == WSMsgType.TEXT:
                if message.data.startswith("close"): await socket.close(code=int(message.data[5:] or 4001), message=b"as asked")
                else: await socket.send_str(message.data)
            elif message.type == WSMsgType.BINARY: await socket.send_bytes(message.data)
        return socket
    async def up(request): return web.Response(text="up")
    app = web.Application()
    app.router.add_get("/ws", echo)
    app.router.add_get("/up", up)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)
    """

  private static let longTalk = #"""
    import asyncio, hashlib, random, ssl, sys
    from autobahn.asyncio.websocket import WebSocketClientFactory, WebSocketClientProtocol
    from autobahn.websocket.compress import PerMessageDeflateOffer, PerMessageDeflateResponse, PerMessageDeflateResponseAccept
    from urllib.parse import urlsplit
    numbers = random.Random(1)
    def digest(b): return hashlib.sha256(b).hexdigest()[:12]
    class Client(WebSocketClientProtocol):
        def onConnect(self, response):
            self.queue, self.pongs = asyncio.Queue(), asyncio.Queue()
            print("agreed", [type(e).__name__ for e in [self._perMessageCompress] if e])
        def onOpen(self): self.task = asyncio.ensure_future(self.talk())
        def onMessage(self, payload, isBinary): self.queue.put_nowait((payload, isBinary))
        def onPong(self, payload): self.pongs.put_nowait(payload)
        def onClose(self, clean, code, reason):
            print("closed", clean, code, reason)
            over.set_result(None)
        async def echoed(self, name, payload, binary):
            got, kind = await self.queue.get()
            print(name, len(got), kind, got == payload, digest(got))
        async def talk(self):
            try:
                for name, payload in [("empty", b""), ("text", "größe ☃ \U0001f600".encode()), ("alike", b"a" * 300000)]:
                    self.sendMessage(payload, isBinary=False)
                    await self.echoed(name, payload, False)
                for size in [0, 1, 125, 126, 127, 65535, 65536, 1000000]:
                    payload = numbers.randbytes(size)
                    self.sendMessage(payload, isBinary=True)
                    await self.echoed("binary", payload, True)
                # In pieces of many sizes, of one byte too, with a ping between two of them.
                for size in [1, 7, 1000]:
                    payload = numbers.randbytes(5000)
                    self.sendMessage(payload, isBinary=True, fragmentSize=size)
                    await self.echoed("pieces %d" % size, payload, True)
                self.beginMessage(isBinary=False)
                self.sendMessageFrame(b"be")
                self.sendPing(b"between")
                self.sendMessageFrame(b"tween")
                self.endMessage()
                print("pong", await self.pongs.get())
                await self.echoed("around a ping", b"between", False)
                for size in [0, 1, 125]:
                    payload = numbers.randbytes(size)
                    self.sendPing(payload)
                    print("pong", size, await self.pongs.get() == payload)
                for i in range(500): self.sendMessage(b"%d" % i)
                print("many", sum([(await self.queue.get())[0] == b"%d" % i for i in range(500)]))
                if asked.startswith("server"): self.sendMessage(b"close" + asked[6:].encode())
                else: self.sendClose(int(asked), "enough")
            except Exception as error:
                print("failed", repr(error))
                self.dropConnection()
    async def main():
        global over, asked
        deflates = sys.argv[3] == "deflate"
        for asked in ["1000", "4999", "server4001"]:
            loop = asyncio.get_running_loop()
            over = loop.create_future()
            factory = WebSocketClientFactory(sys.argv[1])
            factory.protocol = Client
            if deflates:
                factory.setProtocolOptions(
                    perMessageCompressionOffers=[PerMessageDeflateOffer()],
                    perMessageCompressionAccept=lambda r: PerMessageDeflateResponseAccept(r) if isinstance(r, PerMessageDeflateResponse) else None)
            parts = urlsplit(sys.argv[1])
            tls = ssl.create_default_context(cafile=sys.argv[2]) if parts.scheme == "wss" else None
            await loop.create_connection(factory, parts.hostname, parts.port, ssl=tls)
            await asyncio.wait_for(over, 60)
    asyncio.run(main())
    """#

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
