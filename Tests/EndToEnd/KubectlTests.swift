// kubectl as its users type it, against `weft up`: what it prints, how it exits, what the cluster then does.
import Foundation
import Testing

@Suite(.serialized) struct KubectlTests {
  /// One cluster for all steps: starting one costs more than a hundred commands.
  @Test(.timeLimit(.minutes(3))) func `kubectl creates, reads, changes, waits for and deletes every kind`()
    throws
  {
    let node = try TestNode()
    defer { node.remove() }
    try node.start(["--http", "none"])
    let ready = eventually(within: 60) { node.kubectl("get", "nodes").standardOutput.contains(" Ready ") }
    try #require(ready != nil, "\(node.log)")
    let files = try Files(beside: node)
    defer { files.remove() }

    #expect(node.kubectl("delete", "service", "kubernetes").status == 0)
    aTypedClientCreatesEachKind(node)
    try applyTwiceIsUnchanged(node, files)
    try serverSideApplyKeepsOwners(node, files)
    patchesOfEveryType(node)
    try aRolloutIsFollowedAndUndone(node, files)
    outputsAndSelectors(node)
    aWatchSeesChanges(node)
    theServerDescribesItself(node)
    everyKindIsDescribed(node)
    logsOfAPodThatEnds(node)
    try refusalsSayWhy(node, files)
    finalizersHoldAndLetGo(node)
    aNamespaceGoesWithEverythingInIt(node)

    let isBack = eventually(within: 60) { node.kubectl("get", "service", "kubernetes").status == 0 }
    #expect(isBack != nil, "Service default/kubernetes stays away after it was deleted")
    #expect(node.stop(SIGINT) == 0, "\(node.log.suffix(2000))")
  }

  /// `kubectl create` is a typed client: its bodies are protobuf.
  func aTypedClientCreatesEachKind(_ node: TestNode) {
    expect(node.kubectl("create", "namespace", "shop"), "namespace/shop created\n")
    for (arguments, name) in [
      ("configmap settings --from-literal=colour=red", "configmap/settings"),
      ("secret generic key --from-literal=word=swordfish", "secret/key"),
      ("serviceaccount robot", "serviceaccount/robot"),
      ("service clusterip typed --tcp=80:8080", "service/typed"),
      ("service nodeport doors --tcp=80:8080 --node-port=30123", "service/doors"),
      ("deployment typed --image=weft.local/demo:1 --replicas=0", "deployment.apps/typed"),
      ("ingress typed --rule=shop.example/cart=typed:80", "ingress.networking.k8s.io/typed"),
    ] {
      let words = ["create", "-n", "shop"] + arguments.split(separator: " ").map(String.init)
      expect(node.kubectl(words), "\(name) created\n")
    }
    let word = node.kubectl("get", "secret", "key", "-n", "shop", "-o", "jsonpath={.data.word}")
    #expect(Data(base64Encoded: word.trimmed) == Data("swordfish".utf8), "\(word)")
    let address = node.kubectl("get", "service", "typed", "-n", "shop", "-o", "jsonpath={.spec.clusterIP}")
    #expect(address.trimmed.hasPrefix("10.43."), "\(address)")
  }

  func applyTwiceIsUnchanged(_ node: TestNode, _ files: Files) throws {
    let first = try files.write("notes.yaml", Self.notes(text: "one"))
    let second = try files.write("notes2.yaml", Self.notes(text: "two"))
    expect(node.kubectl("apply", "-f", first), "configmap/notes created\n")
    expect(node.kubectl("apply", "-f", first), "configmap/notes unchanged\n")
    #expect(node.kubectl("diff", "-f", first).status == 0)
    let difference = node.kubectl("diff", "-f", second)
    #expect(difference.status == 1 && difference.standardOutput.contains("+  text: two"), "\(difference)")
    expect(
      node.kubectl("apply", "-f", second, "--dry-run=server"), "configmap/notes configured (server dry run)\n"
    )
    #expect(node.text(of: "notes") == "one")
    expect(node.kubectl("apply", "-f", second), "configmap/notes configured\n")
    #expect(node.text(of: "notes") == "two")
  }

