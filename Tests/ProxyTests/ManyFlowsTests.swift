// Goal: as many masqueraded flows to one endpoint as a busy node may see are all carried, none in another's place. `make soak` opens 28,000.

import Addresses
import ClusterObjects
import ClusterView
import KernelNftables
import NamespaceLab
import Proxy
import Ruleset
import SoakLab
import Testing

@Suite(.serialized, .timeLimit(.minutes(10))) struct ManyFlowsTests {
  @Test func `thousands of masqueraded flows to one endpoint are all answered`() throws {
    try inFreshNamespace {
      let node = try Node()
      defer { node.tearDown() }
      let count = Soak.rounds(2000, long: 28_000)
      let view = ClusterView(objects: [
        service("dns", "10.43.0.11", [nodePort(30053, "UDP", name: "dns", at: 53)], ["type": "NodePort"]),
        endpointSlice("dns", [podA], port: 5353, transport: "UDP", name: "dns"),
      ])
      _ = try RulesetSyncer(owned: ProxyTables.all).sync(planProxy(view, clusterConfiguration).tables)
      // All flows stay open; each has a port of its own, and each answer must be its own question's.
      let output = node.execute(
        in: "out", script: "flows.py",
        """
        import os, resource, socket, sys
        # A process may hold only so many sockets: several share the flows, and close none before all are done.
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        most = 7000 if hard < 0 else min(7000, hard - 100)
        def share(count):
            flows = []
            for number in range(count):
                s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5)
                s.connect(("192.168.50.1", 30053)); flows.append(s)
            answered, sources = 0, set()
            for turn in range(2):
                for s in flows:
                    for attempt in range(3):
                        try:
                            s.send(b"x"); sources.add(s.recv(64)); answered += 1
                            break
                        except OSError: pass
            return flows, answered, sources
        left, children = int(sys.argv[1]), []
        end, ended = os.pipe()
        while left > 0:
            told, tell = os.pipe()
            if os.fork() == 0:
                os.close(ended)
                flows, answered, sources = share(min(left, most))
                os.write(tell, repr((answered, sources)).encode())
                os.close(tell); os.read(end, 1); os._exit(0)
            os.close(tell); children.append(told); left -= most
        results = [eval(os.read(told, 4096)) for told in children]
        print(sum(answered for answered, _ in results), sorted(set().union(*(sources for _, sources in results))))
        """, ["\(count)"])
      #expect(output == "\(2 * count) [b'a 10.42.0.1']\n", "\(output)")
      Soak.report("proxy: \(count) masqueraded flows to one endpoint: \(output.prefix { $0 != "\n" })")
    }
  }
}
