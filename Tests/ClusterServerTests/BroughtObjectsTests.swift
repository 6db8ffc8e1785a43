// What registries, storage systems and vertical autoscalers bring when they are installed (rows 18, 59, 60, 63 and 123 of
// docs/workloads.md): kubectl applies kinds, roles, webhooks and workloads of their sorts, and applies them again.

import ClusterObjects
import ClusterServer
import Testing

private func definition(_ group: String, _ kind: String, _ plural: String, spec: String) -> String {
  """
  apiVersion: apiextensions.k8s.io/v1
  kind: CustomResourceDefinition
  metadata: {name: \(plural).\(group)}
  spec:
    group: \(group)
    scope: Namespaced
    names: {kind: \(kind), plural: \(plural), singular: \(kind.lowercased())}
    versions:
    - name: v1
      served: true
      storage: true
      subresources: {status: {}}
      schema:
        openAPIV3Schema:
          type: object
          required: [spec]
          properties:
            spec: {type: object, properties: {\(spec)}}
            status: {type: object, x-kubernetes-preserve-unknown-fields: true}
  """
}

private let pod = """
    template:
      metadata: {labels: {app: a}}
      spec:
        containers:
        - name: c
          image: example.com/a@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
          resources: {requests: {cpu: 100m, memory: 256Mi}}
          livenessProbe: {httpGet: {path: /health, port: 8080}, periodSeconds: 10}
          envFrom: [{secretRef: {name: core}}, {configMapRef: {name: core}}]
  """

private let registry = """
  apiVersion: v1
  kind: Secret
  metadata: {name: core}
  type: Opaque
  data: {secret: bm90LWEtc2VjcmV0}
  ---
  apiVersion: v1
  kind: ConfigMap
  metadata: {name: core}
  data: {app.conf: "port = 8080"}
  ---
  apiVersion: v1
  kind: PersistentVolumeClaim
  metadata: {name: images, annotations: {helm.sh/resource-policy: keep}}
  spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 5Gi}}}
  ---
  apiVersion: v1
  kind: Service
  metadata: {name: core}
  spec: {selector: {app: a}, ports: [{name: http, port: 80, targetPort: 8080}]}
  ---
  apiVersion: apps/v1
  kind: Deployment
  metadata: {name: core}
  spec:
    replicas: 1
    revisionHistoryLimit: 10
    selector: {matchLabels: {app: a}}
  \(pod)
  ---
  apiVersion: apps/v1
  kind: StatefulSet
  metadata: {name: database}
  spec:
    serviceName: database
    selector: {matchLabels: {app: a}}
    volumeClaimTemplates:
    - metadata: {name: data}
      spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
  \(pod)
  ---
  apiVersion: networking.k8s.io/v1
  kind: Ingress
  metadata: {name: core, annotations: {nginx.ingress.kubernetes.io/proxy-body-size: "0"}}
  spec:
    tls: [{hosts: [registry.example.com], secretName: core}]
    rules:
    - host: registry.example.com
      http: {paths: [{path: /v2/, pathType: Prefix, backend: {service: {name: core, port: {number: 80}}}}]}
  """

