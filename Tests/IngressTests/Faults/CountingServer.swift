// Servers that people have, each as a program of its own that writes down what it was asked.

import Addresses
import Foundation
import Glibc
import Reactor
import SoakLab

@testable import Ingress

/// A program that answers every request with 200 and writes a line with its target.
final class CountingServer {
  let name: String
  let endpoint: SocketEndpoint
  private let process = Process()
  private let folder: String
  private var log: String { "\(folder)/log" }

  /// What stands before a target in a line.
  private let mark: String

  /// - Parameters:
  ///   - command: what is run, with `PORT` and `FOLDER` in its words.
  ///   - files: of its folder, likewise.
  ///   - serves: whether it answers.
  init(
    _ name: String, _ command: [String], files: [String: String] = [:], environment: [String: String] = [:],
    mark: String = "", serves: (SocketEndpoint) -> Bool = { Client($0).get("/0")?.status == 200 }
  ) throws {
    self.name = name
    self.mark = mark
    folder = NSTemporaryDirectory() + "/weft-desync-\(name)-\(UInt64.random(in: 0 ..< .max))"
    let folder = folder
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    endpoint = SocketEndpoint(loopback, try freePort())
    let port = "\(endpoint.port)"
    func filled(_ text: String) -> String {
      text.replacing("PORT", with: port).replacing("FOLDER", with: folder)
    }
    for (file, text) in files {
      try filled(text).write(toFile: "\(folder)/\(file)", atomically: true, encoding: .utf8)
    }
    _ = FileManager.default.createFile(atPath: log, contents: nil)
    let output = try FileHandle(forWritingTo: URL(fileURLWithPath: log))
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = command.map(filled)
    process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
    process.standardOutput = output
    process.standardError = FileHandle(forWritingAtPath: "/dev/null")
    try process.run()
    let isUp = eventually { !process.isRunning || serves(endpoint) }
    guard isUp, process.isRunning else {
      stop()
      throw ToolFailed(text: "\(name) does not serve")
    }
  }

  /// The requests it has seen, by the number in the target.
  func seen() -> [Int: Int] {
    let text = (try? String(contentsOfFile: log, encoding: .utf8)) ?? ""
    var counts: [Int: Int] = [:]
    for line in text.split(separator: "\n") {
      let start = mark.isEmpty ? line.startIndex : line.range(of: mark)?.upperBound
      guard let start, let slash = line[start...].firstIndex(of: "/") else { continue }
      let digits = line[slash...].drop { !$0.isNumber }.prefix { $0.isNumber }
      if let number = Int(digits) { counts[number, default: 0] += 1 }
    }
    return counts
  }

  func stop() {
    if process.isRunning { kill(process.processIdentifier, SIGKILL) }
    process.waitUntilExit()
    try? FileManager.default.removeItem(atPath: folder)
  }
}

extension CountingServer {
  private static let clients =
    URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().deletingLastPathComponent().path + "/.tools/clients/bin/"

