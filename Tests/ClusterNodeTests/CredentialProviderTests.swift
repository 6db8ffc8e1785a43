// Credential providers: their file, what they are asked and answer, how long an answer is kept; and images of a registry that
// gives them only for a token, pulled by a real containerd with a provider's login, and with a pull secret's.

import CLinux
import ClusterObjects
import Diagnostics
import FuzzLab
import Glibc
import SoakLab
import Testing

@testable import ClusterNode

private let document = """
  apiVersion: kubelet.config.k8s.io/v1
  kind: CredentialProviderConfig
  providers:
  - name: tokens
    apiVersion: credentialprovider.kubelet.k8s.io/v1
    matchImages: ["*.registry.example.com/team", "127.0.0.1:*"]
    defaultCacheDuration: 1h
    args: [--fast]
    env: [{name: WHO, value: me}]
  """

@Suite struct CredentialProviderFileTests {
  @Test func `a file says who is asked for which images, how, and how long that is good`() throws {
    let providers = try CredentialProviderSettings.providers(document, path: "f")
    #expect(
      providers == [
        CredentialProvider(
          name: "tokens", matchImages: ["*.registry.example.com/team", "127.0.0.1:*"],
          defaultCacheSeconds: 3600, arguments: ["--fast"], environment: ["WHO": "me"])
      ])
  }

  @Test(arguments: [
    ("a.registry.example.com/team/x", true), ("registry.example.com/team/x", false),
    ("a.registry.example.com/other/x", false), ("a.b.registry.example.com/team/x", false),
    ("127.0.0.1:5000/x", true), ("127.0.0.1/x", false), ("docker.io/library/nginx", false),
  ])
  func `a provider is asked for the images of its registries`(image: String, isAsked: Bool) throws {
    let providers = try CredentialProviderSettings.providers(document, path: "f")
    #expect(providers.contains { $0.isFor(image) } == isAsked)
  }

  @Test(arguments: [
    ("kind: Config", "it must begin with apiVersion: kubelet.config.k8s.io/v1"),
    ("a: [", "f:"),
    (
      "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders: []",
      "providers: at least one is needed"
    ),
    (
      document.replacing("1h", with: "soon"),
      "providers[0].defaultCacheDuration: must be a duration, as 12h or 0s"
    ),
    (
      document.replacing("name: tokens", with: "name: ../tokens"),
      "providers[0].name: must be the name of a program, without a path"
    ),
    (
      document.replacing("kubelet.k8s.io/v1\n", with: "kubelet.k8s.io/v9\n"),
      "providers[0].apiVersion: must be credentialprovider.kubelet.k8s.io/v1"
    ),
    (document.replacing("args:", with: "arguments:"), "providers[0].arguments: no such field"),
    (document.replacing("\"127", with: "\"https://127"), "is no registry; write it without https://"),
    (
      document + "\n  tokenAttributes: {}",
      "providers[0].tokenAttributes: this node gives providers no tokens"
    ),
  ])
  func `a file that is none says all that is wrong`(text: String, words: String) {
    let error = #expect(throws: WeftError.self) { try CredentialProviderSettings.providers(text, path: "f") }
    #expect(error?.code == "NOD0040" && "\(String(describing: error))".contains(words), "\(error as Any)")
  }

  @Test func `a folder of files is one list, and each program has to be there`() throws {
    let folder = try ScratchFolder.make("credentials")
    defer { ScratchFolder.remove(folder) }
    try Files.makeDirectory(folder + "/conf")
    try Files.makeDirectory(folder + "/bin")
    try Files.write(folder + "/conf/b.yaml", document.replacing("name: tokens", with: "name: second"))
    try Files.write(folder + "/conf/a.json", document)
    try Files.write(folder + "/conf/notes.txt", "nothing")
    try Files.write(folder + "/bin/tokens", "#!/bin/sh\n", mode: 0o755)
    let missing = #expect(throws: WeftError.self) {
      try CredentialProviderSettings(path: folder + "/conf", folder: folder + "/bin")
    }
    #expect(missing?.code == "NOD0041")
    try Files.write(folder + "/bin/second", "#!/bin/sh\n", mode: 0o755)
    let settings = try CredentialProviderSettings(path: folder + "/conf", folder: folder + "/bin")
    #expect(settings.providers.map(\.name) == ["tokens", "second"])
    try Files.write(folder + "/conf/c.yml", document)
    let twice = #expect(throws: WeftError.self) {
      try CredentialProviderSettings(path: folder + "/conf", folder: folder + "/bin")
    }
    #expect("\(String(describing: twice))".contains("provider tokens: the name is there twice"))
  }

  @Test func `no file, answer or pattern, however broken, ends the agent`() {
    let answer =
      #"{"kind":"CredentialProviderResponse","apiVersion":"credentialprovider.kubelet.k8s.io/v1","cacheKeyType":"Image","cacheDuration":"1m","auth":{"a*b*c?":{"username":"u","password":"p"}}}"#
    for bytes in mutants(of: [Array(document.utf8), Array(answer.utf8)], count: 3000, seed: 11) {
      let text = String(decoding: bytes, as: UTF8.self)
      for provider in (try? CredentialProviderSettings.providers(text, path: "f")) ?? [] {
        _ = provider.isFor("127.0.0.1:5000/x")
      }
      if let answer = try? CredentialAnswer(bytes) {
        _ = planLogins(image: "abbbcd/x", entries: [answer.auth])
      }
    }
    // Stars that could be tried in every way are not.
    let stars = String(repeating: "*a", count: 2000)
    #expect(!matchesRegistry(stars + "b", String(repeating: "a", count: 20_000)))
  }
}

