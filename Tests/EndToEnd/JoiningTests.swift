// A node that joins with a bootstrap token and kubelet's own config file, and what changes on it while its pods run: certificates,
// objects in volumes, devices; at last its machine goes down.
import Foundation
import StoreLab
import Testing

@Suite(.serialized, .timeLimit(.minutes(6))) struct JoiningTests {
  private static let python = Project.root.appending(path: ".tools/clients/bin/python").path()
  private static let plugin = Project.root.appending(path: "Tests/EndToEnd/Clients/device_plugin.py").path()

  @Test
  func `a node joins by a token, rotates what it shows, follows objects and devices, and goes down in order`()
    throws
  {
    let pair = try NodePair(network: "host-gw")
    defer { pair.remove() }
    try pair.startServer()
    let ready = eventually(within: 60) { pair.kubectl("get", "--raw", "/readyz").standardOutput == "ok" }
    try #require(ready != nil, "\(pair.logs)")
    try join(pair)
    try servesItsOwnCertificate(pair)
    try podsRun(pair)
    objectsChange(pair)
    try devicesAreGiven(pair)
    goesDown(pair)
  }

  /// Writes a file that goes with the pair.
  private func file(_ pair: NodePair, _ name: String, _ text: String) throws -> String {
    try FileManager.default.createDirectory(
      atPath: pair.dataFolder(0), withIntermediateDirectories: true, attributes: [.posixPermissions: 0o755])
    let path = "\(pair.dataFolder(0))/\(name)"
    try text.write(toFile: path, atomically: true, encoding: .utf8)
    return path
  }

  private func apply(_ pair: NodePair, _ text: String) throws {
    let path = try file(pair, "apply.yaml", text)
    let applied = eventually(within: 60) { pair.kubectl("apply", "-f", path).status == 0 }
    try #require(applied != nil, "\(pair.kubectl("apply", "-f", path))")
  }

  /// The token is all that is applied: what a node may do is the server's own.
  private func join(_ pair: NodePair) throws {
    try apply(
      pair,
      """
      apiVersion: v1
      kind: Secret
      metadata: { name: bootstrap-token-abcdef, namespace: kube-system }
      type: bootstrap.kubernetes.io/token
      stringData:
        token-id: abcdef
        token-secret: 0123456789abcdef
        usage-bootstrap-authentication: "true"
      ---
      apiVersion: v1
      kind: ConfigMap
      metadata: { name: settings }
      data: { colour: red }

      """)
    let authority = pair.kubectl(
      "config", "view", "--raw", "-o", "jsonpath={.clusters[0].cluster.certificate-authority-data}"
    ).trimmed
    let bootstrap = try file(
      pair, "bootstrap.kubeconfig",
      """
      apiVersion: v1
      kind: Config
      current-context: join
      clusters: [{ name: join, cluster: { server: "https://192.0.2.10:6443", certificate-authority-data: \(authority) } }]
      users: [{ name: join, user: { token: abcdef.0123456789abcdef } }]
      contexts: [{ name: join, context: { cluster: join, user: join } }]

      """)
    let config = try file(
      pair, "kubelet.yaml",
      """
      apiVersion: kubelet.config.k8s.io/v1beta1
      kind: KubeletConfiguration
      maxPods: 20
      serverTLSBootstrap: true
      rotateCertificates: true
      shutdownGracePeriod: 20s
      shutdownGracePeriodCriticalPods: 10s
      registerWithTaints: [{ key: example.com/fresh, effect: PreferNoSchedule }]
      systemReserved: { memory: 1Mi }

      """)
    let own = "\(pair.dataFolder(0))/node.kubeconfig"
    try pair.startNode(0, kubeconfig: own, ["--bootstrap-kubeconfig", bootstrap, "--config", config])
    let made = eventually(within: 60) { pair.kubectl("get", "node", "a").status == 0 }
    try #require(made != nil, "\(pair.logs)")
    let ready = pair.kubectl("wait", "--for=condition=Ready", "node/a", "--timeout=60s", seconds: 70)
    try #require(ready.status == 0, "\(ready)\n\(pair.logs)")
    #expect(pair.value("node", "a", ".status.capacity.pods") == "20")
    #expect(
      pair.value("node", "a", ".spec.taints[?(@.key=='example.com/fresh')].effect") == "PreferNoSchedule")
    let requests = pair.kubectl("get", "csr").standardOutput
    #expect(
      requests.contains("kubernetes.io/kube-apiserver-client-kubelet")
        && requests.contains("Approved,Issued"),
      "\(requests)")
    #expect(requests.contains("system:bootstrap:abcdef"), "\(requests)")
  }

  /// Until somebody approves its request the port shows a certificate of the node's own; then the cluster's, without a restart.
  private func servesItsOwnCertificate(_ pair: NodePair) throws {
    var name = ""
    let asked = eventually(within: 60) {
      name =
        pair.kubectl(
          "get", "csr", "-o",
          "jsonpath={.items[?(@.spec.signerName=='kubernetes.io/kubelet-serving')].metadata.name}"
        ).trimmed
      return !name.isEmpty
    }
    try #require(asked != nil, "\(pair.kubectl("get", "csr"))\n\(pair.logs)")
    #expect(shownIssuer(pair).contains("system:node:a"))
    try #require(pair.kubectl("certificate", "approve", name).status == 0)
    let shown = eventually(within: 60, every: 0.2) { !shownIssuer(pair).contains("system:node:a") }
    #expect(shown != nil, "\(shownIssuer(pair))\n\(pair.logs)")
    // The API server, and whoever believes the cluster's authority, go on.
    #expect(
      eventually(within: 60) {
        pair.kubectl("get", "--raw", "/api/v1/nodes/a/proxy/healthz").standardOutput == "ok"
      } != nil)
  }

  private func shownIssuer(_ pair: NodePair) -> String {
    run(
      [
        "sh", "-c",
        "nsenter --net=/run/netns/\(pair.switchName) openssl s_client -connect 192.0.2.1:10250 </dev/null 2>/dev/null | openssl x509 -noout -issuer",
      ], seconds: 20
    ).standardOutput
  }

  private func podsRun(_ pair: NodePair) throws {
    try apply(
      pair,
      """
      apiVersion: v1
      kind: Service
      metadata: { name: reader }
      spec: { selector: { app: reader }, ports: [{ port: 80, targetPort: 8080 }] }
      ---
      apiVersion: v1
      kind: Pod
      metadata: { name: reader, labels: { app: reader } }
      spec:
        terminationGracePeriodSeconds: 1
        containers:
        - name: main
          image: "weft.local/demo:1"
          args: [serve, "8080"]
          volumeMounts: [{ name: settings, mountPath: /settings }, { name: secret, mountPath: /secret }]
        volumes:
        - { name: settings, configMap: { name: settings } }
        - { name: secret, secret: { secretName: later, optional: true } }

      """)
    let ready = pair.kubectl("wait", "--for=condition=Ready", "pod/reader", "--timeout=60s", seconds: 70)
    try #require(
      ready.status == 0, "\(ready)\n\(pair.kubectl("describe", "pods").standardOutput)\n\(pair.logs)")
    // By its Service, from its node and from a pod, which here is itself.
    let address = pair.value("service", "reader", ".spec.clusterIP")
    let own = try #require(pair.podNamespace(0, holding: pair.value("pod", "reader", ".status.podIP")))
    for place in [pair.namespacePath(0), own] {
      var last: Output?
      let answered = eventually(within: 60) {
        let output = run(["nsenter", "--net=\(place)", "--", "curl", "-sS", "-m", "5", "http://\(address)/"])
        last = output
        return output.standardOutput.contains("pod: reader")
      }
      #expect(answered != nil, "\(last as Any)\n\(pair.logs)")
    }
  }

  /// The slow round comes each 30 s; a watch in a moment. The bound here is for slow machines.
  private func objectsChange(_ pair: NodePair) {
    func text(_ path: String) -> String { pair.kubectl("exec", "reader", "--", "cat", path).standardOutput }
    #expect(text("/settings/colour") == "red")
    _ = pair.kubectl("patch", "configmap", "settings", "--type=merge", "-p", #"{"data":{"colour":"blue"}}"#)
    let changed = eventually(within: 60) { text("/settings/colour") == "blue" }
    #expect(changed != nil, "\(pair.logs)")
    _ = pair.kubectl("create", "secret", "generic", "later", "--from-literal=word=hush")
    let made = eventually(within: 60) { text("/secret/word") == "hush" }
    #expect(made != nil, "\(pair.logs)")
  }

  private func devicesAreGiven(_ pair: NodePair) throws {
    let illness = "\(pair.dataFolder(0))/ill"
    let process = Process()
    process.executableURL = URL(filePath: Self.python)
    process.arguments = [Self.plugin, pair.pluginFolder(0), illness]
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = FileHandle.nullDevice
    try process.run()
    // As the agent meets it when a plugin crashes. Nothing here waits for the plugin's own ideas of an end.
    defer {
      kill(process.processIdentifier, SIGKILL)
      process.waitUntilExit()
    }
    func amount(_ part: String) -> String { pair.value("node", "a", ".status.\(part).example\\.com/fake") }
    #expect(
      eventually(within: 60) { amount("allocatable") == "2" && amount("capacity") == "2" } != nil,
      "\(pair.logs)")
    func pod(_ name: String, _ count: Int, node: String = "") -> String {
      """
      apiVersion: v1
      kind: Pod
      metadata: { name: \(name) }
      spec:
        \(node)
        terminationGracePeriodSeconds: 0
        containers:
        - name: main
          image: "weft.local/demo:1"
          args: [serve, "8080"]
          resources: { limits: { example.com/fake: \(count) } }
      """
    }
    try apply(pair, pod("user", 1))
    let ready = pair.kubectl("wait", "--for=condition=Ready", "pod/user", "--timeout=60s", seconds: 70)
    try #require(ready.status == 0, "\(pair.kubectl("describe", "pod", "user").standardOutput)\n\(pair.logs)")
    let seen = pair.kubectl("exec", "user", "--", "sh", "-c", "test -c /dev/fake && echo $FAKE_DEVICES")
      .trimmed
    #expect(["left", "right"].contains(seen), "\(seen)")
    // Past the scheduler, which would let it wait.
    try apply(pair, pod("greedy", 2, node: "nodeName: a"))
    #expect(
      eventually(within: 60) { pair.value("pod", "greedy", ".status.reason") == "UnexpectedAdmissionError" }
        != nil)
    _ = FileManager.default.createFile(atPath: illness, contents: nil)
    #expect(eventually(within: 60) { amount("allocatable") == "1" && amount("capacity") == "2" } != nil)
  }

  private func goesDown(_ pair: NodePair) {
    #expect(pair.stopNode(0, SIGTERM), "\(pair.logs)")
    for name in ["reader", "user"] {
      #expect(
        pair.value("pod", name, ".status.phase") == "Failed", "\(pair.kubectl("describe", "pod", name))")
      #expect(pair.value("pod", name, ".status.reason") == "Terminated")
    }
    #expect(
      pair.value("node", "a", ".status.conditions[?(@.type=='Ready')].message") == "node is shutting down")
    #expect(pair.value("node", "a", ".status.conditions[?(@.type=='Ready')].status") == "False")
  }
}
