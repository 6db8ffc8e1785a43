// Names of images, logins for registries, and which images go when the disk is full; also what is kept of logs.

import CLinux
import ClusterObjects
import Diagnostics
import FuzzLab
import Glibc
import SoakLab
import Testing

@testable import ClusterNode

@Suite struct ImageNameTests {
  @Test(arguments: [
    "nginx", "nginx:1.27", "a/b/c:latest", "localhost:5000/x", "registry.k8s.io/pause:3.6",
    "EXAMPLE.com/web:V1", "x@sha256:0123456789abcdef0123456789abcdef", "a__b/c-d.e:x_y",
  ])
  func `names that registries know are taken`(name: String) { #expect(isImageReference(name)) }

  @Test(arguments: [
    "", "Nginx", "nginx:", "a//b", "a b", "/a", "a/", "x@sha256", "x@sha256:12", "a:b:c", "-a", "a:-x", "ä",
    "a\u{0}", "x:" + String(repeating: "y", count: 129),
  ])
  func `others are not`(name: String) { #expect(!isImageReference(name)) }

  @Test func `a short name is the hub's`() {
    #expect(registryPath("nginx:1") == "docker.io/library/nginx" && registryPath("a/b") == "docker.io/a/b")
    #expect(registryPath("localhost:5000/x:1") == "localhost:5000/x")
    #expect(registryPath("r.example.com/a/b@sha256:00") == "r.example.com/a/b")
  }

  @Test func `no name, however strange, ends the agent`() {
    let corpus = [
      "registry.k8s.io/pause:3.6", "https://index.docker.io/v1/", "x@sha256:0123", "*.example.com:5000/a",
    ]
    for bytes in mutants(of: corpus.map { Array($0.utf8) }, count: 3000, seed: 7) {
      let text = String(decoding: bytes, as: UTF8.self)
      _ = isImageReference(text)
      _ = matchesRegistry(text, registryPath(text))
      _ = planLogins(image: text, secrets: [[".dockerconfigjson": bytes, ".dockercfg": bytes]])
    }
  }
}

@Suite struct RegistryLoginTests {
  @Test(arguments: [
    ("https://index.docker.io/v1/", "docker.io/library/nginx", true),
    ("r.example.com", "r.example.com/a", true),
    ("*.example.com", "r.example.com/a", true), ("*.example.com", "a.r.example.com/a", false),
    ("r.example.com/team", "r.example.com/team/a", true),
    ("r.example.com/team", "r.example.com/other", false),
    ("r.example.com/team", "r.example.com/teams/a", false), ("r.example.com:5000", "r.example.com/a", false),
  ])
  func `an entry is for a registry and the beginning of a path`(entry: String, image: String, isFor: Bool) {
    #expect(matchesRegistry(entry, image) == isFor)
  }

  @Test func `the most specific login comes first, from either kind of secret`() {
    let new: [String: [UInt8]] = [
      ".dockerconfigjson": Array(
        #"{"auths":{"r.example.com":{"username":"a","password":"1"},"r.example.com/team":{"auth":"YjpwOnc="}}}"#
          .utf8)
    ]
    let old: [String: [UInt8]] = [
      ".dockercfg": Array(#"{"r.example.com":{"username":"c","password":"3"}}"#.utf8)
    ]
    let logins = planLogins(image: "r.example.com/team/x:1", secrets: [old, new])
    #expect(
      logins == [
        RegistryLogin(username: "b", password: "p:w"), RegistryLogin(username: "c", password: "3"),
        RegistryLogin(username: "a", password: "1"),
      ])
    #expect(planLogins(image: "nginx", secrets: [old, new, [:], [".dockercfg": [0x7b]]]).isEmpty)
  }
}

@Suite struct NonRootTests {
  private func refusal(_ container: JSON, pod: JSON = [:], user: String = "", uid: Int64? = nil) -> String? {
    var image = CRI.Image()
    image.username = user
    if let uid { image.uid.value = uid }
    let spec = PodSpec([
      "metadata": ["name": "p", "namespace": "d", "uid": "u"],
      "spec": ["securityContext": pod, "containers": [["name": "c", "securityContext": container]]],
    ])
    return planNonRootRefusal(spec.containers[0], spec, image)
  }

  @Test func `who may not be root is not, by whichever of the three says the user`() {
    #expect(refusal([:], uid: 0) == nil && refusal(["runAsNonRoot": true], uid: 1000) == nil)
    #expect(
      refusal(["runAsNonRoot": true], uid: 0)
        == "container has runAsNonRoot and image will run as root (pod: \"p_d(u)\", container: c)")
    #expect(refusal([:], pod: ["runAsNonRoot": true]) != nil)
    #expect(refusal([:], pod: ["runAsNonRoot": true, "runAsUser": 5], uid: 0) == nil)
    #expect(
      refusal(["runAsNonRoot": true, "runAsUser": 0])
        == "container's runAsUser breaks non-root policy (pod: \"p_d(u)\", container: c)")
    #expect(refusal(["runAsNonRoot": false], pod: ["runAsNonRoot": true], uid: 0) == nil)
    #expect(refusal(["runAsNonRoot": true], user: "www")?.contains("non-numeric user (www)") == true)
  }
}

