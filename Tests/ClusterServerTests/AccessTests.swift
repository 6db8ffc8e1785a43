// Who may, through the whole server: roles made with kubectl, questions asked as people with certificates.

import ClusterClient
import ClusterObjects
import ClusterServer
import StoreLab
import Testing

/// kubectl as somebody else, by a certificate of theirs.
struct Person {
  var kubectl: String
  var kubeconfig: String
  var folder: String

  init(_ server: ClusterServer, _ folder: String, _ user: String, groups: [String] = []) throws {
    guard let path = Kubectl.path else { throw Failed(text: "no kubectl; make setup installs it") }
    kubectl = path
    self.folder = folder
    let file = user.filter(\.isLetter)
    kubeconfig = "\(folder)/\(file).kubeconfig"
    try server.kubeconfig(name: file, user: user, groups: groups).write(to: kubeconfig)
  }

  @discardableResult func callAsFunction(_ arguments: String, input: String = "") async throws -> Program {
    let words = arguments.split(separator: " ").map(String.init)
    return try await Program.run(
      kubectl, ["--kubeconfig", kubeconfig, "--cache-dir", folder + "/cache"] + words, input: input)
  }
}

@Suite(.serialized, .timeLimit(.minutes(10))) struct AccessTests {
  @Test func `tenants see their namespace and nothing else`() async throws {
    try await withServer { server, folder in
      let admin = Kubectl(server: server, cache: folder)
      for tenant in ["a", "b"] {
        try await admin("create namespace \(tenant)")
        try await admin("create rolebinding own --clusterrole=edit --user=user-\(tenant) -n \(tenant)")
      }
      let a = try Person(server, folder, "user-a")
      let made = try await a("create configmap c -n a --from-literal=k=v")
      #expect(made.status == 0, "\(made.errors)")
      #expect(try await a("get configmap c -n a -o name").output == "configmap/c\n")
      let other = try await a("get configmap c -n b")
      #expect(
        other.errors.contains(
          #"configmaps "c" is forbidden: User "user-a" cannot get resource "configmaps" in API group "" in the namespace "b""#
        ), "\(other.errors)")
      let all = try await a("get pods -A")
      #expect(
        all.errors.contains(
          #"pods is forbidden: User "user-a" cannot list resource "pods" in API group "" at the cluster scope"#
        ),
        "\(all.errors)")
      let metrics = try await a("get --raw /metrics")
      #expect(
        metrics.errors.contains(#"forbidden: User "user-a" cannot get path "/metrics""#), "\(metrics.errors)")
      // What was taken away is gone with the next request.
      try await admin("delete rolebinding own -n a")
      #expect(try await a("get configmap c -n a").status == 1)
    }
  }

  @Test func `parts of the server's own process are answered who somebody is and what they may`() async throws
  {
    try await withServer { server, folder in
      let admin = Kubectl(server: server, cache: folder)
      try await admin("create serviceaccount asked -n default")
      try await admin("create role reader --verb=get --resource=pods -n default")
      try await admin("create rolebinding reader --role=reader --serviceaccount=default:asked -n default")
      let token = try await admin("create token asked -n default").output
      let api = server.client(user: "system:node:n1", groups: ["system:nodes"])
      func review(_ text: String) async throws -> JSON {
        try await api.create(
          GroupVersionResource("authentication.k8s.io", "v1", "tokenreviews"),
          ["spec": ["token": JSON(text)]], options: WriteOptions()
        ).status
      }
      let known = try await review(String(token.filter { !$0.isWhitespace }))
      #expect(known["authenticated"]?.bool == true)
      #expect(known.at("user", "username")?.string == "system:serviceaccount:default:asked")
      #expect(try await review("wrong")["authenticated"]?.bool != true)
      for (verb, isAllowed) in [("get", true), ("delete", false)] {
        let status = try await api.create(
          GroupVersionResource("authorization.k8s.io", "v1", "subjectaccessreviews"),
          [
            "spec": [
              "user": "system:serviceaccount:default:asked",
              "resourceAttributes": [
                "verb": JSON(verb), "version": "v1", "resource": "pods", "namespace": "default",
              ],
            ]
          ], options: WriteOptions()
        ).status
        #expect(status["allowed"]?.bool == isAllowed, "\(verb)")
      }
    }
  }

  @Test func `can-i answers as the server will`() async throws {
    try await withServer { server, folder in
      let admin = Kubectl(server: server, cache: folder)
      try await admin("create role reader --verb=get,list --resource=pods,pods/log -n default")
      try await admin("create rolebinding reader --role=reader --user=jane -n default")
      try await admin("create clusterrole lights --verb=get --non-resource-url=/lights/*")
      try await admin("create clusterrolebinding lights --clusterrole=lights --group=keepers")
      let jane = try Person(server, folder, "jane", groups: ["keepers"])
      for (question, answer) in [
        ("get pods", "yes"), ("get pods/log", "yes"), ("create pods", "no"), ("get secrets", "no"),
        ("get pods -n kube-system", "no"), ("get /lights/on", "yes"), ("get /metrics", "no"),
        ("create selfsubjectaccessreviews.authorization.k8s.io", "yes"),
      ] {
        let run = try await jane("auth can-i \(question)")
        #expect(run.output.hasPrefix(answer), "\(question): \(run.output)\(run.errors)")
      }
      let list = try await jane("auth can-i --list")
      #expect(list.status == 0, "\(list.errors)")
      #expect(list.output.contains("pods/log"), "\(list.output)")
      #expect(list.output.contains("[/lights/*]"), "\(list.output)")
      #expect(list.output.contains("selfsubjectrulesreviews.authorization.k8s.io"), "\(list.output)")
      #expect(try await admin("auth can-i * *").output == "yes\n")
    }
  }

  @Test func `the default roles are there, aggregated, and come back`() async throws {
    try await withFolder { folder in
      var settings = ServerSettings(dataFolder: folder + "/data")
      settings.port = 0
      let first = try await ClusterServer.start(settings)
      let roles = GroupVersionResource("rbac.authorization.k8s.io", "v1", "clusterroles")
      let bindings = GroupVersionResource("rbac.authorization.k8s.io", "v1", "clusterrolebindings")
      let api = first.client(user: "test")
      let list = try await api.list(roles, namespace: "", options: ListOptions()).items
      #expect(list.count > 60)
      #expect(list.allSatisfy { $0.labels["kubernetes.io/bootstrapping"] == "rbac-defaults" })
      let edit = try await api.get(roles, namespace: "", name: "edit")
      let admin = try await api.get(roles, namespace: "", name: "admin")
      #expect((admin["rules"]?.elements.count ?? 0) > (edit["rules"]?.elements.count ?? 0))

      // A rule taken away comes back, one that was added stays, one that says so is left alone.
      var dns = try await api.get(roles, namespace: "", name: "system:kube-dns")
      let added: JSON = ["verbs": ["get"], "apiGroups": [""], "resources": ["nodes"]]
      dns["rules"] = [added]
      _ = try await api.update(roles, dns, subresource: nil, options: WriteOptions())
      var basic = try await api.get(roles, namespace: "", name: "system:basic-user")
      basic["rules"] = .array([])
      basic.set("false", at: "metadata", "annotations", "rbac.authorization.kubernetes.io/autoupdate")
      _ = try await api.update(roles, basic, subresource: nil, options: WriteOptions())
      try await api.delete(bindings, namespace: "", name: "system:discovery", options: DeleteOptions())
      await first.shutdown()

      let second = try await ClusterServer.start(settings)
      let again = second.client(user: "test")
      let rules = try await again.get(roles, namespace: "", name: "system:kube-dns")["rules"]?.elements ?? []
      #expect(rules.contains(added))
      #expect(rules.contains { $0["resources"]?.elements.contains("services") == true }, "\(rules)")
      let left = try await again.get(roles, namespace: "", name: "system:basic-user")
      #expect(left["rules"]?.elements.isEmpty != false)
      _ = try await again.get(bindings, namespace: "", name: "system:discovery")
      await second.shutdown()
    }
  }

  @Test func `a role with the right label is gathered at once`() async throws {
    try await withServer { server, folder in
      let admin = Kubectl(server: server, cache: folder)
      try await admin("create namespace shop")
      try await admin("create rolebinding view --clusterrole=view --user=jane -n shop")
      try await admin("create clusterrole crons --verb=get,list --resource=secrets")
      try await admin("label clusterrole crons rbac.authorization.k8s.io/aggregate-to-view=true")
      let jane = try Person(server, folder, "jane")
      var answer = ""
      for _ in 0..<50 where !answer.hasPrefix("yes") {
        answer = try await jane("auth can-i list secrets -n shop").output
      }
      #expect(answer == "yes\n")
      // And goes as it came: also from the roles that gather the gathering one.
      try await admin("delete clusterrole crons")
      for _ in 0..<50 where !answer.hasPrefix("no") {
        answer = try await jane("auth can-i list secrets -n shop").output
      }
      #expect(answer == "no\n")
    }
  }

  @Test func `a review is answered about anybody, and its mistakes are named`() async throws {
    try await withServer { server, folder in
      let admin = Kubectl(server: server, cache: folder)
      try await admin("create rolebinding v --clusterrole=view --serviceaccount=default:robot -n default")
      func review(_ kind: String, _ spec: String, namespace: String = "") async throws -> Program {
        let text = """
          apiVersion: authorization.k8s.io/v1
          kind: \(kind)
          \(namespace.isEmpty ? "" : "metadata: {namespace: \(namespace)}")
          spec: \(spec)
          """
        return try await admin("create -f - -o json", input: text)
      }
      let yes = try await review(
        "SubjectAccessReview",
        "{user: 'system:serviceaccount:default:robot', resourceAttributes: {verb: get, resource: pods, namespace: default}}"
      )
      #expect(yes.output.contains(#""allowed": true"#), "\(yes.output)\(yes.errors)")
      #expect(
        yes.output.contains(
          #"RBAC: allowed by RoleBinding \"v/default\" of ClusterRole \"view\" to ServiceAccount \"robot/default\""#
        ),
        "\(yes.output)")
      let no = try await review(
        "LocalSubjectAccessReview",
        "{user: nobody, resourceAttributes: {verb: get, resource: pods, namespace: default}}",
        namespace: "default")
      #expect(no.output.contains(#""allowed": false"#), "\(no.output)\(no.errors)")
      let wrong = try await review("SubjectAccessReview", "{resourceAttributes: {verb: get, resource: pods}}")
      #expect(wrong.errors.contains("at least one of user or group must be specified"), "\(wrong.errors)")
      let neither = try await review("SubjectAccessReview", "{user: a}")
      #expect(
        neither.errors.contains(
          "exactly one of nonResourceAttributes or resourceAttributes must be specified"), "\(neither.errors)"
      )
    }
  }

  @Test func `a binding to a role that nobody made says so in the refusal`() async throws {
    try await withServer { server, folder in
      let admin = Kubectl(server: server, cache: folder)
      try await admin("create rolebinding b --clusterrole=ghost --user=jane -n default")
      let run = try await Person(server, folder, "jane")("get pods -n default")
      #expect(
        run.errors.contains(
          #"in the namespace "default": RBAC: clusterrole.rbac.authorization.k8s.io "ghost" not found"#),
        "\(run.errors)")
    }
  }
}
