// A node in a network namespace: bridge, pods, a host outside, and real servers and clients (Python sockets).
//
//   pods a b c 10.42.0.11-13 -- cni0 10.42.0.1 [node] ext0 192.168.50.1 -- outside 192.168.50.2, also pod
// 10.42.1.21

import Glibc
import NamespaceLab
import Proxy
import SoakLab

/// Lives within `inFreshNamespace`; the thread's namespace is the node. `tearDown` must be called.
final class Node {
  private let prefix: String
  private let scripts: String
  /// Without the wrappers that a PATH may have before it, which cost more than the program.
  static let python = access("/usr/bin/python3", X_OK) == 0 ? "/usr/bin/python3 -IS" : "python3"
  private static let server = """
    import select, socket, sys
    name = sys.argv[1]
    def server(family, kind, port, address=""):
        s = socket.socket(family, kind); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6: s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        s.bind((address, port))
        if kind == socket.SOCK_STREAM: s.listen(256)
        return s
    families = [socket.AF_INET, socket.AF_INET6]
    tcp = [server(f, socket.SOCK_STREAM, 8080) for f in families]
    echo = [server(f, socket.SOCK_STREAM, 9090) for f in families]
    udp = [server(f, socket.SOCK_DGRAM, 5353) for f in families]
    # Answers to datagrams come from the address that they were sent to only where a socket has it.
    udp += [server(socket.AF_INET6 if ":" in a else socket.AF_INET, socket.SOCK_DGRAM, 5353, a) for a in sys.argv[2:]]
    held = []
    print("ready", flush=True)
    while True:
        for s in select.select(tcp + echo + udp + held, [], [], 120)[0] or sys.exit():
            if s in tcp:
                c, peer = s.accept()
                try: c.sendall(f"{name} {peer[0]}".encode())
                except OSError: pass
                c.close()
            elif s in echo:
                held.append(s.accept()[0])
            elif s in held:
                try: data = s.recv(64)
                except OSError: data = b""
                if data: s.sendall(name.encode()[:1])
                else: held.remove(s); s.close()
            else:
                data, peer = s.recvfrom(64); s.sendto(f"{name} {peer[0]}".encode(), peer)
    """
  private static let client = """
    import concurrent.futures, socket, sys
    def attempt(proto, host, port, source):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        s = socket.socket(family, socket.SOCK_STREAM if proto == "TCP" else socket.SOCK_DGRAM)
        s.settimeout(4)
        try:
            address, _, number = source.rpartition("@") if "@" in source else ("", "", source)
            s.bind((address, int(number)))
            s.connect((host, port))
            if proto == "UDP": s.send(b"x")
            return s.recv(64).decode() or "closed"
        except ConnectionRefusedError: return "refused"
        except (TimeoutError, socket.timeout): return "silent"
        except OSError as e: return f"error {e}"
        finally: s.close()
    def attempts(word):
        proto, host, port, count, source = word.split(",")
        answers = []
        for _ in range(int(count)):
            answers.append(attempt(proto, host, int(port), source))
            if answers[-1] == "silent": break
        return answers
    # Silence takes its time, so all of it is waited for at once.
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        for word, answers in zip(sys.argv[1:], pool.map(attempts, sys.argv[1:])):
            for answer in answers: print(word, answer, sep="\\t")
    """

  init() throws {
    scripts = try ScratchFolder.make("node")
    prefix = "wft" + scripts.suffix(6)
    _ = run("cat > \(scripts)/server.py", input: Self.server)
    _ = run("cat > \(scripts)/client.py", input: Self.client)
    var commands = [
      "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv6.conf.default.accept_dad=0",
      // Each refusal counts here; the kernel gives a client six at once and then one a second.
      "sysctl -qw net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0",
      "ip link add cni0 type bridge", "ip addr add 10.42.0.1/24 dev cni0", "ip link set cni0 up",
      "ip addr add fd00:42::1/64 dev cni0 nodad", "ip route add fd00:43::/112 dev cni0",
      "ip route add 10.43.0.0/16 dev cni0",
      "ip netns add \(prefix)-out", "ip link add ext0 type veth peer name eth0 netns \(prefix)-out",
      "ip netns exec \(prefix)-out sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.eth0.accept_dad=0",
      "sysctl -qw net.ipv6.conf.ext0.accept_dad=0",
      "ip addr add 192.168.50.1/24 dev ext0", "ip addr add fd00:50::1/64 dev ext0 nodad",
      "ip link set ext0 up",
      "ip -n \(prefix)-out addr add 192.168.50.2/24 dev eth0",
      "ip -n \(prefix)-out addr add 10.42.1.21/32 dev eth0",
      "ip -n \(prefix)-out link set lo up", "ip -n \(prefix)-out link set eth0 up",
      "ip -n \(prefix)-out addr add fd00:50::2/64 dev eth0 nodad",
      "ip -n \(prefix)-out addr add fd00:42:1::21/128 dev eth0 nodad",
      "ip -n \(prefix)-out route add default via 192.168.50.1",
      "ip -n \(prefix)-out route add default via fd00:50::1",
      "ip route add 10.42.1.0/24 via 192.168.50.2", "ip route add fd00:42:1::/64 via fd00:50::2",
      // Addresses of a load balancer that answers itself.
      "ip route add 203.0.113.0/24 via 192.168.50.2", "ip route add 2001:db8::/64 via fd00:50::2",
      "ip -n \(prefix)-out addr add 203.0.113.32/32 dev lo",
      "ip -n \(prefix)-out addr add 2001:db8::32/128 dev lo nodad",
    ]
    for (index, pod) in ["a", "b", "c"].enumerated() {
      commands += [
        "ip netns add \(prefix)-\(pod)",
        "ip link add vp\(pod) type veth peer name eth0 netns \(prefix)-\(pod)",
        // As the CNI plugin does: a node redirects who asks a Service for a wrong port.
        "ip netns exec \(prefix)-\(pod) sysctl -qw net.ipv6.conf.eth0.accept_dad=0 "
          + "net.ipv6.conf.eth0.accept_redirects=0 net.ipv4.conf.all.accept_redirects=0 "
          + "net.ipv4.conf.eth0.accept_redirects=0",
        "ip link set vp\(pod) master cni0 up", "bridge link set dev vp\(pod) hairpin on",
        "ip -n \(prefix)-\(pod) addr add 10.42.0.1\(index + 1)/24 dev eth0",
        "ip -n \(prefix)-\(pod) addr add fd00:42::1\(index + 1)/64 dev eth0 nodad",
        "ip -n \(prefix)-\(pod) link set lo up", "ip -n \(prefix)-\(pod) link set eth0 up",
        "ip -n \(prefix)-\(pod) route add default via 10.42.0.1",
        "ip -n \(prefix)-\(pod) route add default via fd00:42::1",
      ]
    }
    let result = run("sh -e", input: commands.joined(separator: "\n"))
    guard result.status == 0 else {
      tearDown()
      throw NamespaceError(text: result.output)
    }
    for pod in ["a", "b", "out"] {
      _ = run(
        "ip netns exec \(prefix)-\(pod) \(Self.python) \(scripts)/server.py \(pod)"
          + (pod == "out" ? " 10.42.1.21 fd00:42:1::21" : "")
          + " > \(scripts)/\(pod).log 2>&1 < /dev/null &"
      )
    }
    for pod in ["a", "b", "out"]
    where !becomesTrue({ run("cat \(scripts)/\(pod).log").output.contains("ready") }) {
      tearDown()
      throw NamespaceError(text: "the server of \(pod) does not start")
    }
  }

