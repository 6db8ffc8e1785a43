// Every kind through the server: made, read, listed, watched, patched and deleted, with all that the server
// fills in; and resources that are served in two versions.

import ClusterClient
import ClusterObjects
import ClusterServer
import Diagnostics
import Testing

private let template: JSON = [
  "metadata": ["labels": ["a": "b"]], "spec": ["containers": [["name": "c", "image": "x"]]],
]
private let job: JSON = [
  "spec": ["template": ["spec": ["restartPolicy": "Never", "containers": [["name": "c", "image": "x"]]]]]
]

/// The least that each kind must say.
private let bodies: [(String, String, String, JSON)] = [
  ("", "v1", "configmaps", ["data": ["a": "b"]]),
  ("", "v1", "endpoints", ["subsets": [["addresses": [["ip": "10.0.0.1"]], "ports": [["port": 80]]]]]),
  ("", "v1", "events", ["involvedObject": ["kind": "Pod", "name": "p", "namespace": "default"]]),
  ("", "v1", "limitranges", ["spec": ["limits": [["type": "Container", "max": ["cpu": "1"]]]]]),
  ("", "v1", "namespaces", [:]),
  ("", "v1", "nodes", [:]),
  (
    "", "v1", "persistentvolumeclaims",
    ["spec": ["accessModes": ["ReadWriteOnce"], "resources": ["requests": ["storage": "1Gi"]]]]
  ),
  (
    "", "v1", "persistentvolumes",
    [
      "spec": [
        "capacity": ["storage": "1Gi"], "accessModes": ["ReadWriteOnce"], "hostPath": ["path": "/data"],
      ]
    ]
  ),
  ("", "v1", "pods", ["spec": ["containers": [["name": "c", "image": "x"]]]]),
  ("", "v1", "podtemplates", ["template": template]),
  ("", "v1", "replicationcontrollers", ["spec": ["template": template]]),
  ("", "v1", "resourcequotas", ["spec": ["hard": ["pods": "10"]]]),
  ("", "v1", "secrets", ["stringData": ["a": "b"]]),
  ("", "v1", "serviceaccounts", [:]),
  ("", "v1", "services", ["spec": ["ports": [["port": 80]]]]),
  ("apps", "v1", "controllerrevisions", ["data": ["any": "thing"], "revision": 1]),
  ("apps", "v1", "daemonsets", ["spec": ["selector": ["matchLabels": ["a": "b"]], "template": template]]),
  ("apps", "v1", "deployments", ["spec": ["selector": ["matchLabels": ["a": "b"]], "template": template]]),
  ("apps", "v1", "replicasets", ["spec": ["selector": ["matchLabels": ["a": "b"]], "template": template]]),
  (
    "apps", "v1", "statefulsets",
    ["spec": ["serviceName": "s", "selector": ["matchLabels": ["a": "b"]], "template": template]]
  ),
  ("batch", "v1", "cronjobs", ["spec": ["schedule": "*/5 * * * *", "jobTemplate": job]]),
  ("batch", "v1", "jobs", job),
  (
    "autoscaling", "v1", "horizontalpodautoscalers",
    ["spec": ["maxReplicas": 3, "scaleTargetRef": ["kind": "Deployment", "name": "d"]]]
  ),
  (
    "autoscaling", "v2", "horizontalpodautoscalers",
    ["spec": ["maxReplicas": 3, "scaleTargetRef": ["kind": "Deployment", "name": "d"]]]
  ),
  ("policy", "v1", "poddisruptionbudgets", ["spec": ["minAvailable": 1]]),
  (
    "networking.k8s.io", "v1", "ingresses",
    ["spec": ["defaultBackend": ["service": ["name": "s", "port": ["number": 80]]]]]
  ),
  ("networking.k8s.io", "v1", "ingressclasses", ["spec": ["controller": "example.com/x"]]),
  ("networking.k8s.io", "v1", "networkpolicies", ["spec": ["podSelector": [:]]]),
  ("discovery.k8s.io", "v1", "endpointslices", ["addressType": "IPv4", "endpoints": []]),
  ("rbac.authorization.k8s.io", "v1", "roles", ["rules": []]),
  ("rbac.authorization.k8s.io", "v1", "clusterroles", ["rules": []]),
  ("rbac.authorization.k8s.io", "v1", "rolebindings", binding),
  ("rbac.authorization.k8s.io", "v1", "clusterrolebindings", binding),
  ("coordination.k8s.io", "v1", "leases", ["spec": ["holderIdentity": "me"]]),
  (
    "events.k8s.io", "v1", "events",
    [
      "eventTime": "2026-11-21T05:00:00.000001Z", "reportingController": "example.com/x",
      "reportingInstance": "x-1", "action": "Doing", "reason": "Done", "type": "Normal",
      "regarding": ["kind": "Pod", "name": "p", "namespace": "default"],
    ]
  ),
  ("storage.k8s.io", "v1", "storageclasses", ["provisioner": "example.com/x"]),
  ("storage.k8s.io", "v1", "csidrivers", ["spec": [:]]),
  ("storage.k8s.io", "v1", "csinodes", ["spec": ["drivers": []]]),
  (
    "storage.k8s.io", "v1", "volumeattachments",
    [
      "spec": [
        "attacher": "example.com", "nodeName": "a", "source": ["persistentVolumeName": "v"],
      ]
    ]
  ),
  ("storage.k8s.io", "v1", "csistoragecapacities", ["storageClassName": "fast"]),
  (
    "storage.k8s.io", "v1", "volumeattributesclasses",
    ["driverName": "example.com", "parameters": ["iops": "9"]]
  ),
  ("scheduling.k8s.io", "v1", "priorityclasses", ["value": 7]),
  ("node.k8s.io", "v1", "runtimeclasses", ["handler": "runc"]),
  ("admissionregistration.k8s.io", "v1", "mutatingwebhookconfigurations", ["webhooks": []]),
  ("admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations", ["webhooks": []]),
]

