// `weft proxy` as a pod runs it: no kubeconfig, two environment variables, the files of a service account, and kube-proxy's role.
import Foundation
import Testing

@Suite(.serialized) struct InClusterProxyTests {
  @Test(.timeLimit(.minutes(3)))
  func `with nothing but a service account of kube-proxy's role the rules follow the cluster`() throws {
    let node = try TestNode()
    defer { node.remove() }
    let folder = "\(node.dataFolder)-files"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let server = try node.background([
      "sh", "-c",
      "exec \(Project.weft) server --data-dir \(node.dataFolder) --listen 0.0.0.0:6443 "
        + "--advertise \(node.address) > \(folder)/server.log 2>&1",
    ])
    defer { stop(server) }
    let isReady = eventually(within: 60, every: 0.2) {
      FileManager.default.fileExists(atPath: node.kubeconfig)
        && node.kubectl("get", "--raw", "/readyz").trimmed == "ok"
    }
    try #require(isReady != nil, "\(text("\(folder)/server.log"))")
    for words in [
      ["-n", "kube-system", "create", "serviceaccount", "kube-proxy"],
      [
        "create", "clusterrolebinding", "proxier", "--clusterrole=system:node-proxier",
        "--serviceaccount=kube-system:kube-proxy",
      ],
      ["create", "service", "clusterip", "web", "--tcp=80:8080"],
    ] {
      let output = node.kubectl(words)
      try #require(output.status == 0, "\(output)")
    }
    let token = node.kubectl("-n", "kube-system", "create", "token", "kube-proxy")
    try #require(token.status == 0, "\(token)")
    let authority = node.kubectl(
      "config", "view", "--raw", "-o", "jsonpath={.clusters[0].cluster.certificate-authority-data}")
    let certificate = try #require(Data(base64Encoded: authority.trimmed))
    try Data(token.trimmed.utf8).write(to: URL(filePath: "\(folder)/token"))
    try certificate.write(to: URL(filePath: "\(folder)/ca.crt"))
    try Data("kube-system".utf8).write(to: URL(filePath: "\(folder)/namespace"))
    // A mount namespace of its own is all of a container that matters here. The address is the node's own, and an endpoint of the
    // Service `kubernetes`: the first rules must leave the proxy's own connection alone.
    let place = "/run/secrets/kubernetes.io/serviceaccount"
    let proxy = try node.background([
      "unshare", "-m", "sh", "-c",
      "mount -t tmpfs tmpfs /run && mkdir -p \(place) && cp \(folder)/token \(folder)/ca.crt \(folder)/namespace \(place)/"
        + " && exec env -u KUBECONFIG KUBERNETES_SERVICE_HOST=\(node.address) KUBERNETES_SERVICE_PORT=6443"
        + " \(Project.weft) proxy --node-name n1 --no-policy > \(folder)/proxy.log 2>&1",
    ])
    defer { stop(proxy) }
    func holds(_ service: String) -> Bool {
      node.exec("nft", "list", "map", "ip", "KUBE-PROXY", "svc-id").standardOutput.contains(service)
    }
    #expect(eventually(within: 60) { holds("default/web:") } != nil, "\(text("\(folder)/proxy.log"))")
    let second = node.kubectl("create", "service", "clusterip", "later", "--tcp=80:8080")
    #expect(second.status == 0, "\(second)")
    #expect(eventually(within: 60) { holds("default/later:") } != nil, "\(text("\(folder)/proxy.log"))")
    kill(proxy.processIdentifier, SIGTERM)
    #expect(eventually(within: 60) { !proxy.isRunning } != nil)
    #expect(proxy.terminationStatus == 0, "\(text("\(folder)/proxy.log"))")
  }

  private func text(_ path: String) -> String {
    String(((try? String(contentsOfFile: path, encoding: .utf8)) ?? "").suffix(3000))
  }

  private func stop(_ process: Process) {
    guard process.isRunning else { return }
    kill(process.processIdentifier, SIGINT)
    if eventually(within: 60, { !process.isRunning }) == nil { kill(process.processIdentifier, SIGKILL) }
  }
}
