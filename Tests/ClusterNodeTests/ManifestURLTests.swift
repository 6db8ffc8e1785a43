// Manifests that a server has: asked for again and again, kept while it is away or talks nonsense, mirrored like those of a folder.

import CLinux
import ClusterObjects
import FuzzLab
import NIOHTTP1
import SoakLab
import Synchronization
import Testing

@testable import ClusterNode

private let manifest = """
  apiVersion: v1
  kind: Pod
  metadata: {name: web}
  spec: {containers: [{name: main, image: demo}]}
  """

private let list = """
  {"apiVersion": "v1", "kind": "PodList", "items": [
    {"metadata": {"name": "a", "namespace": "x"}, "spec": {"containers": [{"name": "main", "image": "demo"}]}},
    {"metadata": {"name": "b"}, "spec": {"containers": [{"name": "main", "image": "demo"}]}}]}
  """

/// What the server says now, and what became of it.
private final class Told: Sendable {
  let page = Mutex<(status: HTTPResponseStatus, body: String)>((.serviceUnavailable, ""))
  let pods = Mutex<[String: JSON]>([:])
  let heard = Mutex(0)

  func say(_ status: HTTPResponseStatus, _ body: String) { page.withLock { $0 = (status, body) } }
  var names: [String] { pods.withLock { $0.values.map(\.name).sorted() } }

  func take(_ change: PodChange) {
    switch change {
    case .desired(let pod): pods.withLock { $0[pod.uid] = pod }
    case .gone(let uid): pods.withLock { _ = $0.removeValue(forKey: uid) }
    case .heard: heard.withLock { $0 += 1 }
    case .synced: break
    }
  }
}

/// What was asked for.
private final class Seen: Sendable {
  let lines = Mutex<[String]>([])
}

@Suite(.serialized, .timeLimit(.minutes(3))) struct ManifestURLTests {
  @Test func `what a server says becomes pods of this node, of one manifest or of a list`() throws {
    func pods(_ text: String) throws -> [JSON] {
      try StaticPodPlan.pods(text, url: "http://m/", nodeName: "N1", seen: "t")
    }
    let pod = try #require(try pods(manifest).first)
    #expect(
      pod.name == "web-n1" && pod.isStaticPod && pod.annotations["kubernetes.io/config.source"] == "http")
    let same = try StaticPodPlan.pod(manifest, path: "http://m/", nodeName: "N1", seen: "t")
    #expect(pod.uid == same.uid)
    let both = try pods(list)
    #expect(both.map(\.name) == ["a-n1", "b-n1"] && both.map(\.namespace) == ["x", "default"])
    #expect(Set(both.map(\.uid)).count == 2)
    #expect(try pods(" \n").isEmpty)
    #expect(throws: StaticPodPlan.Refusal.self) { try pods("<html>") }
    for bytes in mutations(of: Array(list.utf8), count: 300, seed: 5) {
      _ = try? pods(String(decoding: bytes, as: UTF8.self))
    }
  }

  @Test(arguments: ["", "web.yaml", "ftp://h/x", "http://", "http://h:0/", "http://h:99999/", "https://:1/x"])
  func `what is no address of a server is refused`(text: String) {
    #expect(ManifestURL(text) == nil)
  }

  @Test func `a server is asked with its headers, and a redirect is followed`() async throws {
    let seen = Seen()
    let server = try await Answerer.http { head in
      seen.lines.withLock { $0.append("\(head.uri) \(head.headers["x-token"])") }
      return head.uri == "/moved" ? (.found, "/pods.yaml", "") : (.ok, nil, "text")
    }
    let address = "http://127.0.0.1:\(server.port)"
    let moved = try #require(ManifestURL("\(address)/moved", headers: [("X-Token", "word")]))
    #expect(try await moved.fetch(netnsPath: nil) == "text")
    #expect(seen.lines.withLock { $0 } == ["/moved [\"word\"]", "/pods.yaml [\"word\"]"])
  }

  @Test func `pods of a server come, stay while it is away, change and go with its words`() async throws {
    let told = Told()
    let server = try await Answerer.http { _ in
      let page = told.page.withLock { $0 }
      return (page.status, nil, page.body)
    }
    let folder = try ScratchFolder.make("manifests")
    defer { ScratchFolder.remove(folder) }
    var settings = staticSettings(folder, interval: .seconds(3600))
    settings.staticPodURL = ManifestURL("http://127.0.0.1:\(server.port)/pods.yaml")
    settings.staticPodURLInterval = .milliseconds(5)
    let mirrors = FakeMirrors()
    let own = StaticPods(settings, mirrors: mirrors, sink: mirrors)
    let source = StaticPodSource(own: own, source: FakeCluster(), sink: mirrors)
    let task = Task {
      for await change in source.podChanges() { told.take(change) }
    }
    defer { task.cancel() }
    // The folder does not wait for the server, and nothing is said to be heard before it spoke.
    try Files.write(folder + "/own.yaml", manifest.replacing("name: web", with: "name: own"))
    #expect(await eventually(.seconds(60)) { told.names == ["own-n1"] })
    #expect(told.heard.withLock { $0 } == 0)
    told.say(.ok, manifest)
    #expect(await eventually(.seconds(60)) { told.names == ["own-n1", "web-n1"] })
    #expect(await eventually(.seconds(60)) { told.heard.withLock { $0 } == 1 })
    let web = try #require(told.pods.withLock { $0.values.first { $0.name == "web-n1" } })
    try await source.report(web, status: ["phase": "Running"])
    #expect(mirrors.mirrors.map(\.name) == ["web-n1"])

    // Away, and then nonsense: what runs goes on.
    for wrong in [(HTTPResponseStatus.notFound, manifest), (.ok, "kind: Service\napiVersion: v1")] {
      told.say(wrong.0, wrong.1)
      let asked = server.answered
      #expect(await eventually(.seconds(60)) { server.answered > asked + 2 })
      #expect(told.names == ["own-n1", "web-n1"])
    }
    told.say(.ok, list)
    #expect(await eventually(.seconds(60)) { told.names == ["a-n1", "b-n1", "own-n1"] })
    #expect(await eventually(.seconds(60)) { mirrors.mirrors.isEmpty })
    told.say(.ok, "")
    #expect(await eventually(.seconds(60)) { told.names == ["own-n1"] })
    #expect(told.heard.withLock { $0 } == 1)
  }
}
