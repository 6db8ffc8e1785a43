// Bootstrap tokens that end, what they sign, and how long nodes may keep objects.

import ClusterClient
import ClusterObjects
import Diagnostics
import Testing

@testable import ClusterControllers

private func tokenSecret(
  _ id: String, signs: Bool = true, expires: String? = nil, _ more: JSON = [:], name: String? = nil
) -> JSON {
  var data: JSON = [
    "token-id": JSON(id), "token-secret": JSON("secret-of-\(id)"),
    "usage-bootstrap-signing": JSON("\(signs)"),
  ]
  if let expires { data["expiration"] = JSON(expires) }
  for (key, value) in more.object ?? [:] { data[key] = value }
  var encoded: JSON = [:]
  for (key, value) in data.object ?? [:] {
    encoded[key] = JSON(Base64.encode(Array((value.string ?? "").utf8)))
  }
  return [
    "apiVersion": "v1", "kind": "Secret", "type": "bootstrap.kubernetes.io/token",
    "metadata": ["namespace": "kube-system", "name": JSON(name ?? "bootstrap-token-\(id)")], "data": encoded,
  ]
}

private func info(_ kubeconfig: String = "where", _ signatures: JSON = [:]) -> JSON {
  var data: JSON = ["kubeconfig": JSON(kubeconfig)]
  for (key, value) in signatures.object ?? [:] { data[key] = value }
  return [
    "apiVersion": "v1", "kind": "ConfigMap",
    "metadata": ["namespace": "kube-public", "name": "cluster-info"], "data": data,
  ]
}

/// Enough to tell who signed what.
private let sign: BootstrapSignature = { "\($0) by \($1) with \($2)" }

@Suite struct BootstrapTokenTests {
  private let end = Timestamp.text(seconds: 2000)

  @Test func `a Secret is a token when its parts are whole and its name says its id`() throws {
    let token = try #require(BootstrapToken(tokenSecret("abc123", expires: end)))
    #expect(token.id == "abc123" && token.secret == "secret-of-abc123" && token.maySign)
    #expect(token.end == .at(2000) && token.end.left(now: 1990) == 10)
    #expect(BootstrapToken(tokenSecret("abc123"))?.end == .never)
    #expect(BootstrapToken(tokenSecret("abc123", signs: false))?.maySign == false)
    for wrong in [
      tokenSecret("abc123", name: "bootstrap-token-abc124"), tokenSecret("abc123", name: "other"),
      tokenSecret("abc12"), tokenSecret("ABC123"), tokenSecret("abc123", ["token-secret": ""]),
    ] {
      #expect(BootstrapToken(wrong) == nil, "\(wrong)")
    }
    var opaque = tokenSecret("abc123")
    opaque["type"] = "Opaque"
    #expect(BootstrapToken(opaque) == nil)
    var elsewhere = tokenSecret("abc123")
    elsewhere.set("default", at: "metadata", "namespace")
    #expect(BootstrapToken(elsewhere) == nil)
  }

  @Test func `an end that cannot be read is past`() {
    #expect(BootstrapTokenEnd(tokenSecret("abc123", expires: "tomorrow")).left(now: 1) ?? 1 <= 0)
    #expect(BootstrapTokenEnd(tokenSecret("abc123")).left(now: 1) == nil)
  }

  @Test func `those that may sign do, those that may not or are over do not, and nothing is written twice`()
    throws
  {
    let tokens = [
      tokenSecret("aaaaaa"), tokenSecret("bbbbbb", signs: false), tokenSecret("cccccc", expires: end),
    ].compactMap { BootstrapToken($0) }
    let old = info("where", ["jws-kubeconfig-gone00": "x", "jws-kubeconfig-aaaaaa": "forged", "notes": "n"])
    let wanted = try #require(planClusterInfoSignatures(old, tokens, now: 1000, signature: sign))
    #expect(
      wanted["data"] == [
        "kubeconfig": "where", "notes": "n",
        "jws-kubeconfig-aaaaaa": "where by aaaaaa with secret-of-aaaaaa",
        "jws-kubeconfig-cccccc": "where by cccccc with secret-of-cccccc",
      ])
    #expect(planClusterInfoSignatures(wanted, tokens.reversed(), now: 1000, signature: sign) == nil)
    let later = try #require(planClusterInfoSignatures(wanted, tokens, now: 2000, signature: sign))
    #expect(later.at("data", "jws-kubeconfig-cccccc") == nil)
    // Nothing to sign: left as it is.
    var empty = info()
    empty["data"] = ["other": "x"]
    #expect(planClusterInfoSignatures(empty, tokens, now: 1000, signature: sign) == nil)
  }
}

@Suite struct ObjectTTLTests {
  @Test(arguments: [
    ([0, 1, 100], 0), ([101], 15), ([500], 15), ([501], 30), ([1001], 60), ([2001], 300), ([5000], 300),
    // On the way back a step is kept until its lower end.
    ([101, 95], 15), ([101, 89], 0), ([501, 460], 30), ([501, 449], 15), ([5000, 1800], 300),
    ([5000, 1799], 60), ([5000, 3], 0),
  ])
  func `the time grows with the number of nodes, and does not swing on a boundary`(
    counts: [Int], seconds: Int
  ) {
    var ttl = ObjectTTL()
    for count in counts { ttl.observe(nodes: count) }
    #expect(ttl.seconds == seconds)
  }

