// The audit log: which requests are recorded, what of them, and that nothing waits for it.

import ClusterClient
import ClusterObjects
import Diagnostics
import Glibc
import Testing

@testable import ClusterServer

private func policy(_ rules: JSON, _ more: JSON = [:]) throws -> AuditPolicy {
  var tree: JSON = ["apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": rules]
  for (key, value) in more.object ?? .init() { tree[key] = value }
  return try AuditPolicy(tree, path: "policy")
}

private func request(
  _ verb: String = "get", _ group: String = "", _ resource: String = "pods", _ subresource: String = "",
  _ namespace: String = "demo", _ name: String = "p"
) -> AccessAttributes {
  AccessAttributes(
    identity: Identity(user: "alice", groups: ["dev"]), verb: verb, group: group, resource: resource,
    subresource: subresource, namespace: namespace, name: name)
}

private func path(_ path: String) -> AccessAttributes {
  AccessAttributes(identity: Identity(user: "alice", groups: ["dev"]), verb: "get", path: path)
}

private func events(_ path: String) throws -> [JSON] {
  try Program.read(path).split(separator: "\n").map { try JSON(parsing: String($0)) }
}

@Suite(.serialized, .timeLimit(.minutes(10))) struct AuditTests {
  @Test(
    arguments: [
      (["level": "Metadata"], request(), true), (["level": "Metadata"], path("/healthz"), true),
      (["level": "Metadata", "users": ["alice"]], request(), true),
      (["level": "Metadata", "users": ["bob"]], request(), false),
      (["level": "Metadata", "userGroups": ["ops", "dev"]], request(), true),
      (["level": "Metadata", "userGroups": ["ops"]], request(), false),
      (["level": "Metadata", "verbs": ["get"]], request(), true),
      (["level": "Metadata", "verbs": ["create"]], request(), false),
      (["level": "Metadata", "namespaces": ["demo"]], request(), true),
      (["level": "Metadata", "namespaces": [""]], request(), false),
      (["level": "Metadata", "namespaces": ["demo"]], path("/healthz"), false),
      (["level": "Metadata", "nonResourceURLs": ["/healthz*"]], path("/healthz/etcd"), true),
      (["level": "Metadata", "nonResourceURLs": ["*"]], request(), false),
      (["level": "Metadata", "nonResourceURLs": ["/api"]], path("/apis"), false),
      (["level": "Metadata", "resources": [["group": "apps"]]], request(), false),
      (["level": "Metadata", "resources": [["group": ""]]], request(), true),
      (["level": "Metadata", "resources": [["group": "", "resources": ["pods"]]]], request(), true),
      (
        ["level": "Metadata", "resources": [["group": "", "resources": ["pods"]]]],
        request("get", "", "pods", "log"), false
      ),
      (
        ["level": "Metadata", "resources": [["group": "", "resources": ["pods/log"]]]],
        request("get", "", "pods", "log"), true
      ),
      (
        ["level": "Metadata", "resources": [["group": "", "resources": ["pods/*"]]]],
        request("get", "", "pods", "log"), true
      ),
      (
        ["level": "Metadata", "resources": [["group": "", "resources": ["*/log"]]]],
        request("get", "", "pods", "log"), true
      ),
      (
        ["level": "Metadata", "resources": [["group": "", "resources": ["*"]]]],
        request("get", "", "pods", "log"), true
      ),
      (
        ["level": "Metadata", "resources": [["group": "", "resources": ["pods"], "resourceNames": ["q"]]]],
        request(), false
      ),
    ] as [(JSON, AccessAttributes, Bool)])
  func `a rule matches what it names`(rule: JSON, asked: AccessAttributes, isMatch: Bool) throws {
    #expect(try policy([rule]).decide(asked).level == (isMatch ? .metadata : .none))
  }

  @Test func `the first rule that matches decides`() throws {
    let decided = try policy(
      [
        ["level": "None", "verbs": ["watch"]],
        ["level": "Request", "omitStages": ["ResponseStarted"], "omitManagedFields": false],
        ["level": "RequestResponse"],
      ], ["omitStages": ["RequestReceived"], "omitManagedFields": true])
    #expect(decided.decide(request("watch")).level == .none)
    #expect(
      decided.decide(request())
        == AuditPolicy.Decision(
          level: .request, omitStages: [.requestReceived, .responseStarted], omitManagedFields: false))
  }

  @Test(
    arguments: [
      (["level": "All"], "rules[0].level: Unsupported value"), ([:], "rules[0].level: Required value"),
      (["level": "None", "nonResourceURLs": ["x"]], "rules[0].nonResourceURLs[0]"),
      (["level": "None", "nonResourceURLs": ["/a*b"]], "rules[0].nonResourceURLs[0]"),
      (["level": "None", "nonResourceURLs": ["/a"], "namespaces": ["x"]], "cannot apply to both"),
      (["level": "None", "resources": [["group": "apps/v1"]]], "rules[0].resources[0].group"),
      (["level": "None", "resources": [["resourceNames": ["x"]]]], "requires resources"),
      (["level": "None", "omitStages": ["End"]], "rules[0].omitStages[0]"),
      (["level": "None", "user": ["x"]], "unknown field"),
      (["level": "None", "users": "x"], "must be a list"),
    ] as [(JSON, String)])
  func `a policy that says nothing clear is refused with the place`(rule: JSON, text: String) {
    let error = #expect(throws: WeftError.self) { try policy([rule]) }
    #expect(error?.code == "API0014" && error?.object == "policy")
    #expect(error?.cause.contains(text) == true, "\(error?.description ?? "")")
  }

  @Test func `requests are recorded as the policy says`() async throws {
    try await withFolder { folder in
      let file = try #require(fopen(folder + "/policy.yaml", "w"))
      fputs(
        """
        apiVersion: audit.k8s.io/v1
        kind: Policy
        omitStages: [RequestReceived]
        rules:
        - level: None
          users: ["system:anonymous"]
        - level: RequestResponse
          omitManagedFields: true
          resources: [{group: "", resources: [configmaps]}]
        - level: Request
          resources: [{group: "", resources: [serviceaccounts/token]}]
        - level: Metadata
        """, file)
      fclose(file)
      var settings = ServerSettings(dataFolder: folder + "/data")
      settings.port = 0
      settings.audit.policyFile = folder + "/policy.yaml"
      settings.audit.logPath = folder + "/audit.log"
      let server = try await ClusterServer.start(settings)
      let maps = "/api/v1/namespaces/default/configmaps"
      let named = try await ask(
        server, folder, maps, "POST",
        body: ["metadata": ["name": "a", "managedFields": []], "data": ["k": "v"]],
        headers: [
          "audit-id: my-own-name", "impersonate-user: jane", "impersonate-group: system:masters",
          "user-agent: tester/1",
          "x-forwarded-for: 192.0.2.9",
        ])
      #expect(named.header("audit-id") == "my-own-name")
      let missing = try await ask(server, folder, maps + "/none")
      #expect(!missing.header("audit-id").isEmpty)
      _ = try await ask(server, folder, "/healthz", as: .none)
      _ = try await ask(server, folder, "/api", as: .bearer("nonsense"))
      _ = try await ask(server, folder, "/api/v1/secrets?watch=true&timeoutSeconds=1")
      _ = try await server.client(user: "test").create(
        .serviceAccounts, ["metadata": ["name": "robot", "namespace": "default"]], options: WriteOptions())
      let token = try await requestToken(server, folder, "robot")
      await server.shutdown()

      let log = try events(folder + "/audit.log")
      let made = try #require(log.first { $0["auditID"] == "my-own-name" })
      #expect(made["kind"] == "Event" && made["apiVersion"] == "audit.k8s.io/v1")
      #expect(made["level"] == "RequestResponse" && made["stage"] == "ResponseComplete")
      #expect(made["verb"] == "create" && made["requestURI"]?.string == maps)
      #expect(made.at("user", "username") == "weft-admin")
      #expect(made.at("impersonatedUser", "username") == "jane")
      #expect(made["sourceIPs"] == ["192.0.2.9", "127.0.0.1"] && made["userAgent"] == "tester/1")
      #expect(
        made["objectRef"] == [
          "resource": "configmaps", "namespace": "default", "name": "a", "apiVersion": "v1",
        ])
      #expect(made.at("responseStatus", "code") == 201)
      #expect(made.at("requestObject", "data") == ["k": "v"])
      #expect(made.at("requestObject", "metadata") == ["name": "a"])
      #expect(made.at("responseObject", "metadata", "uid")?.string?.isEmpty == false)
      #expect(made.at("responseObject", "metadata", "managedFields") == nil)
      #expect(made.at("annotations", "authorization.k8s.io/decision") == "allow")
      let times = [made["requestReceivedTimestamp"]?.string ?? "", made["stageTimestamp"]?.string ?? ""]
      #expect(times[0] <= times[1] && times.allSatisfy { $0.count == 27 && $0.hasSuffix("Z") })

      let gone = try #require(log.first { $0["auditID"]?.string == missing.header("audit-id") })
      #expect(gone.at("responseStatus", "code") == 404 && gone.at("responseStatus", "reason") == "NotFound")
      #expect(!log.contains { $0["requestURI"] == "/healthz" })
      let refused = try #require(log.first { $0["requestURI"] == "/api" })
      #expect(refused.at("responseStatus", "code") == 401 && refused["user"] == [:])
      let watch = log.filter { $0["verb"] == "watch" }
      #expect(watch.map { $0["stage"]?.string } == ["ResponseStarted", "ResponseComplete"])
      #expect(watch.first?["auditID"] == watch.last?["auditID"])
      let request = try #require(log.first { $0.at("objectRef", "subresource") == "token" })
      #expect(request["responseObject"] == nil && request["requestObject"]?.kind == "TokenRequest")
      let credential = request.at("annotations", "authentication.kubernetes.io/issued-credential-id")?.string
      #expect(credential?.hasPrefix("JTI=") == true)
      #expect(!Program.read(folder + "/audit.log").contains(token))
      #expect(!log.contains { $0["requestObject"] == .null || $0["stage"] == "RequestReceived" })
    }
  }

  @Test func `a log that has grown is turned over, and old ones go`() async throws {
    try await withFolder { folder in
      var settings = AuditLog.Settings(path: folder + "/audit.log")
      settings.bytesMax = 1000
      settings.backupsMax = 2
      let log = try AuditLog(settings)
      for index in 0..<40 {
        log.write(Array("{\"n\":\(index),\"x\":\"\(String(repeating: "y", count: 200))\"}".utf8))
      }
      await log.shutdown()
      let names = try Program.runBlocking("/bin/ls", [folder]).output.split(separator: "\n")
      #expect(names.count == 3 && names.contains("audit.log"), "\(names)")
      for name in names {
        let text = Program.read("\(folder)/\(name)")
        #expect(text.utf8.count <= 1000 && text.hasSuffix("}\n"))
      }
      #expect(try events(folder + "/audit.log").last?["n"] == 39)
    }
  }

  @Test func `a log that cannot be written loses events and holds nothing up`() async throws {
    let failures = Metrics.shared.counter(
      "apiserver_audit_error_total", "Audit events that could not be recorded.", labels: ["plugin"]
    ).child("log")
    let before = failures.current
    // Every write to this device says that the disk is full.
    let log = try AuditLog(AuditLog.Settings(path: "/dev/full"))
    let line = [UInt8](repeating: 120, count: 1000)
    let start = ContinuousClock.now
    for _ in 0..<30_000 { log.write(line) }
    #expect(ContinuousClock.now - start < .seconds(20))
    await log.shutdown()
    #expect(failures.current - before == 30_000)
  }

  @Test func `losses are told at most once a minute, and none is left out`() {
    var report = LossReport()
    let start = ContinuousClock.now
    #expect(report.add(0, at: start) == nil)
    #expect(report.add(5, at: start) == 5)
    for second in 1..<60 { #expect(report.add(2, at: start + .seconds(second)) == nil) }
    #expect(report.add(0, at: start + .seconds(60)) == 118)
    #expect(report.add(0, at: start + .seconds(200)) == nil)
    #expect(report.add(1, at: start + .seconds(200)) == 1)
    #expect(report.add(3, at: start + .seconds(201)) == nil)
    #expect(report.rest() == 3)
    #expect(report.rest() == nil)
  }

  @Test func `a log without a policy is refused`() {
    var settings = AuditSettings()
    settings.logPath = "/tmp/x"
    #expect(throws: WeftError.self) { try settings.audit() }
  }
}