@Suite struct ImageCollectionTests {
  private let now: Int64 = 10_000 * 1_000_000_000
  private func image(_ id: String, _ bytes: UInt64, used: Int64 = 0, isInUse: Bool = false) -> StoredImage {
    StoredImage(id: id, bytes: bytes, firstSeen: 0, lastUsed: used, isInUse: isInUse)
  }

  @Test func `the longest unused go until the disk is below the low mark`() {
    let disk = FilesystemUsage(capacity: 1000, available: 100)
    let images = [image("new", 80, used: 5), image("old", 60, used: 1), image("held", 500, isInUse: true)]
    func plan(_ disk: FilesystemUsage, _ images: [StoredImage]) -> [String] {
      planImageCollection(images, disk: disk, high: 85, low: 80, now: now).map(\.id)
    }
    // A hundred bytes are wanted: the older one and then the newer.
    #expect(plan(disk, images) == ["old", "new"])
    #expect(plan(FilesystemUsage(capacity: 1000, available: 145), images) == ["old"])
    #expect(plan(FilesystemUsage(capacity: 1000, available: 151), images) == [])
    var young = image("young", 500)
    young.firstSeen = now - 1
    var pinned = image("pause", 500)
    pinned.isPinned = true
    #expect(plan(disk, [young, pinned]) == [] && plan(FilesystemUsage(), images) == [])
  }
}

@Suite struct LogRotationTests {
  @Test func `the oldest rotated logs go first, others are packed but for the newest, others' stay`() {
    let names = [
      "0.log", "0.log.20260101-000001.gz", "0.log.20260101-000003", "0.log.20260101-000002.gz", "1.log",
      "1.log.20260101-000001",
    ]
    func plan(_ names: [String], _ filesMax: Int) -> LogRotation {
      planLogRotation(names, log: "0.log", filesMax: filesMax)
    }
    #expect(plan(names, 5) == LogRotation(packed: ["0.log.20260101-000003"]))
    #expect(
      plan(names, 4)
        == LogRotation(removed: ["0.log.20260101-000001.gz"], packed: ["0.log.20260101-000003"]))
    #expect(plan(names, 2).packed.isEmpty && plan(names, 2).removed.count == 3)
    // What a crash in the middle of packing left: half of it, or both.
    #expect(
      plan(["0.log", "0.log.1", "0.log.1.tmp", "0.log.2", "0.log.2.gz"], 5)
        == LogRotation(removed: ["0.log.1.tmp", "0.log.2"], packed: ["0.log.1"]))
    #expect(rotationSuffix(seconds: 1_700_000_000) == "20231114-221320")
  }

  @Test func `a packed log holds what the log held, whoever may read it, and nothing is left of the log`()
    async throws
  {
    let folder = try ScratchFolder.make("logs")
    defer { ScratchFolder.remove(folder) }
    let text = (0..<40_000).map { "2026-01-01T00:00:00Z stdout F line \($0)\n" }.joined()
    for bytes in [[], Array(text.utf8)] as [[UInt8]] {
      try Files.write(folder + "/0.log.1", bytes, mode: 0o600)
      try await LogArchive.pack(folder + "/0.log.1")
      #expect(Files.list(folder) == ["0.log.1.gz"])
      #expect(try #require(Files.info(folder + "/0.log.1.gz")).mode & 0o777 == 0o600)
      #expect(run("sh", "-c", "zcat $0/0.log.1.gz >$0/back", folder) == 0)
      #expect(Files.read(folder + "/back") == bytes)
      #expect(bytes.isEmpty || (Files.info(folder + "/0.log.1.gz")?.size ?? 0) < 400_000)
      unlink(folder + "/back")
    }
    let missing = await #expect(throws: WeftError.self) { try await LogArchive.pack(folder + "/none") }
    #expect(missing?.code == "NOD0010")
    // Where nothing can be written the log stays as it is.
    try Files.write(folder + "/0.log.2", text)
    try Files.makeDirectory(folder + "/0.log.2.tmp")
    await #expect(throws: WeftError.self) { try await LogArchive.pack(folder + "/0.log.2") }
    #expect(Files.readText(folder + "/0.log.2") == text)
    try Files.write(folder + "/1.log", "")
    LogKeeper.removeLogs(folder + "/0.log")
    #expect(Files.list(folder).contains("1.log") && !Files.exists(folder + "/0.log.2"))
  }

  @Test func `a link's name is one that a file may have`() {
    #expect(logLinkName(pod: "web", namespace: "d", container: "c", id: "abc") == "web_d_c-abc.log")
    let long = logLinkName(
      pod: String(repeating: "p", count: 253), namespace: "d", container: "c",
      id: String(repeating: "a", count: 64))
    #expect(long.utf8.count == 255 && long.hasSuffix("a.log"))
  }

  @Test(arguments: [(345, "345ms"), (1234, "1.234s"), (2000, "2s"), (62_500, "1m2.5s"), (0, "0ms")])
  func `durations read as elsewhere`(milliseconds: Int, text: String) {
    #expect(planDuration(.milliseconds(milliseconds)) == text)
  }
}
