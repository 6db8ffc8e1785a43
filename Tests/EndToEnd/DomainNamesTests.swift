// ClusterNetworkPolicy by names of the outside: a pod reaches what cluster DNS answered it from a real server for the names that a
// policy accepts, and nothing else; a record that changes changes what is reached.
import Foundation
import Testing

@Suite(.serialized) struct DomainNamesTests {
  private static let pages = ["172.31.99.3", "172.31.99.4", "172.31.99.5"]

  private static let policy = """
    apiVersion: policy.networking.k8s.io/v1beta1
    kind: ClusterNetworkPolicy
    metadata: {name: shop}
    spec:
      tier: Admin
      priority: 1
      subject:
        namespaces: {matchLabels: {kubernetes.io/metadata.name: demo}}
      egress:
        - {name: the-shop, action: Accept, to: [{domainNames: ["www.shop.test"]}]}
        - {name: nobody-else, action: Deny, to: [{networks: ["0.0.0.0/0"]}]}

    """

  /// A name server of the outside that says where `www.shop.test` is.
  private func nameServer(_ node: TestNode, www: String) throws -> Process {
    _ = try node.write(
      "shop.zone",
      """
      $ORIGIN shop.test.
      $TTL 1
      @ SOA ns hostmaster 1 3600 600 86400 1
      @ NS ns
      ns A \(node.outsideAddress)
      www A \(www)
      other A \(Self.pages[1])

      """)
    let settings = try node.write(
      "knot.conf",
      """
      server:
          listen: \(node.outsideAddress)@53
          rundir: \(node.dataFolder)
      database:
          storage: \(node.dataFolder)
      zone:
        - domain: shop.test
          file: \(node.dataFolder)/shop.zone
          zonefile-sync: -1
          journal-content: none

      """)
    return try outside(node, ["/usr/sbin/knotd", "-c", settings])
  }

  private func outside(_ node: TestNode, _ arguments: [String]) throws -> Process {
    try node.background(["nsenter", "--net=/run/netns/\(node.outside)", "--"] + arguments)
  }

  @Test(.timeLimit(.minutes(5)))
  func `a pod reaches what its cluster DNS answered for an accepted name, and nothing else`() throws {
    let node = try TestNode()
    defer { node.remove() }
    var running: [Process] = []
    // SIGTERM they were born with blocked: they would stay.
    defer { for process in running where process.isRunning { kill(process.processIdentifier, SIGKILL) } }
    node.execOutside("ip", "route", "add", "10.42.0.0/16", "via", node.address)
    for page in Self.pages {
      node.execOutside("ip", "addr", "add", "\(page)/24", "dev", "eth0")
      running.append(
        try outside(node, Project.files("/usr/share/doc/apt", at: page, "80")))
    }
    let knot = try nameServer(node, www: Self.pages[0])
    running.append(knot)
    let corefile = try node.write(
      "Corefile",
      """
      .:53 {
        kubernetes cluster.local in-addr.arpa ip6.arpa
        forward . \(node.outsideAddress)
      }

      """)
    try node.start(["--demo", "--http", "none", "--https", "none", "--corefile", corefile])
    let isReady = eventually(within: 120) {
      node.kubectl("get", "pod", "client", "-n", "demo", "-o", "jsonpath={.status.phase}").trimmed
        == "Running"
    }
    try #require(isReady != nil, "\(node.log.suffix(3000))")

    func reaches(_ page: String) -> Bool {
      node.inPodNetwork("client", ["curl", "-s", "-o", "/dev/null", "-m", "2", "http://\(page)/"]).status == 0
    }
    func becomes(_ page: String, reached: Bool) -> Bool {
      eventually(within: 60, every: 0.2) { reaches(page) == reached } != nil
    }
    func answers(_ name: String, _ address: String) -> Bool {
      eventually(within: 60, every: 0.2) {
        node.inPodNetwork("client", ["dig", "+short", "+time=10", "+tries=1", "@10.43.0.10", name]).lines
          == [address]
      } != nil
    }
    // Without a policy everything is reached: the servers and the ways are there.
    for page in Self.pages { #expect(becomes(page, reached: true), "\(page) \(node.log.suffix(2000))") }

    let manifest = try node.write("policy.yaml", Self.policy)
    let applied = eventually(within: 60, every: 0.5) { node.kubectl("apply", "-f", manifest).status == 0 }
    try #require(applied != nil, "\(node.kubectl("apply", "-f", manifest))")
    for page in Self.pages { #expect(becomes(page, reached: false), "nobody has asked for \(page)") }

    #expect(answers("www.shop.test", Self.pages[0]), "\(node.log.suffix(2000))")
    #expect(becomes(Self.pages[0], reached: true), "\(node.exec("nft", "list", "ruleset"))")
    #expect(answers("other.shop.test", Self.pages[1]))
    #expect(!reaches(Self.pages[1]) && !reaches(Self.pages[2]), "names that are not accepted")

    // The shop moves.
    knot.terminate()
    knot.waitUntilExit()
    running.append(try nameServer(node, www: Self.pages[2]))
    #expect(answers("www.shop.test", Self.pages[2]), "\(node.log.suffix(2000))")
    #expect(becomes(Self.pages[2], reached: true))
    #expect(!reaches(Self.pages[1]))

    #expect(node.kubectl("delete", "clusternetworkpolicy", "shop").status == 0)
    #expect(becomes(Self.pages[1], reached: true))
    #expect(node.stop(SIGINT) == 0, "\(node.log.suffix(3000))")
  }
}