  func serverSideApplyKeepsOwners(_ node: TestNode, _ files: Files) throws {
    let mine = try files.write("owned.yaml", Self.notes("owned", text: "mine"))
    let theirs = try files.write("owned2.yaml", Self.notes("owned", text: "theirs"))
    expect(node.kubectl("apply", "--server-side", "-f", mine), "configmap/owned serverside-applied\n")
    let version = node.version(of: "owned")
    expect(node.kubectl("apply", "--server-side", "-f", mine), "configmap/owned serverside-applied\n")
    #expect(node.version(of: "owned") == version, "applying the same again writes nothing")
    let conflict = node.kubectl("apply", "--server-side", "--field-manager=other", "-f", theirs)
    #expect(conflict.status == 1, "\(conflict)")
    #expect(conflict.standardError.contains("conflict with \"kubectl\": .data.text"), "\(conflict)")
    expect(
      node.kubectl("apply", "--server-side", "--field-manager=other", "--force-conflicts", "-f", theirs),
      "configmap/owned serverside-applied\n")
    #expect(node.text(of: "owned") == "theirs")
  }

  func patchesOfEveryType(_ node: TestNode) {
    func patch(_ type: String, _ patch: String) {
      expect(
        node.kubectl("patch", "configmap", "notes", "-n", "shop", "--type=\(type)", "-p", patch),
        "configmap/notes patched\n")
    }
    func data() -> String {
      node.kubectl("get", "configmap", "notes", "-n", "shop", "-o", "jsonpath={.data}").trimmed
    }
    patch("merge", #"{"data":{"text":null,"more":"1"}}"#)
    #expect(data() == #"{"more":"1"}"#)
    patch(
      "json",
      #"[{"op":"test","path":"/data/more","value":"1"},{"op":"add","path":"/data/other","value":"2"},{"op":"add","path":"/metadata/annotations/shop.example~1by","value":"me"}]"#
    )
    #expect(data() == #"{"more":"1","other":"2"}"#)
    let annotated = node.kubectl(
      "get", "configmap", "notes", "-n", "shop", "-o", "jsonpath={.metadata.annotations.shop\\.example/by}")
    #expect(annotated.trimmed == "me", "\(annotated)")
    let refused = node.kubectl(
      "patch", "configmap", "notes", "-n", "shop", "--type=json", "-p",
      #"[{"op":"test","path":"/data/more","value":"no"}]"#)
    #expect(refused.status == 1 && !refused.standardError.isEmpty, "\(refused)")
    // A strategic merge finds the list's item by its key, and leaves the others.
    expect(
      node.kubectl(
        "patch", "service", "typed", "-n", "shop", "-p",
        #"{"spec":{"ports":[{"name":"admin","port":81,"targetPort":8081}]}}"#), "service/typed patched\n")
    let ports = node.kubectl("get", "service", "typed", "-n", "shop", "-o", "jsonpath={.spec.ports[*].port}")
    #expect(Set(ports.trimmed.split(separator: " ")) == ["80", "81"], "\(ports)")
    expect(
      node.kubectl("label", "configmap", "notes", "-n", "shop", "tier=front"), "configmap/notes labeled\n")
    expect(
      node.kubectl("annotate", "configmap", "notes", "-n", "shop", "why=test"), "configmap/notes annotated\n")
  }

  func aRolloutIsFollowedAndUndone(_ node: TestNode, _ files: Files) throws {
    let path = try files.write("web.yaml", Self.web)
    let applied = node.kubectl("apply", "-f", path)
    #expect(applied.lines == ["deployment.apps/web created", "service/web created"], "\(applied)")
    func follow() {
      let rollout = node.kubectl("rollout", "status", "deployment/web", "-n", "shop", "--timeout=60s")
      #expect(rollout.standardOutput.hasSuffix("deployment \"web\" successfully rolled out\n"), "\(rollout)")
    }
    func colour() -> String {
      node.kubectl(
        "get", "deployment", "web", "-n", "shop", "-o",
        "jsonpath={.spec.template.spec.containers[0].env[0].value}"
      ).trimmed
    }
    follow()
    let available = node.kubectl(
      "wait", "--for=condition=Available", "deployment/web", "-n", "shop", "--timeout=60s")
    expect(available, "deployment.apps/web condition met\n")
    expect(
      node.kubectl("scale", "deployment/web", "--replicas=2", "-n", "shop"), "deployment.apps/web scaled\n")
    follow()
    expect(
      node.kubectl("set", "env", "deployment/web", "COLOUR=blue", "-n", "shop"),
      "deployment.apps/web env updated\n")
    follow()
    #expect(colour() == "blue")
    #expect(revisions(node) == ["1", "2"])
    expect(
      node.kubectl("rollout", "undo", "deployment/web", "-n", "shop"), "deployment.apps/web rolled back\n")
    follow()
    #expect(colour() == "red")
    #expect(revisions(node) == ["2", "3"], "the old revision is the newest now")
    let running = eventually(within: 60) {
      node.kubectl("get", "pods", "-n", "shop", "-l", "app=web", "-o", "name").lines.count == 2
    }
    #expect(running != nil, "\(node.kubectl("get", "pods", "-n", "shop"))")
  }

  func revisions(_ node: TestNode) -> [String] {
    node.kubectl("rollout", "history", "deployment/web", "-n", "shop").lines
      .compactMap { $0.split(separator: " ").first.map(String.init) }.filter { Int($0) != nil }
  }

  func outputsAndSelectors(_ node: TestNode) {
    func get(_ arguments: String...) -> Output { node.kubectl(["get", "-n", "shop"] + arguments) }
    let wide = get("pods", "-l", "app=web", "-o", "wide").lines
    #expect(wide.first?.contains("NODE") == true && wide.count == 3, "\(wide)")
    #expect(wide.dropFirst().allSatisfy { $0.contains("10.42.0.") }, "\(wide)")
    let json = get("deployment", "web", "-o", "json")
    let object = try? JSONSerialization.jsonObject(with: Data(json.standardOutput.utf8)) as? [String: Any]
    #expect(object?["kind"] as? String == "Deployment", "\(json)")
    #expect(get("service", "web", "-o", "yaml").lines.contains("kind: Service"))
    #expect(get("configmap,secret", "-o", "name").lines.contains("secret/key"))
    let all = get("all").standardOutput
    for name in ["pod/web-", "service/web", "deployment.apps/web", "replicaset.apps/web-"] {
      #expect(all.contains(name), "\(all)")
    }
    #expect(get("configmap", "-l", "tier in (front,back),!gone", "-o", "name").lines == ["configmap/notes"])
    #expect(get("configmap", "-l", "tier!=front", "-o", "name").lines.contains("configmap/settings"))
    #expect(
      get("configmap", "--field-selector=metadata.name=notes", "-o", "name").lines == ["configmap/notes"])
    #expect(get("pods", "--field-selector=status.phase=Failed", "-o", "name").lines == [])
    #expect(
      node.kubectl("get", "pods", "-A", "--field-selector=spec.nodeName=nowhere", "-o", "name").lines == [])
    #expect(get("configmap", "--chunk-size=1", "-o", "name").lines == get("configmap", "-o", "name").lines)
  }

  func aWatchSeesChanges(_ node: TestNode) {
    let change =
      "for i in 1 2 3; do \(Project.kubectl) --kubeconfig \(node.kubeconfig) label configmap notes -n shop"
      + " --overwrite step=$i >/dev/null; done"
    let watch =
      "timeout 3 \(Project.kubectl) --kubeconfig \(node.kubeconfig) get configmap notes -n shop -w"
      + " -o jsonpath='{.metadata.labels.step} '"
    // The watch prints what is there before the changes begin; then each change in its order.
    let seen = node.exec(["bash", "-c", "(sleep 0.5; \(change)) & \(watch); wait"])
    #expect(seen.standardOutput.split(separator: " ") == ["1", "2", "3"], "\(seen)")
  }

  func theServerDescribesItself(_ node: TestNode) {
    #expect(node.kubectl("version").standardOutput.contains("Server Version: v1.37"))
    let resources = node.kubectl("api-resources", "-o", "name").lines
    for name in [
      "pods", "deployments.apps", "endpointslices.discovery.k8s.io", "networkpolicies.networking.k8s.io",
    ] {
      #expect(resources.contains(name), "\(resources)")
    }
    #expect(node.kubectl("api-versions").lines.contains("apps/v1"))
    let explained = node.kubectl("explain", "deployment.spec")
    #expect(explained.standardOutput.contains("FIELD: spec <DeploymentSpec>"), "\(explained)")
    #expect(explained.standardOutput.contains("replicas\t<integer>"), "\(explained)")
    #expect(node.kubectl("cluster-info").standardOutput.contains("is running at"))
  }

  func everyKindIsDescribed(_ node: TestNode) {
    for (kind, words) in [
      ("namespace/shop", ["Status:", "Active"]),
      ("configmap/settings", ["colour:", "red"]),
      ("secret/key", ["word:", "9 bytes"]),
      ("serviceaccount/robot", ["Name:", "robot"]),
      ("service/web", ["10.43.", "8080/TCP", "Endpoints:", "10.42.0."]),
      ("endpointslice", ["Addresses:", "TargetRef:", "Pod/web-"]),
      ("deployment/web", ["2 desired", "NewReplicaSet:", "ScalingReplicaSet"]),
      ("replicaset", ["Controlled By:", "Deployment/web"]),
      ("pod", ["Container ID:", "Running", "COLOUR:", "red"]),
      ("ingress/typed", ["shop.example", "/cart", "typed:80"]),
    ] {
      let described = node.kubectl("describe", kind, "-n", "shop")
      #expect(described.status == 0, "\(described)")
      for word in words {
        #expect(described.standardOutput.contains(word), "\(word) is missing: \(described)")
      }
    }
    let machine = node.kubectl("describe", "node").standardOutput
    #expect(machine.contains("containerd://") && machine.contains("web-"), "\(machine)")
    #expect(
      node.kubectl("describe", "lease", "-n", "kube-node-lease").standardOutput.contains("Holder Identity"))
    let events = node.kubectl("get", "events", "-n", "shop")
    #expect(events.standardOutput.contains("ScalingReplicaSet"), "\(events)")
  }

  func logsOfAPodThatEnds(_ node: TestNode) {
    let created = node.kubectl(
      "run", "once", "--image=weft.local/demo:1", "-n", "shop", "--restart=Never", "--command", "--",
      "/bin/sh",
      "-c", "echo first; echo second")
    expect(created, "pod/once created\n")
    expect(
      node.kubectl(
        "wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/once", "-n", "shop", "--timeout=60s"),
      "pod/once condition met\n")
    expect(node.kubectl("logs", "once", "-n", "shop"), "first\nsecond\n")
    expect(node.kubectl("logs", "once", "-n", "shop", "--tail=1"), "second\n")
    expect(node.kubectl("delete", "pod", "once", "-n", "shop"), "pod \"once\" deleted from shop namespace\n")
    #expect(node.kubectl("get", "pod", "once", "-n", "shop").status == 1, "delete waits until it is gone")
  }

  func refusalsSayWhy(_ node: TestNode, _ files: Files) throws {
    func refused(_ output: Output, _ words: String..., at location: SourceLocation = #_sourceLocation) {
      #expect(output.status == 1, "\(output)", sourceLocation: location)
      for word in words {
        #expect(output.standardError.contains(word), "\(output)", sourceLocation: location)
      }
    }
    let misspelt = try files.write(
      "foo.yaml",
      "apiVersion: v1\nkind: Service\nmetadata: {name: foo, namespace: shop}\nspec: {foo: 1, ports: [{port: 80}]}\n"
    )
    refused(node.kubectl("apply", "-f", misspelt), "strict decoding error: unknown field \"spec.foo\"")
    #expect(node.kubectl("get", "service", "foo", "-n", "shop").status == 1, "nothing half-done")
    let warned = node.kubectl("apply", "--validate=warn", "-f", misspelt)
    #expect(warned.status == 0 && warned.standardError.contains("unknown field \"spec.foo\""), "\(warned)")
    let wrong = try files.write(
      "wrong.yaml",
      "apiVersion: v1\nkind: Service\nmetadata: {name: wrong, namespace: shop}\nspec: {ports: [{port: 99999}]}\n"
    )
    refused(node.kubectl("apply", "-f", wrong), "spec.ports[0].port", "99999", "is invalid")
    refused(node.kubectl("create", "configmap", "settings", "-n", "shop"), "already exists")
    refused(node.kubectl("get", "configmap", "nowhere", "-n", "shop"), "(NotFound)", "\"nowhere\" not found")
    refused(
      node.kubectl("create", "configmap", "x", "-n", "no-such-namespace"), "namespaces \"no-such-namespace\"")
    refused(node.kubectl("delete", "namespace", "default"), "(Forbidden)")
    refused(node.kubectl("get", "unicorns"), "the server doesn't have a resource type \"unicorns\"")
    // Somebody else wrote meanwhile.
    let stale = try files.write(
      "stale.json", node.kubectl("get", "configmap", "settings", "-n", "shop", "-o", "json").standardOutput)
    #expect(node.kubectl("label", "configmap", "settings", "-n", "shop", "touched=yes").status == 0)
    refused(node.kubectl("replace", "-f", stale), "(Conflict)", "the object has been modified")
    expect(
      node.kubectl("create", "configmap", "dry", "-n", "shop", "--dry-run=server"),
      "configmap/dry created (server dry run)\n")
    refused(node.kubectl("get", "configmap", "dry", "-n", "shop"), "(NotFound)")
  }

  func finalizersHoldAndLetGo(_ node: TestNode) {
    func finalizers(_ value: String) {
      expect(
        node.kubectl(
          "patch", "configmap", "settings", "-n", "shop", "--type=merge", "-p",
          "{\"metadata\":{\"finalizers\":\(value)}}"), "configmap/settings patched\n")
    }
    finalizers("[\"weft.test/hold\"]")
    #expect(node.kubectl("delete", "configmap", "settings", "-n", "shop", "--wait=false").status == 0)
    let held = node.kubectl(
      "get", "configmap", "settings", "-n", "shop", "-o", "jsonpath={.metadata.deletionTimestamp}")
    #expect(held.trimmed.hasPrefix("20"), "it stays, marked: \(held)")
    finalizers("null")
    #expect(node.kubectl("get", "configmap", "settings", "-n", "shop").status == 1)
  }

  func aNamespaceGoesWithEverythingInIt(_ node: TestNode) {
    let deleted = node.kubectl("delete", "namespace", "shop", "--timeout=60s")
    #expect(deleted.status == 0, "\(deleted)\n\(node.kubectl("get", "all", "-n", "shop"))")
    #expect(node.kubectl("get", "namespace", "shop").status == 1)
    let rest = node.kubectl(
      "get", "pods,services,configmaps,endpointslices,deployments,replicasets,events", "-n", "shop")
    #expect(rest.standardOutput.isEmpty, "\(rest)")
    let left = node.exec("nft", "list", "map", "ip", "KUBE-PROXY", "np-id")
    #expect(!left.standardOutput.contains("30123"), "its node port is free again: \(left)")
  }

  func expect(_ output: Output, _ text: String, at location: SourceLocation = #_sourceLocation) {
    #expect(output.status == 0 && output.standardOutput == text, "\(output)", sourceLocation: location)
  }
}

// MARK: - Manifests

extension KubectlTests {
  static func notes(_ name: String = "notes", text: String) -> String {
    "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: \(name), namespace: shop}\ndata: {text: \(text)}\n"
  }

