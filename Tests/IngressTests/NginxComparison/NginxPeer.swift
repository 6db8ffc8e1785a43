// Debian's nginx as the other one of a comparison: one process, one configuration in a folder that goes with it.

import Addresses
import Foundation
import Reactor
import SoakLab
import Testing

@testable import Ingress

final class NginxPeer {
  private(set) var endpoint = SocketEndpoint(loopback, 0)
  private(set) var secure = SocketEndpoint(loopback, 0)
  private var process = Process()
  private let folder: String

  /// What ingress-nginx's documentation says that an endpoint gets, and where it is.
  static func pass(_ upstream: String, _ more: String = "", host: String = "$http_host") -> String {
    """
    proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Proxy "";
    proxy_set_header Host \(host); proxy_set_header X-Request-ID $request_id;
    proxy_set_header X-Real-IP $remote_addr; proxy_set_header X-Forwarded-For $remote_addr;
    proxy_set_header X-Forwarded-Host $http_host; proxy_set_header X-Forwarded-Port $server_port;
    proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Scheme $scheme;
    proxy_set_header X-Scheme $scheme; proxy_set_header X-Original-Forwarded-For $http_x_forwarded_for;
    \(more) proxy_pass http://\(upstream);
    """
  }

  /// - Parameters:
  ///   - http: what stands in `http`, with `PORT` and `SECURE` for the ports that are listened on and `FOLDER` for its folder.
  ///   - files: more files of the folder.
  init(http: String, upstreams: [String: SocketEndpoint], files: [String: [UInt8]] = [:]) throws {
    folder = NSTemporaryDirectory() + "/weft-nginx-\(UInt64.random(in: 0 ..< .max))"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    for (name, bytes) in files { try Data(bytes).write(to: URL(fileURLWithPath: "\(folder)/\(name)")) }
    let pools = upstreams.map { "upstream \($0) { server \($1); keepalive 8; }" }.joined(separator: "\n")
    let places = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map {
      "\($0)_temp_path \(folder)/\($0);"
    }
    let pattern = """
      daemon off; master_process off; pid \(folder)/pid; error_log \(folder)/error.log; worker_rlimit_nofile 1024;
      events { worker_connections 256; }
      http {
      access_log off; server_names_hash_bucket_size 128; types { } default_type text/html;
      \(places.joined(separator: " "))
      \(pools)
      \(http)
      }
      """
    if try start(pattern) { return }
    throw ToolFailed(text: (try? String(contentsOfFile: "\(folder)/error.log", encoding: .utf8)) ?? "nginx")
  }

  /// False when it ended at once.
  private func start(_ pattern: String) throws -> Bool {
    endpoint = SocketEndpoint(loopback, try freePort())
    secure = SocketEndpoint(loopback, try freePort())
    var text = pattern
    for (word, value) in [("PORT", "\(endpoint.port)"), ("SECURE", "\(secure.port)"), ("FOLDER", folder)] {
      text = text.components(separatedBy: word).joined(separator: value)
    }
    try Data(text.utf8).write(to: URL(fileURLWithPath: "\(folder)/nginx.conf"))
    process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/sbin/nginx")
    process.arguments = ["-p", folder, "-c", "\(folder)/nginx.conf", "-e", "\(folder)/error.log"]
    process.standardError = FileHandle.nullDevice
    try process.run()
    let isUp = eventually { !process.isRunning || Client(endpoint).get("/", host: "nobody.test") != nil }
    if isUp, process.isRunning { return true }
    end()
    return false
  }

  private func end() {
    if process.isRunning { kill(process.processIdentifier, SIGKILL) }
    process.waitUntilExit()
  }

  func stop() {
    end()
    try? FileManager.default.removeItem(atPath: folder)
  }
}