  @Test func `a node that says it is left alone`() {
    let ttl = ObjectTTL()
    let told: JSON = ["metadata": ["name": "n", "annotations": ["node.alpha.kubernetes.io/ttl": "0"]]]
    #expect(ttl.plan(told) == nil)
    #expect(
      ttl.plan(["metadata": ["name": "n", "annotations": ["node.alpha.kubernetes.io/ttl": "15"]]])
        == ["metadata": ["annotations": ["node.alpha.kubernetes.io/ttl": "0"]]])
    #expect(ttl.plan(["metadata": ["name": "n"]]) != nil)
  }
}

@Suite(.timeLimit(.minutes(5))) struct BootstrapControllerTests {
  private func cluster(_ clock: FakeClock) -> TestCluster {
    var settings = ControllerSettings()
    settings.clock = clock.clock
    settings.bootstrapSignature = sign
    return TestCluster(settings: settings, runsPods: false)
  }

  private func secret(_ cluster: TestCluster, _ id: String) -> JSON? {
    cluster.get(.secrets, "bootstrap-token-\(id)", "kube-system")
  }

  private func data(_ cluster: TestCluster) -> JSON? {
    cluster.get(.configMaps, "cluster-info", "kube-public")?["data"]
  }

  @Test func `a token that is over is removed, and the others stay`() async throws {
    let clock = FakeClock()
    let cluster = cluster(clock)
    try await cluster.create(
      .secrets, tokenSecret("passed", expires: Timestamp.text(seconds: 999_999)))
    try await cluster.create(
      .secrets, tokenSecret("coming", expires: Timestamp.text(seconds: 1_000_100)))
    try await cluster.create(.secrets, tokenSecret("always"))
    try await cluster.create(.secrets, tokenSecret("broken", expires: "never"))
    var opaque = tokenSecret("opaque", expires: Timestamp.text(seconds: 1))
    opaque["type"] = "Opaque"
    try await cluster.create(.secrets, opaque)
    #expect(await eventually { secret(cluster, "passed") == nil && secret(cluster, "broken") == nil })
    #expect(secret(cluster, "coming") != nil && secret(cluster, "always") != nil)
    clock.advance(200)
    // Looked at again when something of it changes, and else within a minute.
    try await cluster.api.patchAnnotation(.secrets, ObjectKey("kube-system", "bootstrap-token-coming"))
    #expect(await eventually { secret(cluster, "coming") == nil })
    #expect(secret(cluster, "always") != nil && secret(cluster, "opaque") != nil)
    await cluster.stop()
  }

  @Test func `what says where the cluster is carries the signature of each token, as tokens come and go`()
    async throws
  {
    let cluster = cluster(FakeClock())
    try await cluster.create(.configMaps, info())
    try await cluster.create(.secrets, tokenSecret("aaaaaa"))
    #expect(
      await eventually {
        data(cluster)?["jws-kubeconfig-aaaaaa"] == "where by aaaaaa with secret-of-aaaaaa"
      })
    // A forged one, and a content that changes.
    _ = try await cluster.api.patch(
      .configMaps, namespace: "kube-public", name: "cluster-info",
      patch: .merge(["data": ["kubeconfig": "there", "jws-kubeconfig-ffffff": "me"]]), subresource: nil,
      options: WriteOptions())
    #expect(
      await eventually {
        data(cluster) == [
          "kubeconfig": "there", "jws-kubeconfig-aaaaaa": "there by aaaaaa with secret-of-aaaaaa",
        ]
      }, "\(String(describing: data(cluster)))")
    try await cluster.api.delete(
      .secrets, namespace: "kube-system", name: "bootstrap-token-aaaaaa", options: DeleteOptions())
    #expect(await eventually { data(cluster) == ["kubeconfig": "there"] })
    await cluster.stop()
  }

  @Test func `nodes are told how long they may keep objects`() async throws {
    let cluster = cluster(FakeClock())
    for number in 0..<3 {
      try await cluster.create(
        .nodes, ["apiVersion": "v1", "kind": "Node", "metadata": ["name": JSON("n\(number)")], "spec": [:]])
    }
    #expect(
      await eventually {
        cluster.api.objects(.nodes).allSatisfy { $0.annotations["node.alpha.kubernetes.io/ttl"] == "0" }
      })
    // Somebody takes it away.
    _ = try await cluster.api.patch(
      .nodes, namespace: "", name: "n1",
      patch: .merge(["metadata": ["annotations": ["node.alpha.kubernetes.io/ttl": "700"]]]), subresource: nil,
      options: WriteOptions())
    #expect(
      await eventually {
        cluster.get(.nodes, "n1", "")?.annotations["node.alpha.kubernetes.io/ttl"] == "0"
      })
    await cluster.stop()
  }
}

extension MemoryClusterAPI {
  /// A change that means nothing.
  fileprivate func patchAnnotation(_ resource: GroupVersionResource, _ key: ObjectKey) async throws {
    _ = try await patch(
      resource, namespace: key.namespace, name: key.name,
      patch: .merge(["metadata": ["annotations": ["touched": "true"]]]), subresource: nil,
      options: WriteOptions())
  }
}
