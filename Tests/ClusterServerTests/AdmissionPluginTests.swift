// Built-in admission: what pods and claims are given, and what is refused, in upstream's words.

import ClusterClient
import ClusterObjects
import ClusterServer
import Testing

private let limitRanges = GroupVersionResource("", "v1", "limitranges")
private let claims = GroupVersionResource("", "v1", "persistentvolumeclaims")
private let priorityClasses = GroupVersionResource("scheduling.k8s.io", "v1", "priorityclasses")
private let runtimeClasses = GroupVersionResource("node.k8s.io", "v1", "runtimeclasses")
private let storageClasses = GroupVersionResource("storage.k8s.io", "v1", "storageclasses")

private func pod(_ name: String, _ spec: JSON = [:], container: JSON = [:]) -> JSON {
  var own: JSON = ["name": "c", "image": "x"]
  for (key, value) in container.object ?? [:] { own[key] = value }
  var all: JSON = ["containers": [own]]
  for (key, value) in spec.object ?? [:] { all[key] = value }
  return ["metadata": ["name": JSON(name), "namespace": "default"], "spec": all]
}

@Suite(.serialized, .timeLimit(.minutes(10))) struct AdmissionPluginTests {
  private func withAPI(
    _ settings: (inout ServerSettings) -> Void = { _ in },
    _ body: (InProcessClient, ClusterServer) async throws -> Void
  ) async throws {
    try await withFolder { folder in
      var chosen = ServerSettings(dataFolder: folder)
      chosen.port = 0
      settings(&chosen)
      let server = try await ClusterServer.start(chosen)
      do {
        try await body(server.client(user: "test"), server)
        await server.shutdown()
      } catch {
        await server.shutdown()
        throw error
      }
    }
  }

  @discardableResult private func create(
    _ api: InProcessClient, _ resource: GroupVersionResource, _ object: JSON
  ) async throws -> JSON { try await api.create(resource, object, options: WriteOptions()) }

  // MARK: ServiceAccount

  @Test func `a pod gets its account's token, pull secrets and the default account`() async throws {
    try await withAPI { api, _ in
      let made = try await create(api, .pods, pod("p"))
      #expect(made.at("spec", "serviceAccountName") == "default")
      let volume = try #require(made.at("spec", "volumes")?[0])
      #expect(volume["name"]?.string?.hasPrefix("kube-api-access-") == true)
      #expect(
        volume["projected"]
          == [
            "sources": [
              ["serviceAccountToken": ["expirationSeconds": 3607, "path": "token"]],
              ["configMap": ["name": "kube-root-ca.crt", "items": [["key": "ca.crt", "path": "ca.crt"]]]],
              [
                "downwardAPI": [
                  "items": [
                    [
                      "path": "namespace",
                      "fieldRef": ["apiVersion": "v1", "fieldPath": "metadata.namespace"],
                    ]
                  ]
                ]
              ],
            ], "defaultMode": 420,
          ])
      #expect(
        made.at("spec", "containers")?[0]?["volumeMounts"]
          == [
            [
              "name": volume["name"] ?? "", "readOnly": true,
              "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
            ]
          ])
      let account = try await api.get(.serviceAccounts, namespace: "default", name: "default")
      #expect(!account.uid.isEmpty)

      try await create(
        api, .serviceAccounts,
        [
          "metadata": ["name": "robot", "namespace": "default"], "automountServiceAccountToken": false,
          "imagePullSecrets": [["name": "registry"]],
        ])
      let robot = try await create(api, .pods, pod("r", ["serviceAccountName": "robot"]))
      #expect(robot.at("spec", "volumes") == nil)
      #expect(robot.at("spec", "imagePullSecrets") == [["name": "registry"]])
      let own = try await create(
        api, .pods, pod("o", ["serviceAccountName": "robot", "automountServiceAccountToken": true]))
      #expect(own.at("spec", "volumes")?.elements.count == 1, "the pod's word counts before the account's")

      let error = await refusal { try await create(api, .pods, pod("n", ["serviceAccountName": "nobody"])) }
      #expect(
        error?.message
          == "pods \"n\" is forbidden: error looking up service account default/nobody: serviceaccount \"nobody\" not found"
      )
    }
  }

  @Test func `without automount pods get no volume`() async throws {
    try await withAPI({ $0.automountServiceAccountTokens = false }) { api, _ in
      let made = try await create(api, .pods, pod("p"))
      #expect(made.at("spec", "volumes") == nil)
    }
  }

  // MARK: LimitRanger

  @Test func `a limit range fills in what containers leave out and tells it`() async throws {
    try await withAPI { api, _ in
      try await create(
        api, limitRanges,
        [
          "metadata": ["name": "l", "namespace": "default"],
          "spec": [
            "limits": [
              [
                "type": "Container", "default": ["cpu": "500m", "memory": "512Mi"],
                "defaultRequest": ["cpu": "100m", "memory": "200Mi"],
              ]
            ]
          ],
        ])
      let plain = try await create(api, .pods, pod("plain"))
      #expect(
        plain.at("spec", "containers")?[0]?["resources"]
          == ["requests": ["cpu": "100m", "memory": "200Mi"], "limits": ["cpu": "500m", "memory": "512Mi"]])
      #expect(
        plain.annotations["kubernetes.io/limit-ranger"]
          == "LimitRanger plugin set: cpu, memory request for container c; cpu, memory limit for container c")
      #expect(plain.at("status", "qosClass") == "Burstable")
      let partial = try await create(
        api, .pods, pod("partial", container: ["resources": ["limits": ["cpu": "2"]]]))
      #expect(
        partial.at("spec", "containers")?[0]?["resources"]
          == ["limits": ["cpu": "2", "memory": "512Mi"], "requests": ["cpu": "2", "memory": "200Mi"]])
    }
  }

  static let forbidden: [(JSON, String)] = [
    (
      ["requests": ["cpu": "50m"], "limits": ["cpu": "1"]],
      "minimum cpu usage per Container is 100m, but request is 50m"
    ),
    (
      ["requests": ["cpu": "1"], "limits": ["cpu": "3"]],
      "maximum cpu usage per Container is 2, but limit is 3"
    ),
    ([:], "maximum cpu usage per Container is 2.  No limit is specified"),
    (
      ["requests": ["cpu": "200m"], "limits": ["cpu": "1900m"]],
      "cpu max limit to request ratio per Container is 4, but provided ratio is 9.500000"
    ),
  ]

  @Test(arguments: forbidden)
  func `what a limit range forbids is refused`(resources: JSON, told: String) async throws {
    try await withAPI { api, _ in
      try await create(
        api, limitRanges,
        [
          "metadata": ["name": "l", "namespace": "default"],
          "spec": [
            "limits": [
              // Without defaults in it, or silence would be filled in.
              [
                "type": "Container", "min": ["cpu": "100m"], "max": ["cpu": "2"],
                "maxLimitRequestRatio": ["cpu": "4"], "default": ["memory": "1Gi"],
                "defaultRequest": ["memory": "1Gi"],
              ]
            ]
          ],
        ])
      let stored = try await api.get(limitRanges, namespace: "default", name: "l")
      let fills = stored.at("spec", "limits")?[0]?.at("default", "cpu") != nil
      let error = await refusal {
        try await create(api, .pods, pod("p", container: ["resources": resources]))
      }
      if fills, resources == [:] {
        // The maximum is the default: nothing is left out.
        #expect(error?.message.contains("ratio") != true)
        return
      }
      #expect(error?.code == 403)
      #expect(error?.message.hasPrefix("pods \"p\" is forbidden: ") == true)
      #expect(error?.message.contains(told) == true, "\(error?.message ?? "accepted")")
    }
  }

  @Test func `limits of whole pods and of claims count too`() async throws {
    try await withAPI { api, _ in
      try await create(
        api, limitRanges,
        [
          "metadata": ["name": "l", "namespace": "default"],
          "spec": [
            "limits": [
              ["type": "Pod", "max": ["memory": "1Gi"]],
              ["type": "PersistentVolumeClaim", "min": ["storage": "2Gi"], "max": ["storage": "4Gi"]],
            ]
          ],
        ])
      let two = await refusal {
        var object = pod("two")
        let container: JSON = [
          "name": "a", "image": "x", "resources": ["limits": ["memory": "600Mi"]],
        ]
        var other = container
        other["name"] = "b"
        object.set([container, other], at: "spec", "containers")
        try await create(api, .pods, object)
      }
      #expect(two?.message.contains("maximum memory usage per Pod is 1Gi, but limit is 1200Mi") == true)
      func claim(_ size: String) -> JSON {
        [
          "metadata": ["name": "v", "namespace": "default"],
          "spec": [
            "accessModes": ["ReadWriteOnce"], "resources": ["requests": ["storage": JSON(size)]],
          ],
        ]
      }
      #expect(
        await refusal { try await create(api, claims, claim("1Gi")) }?.message.contains(
          "minimum storage usage per PersistentVolumeClaim is 2Gi, but request is 1Gi") == true)
      #expect(
        await refusal { try await create(api, claims, claim("5Gi")) }?.message.contains(
          "maximum storage usage per PersistentVolumeClaim is 4Gi, but request is 5Gi") == true)
      let fine = try await create(api, claims, claim("3Gi"))
      #expect(fine.finalizers == ["kubernetes.io/pvc-protection"])
    }
  }

  // MARK: Priority

  @Test func `priority comes from the class, and only one class is the default`() async throws {
    try await withAPI { api, _ in
      let builtin = try await api.get(priorityClasses, namespace: "", name: "system-node-critical")
      #expect(builtin["value"] == 2_000_001_000)
      let plain = try await create(api, .pods, pod("plain"))
      #expect(plain.at("spec", "priority") == 0)
      #expect(plain.at("spec", "preemptionPolicy") == "PreemptLowerPriority")
      func standard(_ name: String, _ value: Int) -> JSON {
        ["metadata": ["name": JSON(name)], "value": JSON(value), "globalDefault": true]
      }
      try await create(api, priorityClasses, standard("usual", 7))
      let usual = try await create(api, .pods, pod("usual"))
      #expect(usual.at("spec", "priorityClassName") == "usual")
      #expect(usual.at("spec", "priority") == 7)
      let second = await refusal { try await create(api, priorityClasses, standard("second", 8)) }
      #expect(second?.message.contains("PriorityClass usual is already marked as default") == true)
      let critical = try await create(
        api, .pods, pod("critical", ["priorityClassName": "system-cluster-critical"]))
      #expect(critical.at("spec", "priority") == 2_000_000_000)
      let unknown = await refusal { try await create(api, .pods, pod("u", ["priorityClassName": "nope"])) }
      #expect(unknown?.message == "pods \"u\" is forbidden: no PriorityClass with name nope was found")
      let own = await refusal { try await create(api, .pods, pod("own", ["priority": 99])) }
      #expect(own?.message.contains("the integer value of priority (99) must not be provided") == true)
    }
  }

  // MARK: Tolerations

  @Test func `a pod stays five minutes on a node that is not ready, unless it says how long`() async throws {
    try await withAPI { api, _ in
      func toleration(_ key: String, _ seconds: Int) -> JSON {
        [
          "key": JSON("node.kubernetes.io/" + key), "operator": "Exists", "effect": "NoExecute",
          "tolerationSeconds": JSON(seconds),
        ]
      }
      let plain = try await create(api, .pods, pod("plain"))
      #expect(
        plain.at("spec", "tolerations") == [toleration("not-ready", 300), toleration("unreachable", 300)])
      let own = try await create(
        api, .pods, pod("own", ["tolerations": [toleration("unreachable", 5)]]))
      #expect(own.at("spec", "tolerations") == [toleration("unreachable", 5), toleration("not-ready", 300)])
      let all = try await create(api, .pods, pod("all", ["tolerations": [["operator": "Exists"]]]))
      #expect(all.at("spec", "tolerations") == [["operator": "Exists"]])
      let other: JSON = ["key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoSchedule"]
      let scheduled = try await create(api, .pods, pod("scheduled", ["tolerations": [other]]))
      #expect(scheduled.at("spec", "tolerations")?.elements.count == 3, "another effect says nothing of it")
    }
  }

  // MARK: Classes

  @Test func `a runtime class adds its overhead and nodes; default classes are filled in`() async throws {
    try await withAPI { api, _ in
      try await create(
        api, runtimeClasses,
        [
          "metadata": ["name": "vm"], "handler": "kata",
          "overhead": ["podFixed": ["memory": "100Mi"]],
          "scheduling": ["nodeSelector": ["kata": "yes"]],
        ])
      let made = try await create(api, .pods, pod("vm", ["runtimeClassName": "vm"]))
      #expect(made.at("spec", "overhead") == ["memory": "100Mi"])
      #expect(made.at("spec", "nodeSelector") == ["kata": "yes"])
      #expect(
        await refusal { try await create(api, .pods, pod("no", ["runtimeClassName": "none"])) }?.message
          == "pods \"no\" is forbidden: pod rejected: RuntimeClass \"none\" not found")
      for (name, isDefault) in [("slow", "false"), ("fast", "true")] {
        try await create(
          api, storageClasses,
          [
            "metadata": [
              "name": JSON(name),
              "annotations": ["storageclass.kubernetes.io/is-default-class": JSON(isDefault)],
            ], "provisioner": "example.com/x",
          ])
      }
      let spec: JSON = ["accessModes": ["ReadWriteOnce"], "resources": ["requests": ["storage": "1Gi"]]]
      let claim = try await create(
        api, claims, ["metadata": ["name": "v", "namespace": "default"], "spec": spec])
      #expect(claim.at("spec", "storageClassName") == "fast")
      try await create(
        api, .ingressClasses,
        [
          "metadata": [
            "name": "weft", "annotations": ["ingressclass.kubernetes.io/is-default-class": "true"],
          ], "spec": ["controller": "example.com/x"],
        ])
      let ingress = try await create(
        api, .ingresses,
        [
          "metadata": ["name": "i", "namespace": "default"],
          "spec": ["defaultBackend": ["service": ["name": "s", "port": ["number": 80]]]],
        ])
      #expect(ingress.at("spec", "ingressClassName") == "weft")
      // Only a bound claim can ask for more.
      var bound = claim
      bound["status"] = ["phase": "Bound", "capacity": ["storage": "1Gi"]]
      var larger = try await api.update(claims, bound, subresource: "status", options: WriteOptions())
      larger.set("2Gi", at: "spec", "resources", "requests", "storage")
      #expect(
        await refusal {
          _ = try await api.update(claims, larger, subresource: nil, options: WriteOptions())
        }?.message.contains("only dynamically provisioned pvc can be resized") == true)
    }
  }

  // MARK: Nodes

  @Test func `a node writes of itself and of its pods only`() async throws {
    try await withAPI { api, server in
      let a = server.client(user: "system:node:a", groups: ["system:nodes"])
      let node = try await a.create(.nodes, ["metadata": ["name": "a"]], options: WriteOptions())
      #expect(node.at("spec", "taints") == [["key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"]])
      let other = await refusal {
        _ = try await a.create(.nodes, ["metadata": ["name": "b"]], options: WriteOptions())
      }
      #expect(other?.message == "nodes \"b\" is forbidden: node \"a\" is not allowed to modify node \"b\"")
      let label = await refusal {
        _ = try await a.patch(
          .nodes, namespace: "", name: "a",
          patch: .merge(["metadata": ["labels": ["node-role.kubernetes.io/control-plane": ""]]]),
          subresource: nil, options: WriteOptions())
      }
      #expect(
        label?.message
          == "nodes \"a\" is forbidden: node \"a\" is not allowed to modify labels: node-role.kubernetes.io/control-plane"
      )
      let taint = await refusal {
        _ = try await a.patch(
          .nodes, namespace: "", name: "a", patch: .merge(["spec": ["taints": []]]), subresource: nil,
          options: WriteOptions())
      }
      #expect(taint?.message.contains("not allowed to modify taints") == true)
      try await create(api, .pods, pod("mine", ["nodeName": "a"]))
      try await create(api, .pods, pod("other", ["nodeName": "b"]))
      for (name, isAllowed) in [("mine", true), ("other", false)] {
        let error = await refusal {
          _ = try await a.patch(
            .pods, namespace: "default", name: name, patch: .merge(["status": ["phase": "Running"]]),
            subresource: "status", options: WriteOptions())
        }
        #expect((error == nil) == isAllowed, "\(error?.message ?? "")")
      }
      #expect(await refusal { try await create(a, .pods, pod("free", ["nodeName": "a"])) }?.code == 403)
      let lease = await refusal {
        _ = try await a.create(
          .leases, ["metadata": ["name": "b", "namespace": "kube-node-lease"]], options: WriteOptions())
      }
      #expect(lease?.message.contains("can only access node lease with the same name") == true)
    }
  }
}
