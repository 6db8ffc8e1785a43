// The pod that is measured, 3 kB as kubelets and schedulers leave it, and the same pod as typed clients send it.

import ClusterObjects

let podText =
  #"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"web-7d4b9c8f6d-x2x9k","generateName":"web-7d4b9c8f6d-","#
  + #""namespace":"demo","uid":"0b9f7e0c-2a77-4d0e-9d53-0f3a7c1e5b42","resourceVersion":"184467","#
  + #""creationTimestamp":"2026-05-11T09:14:03Z","labels":{"app":"web","pod-template-hash":"7d4b9c8f6d","#
  + #""tier":"frontend"},"annotations":{"prometheus.io/scrape":"true","prometheus.io/port":"9102"},"#
  + #""ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"web-7d4b9c8f6d","#
  + #""uid":"8c1d5a1e-5d43-4f0a-8f0e-b8a9f1f2c3d4","controller":true,"blockOwnerDeletion":true}]},"#
  + #""spec":{"volumes":[{"name":"config","configMap":{"name":"web-config","defaultMode":420}},"#
  + #"{"name":"kube-api-access-4x7zq","projected":{"sources":[{"serviceAccountToken":{"expirationSeconds":3607,"#
  + #""path":"token"}},{"configMap":{"name":"kube-root-ca.crt","items":[{"key":"ca.crt","path":"ca.crt"}]}},"#
  + #"{"downwardAPI":{"items":[{"path":"namespace","fieldRef":{"apiVersion":"v1","fieldPath":"metadata.namespace"}}]}}],"#
  + #""defaultMode":420}}],"containers":[{"name":"web","image":"registry.example/shop/web:1.42.7","#
  + #""args":["--listen=:8080","--config=/etc/web/web.yaml"],"ports":[{"name":"http","containerPort":8080,"#
  + #""protocol":"TCP"},{"name":"metrics","containerPort":9102,"protocol":"TCP"}],"#
  + #""env":[{"name":"POD_NAME","valueFrom":{"fieldRef":{"apiVersion":"v1","fieldPath":"metadata.name"}}},"#
  + #"{"name":"LOG_LEVEL","value":"info"}],"resources":{"limits":{"cpu":"500m","memory":"256Mi"},"#
  + #""requests":{"cpu":"100m","memory":"128Mi"}},"volumeMounts":[{"name":"config","mountPath":"/etc/web"},"#
  + #"{"name":"kube-api-access-4x7zq","readOnly":true,"mountPath":"/var/run/secrets/kubernetes.io/serviceaccount"}],"#
  + #""livenessProbe":{"httpGet":{"path":"/healthz","port":"http","scheme":"HTTP"},"timeoutSeconds":1,"#
  + #""periodSeconds":10,"successThreshold":1,"failureThreshold":3},"#
  + #""terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File","#
  + #""imagePullPolicy":"IfNotPresent"}],"restartPolicy":"Always","terminationGracePeriodSeconds":30,"#
  + #""dnsPolicy":"ClusterFirst","serviceAccountName":"default","serviceAccount":"default","nodeName":"node-a","#
  + #""securityContext":{},"schedulerName":"default-scheduler","tolerations":[{"key":"node.kubernetes.io/not-ready","#
  + #""operator":"Exists","effect":"NoExecute","tolerationSeconds":300},{"key":"node.kubernetes.io/unreachable","#
  + #""operator":"Exists","effect":"NoExecute","tolerationSeconds":300}],"priority":0,"enableServiceLinks":true,"#
  + #""preemptionPolicy":"PreemptLowerPriority"},"status":{"phase":"Running","conditions":["#
  + #"{"type":"Initialized","status":"True","lastTransitionTime":"2026-05-11T09:14:03Z"},"#
  + #"{"type":"Ready","status":"True","lastTransitionTime":"2026-05-11T09:14:06Z"},"#
  + #"{"type":"PodScheduled","status":"True","lastTransitionTime":"2026-05-11T09:14:03Z"}],"#
  + #""hostIP":"192.0.2.11","podIP":"10.42.0.17","podIPs":[{"ip":"10.42.0.17"}],"startTime":"2026-05-11T09:14:03Z","#
  + #""containerStatuses":[{"name":"web","state":{"running":{"startedAt":"2026-05-11T09:14:05Z"}},"lastState":{},"#
  + #""ready":true,"restartCount":0,"image":"registry.example/shop/web:1.42.7","#
  + #""imageID":"sha256:4b1d0c4a2e2f9b1a7c60d5b4b2f0f6a2","started":true}],"qosClass":"Burstable"}}"#

/// Writes trees as protobuf by the schema's numbers: what the server only reads.
struct Encoder {
  private(set) var bytes: [UInt8] = []

  private mutating func varint(_ value: UInt64) {
    var rest = value
    while rest >= 0x80 {
      bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    bytes.append(UInt8(rest))
  }
  private mutating func bytes(_ number: Int, _ content: some Collection<UInt8>) {
    varint(UInt64(number) << 3 | 2)
    varint(UInt64(content.count))
    bytes += content
  }
  private mutating func number(_ number: Int, _ value: Int64) {
    varint(UInt64(number) << 3)
    varint(UInt64(bitPattern: value))
  }
  private mutating func nested(_ number: Int, _ body: (inout Encoder) -> Void) {
    var inner = Encoder()
    body(&inner)
    bytes(number, inner.bytes)
  }

  mutating func message(_ tree: JSON, _ schema: Schema) {
    var inlined: [Int: JSONObject] = [:]
    for (name, value) in tree.object ?? [:] {
      guard let field = schema.field(name) else { continue }
      if let number = field.number {
        self.value(value, field.type, number)
      } else if let (number, _) = schema.inlined.first(where: { $0.value.field(name) != nil }) {
        inlined[number, default: JSONObject()][name] = value
      }
    }
    for (number, object) in inlined {
      guard let child = schema.inlined[number] else { continue }
      nested(number) { $0.message(.object(object), child) }
    }
  }

  private mutating func value(_ value: JSON, _ type: SchemaType, _ number: Int) {
    switch type {
    case .object(let schema), .either(let schema, _): nested(number) { $0.message(value, schema) }
    case .list(let element): for item in value.elements { self.value(item, element, number) }
    case .map(let element):
      for (key, item) in value.object ?? [:] {
        nested(number) {
          $0.bytes(1, key.utf8)
          $0.value(item, element, 2)
        }
      }
    case .bool: self.number(number, value.bool == true ? 1 : 0)
    case .int32, .int64: self.number(number, value.integer ?? 0)
    case .quantity: nested(number) { $0.bytes(1, (value.string ?? "").utf8) }
    case .intOrString:
      nested(number) {
        if let text = value.string {
          $0.number(1, 1)
          $0.bytes(3, text.utf8)
        } else {
          $0.number(2, value.integer ?? 0)
        }
      }
    case .time, .microTime:
      let time = KubeTime(value.string ?? "")
      nested(number) { $0.number(1, time?.seconds ?? 0) }
    case .string: bytes(number, (value.string ?? "").utf8)
    default: break
    }
  }

  /// With the envelope of `application/vnd.kubernetes.protobuf`.
  static func body(_ tree: JSON, _ schema: Schema) -> [UInt8] {
    var envelope = Encoder()
    envelope.nested(1) {
      $0.bytes(1, tree.apiVersion.utf8)
      $0.bytes(2, tree.kind.utf8)
    }
    envelope.nested(2) { $0.message(tree, schema) }
    return [0x6b, 0x38, 0x73, 0] + envelope.bytes
  }
}