  /// nginx or haproxy, of HTTP/2 without TLS and behind a header of the PROXY protocol: the answer says who it is from.
  static func proxied(_ name: String) throws -> CountingServer {
    func serves(_ endpoint: SocketEndpoint) -> Bool {
      let client = FrameClient(endpoint, header: ProxyHeader.bytes(.v2, nil))
      client.get(1)
      return client.answer(1)?.status == 200
    }
    return name == "nginx"
      ? try CountingServer(
        name, nginxCommand,
        files: [
          "nginx.conf": Self.nginx.replacing("PORT;", with: "PORT http2 proxy_protocol;")
            .replacing("\"ok\"", with: "\"$proxy_protocol_addr $proxy_protocol_port\"")
        ], serves: serves)
      : try CountingServer(
        name, haproxyCommand,
        files: [
          "conf": Self.haproxy.replacing("PORT", with: "PORT accept-proxy proto h2")
            .replacing("string ok", with: #"lf-string "%[src] %[src_port]""#)
        ], serves: serves)
  }

  private static let nginxCommand = [
    "/usr/sbin/nginx", "-p", "FOLDER", "-c", "FOLDER/nginx.conf", "-e", "/dev/null",
  ]
  private static let haproxyCommand = ["/usr/sbin/haproxy", "-db", "-f", "FOLDER/conf"]

  /// One of nginx, haproxy, go (Traefik), llhttp (Node's parser, by aiohttp), aiohttp (its own), python (the standard library's).
  static func named(_ name: String) throws -> CountingServer {
    switch name {
    case "nginx":
      try CountingServer(name, nginxCommand, files: ["nginx.conf": Self.nginx])
    case "haproxy":
      try CountingServer(name, haproxyCommand, files: ["conf": Self.haproxy])
    case "go":
      try CountingServer(
        name,
        [
          Self.clients + "traefik", "--entrypoints.web.address=127.0.0.1:PORT", "--accesslog=true",
          "--accesslog.addinternals=true",
          "--accesslog.format=json", "--ping=true",
          "--ping.manualrouting=true", "--providers.file.filename=FOLDER/routes.yaml", "--log.level=ERROR",
          "--global.checknewversion=false", "--global.sendanonymoususage=false",
        ], files: ["routes.yaml": Self.traefik], mark: "\"RequestPath\":")
    case "llhttp":
      try CountingServer(
        name, [Self.clients + "python", "-u", "FOLDER/server.py", "PORT"], files: ["server.py": Self.aiohttp])
    case "aiohttp":
      try CountingServer(
        name, [Self.clients + "python", "-u", "FOLDER/server.py", "PORT"], files: ["server.py": Self.aiohttp],
        environment: ["AIOHTTP_NO_EXTENSIONS": "1"])
    default:
      try CountingServer(
        name, ["python3", "-u", "FOLDER/server.py", "PORT"], files: ["server.py": Self.library])
    }
  }

  private static let nginx = """
    daemon off; master_process off; pid FOLDER/pid; error_log /dev/null; worker_rlimit_nofile 4096;
    events { worker_connections 2048; }
    http {
    log_format target $request_uri; access_log /dev/stdout target;
    client_body_temp_path FOLDER/a; proxy_temp_path FOLDER/b; fastcgi_temp_path FOLDER/c;
    uwsgi_temp_path FOLDER/d; scgi_temp_path FOLDER/e;
    server { listen 127.0.0.1:PORT; location / { return 200 "ok"; } }
    }
    """

  private static let haproxy = """
    global
      log stdout format raw local0
      maxconn 2000
    defaults
      mode http
      log global
      timeout client 20s
      timeout server 20s
      timeout connect 20s
      log-format "%HU"
      option http-buffer-request
    frontend f
      bind 127.0.0.1:PORT
      http-request return status 200 content-type text/plain string ok

    """

  private static let traefik = """
    http:
      routers:
        all:
          rule: PathPrefix(`/`)
          service: ping@internal

    """

  private static let aiohttp = """
    import sys
    from aiohttp import web
    async def answer(request):
        await request.read()
        print(request.raw_path, flush=True)
        return web.Response(text="ok")
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", answer)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)

    """

  /// The standard library's server, with what its users write to read a body.
  private static let library = """
    import http.server, os, socketserver, sys
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        def answer(self):
            if self.headers.get("Transfer-Encoding") == "chunked":
                while True:
                    size = int(self.rfile.readline(65536).split(b";")[0], 16)
                    if size == 0: break
                    self.rfile.read(size + 2)
                while self.rfile.readline(65536).strip(): pass
            else:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
            os.write(1, (self.path + "\\n").encode())
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")
        do_GET = do_POST = do_DELETE = answer
        def log_message(self, *more): pass
    class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
        request_queue_size = 1024
        daemon_threads = True
    Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()

    """
}
