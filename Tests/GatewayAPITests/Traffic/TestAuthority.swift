// An authority of one test, made with openssl, and servers that hold its certificates.

import ClusterObjects
import Foundation
import GatewayAPI
import Ingress
import NamespaceLab
import SoakLab

/// A folder with a root certificate; removed with the value.
final class TestAuthority {
  let folder: String
  var root: String { "\(folder)/root.pem" }
  private var count = 0

  init() throws {
    folder = try ScratchFolder.make("authority")
    try openssl(
      "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=root -keyout \(folder)/root.key -out \(root)"
    )
  }

  deinit { ScratchFolder.remove(folder) }

  /// A certificate with these subject alternative names, as openssl writes them: `DNS:a.org`, `URI:spiffe://a`. The path without
  /// `.pem` and `.key`.
  func issue(_ names: String...) throws -> String {
    count += 1
    let base = "\(folder)/\(count)"
    try openssl(
      "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=leaf -keyout \(base).key -out \(base).csr"
    )
    try "subjectAltName=\(names.joined(separator: ","))".write(
      toFile: "\(base).ext", atomically: true, encoding: .utf8)
    try openssl(
      "x509 -req -in \(base).csr -CA \(root) -CAkey \(folder)/root.key -CAcreateserial -days 20 -extfile \(base).ext -out \(base).pem"
    )
    return base
  }

  func secret(_ base: String) throws -> TLSSecret {
    let read = { (path: String) in Array(try Data(contentsOf: URL(fileURLWithPath: path))) }
    return TLSSecret(TLSCertificate(chain: try read("\(base).pem"), key: try read("\(base).key")))
  }

  var bundle: AuthorityBundle? {
    get throws {
      AuthorityBundle(configMap: ["data": ["ca.crt": JSON(try String(contentsOfFile: root, encoding: .utf8))]]
      )
    }
  }

  private func openssl(_ words: String) throws {
    let outcome = run("openssl \(words)")
    if outcome.status != 0 { throw TrafficFailed(text: outcome.output) }
  }
}

/// A server in Python. It says its ports on one line and ends with its standard input.
final class PythonServer {
  private let process = Process()
  private let input = Pipe()
  private(set) var ports: [UInt16] = []

  /// The interpreter with grpcio that scripts/setup-tests.sh installs.
  static let clients =
    URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().deletingLastPathComponent().path + "/.tools/clients/bin/python"

  init(_ script: String, _ arguments: String..., python: String = "/usr/bin/python3") throws {
    process.executableURL = URL(fileURLWithPath: python)
    process.arguments = ["-c", script] + arguments
    let output = Pipe()
    process.standardOutput = output
    process.standardInput = input
    process.standardError = FileHandle.nullDevice
    try process.run()
    var line = ""
    while !line.hasSuffix("\n") {
      let data = output.fileHandleForReading.availableData
      guard !data.isEmpty else { throw TrafficFailed(text: "the server did not start") }
      line += String(decoding: data, as: UTF8.self)
    }
    ports = line.split(whereSeparator: \.isWhitespace).compactMap { UInt16($0) }
  }

  func stop() {
    try? input.fileHandleForWriting.close()
    process.waitUntilExit()
  }

  /// HTTPS: answers with its name and the subject alternative names of the client's certificate. Arguments: name, certificate, key,
  /// and an authority that clients' certificates have to be of.
  static let https = """
    import http.server, ssl, sys, threading
    name, certificate, key = sys.argv[1:4]
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        def do_GET(self):
            shown = self.connection.getpeercert() or {}
            body = (name + "\\n" + " ".join(n for _, n in shown.get("subjectAltName", ())) + "\\n").encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        def log_message(self, *rest): pass
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    if len(sys.argv) > 4:
        context.load_verify_locations(sys.argv[4])
        context.verify_mode = ssl.CERT_REQUIRED
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    sys.stdin.read()
    """

  /// gRPC servers, one for each name: every unary call is answered with name, method and the metadata `x-set`. With a certificate and
  /// its key before the names (else `-`), by TLS.
  static let calls = """
    import grpc, sys
    from concurrent import futures
    certificate, key, names = sys.argv[1], sys.argv[2], sys.argv[3:]
    class Handler(grpc.GenericRpcHandler):
        def __init__(self, name): self.name = name
        def service(self, details):
            seen = dict(details.invocation_metadata)
            text = "%s %s %s" % (self.name, details.method, seen.get("x-set", "-"))
            return grpc.unary_unary_rpc_method_handler(lambda request, context: text.encode())
    ports = []
    servers = []
    for name in names:
        server = grpc.server(futures.ThreadPoolExecutor(4))
        server.add_generic_rpc_handlers((Handler(name),))
        if certificate == "-":
            ports.append(server.add_insecure_port("127.0.0.1:0"))
        else:
            pair = (open(key, "rb").read(), open(certificate, "rb").read())
            ports.append(server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair])))
        server.start()
        servers.append(server)
    print(*ports, flush=True)
    sys.stdin.read()
    for server in servers: server.stop(None)
    """

  /// Makes unary calls and prints the answer or the status of each. Arguments: port, then `AUTHORITY METHOD [NAME=VALUE…]` each.
  static let caller = """
    import grpc, sys
    for words in sys.argv[2:]:
        authority, method, *metadata = words.split()
        channel = grpc.insecure_channel("127.0.0.1:" + sys.argv[1], [("grpc.default_authority", authority)])
        try:
            call = channel.unary_unary(method)
            print(call(b"", metadata=[tuple(one.split("=")) for one in metadata], timeout=20).decode())
        except grpc.RpcError as error:
            print(error.code().name)
        channel.close()
    """
}