private let binding: JSON = [
  "roleRef": ["apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"],
  "subjects": [["kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "jane"]],
]

/// Kinds that need more than one body can say, or whose status the server writes at once, and the suite that makes them.
private let elsewhere: [String: String] = [
  "apiservices": "AggregationTests", "customresourcedefinitions": "CustomResourceTests",
  "servicecidrs": "ServiceAddressTests",
  "certificatesigningrequests": "EscalationTests", "ipaddresses": "ServiceAddressTests",
  "flowschemas": "OperationsConformance", "prioritylevelconfigurations": "OperationsConformance",
  "validatingadmissionpolicies": "OperationsConformance",
  "validatingadmissionpolicybindings": "OperationsConformance",
]
/// Kinds for which the server keeps objects and does no more.
private let kept: Set = [
  "clustertrustbundles", "podcertificaterequests", "mutatingadmissionpolicies",
  "mutatingadmissionpolicybindings",
]

@Suite(.serialized, .timeLimit(.minutes(10))) struct KindsTests {
  @Test func `no kind is left out here`() {
    let made = Set(bodies.map(\.2))
    for kind in KindRegistry.builtin.kinds where kind.isStored && kind.verbs.contains("create") {
      #expect(
        made.contains(kind.plural) || elsewhere[kind.plural] != nil || kept.contains(kind.plural),
        "\(kind.gvr) is in no test")
    }
  }

  @Test func `every kind is made, read, listed, patched and deleted`() async throws {
    try await withServer { server, _ in
      let api = server.client(user: "test")
      for (group, version, plural, body) in bodies {
        let resource = GroupVersionResource(group, version, plural)
        let kind = try #require(KindRegistry.builtin[resource], "\(resource)")
        let namespace = kind.isNamespaced ? "default" : ""
        var object = body
        object["metadata"] = ["name": JSON("t-\(plural)")]
        if kind.isNamespaced { object.set("default", at: "metadata", "namespace") }
        let made = try await api.create(resource, object, options: WriteOptions())
        #expect(made.kind == kind.kind && made.apiVersion == kind.apiVersion, "\(resource)")
        let read = try await api.get(resource, namespace: namespace, name: made.name)
        #expect(read == made, "\(resource)")
        let list = try await api.list(resource, namespace: namespace, options: ListOptions())
        #expect(list.items.contains(made), "\(resource)")
        let patched = try await api.patch(
          resource, namespace: namespace, name: made.name,
          patch: .strategicMerge(["metadata": ["labels": ["new": "label"]]]), subresource: nil,
          options: WriteOptions())
        #expect(patched.labels["new"] == "label", "\(resource)")
        #expect(patched.generation == made.generation, "\(resource): a label is no change of what is asked")
        #expect(patched["spec"] == made["spec"] && patched["status"] == made["status"], "\(resource)")
        if kind.hasStatus {
          let status = try await api.update(resource, patched, subresource: "status", options: WriteOptions())
          #expect(status["spec"] == made["spec"], "\(resource)")
        }
        try await api.delete(resource, namespace: namespace, name: made.name, options: DeleteOptions())
      }
    }
  }

  @Test func `an autoscaler of one version is seen by readers of the other`() async throws {
    try await withServer { server, _ in
      let api = server.client(user: "test")
      let v1 = GroupVersionResource("autoscaling", "v1", "horizontalpodautoscalers")
      let v2 = GroupVersionResource("autoscaling", "v2", "horizontalpodautoscalers")
      var events = try await api.watch(v2, namespace: "default", options: ListOptions()).makeAsyncIterator()
      let made = try await api.create(
        v1,
        [
          "metadata": ["name": "h", "namespace": "default"],
          "spec": [
            "maxReplicas": 3, "targetCPUUtilizationPercentage": 60,
            "scaleTargetRef": ["kind": "Deployment", "name": "d"],
          ],
        ], options: WriteOptions())
      #expect(made.at("spec", "targetCPUUtilizationPercentage")?.int == 60)
      guard case .added(let seen)? = try await events.next() else {
        Issue.record("no event")
        return
      }
      #expect(seen.apiVersion == "autoscaling/v2")
      #expect(seen.resourceVersion == made.resourceVersion)
      #expect(seen.uid == made.uid)
      #expect(
        seen.at("spec", "metrics")
          == [
            [
              "type": "Resource",
              "resource": ["name": "cpu", "target": ["type": "Utilization", "averageUtilization": 60]],
            ]
          ])
      // What only v2 can say survives a change by a client of v1.
      var richer = seen
      richer.set(["scaleDown": ["stabilizationWindowSeconds": 60]], at: "spec", "behavior")
      let changed = try await api.update(v2, richer, subresource: nil, options: WriteOptions())
      _ = try await api.patch(
        v1, namespace: "default", name: "h", patch: .merge(["spec": ["maxReplicas": 9]]), subresource: nil,
        options: WriteOptions())
      let last = try await api.get(v2, namespace: "default", name: "h")
      #expect(last.at("spec", "maxReplicas")?.int == 9)
      #expect(last.at("spec", "behavior") == changed.at("spec", "behavior"))
      #expect(last.at("spec", "metrics") == changed.at("spec", "metrics"))
      #expect(last.annotations.isEmpty)
    }
  }

  @Test func `events of both groups are one resource`() async throws {
    try await withServer { server, _ in
      let api = server.client(user: "test")
      let newer = GroupVersionResource("events.k8s.io", "v1", "events")
      let made = try await api.create(
        .events,
        [
          "metadata": ["name": "e", "namespace": "default"], "message": "hello", "type": "Normal",
          "involvedObject": ["kind": "Pod", "name": "p", "namespace": "default"],
          "reportingComponent": "kubelet", "count": 3,
        ], options: WriteOptions())
      var options = ListOptions()
      options.fieldSelector = "regarding.name=p"
      let list = try await api.list(newer, namespace: "default", options: options)
      let seen = try #require(list.items.first)
      #expect(seen.apiVersion == "events.k8s.io/v1")
      #expect(seen["note"] == "hello" && seen["deprecatedCount"] == 3)
      #expect(seen["reportingController"] == "kubelet" && seen["involvedObject"] == nil)
      #expect(seen.resourceVersion == made.resourceVersion)
      options.fieldSelector = "involvedObject.name=p,involvedObject.kind=Pod"
      #expect(try await api.list(.events, namespace: "default", options: options).items == [made])
    }
  }
}

