"""The endpoint of the edits: 1 KiB to every request, and to those for /ws an upgrade that says back what it is told. echo.py PORT"""
import asyncio, sys

BODY = b"b" * 1024
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1024\r\n\r\n" + BODY


class Endpoint(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.input, self.echoes = transport, b"", False

    def data_received(self, data):
        if self.echoes: return self.transport.write(data)
        self.input += data
        while (end := self.input.find(b"\r\n\r\n")) >= 0:
            head, self.input = self.input[:end], self.input[end + 4:]
            if head.startswith(b"GET /ws "):
                self.transport.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
                self.echoes = True
                return
            self.transport.write(ANSWER)


async def main():
    server = await asyncio.get_running_loop().create_server(Endpoint, "0.0.0.0", int(sys.argv[1]), backlog=1024)
    await server.serve_forever()

asyncio.run(main())
