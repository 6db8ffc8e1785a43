"""Serves a folder over HTTP: files.py ADDRESS PORT FOLDER.

`python3 -m http.server` asks for the name of its address before it serves, and where no server of names answers that takes ten
seconds.
"""

import functools
import http.server
import socketserver
import sys


class Server(http.server.ThreadingHTTPServer):
    def server_bind(self):
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]


address, port, folder = sys.argv[1:]
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
Server((address, int(port)), handler).serve_forever()
