// gRPC from its own library to its own library, through the ingress: every kind of call, statuses, metadata, deadlines, and what a
// caller is told when there is nobody to answer.

import Addresses
import Foundation
import Testing

@testable import Ingress

@Suite(.serialized) struct GRPCTests {
  /// The interpreter with grpcio that scripts/setup-tests.sh installs.
  private static let python =
    URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    .deletingLastPathComponent().deletingLastPathComponent().path + "/.tools/clients/bin/python"

  /// A server in a process of its own; it says its port and ends with its standard input.
  private final class Server {
    let process = Process()
    let input = Pipe()
    let endpoint: SocketEndpoint

    init(_ arguments: String...) throws {
      process.executableURL = URL(fileURLWithPath: GRPCTests.python)
      process.arguments = ["-c", GRPCTests.server] + arguments
      let output = Pipe()
      process.standardOutput = output
      process.standardInput = input
      // It tells of the callers' refusals, which are wanted here.
      process.standardError = FileHandle.nullDevice
      try process.run()
      var line = ""
      while !line.hasSuffix("\n") {
        let data = output.fileHandleForReading.availableData
        guard !data.isEmpty else { throw SetUpFailed() }
        line += String(decoding: data, as: UTF8.self)
      }
      guard let port = UInt16(line.dropLast()) else { throw SetUpFailed() }
      endpoint = SocketEndpoint(loopback, port)
    }

    func stop() {
      try? input.fileHandleForWriting.close()
      process.waitUntilExit()
    }
  }

  private func call(_ port: UInt16, _ arguments: String...) -> ToolOutput {
    run([Self.python, "-c", Self.client, "\(port)"] + arguments)
  }

  private static let expected = """
    unary b'olleh' [('x-last', 'unary')] StatusCode.OK
    large 300000
    down 100
    up b'1000'
    both 50
    status StatusCode.RESOURCE_EXHAUSTED too much: 100% \u{e4}
    deadline StatusCode.DEADLINE_EXCEEDED
    seen-deadline True
    cancelled StatusCode.CANCELLED
    missing StatusCode.UNIMPLEMENTED
    many 200

    """

  @Test func `every kind of call passes, with metadata, status and deadline`() throws {
    let server = try Server("plain")
    defer { server.stop() }
    let ingress = try TestIngress(everything(to: [server.endpoint], by: h2c))
    defer { ingress.stop() }
    let output = call(ingress.endpoint.port, "plain")
    #expect(output.status == 0 && output.text == Self.expected, "\(output)")
  }