  /// A Deployment that ends within a second when told to, and its Service.
  static let web = """
    apiVersion: apps/v1
    kind: Deployment
    metadata: {name: web, namespace: shop}
    spec:
      replicas: 1
      selector: {matchLabels: {app: web}}
      template:
        metadata: {labels: {app: web}}
        spec:
          terminationGracePeriodSeconds: 1
          containers:
          - name: web
            image: weft.local/demo:1
            command: [/bin/httpd, -f, -p, "8080"]
            env: [{name: COLOUR, value: red}]
            ports: [{containerPort: 8080}]
    ---
    apiVersion: v1
    kind: Service
    metadata: {name: web, namespace: shop}
    spec:
      selector: {app: web}
      ports: [{port: 80, targetPort: 8080}]

    """

  /// Manifests of one test, in a folder of their own.
  struct Files {
    var folder: String
    init(beside node: TestNode) throws {
      folder = "\(node.dataFolder)-files"
      try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    }
    func write(_ name: String, _ text: String) throws -> String {
      try text.write(toFile: "\(folder)/\(name)", atomically: true, encoding: .utf8)
      return "\(folder)/\(name)"
    }
    func remove() { try? FileManager.default.removeItem(atPath: folder) }
  }
}

extension TestNode {
  func text(of name: String) -> String {
    kubectl("get", "configmap", name, "-n", "shop", "-o", "jsonpath={.data.text}").trimmed
  }
  func version(of name: String) -> String {
    kubectl("get", "configmap", name, "-n", "shop", "-o", "jsonpath={.metadata.resourceVersion}").trimmed
  }
}
