// kubectl 1.37 against a server of ours: what a person types, what that person must see.

import ClusterClient
import ClusterObjects
import ClusterServer
import Testing

private let manifest = """
  apiVersion: v1
  kind: Namespace
  metadata: {name: demo}
  ---
  apiVersion: apps/v1
  kind: Deployment
  metadata: {name: web, namespace: demo}
  spec:
    replicas: 2
    selector: {matchLabels: {app: web}}
    template:
      metadata: {labels: {app: web}}
      spec:
        containers:
        - {name: web, image: "weft/echo:1", ports: [{containerPort: 8080}]}
  ---
  apiVersion: v1
  kind: Service
  metadata: {name: web, namespace: demo}
  spec:
    type: NodePort
    selector: {app: web}
    ports: [{port: 80, targetPort: 8080}]
  ---
  apiVersion: v1
  kind: Pod
  metadata: {name: one, namespace: demo, labels: {app: one}}
  spec:
    containers:
    - {name: c, image: busybox}
  """

@Suite(.serialized, .timeLimit(.minutes(10))) struct KubectlTests {
  @Test func `apply creates, then finds nothing to change, then patches what changed`() async throws {
    try await withServer { server, folder in
      let kubectl = Kubectl(server: server, cache: folder)
      let first = try await kubectl("apply -f -", input: manifest)
      #expect(first.status == 0, "\(first.errors)")
      #expect(first.output.contains("deployment.apps/web created"))
      let second = try await kubectl("apply -f -", input: manifest)
      #expect(
        second.output.split(separator: "\n").allSatisfy { $0.hasSuffix("unchanged") }, "\(second.output)")
      let third = try await kubectl("apply -f -", input: manifest.replacing("echo:1", with: "echo:2"))
      #expect(third.output.contains("deployment.apps/web configured"), "\(third.output)\(third.errors)")
      let image = try await kubectl("get deploy web -n demo -o jsonpath={..image}/{.metadata.generation}")
      #expect(image.output == "weft/echo:2/2")
    }
  }

  @Test func `get shows the columns that people know`() async throws {
    try await withServer { server, folder in
      let kubectl = Kubectl(server: server, cache: folder)
      try await kubectl("apply -f -", input: manifest)
      let services = try await kubectl("get svc -A -o wide")
      #expect(
        services.output.contains("NAMESPACE   NAME         TYPE        CLUSTER-IP"), "\(services.output)")
      let port = try await kubectl(
        "get svc -n demo -o jsonpath={.items[*].spec.ports[?(@.nodePort)].nodePort}"
      ).output
      #expect(!port.isEmpty && services.output.contains("80:\(port)/TCP"), "\(services.output)\(port)")
      let pods = try await kubectl("get pods -n demo")
      #expect(
        pods.output.split(separator: "\n").first?.split(separator: " ") == [
          "NAME", "READY", "STATUS", "RESTARTS", "AGE",
        ])
      #expect(pods.output.contains("0/1     Pending"))
      let all = try await kubectl("get all -n demo")
      #expect(all.output.contains("deployment.apps/web   0/2"))
      #expect(try await kubectl("get pods -n demo -l app=one -o name").output == "pod/one\n")
      #expect(try await kubectl("get pods -n demo -l app=two -o name").output == "")
      #expect(
        try await kubectl("get pods -n demo --field-selector status.phase=Pending -o name").output
          == "pod/one\n")
    }
  }

  @Test(arguments: [
    ("create namespace other", "namespace/other created"),
    ("create deployment two -n demo --image=x", "deployment.apps/two created"),
    ("create configmap c -n demo --from-literal=a=b", "configmap/c created"),
    ("create secret generic s -n demo --from-literal=a=b", "secret/s created"),
    ("create service clusterip two -n demo --tcp=80:80", "service/two created"),
    ("create serviceaccount sa -n demo", "serviceaccount/sa created"),
    ("create ingress i -n demo --rule=h.example/=web:80", "ingress.networking.k8s.io/i created"),
    ("run r -n demo --image=x", "pod/r created"),
    ("label pod one -n demo x=y", "pod/one labeled"),
    ("annotate pod one -n demo x=y", "pod/one annotated"),
    ("scale deploy web -n demo --replicas=3", "deployment.apps/web scaled"),
    ("set image deploy/web -n demo web=x:2", "deployment.apps/web image updated"),
    ("rollout restart deploy/web -n demo", "deployment.apps/web restarted"),
    ("delete svc web -n demo", "service \"web\" deleted"),
    ("delete pod one -n demo --grace-period=5", "pod \"one\" deleted"),
    ("delete deploy --all -n demo", "deployment.apps \"web\" deleted"),
  ])
  func `typed writes, JSON or protobuf, are understood`(command: String, answer: String) async throws {
    try await withServer { server, folder in
      let kubectl = Kubectl(server: server, cache: folder)
      try await kubectl("apply -f -", input: manifest)
      let run = try await kubectl(command)
      #expect(run.status == 0, "\(run.errors)")
      #expect(run.output.contains(answer), "\(run.output)")
    }
  }

  @Test func `describe reads everything it asks for`() async throws {
    try await withServer { server, folder in
      let kubectl = Kubectl(server: server, cache: folder)
      try await kubectl("apply -f -", input: manifest)
      for what in ["deploy/web", "svc/web", "pod/one"] {
        let run = try await kubectl("describe \(what) -n demo")
        #expect(run.status == 0, "\(run.errors)")
        #expect(run.complaints.isEmpty, "\(run.errors)")
        #expect(run.output.contains("Events:"))
      }
      let explain = try await kubectl("explain deployment.spec.replicas")
      #expect(explain.output.contains("FIELD: replicas <integer>"), "\(explain.errors)")
    }
  }

  @Test func `wait and rollout status end when the status says so`() async throws {
    try await withServer { server, folder in
      let kubectl = Kubectl(server: server, cache: folder)
      try await kubectl("apply -f -", input: manifest)
      let api = server.client(user: "test")
      async let waited = try await kubectl("wait --for=condition=Available deploy/web -n demo --timeout=60s")
      var web = try await api.get(.deployments, namespace: "demo", name: "web")
      web["status"] = [
        "observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2,
        "availableReplicas": 2,
        "conditions": [
          [
            "type": "Available", "status": "True", "lastUpdateTime": "2026-11-21T00:00:00Z",
            "lastTransitionTime": "2026-11-21T00:00:00Z", "reason": "MinimumReplicasAvailable",
            "message": "ok",
          ]
        ],
      ]
      _ = try await api.update(.deployments, web, subresource: "status", options: WriteOptions())
      let run = try await waited
      #expect(run.status == 0, "\(run.errors)")
      let rollout = try await kubectl("rollout status deploy/web -n demo --timeout=60s")
      #expect(rollout.output.contains("successfully rolled out"), "\(rollout.output)\(rollout.errors)")
      let table = try await kubectl("get deploy web -n demo")
      #expect(table.output.contains("2/2"))
    }
  }

  @Test func `get -w follows`() async throws {
    try await withServer { server, folder in
      let kubectl = Kubectl(server: server, cache: folder)
      async let watched = try await kubectl("get cm -n default -w", limit: 4)
      let api = server.client(user: "test")
      // Until the watch was seen to run, keep writing: it must show one of these.
      for index in 0..<20 {
        _ = try await api.create(
          .configMaps, ["metadata": ["name": JSON("c\(index)"), "namespace": "default"]],
          options: WriteOptions())
        try await Task.sleep(for: .milliseconds(100))
      }
      let run = try await watched
      let lines = run.output.split(separator: "\n")
      #expect(lines.filter { $0.hasPrefix("NAME") }.count == 1, "\(run.output)")
      #expect(lines.contains { $0.hasPrefix("c19") }, "\(run.output)\(run.errors)")
    }
  }

  @Test(arguments: [
    ("get pod nope -n demo", "Error from server (NotFound): pods \"nope\" not found"),
    ("create namespace demo", "Error from server (AlreadyExists): namespaces \"demo\" already exists"),
    ("create configmap c -n nope", "namespaces \"nope\" not found"),
    (
      "delete ns kube-system",
      "Error from server (Forbidden): namespaces \"kube-system\" is forbidden: this namespace may not be deleted"
    ),
    ("get pods -n demo --field-selector spec.nope=1", "field label not supported: spec.nope"),
    ("get nope", "error: the server doesn't have a resource type \"nope\""),
  ])
  func `refusals read as people know them`(command: String, answer: String) async throws {
    try await withServer { server, folder in
      let kubectl = Kubectl(server: server, cache: folder)
      try await kubectl("apply -f -", input: manifest)
      let run = try await kubectl(command)
      #expect(run.status == 1)
      #expect(run.errors.contains(answer), "\(run.errors)")
    }
  }

  @Test func `server-side apply creates, tells conflicts, and wins by force`() async throws {
    try await withServer { server, folder in
      let kubectl = Kubectl(server: server, cache: folder)
      let first = try await kubectl("apply --server-side -f -", input: manifest)
      #expect(
        first.output.contains("deployment.apps/web serverside-applied"), "\(first.output)\(first.errors)")
      let again = try await kubectl("apply --server-side -f -", input: manifest)
      #expect(again.status == 0, "\(again.errors)")
      try await kubectl("scale deploy web -n demo --replicas=5")
      let conflict = try await kubectl("apply --server-side -f -", input: manifest)
      #expect(conflict.status == 1)
      #expect(conflict.errors.contains(".spec.replicas"), "\(conflict.errors)")
      let forced = try await kubectl("apply --server-side --force-conflicts -f -", input: manifest)
      #expect(forced.status == 0, "\(forced.errors)")
      let replicas = try await kubectl("get deploy web -n demo -o jsonpath={.spec.replicas}")
      #expect(replicas.output == "2")
    }
  }

  @Test func `an unknown field in a manifest is named`() async throws {
    try await withServer { server, folder in
      let kubectl = Kubectl(server: server, cache: folder)
      let run = try await kubectl("apply -f -", input: manifest.replacing("replicas: 2", with: "replicaz: 2"))
      #expect(run.status == 1)
      #expect(run.errors.contains("unknown field \"spec.replicaz\""), "\(run.errors)")
    }
  }

  @Test func `a dry run on the server changes nothing`() async throws {
    try await withServer { server, folder in
      let kubectl = Kubectl(server: server, cache: folder)
      try await kubectl("create ns demo")
      let run = try await kubectl("apply --dry-run=server -f -", input: manifest)
      #expect(
        run.output.contains("deployment.apps/web created (server dry run)"), "\(run.output)\(run.errors)")
      #expect(try await kubectl("get all -n demo").output == "")
    }
  }
}
