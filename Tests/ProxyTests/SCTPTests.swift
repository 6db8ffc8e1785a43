// SCTP by packets: the kernel need not have SCTP sockets for the rules to translate it. The test is both ends of an association's
// beginning: INIT with a checksum of its own making, answered by INIT ACK, each checked for its CRC32c on arrival.

import Addresses
import ClusterObjects
import ClusterView
import KernelNftables
import Ruleset
import NamespaceLab
import Testing

@testable import Proxy

@Suite(.serialized, .timeLimit(.minutes(3))) struct SCTPTests {
  /// RFC 9260: common header (ports, verification tag, CRC32c with its least byte first), then chunks.
  private static let ends = """
    import socket, struct, sys, threading
    def crc32c(data):
        crc = 0xffffffff
        for byte in data:
            crc ^= byte
            for _ in range(8): crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
        return crc ^ 0xffffffff
    def packet(source, destination, tag, chunk):
        head = struct.pack("!HHI", source, destination, tag)
        return head + struct.pack("<I", crc32c(head + bytes(4) + chunk)) + chunk
    def parse(data, family):
        if family == socket.AF_INET: data = data[(data[0] & 15) * 4:]
        source, destination, tag = struct.unpack("!HHI", data[:8])
        whole = struct.unpack("<I", data[8:12])[0] == crc32c(data[:8] + bytes(4) + data[12:])
        return source, destination, tag, whole, data[12:]
    def chunk(kind, tag, parameter=b""):
        body = struct.pack("!IIHHI", tag, 65536, 1, 1, 7) + parameter
        return struct.pack("!BBH", kind, 0, 4 + len(body)) + body
    def serve(name, family):
        s = socket.socket(family, socket.SOCK_RAW, 132)
        while True:
            data, peer = s.recvfrom(2048)
            source, destination, tag, whole, rest = parse(data, family)
            if destination != 8080 or rest[0] != 1: continue
            told = f"{name} {peer[0]} {'whole' if whole and tag == 0 else 'damaged'}".encode()
            told += b" " * (-len(told) % 4)
            cookie = struct.pack("!HH", 7, 4 + len(told)) + told
            theirs = struct.unpack("!I", rest[4:8])[0]
            s.sendto(packet(8080, source, theirs, chunk(2, 99, cookie)), (peer[0], 0))
    def ask(host, port, own):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        s = socket.socket(family, socket.SOCK_RAW, 132); s.settimeout(5)
        s.connect((host, 0))
        s.send(packet(own, port, 0, chunk(1, 4711)))
        try:
            while True:
                source, destination, tag, whole, rest = parse(s.recv(2048), family)
                if destination != own: continue
                if not whole or source != port or tag != 4711 or rest[0] != 2: return "damaged"
                return rest[24:24 + struct.unpack("!H", rest[22:24])[0] - 4].decode().strip()
        except ConnectionRefusedError: return "refused"
        except (TimeoutError, socket.timeout): return "silent"
        except OSError as e: return f"error {e}"
    if sys.argv[1] == "serve":
        for family in (socket.AF_INET, socket.AF_INET6):
            threading.Thread(target=serve, args=(sys.argv[2], family)).start()
        print("ready", flush=True)
    else:
        for word in sys.argv[2:]:
            host, _, port = word.rpartition(",")
            for number in range(12): print(word, ask(host, int(port), 30000 + number), sep="\\t")
    """

  /// Service `number` with SCTP port 80, node port 30000 + number.
  private func objects(_ number: Int, _ pods: [String]) -> [JSON] {
    var all = feature(number, pods.map { End($0) }, as: "NodePort")
    let node = Int64(30000 + number)
    all[0].set(
      [["name": "sig", "protocol": "SCTP", "port": 80, "nodePort": .integer(node)]], at: "spec", "ports")
    for index in all.indices.dropFirst() {
      all[index].set([["name": "sig", "protocol": "SCTP", "port": 8080]], at: "ports")
    }
    return all
  }

  @Test func `an association begins through ClusterIP and node port, translated with a valid checksum`()
    throws
  {
    try inFreshNamespace {
      let node = try Node()
      defer { node.tearDown() }
      try #require(node.settle(), "the node's network does not carry packets")
      let script = node.file("sctp.py", Self.ends)
      for pod in ["a", "b"] {
        node.execute(in: pod, "\(Node.python) \(script) serve \(pod) > \(script).\(pod) 2>&1 < /dev/null &")
        try #require(becomesTrue { run("cat \(script).\(pod)").output.contains("ready") })
      }
      let view = ClusterView(objects: objects(40, ["a", "b"]) + objects(41, []))
      let plan = planProxy(view, featureConfiguration)
      #expect(plan.quarantined == [])
      _ = try RulesetSyncer(owned: ProxyTables.all).sync(plan.tables)
      func ask(_ place: String, _ words: [String]) -> [String: Set<String>] {
        let output = node.execute(in: place, script: "sctp.py", Self.ends, ["ask"] + words)
        var answers: [String: Set<String>] = [:]
        for line in output.split(separator: "\n") {
          let parts = line.split(separator: "\t", maxSplits: 1).map(String.init)
          if parts.count == 2 { answers[parts[0], default: []].insert(parts[1]) }
        }
        return answers
      }
      for family in IPFamily.allCases {
        let vip = "\(address("vip 40", family)),80"
        let wrong = "\(address("vip 40", family)),81"
        let empty = "\(address("vip 41", family)),80"
        let inside = ask("c", [vip, wrong, empty])
        let client = address("c", family)
        // Twelve draws of two: both are met, but for one time in two thousand; a source is kept either way.
        let served = inside[vip] ?? []
        #expect(
          !served.isEmpty && served.isSubset(of: ["a \(client) whole", "b \(client) whole"]), "\(inside)")
        #expect(inside[empty] == ["refused"] && inside[wrong] == ["refused"], "\(inside)")
        // From outside the node masquerades, so that answers come back by it.
        let port = "\(address("node", family)),30040"
        let bridge = address("bridge", family)
        let outside = ask("out", [port])[port] ?? []
        #expect(
          !outside.isEmpty && outside.isSubset(of: ["a \(bridge) whole", "b \(bridge) whole"]), "\(outside)")
      }
    }
  }
}
