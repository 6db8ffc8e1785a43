// Kubeconfigs, manifests and lines of a watch, as people and servers write them.
import ClusterClient
import ClusterObjects
import Diagnostics
import Glibc
import Testing

@Test func `YAML gets the types that Kubernetes gives it`() throws {
  let tree = try YAML.one(
    "a: yes\nb: \"yes\"\nc: 0644\nd: 1.5\ne: ~\nf: 10.0.0.1\ng: [1, x]\nh: 1e3\ni: -5\nj: 1Gi\nk: null\n")
  #expect(tree["a"] == true && tree["b"] == "yes" && tree["c"] == 420 && tree["f"] == "10.0.0.1")
  #expect(
    tree["d"] == .number("1.5") && tree["e"] == .null && tree["g"] == [1, "x"] && tree["i"] == -5
      && tree["j"] == "1Gi")
}

@Test(arguments: ["a: [", "a: 1\na: 2", "\tx: 1", "a: b: c"])
func `malformed YAML names the line`(text: String) {
  #expect(throws: YAMLError.self) { try YAML.documents(text) }
}

@Test func `documents and lists are taken apart`() throws {
  let objects = try Manifest.objects("kind: A\n---\n---\nkind: List\nitems:\n- kind: B\n- kind: C\n")
  #expect(objects.map(\.kind) == ["A", "B", "C"])
}

private func write(_ text: String, _ path: String) {
  let file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
  _ = Glibc.write(file, text, text.utf8.count)
  close(file)
}

@Test func `a kubeconfig is read with inline data`() throws {
  let path = "/tmp/weft-kubeconfig-\(getpid())"
  defer { unlink(path) }
  write(
    "current-context: c\ncontexts:\n- name: c\n  context: {cluster: k, user: u, namespace: x}\nclusters:\n- name: k\n  cluster: {server: 'https://127.0.0.1:1', certificate-authority-data: aGVsbG8=}\nusers:\n- name: u\n  user: {token: t}\n",
    path)
  let configuration = try ClientConfiguration(kubeconfig: path)
  #expect(configuration.authority == "hello" && configuration.token == "t" && configuration.namespace == "x")
  #expect(throws: WeftError.self) { try ClientConfiguration(kubeconfig: path, context: "other") }
  #expect(throws: WeftError.self) { try ClientConfiguration(kubeconfig: path + "-none") }
}

@Test func `a server that does not answer is an error with exit code unreachable`() async throws {
  let client = try RemoteClient(ClientConfiguration(server: "http://127.0.0.1:1"))
  do {
    _ = try await client.get(.nodes, namespace: "", name: "n")
    Issue.record("port 1 answered")
  } catch let error as WeftError {
    #expect(error.exit == .unreachable && error.code == "CLI0024")
  }
}

@Test func `manifests are listed with default namespaces and bad files refused at the start`() async throws {
  let folder = "/tmp/weft-manifests-\(getpid())"
  mkdir(folder, 0o700)
  defer { for name in ["a.yaml", "b.json", "c.yaml"] { unlink("\(folder)/\(name)") }; rmdir(folder) }
  write("apiVersion: v1\nkind: Service\nmetadata: {name: web}\n", "\(folder)/a.yaml")
  write(#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"db","namespace":"x"}}"#, "\(folder)/b.json")
  let client = try ManifestClient(folder: folder)
  let list = try await client.list(.services, namespace: "", options: ListOptions())
  #expect(list.items.map(\.key.description) == ["default/web", "x/db"])
  write("kind: [", "\(folder)/c.yaml")
  #expect(throws: WeftError.self) { try ManifestClient(folder: folder) }
}