  @Test func `the same with TLS on both sides, the endpoint's certificate verified`() throws {
    let authority = try Authority()
    let own = try authority.issue("grpc.demo")
    let server = try Server(
      "tls", String(decoding: own.key, as: UTF8.self), String(decoding: own.chain, as: UTF8.self))
    defer { server.stop() }
    let root = try Data(contentsOf: URL(fileURLWithPath: authority.root))
    var policy = h2c
    policy.tls = UpstreamTLS(serverName: "grpc.demo", authorities: Array(root))
    let front = try authority.issue("front.demo")
    let ingress = try TestIngress(
      everything(to: [server.endpoint], by: policy),
      tls: TLSTable(certificates: [front], names: [TLSName("front.demo", .certificate(0))]))
    defer { ingress.stop() }
    let output = call(ingress.secure.port, "tls", authority.root)
    #expect(output.status == 0 && output.text == Self.expected, "\(output)")
    // Another name than the certificate's: the endpoint is not spoken with.
    policy.tls?.serverName = "other.demo"
    ingress.install(everything(to: [server.endpoint], by: policy))
    ingress.settle()
    #expect(
      call(ingress.endpoint.port, "one").text == "StatusCode.UNAVAILABLE weft ingress: 502 Bad Gateway\n")
    // Without an authority nothing is verified.
    policy.tls?.authorities = []
    ingress.install(everything(to: [server.endpoint], by: policy))
    ingress.settle()
    #expect(call(ingress.endpoint.port, "one").text == "b'olleh'\n")
  }

  @Test func `a caller without endpoint, without route or out of time gets a status of gRPC's own`() throws {
    let ingress = try TestIngress(everything(to: [], by: h2c))
    defer { ingress.stop() }
    #expect(
      call(ingress.endpoint.port, "one").text
        == "StatusCode.UNAVAILABLE weft ingress: 503 Service Unavailable\n")
    ingress.install(RouteTable())
    ingress.settle()
    #expect(
      call(ingress.endpoint.port, "one").text == "StatusCode.UNIMPLEMENTED weft ingress: 404 Not Found\n")
    // The ingress ends it, whether or not the caller watches its clock: a raw request shows it.
    let backend = try FrameBackend { server, _ in
      guard server.greet() else { return }
      while server.next(1, 3) != nil {}
    }
    defer { backend.stop() }
    ingress.install(everything(to: [backend.endpoint], by: h2c))
    ingress.settle()
    let client = FrameClient(ingress)
    client.get(
      1,
      [
        (":method", "POST"), (":scheme", "http"), (":path", "/a/b"), (":authority", "a"),
        ("content-type", "application/grpc"), ("te", "trailers"), ("grpc-timeout", "150m"),
      ])
    let answer = client.next(1)
    #expect(answer?.flags == 5)
    #expect(fields(answer?.payload ?? [])["grpc-status"] == "4")
  }

  @Test(arguments: [
    ("1S", 1_000_000_000), ("100m", 100_000_000), ("99999999n", 99_999_999), ("2M", 120_000_000_000),
    ("1H", 3_600_000_000_000), ("7u", 7_000), ("99999999H", 0), ("", 0), ("S", 0), ("123456789S", 0),
    ("1x", 0),
    ("-1S", 0), ("1.5S", 0), ("1 S", 0),
  ]) func `a caller's deadline is read to the letter`(text: String, nanoseconds: UInt64) {
    let found = Array(text.utf8).withUnsafeBytes { Exchange.grpcTimeout($0) }
    #expect(found == nanoseconds)
  }

  private static let server = #"""
    import sys, time, threading
    from concurrent import futures
    import grpc
    state = {"deadline": False}
    def unary(request, context):
        context.set_trailing_metadata((("x-last", "unary"),))
        return request[::-1]
    def status(request, context):
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too much: 100% \u00e4")
    def slow(request, context):
        left = context.time_remaining()
        if left is not None and left < 5: state["deadline"] = True
        while context.is_active(): time.sleep(0.01)
        return b""
    def seen(request, context): return str(state["deadline"]).encode()
    def down(request, context):
        for index in range(100): yield b"%d" % index
    def up(requests, context): return b"%d" % sum(1 for _ in requests)
    def both(requests, context):
        for request in requests: yield request
    calls = {
        "unary": grpc.unary_unary_rpc_method_handler(unary), "status": grpc.unary_unary_rpc_method_handler(status),
        "slow": grpc.unary_unary_rpc_method_handler(slow), "seen": grpc.unary_unary_rpc_method_handler(seen),
        "down": grpc.unary_stream_rpc_method_handler(down), "up": grpc.stream_unary_rpc_method_handler(up),
        "both": grpc.stream_stream_rpc_method_handler(both),
    }
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("weft.Test", calls),))
    if sys.argv[1] == "tls":
        credentials = grpc.ssl_server_credentials([(sys.argv[2].encode(), sys.argv[3].encode())])
        port = server.add_secure_port("127.0.0.1:0", credentials)
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    sys.stdin.read()
    server.stop(0)
    """#

  private static let client = #"""
    import sys, grpc
    port, kind = sys.argv[1:3]
    if kind == "tls":
        credentials = grpc.ssl_channel_credentials(open(sys.argv[3], "rb").read())
        channel = grpc.secure_channel("127.0.0.1:" + port, credentials,
            (("grpc.ssl_target_name_override", "front.demo"),))
    else:
        channel = grpc.insecure_channel("127.0.0.1:" + port)
    if kind == "one":
        try: print(channel.unary_unary("/weft.Test/unary")(b"hello", timeout=20))
        except grpc.RpcError as error: print(error.code(), error.details())
        sys.exit(0)
    answer, call = channel.unary_unary("/weft.Test/unary").with_call(b"hello", timeout=20)
    print("unary", answer, [(a, b) for a, b in call.trailing_metadata()], call.code())
    print("large", len(channel.unary_unary("/weft.Test/unary")(b"x" * 300000, timeout=20)))
    print("down", len(list(channel.unary_stream("/weft.Test/down")(b"", timeout=20))))
    print("up", channel.stream_unary("/weft.Test/up")((b"x" * 100 for _ in range(1000)), timeout=20))
    print("both", len(list(channel.stream_stream("/weft.Test/both")((b"%d" % i for i in range(50)), timeout=20))))
    try: channel.unary_unary("/weft.Test/status")(b"", timeout=20)
    except grpc.RpcError as error: print("status", error.code(), error.details())
    try: channel.unary_unary("/weft.Test/slow")(b"", timeout=0.3)
    except grpc.RpcError as error: print("deadline", error.code())
    print("seen-deadline", channel.unary_unary("/weft.Test/seen")(b"", timeout=20).decode())
    future = channel.unary_unary("/weft.Test/slow").future(b"", timeout=20)
    future.cancel()
    try: future.result()
    except grpc.FutureCancelledError: print("cancelled", future.code())
    try: channel.unary_unary("/weft.Test/missing")(b"", timeout=20)
    except grpc.RpcError as error: print("missing", error.code())
    futures = [channel.unary_unary("/weft.Test/unary").future(b"%d" % i, timeout=30) for i in range(200)]
    print("many", sum(1 for f in futures if f.result() is not None))
    """#
}