  /// The same server on the node itself, by the name `node`: an endpoint in the host's network.
  func serve() throws {
    _ = run(
      "\(Self.python) \(scripts)/server.py node 192.168.50.1 fd00:50::1 > \(scripts)/node.log 2>&1 < /dev/null &"
    )
    guard becomesTrue({ run("cat \(scripts)/node.log").output.contains("ready") }) else {
      throw NamespaceError(text: "the node's own server does not start")
    }
  }

  /// Runs `body` again and again while attempts are made from `place`, and returns their answers.
  func attempt(_ place: String, _ word: String, while body: () throws -> Void) rethrows -> [String] {
    _ = run(
      "rm -f \(scripts)/done; (ip netns exec \(prefix)-\(place) \(Self.python) \(scripts)/client.py \(word) > \(scripts)/client.log 2>&1; "
        + "touch \(scripts)/done) < /dev/null > /dev/null &")
    // Each round is one transaction; a client makes some thousand attempts a second.
    for _ in 0..<100_000 where access("\(scripts)/done", F_OK) != 0 { try body() }
    return run("cut -f2 \(scripts)/client.log").output.split(separator: "\n").map(String.init)
  }

  /// Runs attempts from `place` (a, b, c, out; empty for the node), each word's one after the other and the words beside each
  /// other. A word is PROTOCOL,HOST,PORT,COUNT,SOURCE; the source is a port or ADDRESS@PORT, with 0 for any. Answers by word,
  /// in order.
  func attempt(_ place: String, _ words: [String]) -> [String: [String]] {
    let enter = place.isEmpty ? "" : "ip netns exec \(prefix)-\(place) "
    let output = run("\(enter)\(Self.python) \(scripts)/client.py \(words.joined(separator: " "))").output
    var answers: [String: [String]] = [:]
    for line in output.split(separator: "\n") {
      let parts = line.split(separator: "\t", maxSplits: 1)
      if parts.count == 2 { answers[String(parts[0]), default: []].append(String(parts[1])) }
    }
    return answers
  }

  /// Runs a script in a place and returns what it prints.
  func execute(in place: String, script name: String, _ text: String, _ arguments: [String]) -> String {
    run(
      "ip netns exec \(prefix)-\(place) \(Self.python) \(file(name, text)) \(arguments.joined(separator: " "))"
    ).output
  }

  /// Runs a command in a place.
  @discardableResult
  func execute(in place: String, _ command: String) -> String { run(self.command(in: place, command)).output }

  /// The shell command that runs another one in a place.
  func command(in place: String, _ command: String) -> String {
    "ip netns exec \(prefix)-\(place) \(command)"
  }

  /// A file of its own, gone with the node.
  func file(_ name: String, _ text: String) -> String {
    _ = run("cat > \(scripts)/\(name)", input: text)
    return "\(scripts)/\(name)"
  }

  func tearDown() {
    // By their own folder too; some inherit a mask that blocks SIGTERM.
    _ = run("pgrep -f '^[^ ]*python3 (-IS )?\(scripts)/' | xargs -r kill -9")
    for place in ["a", "b", "c", "out"] {
      _ = run("ip netns pids \(prefix)-\(place) | xargs -r kill -9; ip netns del \(prefix)-\(place)")
    }
    ScratchFolder.remove(scripts)
  }
}
