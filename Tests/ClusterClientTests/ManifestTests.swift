// YAML's types as kubectl reads them, and a folder of manifests as an API.

import ClusterObjects
import Diagnostics
import Glibc
import SoakLab
import Testing

@testable import ClusterClient

/// A folder that goes away with the test.
final class Folder {
  let path: String
  init() throws { path = try ScratchFolder.make("manifests") }
  deinit { ScratchFolder.remove(path) }
  func write(_ name: String, _ text: String) {
    let file = fopen("\(path)/\(name)", "w")
    fputs(text, file)
    fclose(file)
  }
}

@Suite(.timeLimit(.minutes(10))) struct YAMLTests {
  @Test(
    arguments: [
      ("a: yes", ["a": true]), ("a: 'yes'", ["a": "yes"]), ("a: off", ["a": false]), ("a: ~", ["a": .null]),
      ("a:", ["a": .null]), ("a: 10", ["a": 10]), ("a: 0x1f", ["a": 31]), ("a: 0o17", ["a": 15]),
      ("a: 017", ["a": 15]), ("a: -3", ["a": -3]), ("a: 1_000", ["a": 1000]), ("a: 1e3", ["a": 1000]),
      ("a: 1.5", ["a": .number("1.5")]), ("a: 2026-11-21", ["a": "2026-11-21"]),
      ("a: 10.0.0.1", ["a": "10.0.0.1"]),
      ("a: 100m", ["a": "100m"]), ("a: \"10\"", ["a": "10"]), ("a: |\n  x\n  y\n", ["a": "x\ny\n"]),
      ("1: x", ["1": "x"]), ("{\"a\": [1, 2]}", ["a": [1, 2]]),
      ("x: &b {k: 1, l: 2}\ny:\n  <<: *b\n  l: 3\n", ["x": ["k": 1, "l": 2], "y": ["l": 3, "k": 1]]),
    ] as [(String, JSON)])
  func `plain words get the types that kubectl gives them`(text: String, value: JSON) throws {
    #expect(try YAML.parse(text) == value)
  }

  @Test(arguments: [
    ("a: 1\nb: [", 2...3), ("a: 1\na: 2", 1...2), ("a: 1\n\tb: 2", 2...2), ("a: .inf", 1...1),
    ("a: *x", 1...1),
  ])
  func `what cannot be read is refused with its line`(text: String, lines: ClosedRange<Int>) {
    let error = #expect(throws: YAMLError.self) { try YAML.parse(text) }
    #expect(lines.contains(error?.line ?? -1), "\(String(describing: error))")
  }

  @Test func `documents know where they begin and empty ones are left out`() throws {
    let documents = try YAML.parseAll("# head\n---\na: 1\n---\n---\nb: 2\n")
    #expect(documents.map(\.value) == [["a": 1], ["b": 2]])
    #expect(documents.map(\.line) == [3, 6])
  }
}

@Suite(.timeLimit(.minutes(10))) struct ManifestClientTests {
  let service = """
    apiVersion: v1
    kind: Service
    metadata: {name: web}
    spec: {clusterIP: 10.43.0.5}
    """

  @Test func `documents and lists of a folder are objects, and changes are followed`() async throws {
    let folder = try Folder()
    folder.write("a.yaml", service + "\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: demo}\n")
    folder.write(
      "b.json",
      #"{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"v1","kind":"Pod","#
        + #""metadata":{"name":"p","namespace":"demo"}}]}"#)
    folder.write("ignored.txt", "{")
    let client = try ManifestClient(folder: folder.path)
    let informers = SharedInformers(api: client, metrics: Metrics())
    let services = informers.informer(.services)
    let pods = informers.informer(.pods)
    try await informers.waitForSync()
    #expect(services["default", "web"] != nil)
    #expect(pods["demo", "p"] != nil)
    #expect(try await client.get(.namespaces, namespace: "", name: "demo").name == "demo")
    folder.write("a.yaml", service.replacing("10.43.0.5", with: "10.43.0.66"))
    #expect(await eventually { services["default", "web"]?.at("spec", "clusterIP") == "10.43.0.66" })
    unlink("\(folder.path)/b.json")
    #expect(await eventually { pods.snapshot.isEmpty })
    await #expect(throws: APIStatusError.self) {
      try await client.delete(.pods, namespace: "demo", name: "p", options: DeleteOptions())
    }
    await informers.stop()
  }

  @Test func `a file that breaks keeps its content and names its line`() async throws {
    let folder = try Folder()
    folder.write("a.yaml", service)
    let client = try ManifestClient(folder: folder.path)
    folder.write("a.yaml", "apiVersion: v1\nkind: [\n")
    #expect(await eventually { !client.problems.isEmpty })
    #expect(client.problems.first?.object.hasPrefix("\(folder.path)/a.yaml:") == true)
    #expect(try await client.get(.services, namespace: "default", name: "web").name == "web")
    let refused = #expect(throws: WeftError.self) { try ManifestClient(folder: folder.path) }
    #expect(refused?.code == "CLI0111")
    #expect(throws: WeftError.self) { try ManifestClient(folder: folder.path + "/none") }
  }
}