private let storage = """
  \(definition("ceph.example.com", "StorageCluster", "storageclusters", spec: "mon: {type: object, properties: {count: {type: integer, minimum: 1}}}"))
  ---
  apiVersion: scheduling.k8s.io/v1
  kind: PriorityClass
  metadata: {name: storage}
  value: 1000000
  ---
  apiVersion: rbac.authorization.k8s.io/v1
  kind: ClusterRole
  metadata: {name: storage, labels: {rbac.authorization.k8s.io/aggregate-to-admin: "true"}}
  rules: [{apiGroups: [ceph.example.com], resources: ["*"], verbs: ["*"]}]
  ---
  apiVersion: admissionregistration.k8s.io/v1
  kind: ValidatingWebhookConfiguration
  metadata: {name: storage}
  webhooks:
  - name: storage.example.com
    sideEffects: None
    failurePolicy: Ignore
    admissionReviewVersions: [v1]
    clientConfig: {service: {namespace: default, name: storage, path: /validate}}
    rules: [{apiGroups: [ceph.example.com], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [storageclusters]}]
  ---
  apiVersion: apps/v1
  kind: DaemonSet
  metadata: {name: driver}
  spec:
    selector: {matchLabels: {app: d}}
    updateStrategy: {type: RollingUpdate}
    template:
      metadata: {labels: {app: d}}
      spec:
        hostNetwork: true
        dnsPolicy: ClusterFirstWithHostNet
        priorityClassName: storage
        tolerations: [{operator: Exists}]
        containers:
        - name: driver
          image: example.com/driver:1
          securityContext: {privileged: true}
          volumeMounts: [{name: kubelet, mountPath: /var/lib/kubelet, mountPropagation: Bidirectional}]
        volumes: [{name: kubelet, hostPath: {path: /var/lib/kubelet, type: Directory}}]
  ---
  apiVersion: storage.k8s.io/v1
  kind: CSIDriver
  metadata: {name: storage.example.com}
  spec: {attachRequired: true, podInfoOnMount: false, fsGroupPolicy: File, volumeLifecycleModes: [Persistent]}
  ---
  apiVersion: storage.k8s.io/v1
  kind: StorageClass
  metadata: {name: block}
  provisioner: storage.example.com
  parameters: {pool: replicas}
  allowVolumeExpansion: true
  reclaimPolicy: Delete
  ---
  apiVersion: storage.k8s.io/v1
  kind: VolumeAttachment
  metadata: {name: attached}
  spec: {attacher: storage.example.com, nodeName: n1, source: {persistentVolumeName: pv1}}
  """

private let snapshots = """
  \(definition("snapshot.example.com", "Snapshot", "snapshots", spec: "source: {type: object, properties: {persistentVolumeClaimName: {type: string}}}"))
  ---
  \(definition("autoscaling.example.com", "VerticalAutoscaler", "verticalautoscalers", spec: "targetRef: {type: object, x-kubernetes-preserve-unknown-fields: true}, updatePolicy: {type: object, properties: {updateMode: {type: string, enum: [Initial, Recreate]}}}"))
  """

private let custom = """
  apiVersion: ceph.example.com/v1
  kind: StorageCluster
  metadata: {name: c}
  spec: {mon: {count: 3}}
  ---
  apiVersion: snapshot.example.com/v1
  kind: Snapshot
  metadata: {name: s}
  spec: {source: {persistentVolumeClaimName: images}}
  ---
  apiVersion: autoscaling.example.com/v1
  kind: VerticalAutoscaler
  metadata: {name: v}
  spec: {targetRef: {apiVersion: apps/v1, kind: Deployment, name: core}, updatePolicy: {updateMode: Initial}}
  """

@Suite(.timeLimit(.minutes(5))) struct BroughtObjectsTests {
  @Test func `what registries, storage systems and autoscalers bring is taken, and taken again`()
    async throws
  {
    try await withServer { server, folder in
      let kubectl = Kubectl(server: server, cache: folder + "/cache")
      for (text, count) in [(registry, 7), (storage, 8), (snapshots, 2), (custom, 3)] {
        let first = try await kubectl("apply -f -", input: text)
        #expect(first.status == 0, "\(first.errors)")
        #expect(
          first.output.split(separator: "\n").count { $0.hasSuffix(" created") } == count, "\(first.output)")
        if text == snapshots {
          let ready = try await kubectl("wait --for=condition=Established crd --all --timeout=20s")
          #expect(ready.status == 0, "\(ready.errors)")
        }
        let again = try await kubectl("apply -f -", input: text)
        // As elsewhere, kubectl says "configured" where a list in the object got defaults.
        let same = again.output.split(separator: "\n").count {
          $0.hasSuffix(" unchanged") || $0.hasSuffix(" configured")
        }
        #expect(again.status == 0 && same == count, "\(again.output) \(again.errors)")
      }
      let wrong = try await kubectl(
        "apply -f -", input: custom.replacing("count: 3", with: "count: 0"))
      #expect(wrong.status == 1 && wrong.errors.contains("spec.mon.count"), "\(wrong.errors)")
    }
  }
}
