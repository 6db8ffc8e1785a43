// A node in a network namespace: bridge, pods, a host outside, and real servers and clients (Python sockets).
//
//   pods a b c 10.42.0.11-13 -- cni0 10.42.0.1 [node] ext0 192.168.50.1 -- outside 192.168.50.2, also pod
// 10.42.1.21

import Glibc
import Proxy

/// Lives within `inFreshNamespace`; the thread's namespace is the node. `tearDown` must be called.
final class Node {
  private let prefix: String
  private let scripts: String
  private static let server = """
    import select, socket, sys
    name = sys.argv[1]
    def server(family, kind, port):
        s = socket.socket(family, kind); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6: s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        s.bind(("", port))
        if kind == socket.SOCK_STREAM: s.listen(256)
        return s
    families = [socket.AF_INET, socket.AF_INET6]
    tcp = [server(f, socket.SOCK_STREAM, 8080) for f in families]
    udp = [server(f, socket.SOCK_DGRAM, 5353) for f in families]
    print("ready", flush=True)
    while True:
        for s in select.select(tcp + udp, [], [], 120)[0] or sys.exit():
            if s in tcp:
                c, peer = s.accept(); c.sendall(f"{name} {peer[0]}".encode()); c.close()
            else:
                data, peer = s.recvfrom(64); s.sendto(f"{name} {peer[0]}".encode(), peer)
    """
  private static let client = """
    import socket, sys
    def attempt(proto, host, port, source):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        s = socket.socket(family, socket.SOCK_STREAM if proto == "TCP" else socket.SOCK_DGRAM)
        s.settimeout(0.7)
        try:
            if source: s.bind(("", source))
            s.connect((host, port))
            if proto == "UDP": s.send(b"x")
            return s.recv(64).decode() or "closed"
        except ConnectionRefusedError: return "refused"
        except (TimeoutError, socket.timeout): return "silent"
        except OSError as e: return f"error {e}"
        finally: s.close()
    for word in sys.argv[1:]:
        proto, host, port, count, source = word.split(",")
        for _ in range(int(count)):
            answer = attempt(proto, host, int(port), int(source))
            print(word, answer, sep="\\t")
            if answer == "silent": break
    """

  init() throws {
    var template = Array("/tmp/weft-node-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw NamespaceError(text: "mkdtemp") }
    scripts = template.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
    prefix = "wft" + scripts.suffix(6)
    _ = run("cat > \(scripts)/server.py", input: Self.server)
    _ = run("cat > \(scripts)/client.py", input: Self.client)
    var commands = [
      "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1",
      "ip link add cni0 type bridge", "ip addr add 10.42.0.1/24 dev cni0", "ip link set cni0 up",
      "ip addr add fd00:42::1/64 dev cni0 nodad", "ip route add fd00:43::/112 dev cni0",
      "ip route add 10.43.0.0/16 dev cni0",
      "ip netns add \(prefix)-out", "ip link add ext0 type veth peer name eth0 netns \(prefix)-out",
      "ip addr add 192.168.50.1/24 dev ext0", "ip link set ext0 up",
      "ip -n \(prefix)-out addr add 192.168.50.2/24 dev eth0",
      "ip -n \(prefix)-out addr add 10.42.1.21/32 dev eth0",
      "ip -n \(prefix)-out link set lo up", "ip -n \(prefix)-out link set eth0 up",
      "ip -n \(prefix)-out route add default via 192.168.50.1",
      "ip route add 10.42.1.0/24 via 192.168.50.2",
    ]
    for (index, pod) in ["a", "b", "c"].enumerated() {
      commands += [
        "ip netns add \(prefix)-\(pod)",
        "ip link add vp\(pod) type veth peer name eth0 netns \(prefix)-\(pod)",
        "ip link set vp\(pod) master cni0 up", "bridge link set dev vp\(pod) hairpin on",
        "ip -n \(prefix)-\(pod) addr add 10.42.0.1\(index + 1)/24 dev eth0",
        "ip -n \(prefix)-\(pod) addr add fd00:42::1\(index + 1)/64 dev eth0 nodad",
        "ip -n \(prefix)-\(pod) link set lo up", "ip -n \(prefix)-\(pod) link set eth0 up",
        "ip -n \(prefix)-\(pod) route add default via 10.42.0.1",
        "ip -n \(prefix)-\(pod) route add default via fd00:42::1",
      ]
    }
    for command in commands {
      let result = run(command)
      guard result.status == 0 else {
        tearDown()
        throw NamespaceError(text: "\(command): \(result.output)")
      }
    }
    for pod in ["a", "b", "out"] {
      _ = run(
        "ip netns exec \(prefix)-\(pod) python3 \(scripts)/server.py \(pod)"
          + " > \(scripts)/\(pod).log 2>&1 < /dev/null &"
      )
    }
    for pod in ["a", "b", "out"]
    where !becomesTrue({ run("cat \(scripts)/\(pod).log").output.contains("ready") }) {
      tearDown()
      throw NamespaceError(text: "the server of \(pod) does not start")
    }
  }

  /// Runs `body` again and again while attempts are made from `place`, and returns their answers.
  func attempt(_ place: String, _ word: String, while body: () throws -> Void) rethrows -> [String] {
    _ = run(
      "(ip netns exec \(prefix)-\(place) python3 \(scripts)/client.py \(word) > \(scripts)/client.log 2>&1; "
        + "touch \(scripts)/done) < /dev/null > /dev/null &")
    // Each round is one transaction; a client makes some thousand attempts a second.
    for _ in 0..<100_000 where access("\(scripts)/done", F_OK) != 0 { try body() }
    return run("cut -f2 \(scripts)/client.log").output.split(separator: "\n").map(String.init)
  }

  /// Runs attempts from `place` (a, b, c, out; empty for the node). Answers by attempt, in order.
  func attempt(_ place: String, _ words: [String]) -> [String: [String]] {
    let enter = place.isEmpty ? "" : "ip netns exec \(prefix)-\(place) "
    let output = run("\(enter)python3 \(scripts)/client.py \(words.joined(separator: " "))").output
    var answers: [String: [String]] = [:]
    for line in output.split(separator: "\n") {
      let parts = line.split(separator: "\t", maxSplits: 1)
      if parts.count == 2 { answers[String(parts[0]), default: []].append(String(parts[1])) }
    }
    return answers
  }

  func tearDown() {
    for place in ["a", "b", "c", "out"] {
      _ = run("ip netns pids \(prefix)-\(place) | xargs -r kill; ip netns del \(prefix)-\(place)")
    }
    _ = run("rm -rf \(scripts)")
  }
}

/// Polls until `condition` holds, at most ten seconds.
func becomesTrue(_ condition: () -> Bool) -> Bool {
  for _ in 0..<200 {
    if condition() { return true }
    usleep(50_000)
  }
  return false
}