@Suite struct CredentialAnswerTests {
  private func answer(_ scope: String, _ extra: String = "") -> [UInt8] {
    Array(
      (#"{"kind":"CredentialProviderResponse","apiVersion":"credentialprovider.kubelet.k8s.io/v1","cacheKeyType":""#
        + scope + #"","auth":{"r.example.com":{"username":"u","password":"p"}}"# + extra + "}").utf8)
  }

  @Test func `the question names the image without its tag`() throws {
    let tree = try JSON(parsing: CredentialAnswer.request(registryPath("r.example.com/a/b:1")))
    #expect(tree["image"] == "r.example.com/a/b" && tree.kind == "CredentialProviderRequest")
    #expect(tree.apiVersion == "credentialprovider.kubelet.k8s.io/v1")
  }

  @Test(arguments: [
    (
      #"{"kind":"X"}"#,
      "failed to get credential response kind, expected CredentialProviderResponse, got \"X\""
    ),
    ("", "it answered nothing"), ("hello", "it answered no JSON"),
    (
      #"{"kind":"CredentialProviderResponse","apiVersion":"v0"}"#,
      "apiVersion from credential plugin response did not match expected apiVersion:"
        + "credentialprovider.kubelet.k8s.io/v1, actual apiVersion:v0"
    ),
    (
      #"{"kind":"CredentialProviderResponse","apiVersion":"credentialprovider.kubelet.k8s.io/v1","cacheKeyType":"Some"}"#,
      "credential provider plugin did not return a valid cacheKeyType"
    ),
  ])
  func `an answer that is none says why`(text: String, why: String) {
    #expect(throws: CredentialRefusal(message: why)) { try CredentialAnswer(Array(text.utf8)) }
  }

  @Test(arguments: [
    ("Image", ["r.example.com/a"]), ("Registry", ["r.example.com/a", "r.example.com/b"]),
    ("Global", ["r.example.com/a", "r.example.com/b", "other.example.com/a"]),
  ])
  func `an answer is kept for as much as it says, as long as it says, or as the file says`(
    scope: String, known: [String]
  ) throws {
    let now = ContinuousClock.now
    for (extra, fallback, seconds) in [("", 60.0, 60.0), (#","cacheDuration":"5s""#, 60, 5)] {
      var cache = CredentialCache()
      cache.keep(
        try CredentialAnswer(answer(scope, extra)), for: "r.example.com/a", defaultSeconds: fallback, now: now
      )
      let all = ["r.example.com/a", "r.example.com/b", "other.example.com/a"]
      #expect(all.filter { cache.auth($0, now: now) != nil } == known)
      #expect(cache.auth("r.example.com/a", now: now + .seconds(seconds - 1)) != nil)
      #expect(cache.auth("r.example.com/a", now: now + .seconds(seconds)) == nil)
    }
    var cache = CredentialCache()
    cache.keep(
      try CredentialAnswer(answer(scope, #","cacheDuration":"0s""#)), for: "r.example.com/a",
      defaultSeconds: 60, now: now)
    #expect(cache.auth("r.example.com/a", now: now) == nil)
  }

  @Test func `what is kept has a bound`() throws {
    let now = ContinuousClock.now
    var cache = CredentialCache()
    let answer = try CredentialAnswer(answer("Image"))
    for number in 0...CredentialCache.entriesMax {
      cache.keep(answer, for: "r/\(number)", defaultSeconds: 60, now: now)
    }
    #expect(
      cache.auth("r/0", now: now) == nil && cache.auth("r/\(CredentialCache.entriesMax)", now: now) != nil)
  }
}

@Suite(.timeLimit(.minutes(3))) struct CredentialProgramTests {
  private func provider(_ script: String, _ folder: String, cache: Double = 0) throws
    -> CredentialProviderSettings
  {
    try Files.write(folder + "/tokens", "#!/bin/sh\n" + script, mode: 0o755)
    try Files.write(folder + "/config", document)
    var settings = try CredentialProviderSettings(path: folder + "/config", folder: folder)
    settings.providers[0].defaultCacheSeconds = cache
    return settings
  }

  private let head =
    #"{"kind":"CredentialProviderResponse","apiVersion":"credentialprovider.kubelet.k8s.io/v1","cacheKeyType":"Image","auth":{"#

  @Test func `a program is given the image, its arguments and its environment, and its answer is kept`()
    async throws
  {
    let folder = try ScratchFolder.make("credentials")
    defer { ScratchFolder.remove(folder) }
    let settings = try provider(
      """
      cat >>\(folder)/asked; echo >>\(folder)/asked
      echo "a word beside" >&2
      printf '%s' '\(head)"127.0.0.1:5000":{"username":"'"$WHO"'","password":"'"$1 $HOME"'"}}}'
      """, folder, cache: 60)
    let metrics = Metrics()
    let providers = CredentialProviders(settings, metrics: metrics)
    let home = String(cString: try #require(getenv("HOME")))
    let wanted = [RegistryLogin(username: "me", password: "--fast \(home)")]
    // Eight at once are one question.
    await withTaskGroup(of: [RegistryLogin].self) { group in
      for _ in 0..<8 { group.addTask { await providers.logins("127.0.0.1:5000/a:1") } }
      for await logins in group { #expect(logins == wanted) }
    }
    #expect(await providers.logins("127.0.0.1:5000/a:2") == wanted)
    #expect(await providers.logins("r.example.com/a").isEmpty)
    #expect(Files.readText(folder + "/asked")?.split(separator: "\n").count == 1)
    // Of another image: asked again.
    _ = await providers.logins("127.0.0.1:5000/b")
    let asked = Files.readText(folder + "/asked")?.split(separator: "\n") ?? []
    #expect(asked.count == 2 && asked.last?.contains(#""image":"127.0.0.1:5000/b""#) == true)
    #expect(
      metrics.text().contains(#"kubelet_credential_provider_plugin_duration_count{plugin_name="tokens"} 2"#))
  }

  @Test(arguments: [
    "exit 3", "echo no JSON", "kill -9 $$", "sleep 1000 & sleep 1000", "while :; do echo 0123456789; done",
  ])
  func `a program that fails, hangs or talks without end knows no login, and is gone`(script: String)
    async throws
  {
    let folder = try ScratchFolder.make("credentials")
    defer { ScratchFolder.remove(folder) }
    let metrics = Metrics()
    let providers = CredentialProviders(
      try provider("echo $$ >\(folder)/pid\n" + script, folder), metrics: metrics, secondsMax: 2)
    #expect(await providers.logins("127.0.0.1:5000/a").isEmpty)
    #expect(metrics.text().contains(#"kubelet_credential_provider_plugin_errors{plugin_name="tokens"} 1"#))
    let pid = try #require(
      Files.readText(folder + "/pid").flatMap { Int32($0.filter(\.isNumber)) })
    // Its whole group: also what it had started.
    #expect(await eventually(.seconds(20)) { kill(-pid, 0) != 0 })
  }
}

/// A registry of one image in an OCI layout, which gives it only for a token that it gives only for a name and a password.
private let registry = """
  import base64, http.server, json, sys, urllib.parse
  folder, port = sys.argv[1], int(sys.argv[2])
  digest = json.load(open(folder + "/index.json"))["manifests"][0]["digest"]
  kind = json.load(open(folder + "/index.json"))["manifests"][0]["mediaType"]
  class Handler(http.server.BaseHTTPRequestHandler):
      protocol_version = "HTTP/1.1"
      def log_message(self, *words): pass
      def answer(self, code, body, kind="application/json", headers={}):
          self.send_response(code)
          for name, value in headers.items(): self.send_header(name, value)
          self.send_header("Content-Type", kind)
          self.send_header("Content-Length", str(len(body)))
          self.end_headers()
          if self.command != "HEAD": self.wfile.write(body)
      def do_POST(self):
          said = urllib.parse.parse_qs(self.rfile.read(int(self.headers.get("Content-Length", 0))).decode())
          isGood = said.get("username") == ["robot"] and said.get("password") == ["s3cret"]
          if not isGood: return self.answer(401, b"{}")
          self.answer(200, json.dumps({"access_token": "open-sesame"}).encode())
      def do_HEAD(self): self.do_GET()
      def do_GET(self):
          said = self.headers.get("Authorization", "")
          path = self.path.split("?")[0]
          if path == "/token":
              good = "Basic " + base64.b64encode(b"robot:s3cret").decode()
              if said != good: return self.answer(401, b"{}")
              return self.answer(200, json.dumps({"token": "open-sesame"}).encode())
          if said != "Bearer open-sesame":
              realm = 'Bearer realm="http://127.0.0.1:%d/token",service="test"' % port
              return self.answer(401, b"{}", headers={"WWW-Authenticate": realm})
          name = path.split("/")[-1]
          if "/manifests/" in path:
              if not name.startswith("sha256:"): name = digest
              body = open(folder + "/blobs/sha256/" + name[7:], "rb").read()
              return self.answer(200, body, kind, {"Docker-Content-Digest": name})
          if "/blobs/" in path:
              return self.answer(200, open(folder + "/blobs/sha256/" + name[7:], "rb").read(), "application/octet-stream")
          self.answer(200, b"{}")
  http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()

  """

@Suite(.serialized) struct CredentialProviderLiveTests {
  private let patience: Duration = .seconds(150)
  private let port = 5017

  @Test(.timeLimit(.minutes(10)))
  func
    `an image of a registry with tokens is pulled with a provider's login, or a pull secret's, and not without`()
    async throws
  {
    var node = LiveNode()
    defer { node.remove() }
    let folder = node.directory + "/registry"
    try Files.makeDirectory(folder)
    let archives = try await DemoImage.archives(busyboxPath: node.settings.busyboxPath)
    let demo = try #require(archives.first { $0.reference == DemoImage.demoReference })
    try Files.write(folder + "/image.tar", demo.bytes)
    #expect(run("tar", "-C", folder, "-xf", folder + "/image.tar") == 0)
    try Files.write(folder + "/registry.py", registry)
    let server = try Subprocess.spawn(
      ["ip", "netns", "exec", node.name, "python3", folder + "/registry.py", folder, "\(port)"],
      outputPath: folder + "/log")
    defer {
      kill(server, SIGKILL)
      _ = waitpid(server, nil, 0)
    }
    // Knows the login of one team alone.
    try Files.write(
      folder + "/tokens",
      """
      #!/bin/sh
      cat >>\(folder)/asked; echo >>\(folder)/asked
      cat <<'END'
      {"kind":"CredentialProviderResponse","apiVersion":"credentialprovider.kubelet.k8s.io/v1","cacheKeyType":"Registry",
       "auth":{"127.0.0.1:\(port)/team":{"username":"robot","password":"s3cret"}}}
      END

      """, mode: 0o755)
    try Files.write(folder + "/config.yaml", document)
    node.settings.credentialProviders = try CredentialProviderSettings(
      path: folder + "/config.yaml", folder: folder)
    let agent = node.agent()
    let cluster = node.cluster
    try await agent.start()

    func pod(_ name: String, _ image: String, secret: String? = nil) -> JSON {
      node.pod(
        name, [container("main", "sleep 1000", extra: ["image": JSON("127.0.0.1:\(port)/\(image)")])],
        extra: secret.map { ["imagePullSecrets": [["name": JSON($0)]]] } ?? [:])
    }
    func put(_ name: String, _ password: String) {
      let entry = #"{"auths":{"127.0.0.1:\#(port)":{"username":"robot","password":"\#(password)"}}}"#
      cluster.put(
        "secret",
        [
          "kind": "Secret", "metadata": ["name": JSON(name), "namespace": "test"],
          "data": [".dockerconfigjson": JSON(Base64.encode(Array(entry.utf8)))],
        ])
    }
    put("good", "s3cret")
    put("bad", "guessed")
    let known = pod("known", "team/app:1")
    let unknown = pod("unknown", "others/app:1")
    let secret = pod("secret", "others/app:2", secret: "good")
    // The secret's login is tried first and refused; the provider's is next.
    let both = pod("both", "team/app:3", secret: "bad")
    for pod in [known, unknown, secret, both] { cluster.apply(pod) }

    for pod in [known, secret, both] {
      try #require(
        await eventually(patience) { cluster.status(pod.uid)["phase"]?.string == "Running" },
        "\(cluster.status(pod.uid).prettyText) \(cluster.events.map { $0.reason + ": " + $0.message })")
    }
    try #require(
      await eventually(patience) {
        cluster.status(unknown.uid)["containerStatuses"]?[0]?.at("state", "waiting", "reason")
          == "ImagePullBackOff"
      }, "\(cluster.status(unknown.uid).prettyText)")
    let imageID = cluster.status(known.uid)["containerStatuses"]?[0]?["imageID"]?.string ?? ""
    #expect(imageID.contains("@sha256:"), "\(imageID)")
    let words = cluster.events.filter { $0.involved.uid == known.uid && $0.reason == "Pulled" }.map(\.message)
    #expect(
      words.first?.firstMatch(
        of:
          /^Successfully pulled image "127.0.0.1:5017\/team\/app:1" in \d[\d.ms]* \(\d[\d.ms]* including waiting\)\. Image size: \d+ bytes\.$/
      ) != nil, "\(words)")
    // What one pod's secrets could not get, another's may, though the first is told to wait.
    let cured = pod("cured", "others/app:1", secret: "good")
    cluster.apply(cured)
    #expect(
      await eventually(patience) { cluster.status(cured.uid)["phase"]?.string == "Running" },
      "\(cluster.status(cured.uid).prettyText)")
    // One answer is for the whole registry; two images may have been asked for at once.
    func asked() -> Int { Files.readText(folder + "/asked")?.split(separator: "\n").count ?? 0 }
    let count = asked()
    #expect((1...2).contains(count))
    let later = pod("later", "team/another:1")
    cluster.apply(later)
    #expect(await eventually(patience) { cluster.status(later.uid)["phase"]?.string == "Running" })
    #expect(asked() == count)
    await agent.stop(keepPods: false)
  }
}