extension KindsTests {
  @Test func `an eviction asks the pod's budget`() async throws {
    try await withServer { server, _ in
      let api = server.client(user: "test")
      let budgets = GroupVersionResource("policy", "v1", "poddisruptionbudgets")
      for name in ["a", "b"] {
        let pod = try await api.create(
          .pods,
          [
            "metadata": ["name": JSON(name), "namespace": "default", "labels": ["app": "x"]],
            "spec": ["containers": [["name": "c", "image": "x"]]],
          ], options: WriteOptions())
        var running = pod
        running["status"] = ["phase": "Running", "conditions": [["type": "Ready", "status": "True"]]]
        _ = try await api.update(.pods, running, subresource: "status", options: WriteOptions())
      }
      let budget = try await api.create(
        budgets,
        [
          "metadata": ["name": "keep", "namespace": "default"],
          "spec": ["minAvailable": 2, "selector": ["matchLabels": ["app": "x"]]],
        ], options: WriteOptions())
      func evict(_ name: String) async -> APIStatusError? {
        do {
          _ = try await api.createSubresource(
            .pods, namespace: "default", name: name, subresource: "eviction",
            ["metadata": ["name": JSON(name), "namespace": "default"]])
          return nil
        } catch { return error as? APIStatusError }
      }
      // Nobody has written a status: the pods are counted.
      let refused = await evict("a")
      #expect(refused?.code == 429)
      #expect(refused?.message == "Cannot evict pod as it would violate the pod's disruption budget.")
      #expect(
        refused?.details["causes"]?[0]?["message"]
          == "The disruption budget keep needs 2 healthy pods and has 2 currently")
      #expect(refused?.details["retryAfterSeconds"] == nil, "kubectl would wait in silence")
      // A status allows one.
      var observed = budget
      observed["status"] = [
        "observedGeneration": 1, "disruptionsAllowed": 1, "currentHealthy": 2, "desiredHealthy": 1,
        "expectedPods": 2,
      ]
      _ = try await api.update(budgets, observed, subresource: "status", options: WriteOptions())
      #expect(await evict("a") == nil)
      let after = try await api.get(budgets, namespace: "default", name: "keep")
      #expect(after.at("status", "disruptionsAllowed") == 0)
      #expect(after.at("status", "disruptedPods", "a") != nil)
      #expect(await evict("b")?.code == 429)
    }
  }

  @Test(arguments: [true, false])
  func `of evictions that race for a budget's only unit exactly one succeeds`(hasStatus: Bool) async throws {
    try await withServer { server, _ in
      let api = server.client(user: "test")
      let budgets = GroupVersionResource("policy", "v1", "poddisruptionbudgets")
      for round in 0..<10 {
        let names = (0..<4).map { "r\(round)-\($0)" }
        let label = JSON("r\(round)")
        for name in names {
          var pod = try await api.create(
            .pods,
            [
              "metadata": ["name": JSON(name), "namespace": "default", "labels": ["app": label]],
              "spec": ["containers": [["name": "c", "image": "x"]]],
            ], options: WriteOptions())
          pod["status"] = ["phase": "Running", "conditions": [["type": "Ready", "status": "True"]]]
          _ = try await api.update(.pods, pod, subresource: "status", options: WriteOptions())
        }
        var budget = try await api.create(
          budgets,
          [
            "metadata": ["name": label, "namespace": "default"],
            "spec": ["minAvailable": 3, "selector": ["matchLabels": ["app": label]]],
          ], options: WriteOptions())
        if hasStatus {
          budget["status"] = [
            "observedGeneration": 1, "disruptionsAllowed": 1, "currentHealthy": 4, "desiredHealthy": 3,
            "expectedPods": 4,
          ]
          _ = try await api.update(budgets, budget, subresource: "status", options: WriteOptions())
        }
        let answers = await withTaskGroup(of: Int.self) { group in
          for name in names {
            group.addTask {
              let error = await refusal {
                _ = try await api.createSubresource(
                  .pods, namespace: "default", name: name, subresource: "eviction",
                  ["metadata": ["name": JSON(name), "namespace": "default"]])
              }
              return error?.code ?? 201
            }
          }
          return await group.reduce(into: []) { $0.append($1) }
        }
        #expect(answers.sorted() == [201, 429, 429, 429], "round \(round)")
        let left = try await api.list(
          .pods, namespace: "default", options: ListOptions(labelSelector: "app=r\(round)"))
        #expect(left.items.count { !$0.isTerminating } == 3, "round \(round)")
      }
    }
  }

  @Test func `componentstatuses tell how the parts of the control plane stand now`() async throws {
    try await withServer { server, folder in
      let kubectl = Kubectl(server: server, cache: folder)
      func lines() async throws -> [[Substring]] {
        try await kubectl("get cs").output.split(separator: "\n").map { $0.split(separator: " ") }
      }
      var seen = try await lines()
      #expect(seen.map { $0.first ?? "" } == ["NAME", "controller-manager", "etcd-0", "scheduler"])
      #expect(seen.map { $0.dropFirst().first ?? "" } == ["STATUS", "Unhealthy", "Healthy", "Unhealthy"])
      server.setRunning(["scheduler", "controller-manager"])
      seen = try await lines()
      #expect(
        seen == [
          ["NAME", "STATUS", "MESSAGE", "ERROR"], ["controller-manager", "Healthy", "ok"],
          ["etcd-0", "Healthy", "ok"], ["scheduler", "Healthy", "ok"],
        ])
      let told = try await kubectl("get componentstatus scheduler")
      #expect(told.complaints == ["Warning: v1 ComponentStatus is deprecated in v1.19+"])
      let missing = try await kubectl("get cs nothing")
      #expect(missing.status == 1)
      #expect(
        missing.errors.hasSuffix("Error from server (NotFound): componentstatuses \"nothing\" not found\n"))
      // In another process: who holds the Lease counts.
      server.setRunning([])
      let api = server.client(user: "test")
      _ = try await api.create(
        .leases,
        [
          "metadata": ["name": "kube-controller-manager", "namespace": "kube-system"],
          "spec": [
            "holderIdentity": "elsewhere", "leaseDurationSeconds": 3600,
            "renewTime": JSON(Timestamp.nowMicroText()),
          ],
        ], options: WriteOptions())
      #expect(try await lines().map { $0.dropFirst().first } == ["STATUS", "Healthy", "Healthy", "Healthy"])
      let answer = try await ask(server, folder, "/api/v1/componentstatuses/etcd-0")
      #expect(
        answer.json == [
          "apiVersion": "v1", "kind": "ComponentStatus", "metadata": ["name": "etcd-0"],
          "conditions": [["type": "Healthy", "status": "True", "message": "ok"]],
        ])
      #expect(try await ask(server, folder, "/api/v1/componentstatuses", "POST", body: [:]).code == 405)
    }
  }

  @Test func `a pod is given a container for debugging and another size by paths of their own`() async throws
  {
    try await withServer { server, _ in
      let api = server.client(user: "test")
      _ = try await api.create(
        .pods,
        [
          "metadata": ["name": "p", "namespace": "default"],
          "spec": [
            "containers": [["name": "c", "image": "x", "resources": ["requests": ["cpu": "100m"]]]]
          ],
        ], options: WriteOptions())
      let debugged = try await api.patch(
        .pods, namespace: "default", name: "p",
        patch: .strategicMerge(["spec": ["ephemeralContainers": [["name": "d", "image": "debug"]]]]),
        subresource: "ephemeralcontainers", options: WriteOptions())
      #expect(debugged.at("spec", "ephemeralContainers")?[0]?["imagePullPolicy"] == "Always")
      await #expect(throws: APIStatusError.self) {
        _ = try await api.patch(
          .pods, namespace: "default", name: "p",
          patch: .json([["op": "remove", "path": "/spec/ephemeralContainers/0"]]),
          subresource: "ephemeralcontainers", options: WriteOptions())
      }
      func resize(_ cpu: JSON) -> Patch {
        .strategicMerge([
          "spec": ["containers": [["name": "c", "resources": ["requests": ["cpu": cpu]]]]]
        ])
      }
      let resized = try await api.patch(
        .pods, namespace: "default", name: "p", patch: resize("200m"), subresource: "resize",
        options: WriteOptions())
      #expect(resized.at("spec", "containers")?[0]?.at("resources", "requests", "cpu") == "200m")
      #expect(resized.generation == debugged.generation + 1)
      await #expect(throws: APIStatusError.self) {
        _ = try await api.patch(
          .pods, namespace: "default", name: "p", patch: resize("300m"), subresource: nil,
          options: WriteOptions())
      }
    }
  }
}
