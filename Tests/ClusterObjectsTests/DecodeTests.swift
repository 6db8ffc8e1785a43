// Bodies into normal form, with the texts that clients show; and what defaults make of them.
import ClusterObjects
import Testing

private let registry = KindRegistry.builtin

private func decode(
  _ gvr: GroupVersionResource, _ text: String, _ validation: FieldValidation = .strict
) throws -> Decoded {
  let kind = registry[gvr]!
  return try kind.schema.decode(json: Array(text.utf8), as: kind.gvk, validation: validation)
}

private func defaulted(_ gvr: GroupVersionResource, _ text: String) throws -> JSON {
  var object = try decode(gvr, text).object
  registry[gvr]!.applyDefaults(&object)
  return object
}

@Test func `unknown and duplicate fields are told in upstream's words`() throws {
  let body =
    #"{"kind":"Deployment","spec":{"foo":1,"replicas":1,"replicas":2,"template":{"spec":{"bar":{}}}}}"#
  #expect(
    throws: DecodeError(
      "Deployment in version \"v1\" cannot be handled as a Deployment: strict decoding error: unknown field "
        + "\"spec.foo\", duplicate field \"spec.replicas\", unknown field \"spec.template.spec.bar\"")
  ) { try decode(.deployments, body) }
  let warned = try decode(.deployments, body, .warn)
  #expect(warned.warnings.count == 3 && warned.warnings[0] == "unknown field \"spec.foo\"")
  #expect(warned.object.at("spec", "foo") == nil && warned.object.at("spec", "replicas") == 2)
  #expect(try decode(.deployments, body, .ignore).warnings.isEmpty)
}

@Test func `unknown fields in lists are told with their position`() throws {
  let body = #"{"spec":{"containers":[{"name":"a"},{"name":"b","imagge":"x"}]}}"#
  #expect(try decode(.pods, body, .warn).warnings == [#"unknown field "spec.containers[1].imagge""#])
}

@Test(arguments: [
  (
    #"{"spec":{"replicas":"2"}}"#,
    "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas"
  ),
  (
    #"{"spec":{"paused":1}}"#,
    "cannot unmarshal number into Go struct field DeploymentSpec.spec.paused of type bool"
  ),
  (#"{"spec":{"replicas":3000000000}}"#, "cannot unmarshal number 3000000000 into"),
  (
    #"{"metadata":{"labels":["a"]}}"#,
    "cannot unmarshal array into Go struct field ObjectMeta.metadata.labels"
  ),
  (#"{"metadata":{"creationTimestamp":"yesterday"}}"#, "parsing time \"yesterday\""),
  (
    #"{"spec":{"template":{"spec":{"containers":[{"resources":{"limits":{"cpu":"much"}}}]}}}}"#,
    "quantities must match"
  ),
  ("[]", "couldn't get version/kind"), ("{", "unknown format: expected a field name"),
])
func `a value of the wrong type is refused`(body: String, text: String) {
  do {
    _ = try decode(.deployments, body)
    Issue.record("accepted")
  } catch let error as DecodeError {
    #expect(error.message.contains(text), "\(error.message)")
  } catch {
    Issue.record("another error")
  }
}

@Test func `normal form leaves empty fields out and writes required ones`() throws {
  let pod = try decode(
    .pods,
    #"""
    {"metadata":{"name":"p","labels":{},"creationTimestamp":null},"spec":{"nodeName":"","hostNetwork":false,
    "containers":[{"name":"c","command":[],"env":[{"name":"A","value":""}],"resources":{"requests":{"cpu":"1000m",
    "memory":0.5}}}]},"status":{"containerStatuses":[{"name":"c"}]}}
    """#
  ).object
  #expect(pod.metadata == ["name": "p"])
  #expect(
    pod.spec == [
      "containers": [
        ["name": "c", "env": [["name": "A"]], "resources": ["requests": ["cpu": "1", "memory": "500m"]]]
      ]
    ])
  let status: JSON = [
    "name": "c", "state": [:], "lastState": [:], "ready": false, "restartCount": 0, "image": "",
    "imageID": "",
  ]
  #expect(pod.at("status", "containerStatuses") == [status])
  #expect(pod.apiVersion == "v1" && pod.kind == "Pod")
}

@Test func `normal form and defaults are idempotent`() throws {
  for text in samples {
    let tree = try JSON(parsing: text)
    let kind = try #require(registry.kind(apiVersion: tree.apiVersion, kind: tree.kind))
    var once = try kind.schema.decode(tree: tree, as: kind.gvk).object
    kind.applyDefaults(&once)
    var twice = try kind.schema.decode(tree: once, as: kind.gvk, validation: .strict).object
    kind.applyDefaults(&twice)
    #expect(once == twice, "\(kind.kind): \(once.text) \(twice.text)")
  }
}

@Test func `every sample may be created`() throws {
  for text in samples {
    let tree = try JSON(parsing: text)
    let kind = try #require(registry.kind(apiVersion: tree.apiVersion, kind: tree.kind))
    var object = try kind.schema.decode(tree: tree, as: kind.gvk, validation: .strict).object
    kind.applyDefaults(&object)
    kind.prepareForCreate(&object)
    let errors = kind.validateCreate(object)
    #expect(errors.isEmpty, "\(kind.kind): \(FieldError.summary(errors))")
  }
}

@Test func `a pod gets the defaults that kubelets and kubectl rely on`() throws {
  let pod = try defaulted(
    .pods,
    #"""
    {"spec":{"containers":[{"name":"c","image":"r:5000/x","ports":[{"containerPort":80}],"livenessProbe":
    {"httpGet":{"port":80}},"resources":{"limits":{"cpu":"1"}}},{"name":"d","image":"y:1"}],
    "volumes":[{"name":"v"},{"name":"s","secret":{"secretName":"x"}}],"serviceAccountName":"sa"}}
    """#)
  let spec = pod.spec
  #expect(spec["restartPolicy"] == "Always" && spec["dnsPolicy"] == "ClusterFirst")
  #expect(spec["terminationGracePeriodSeconds"] == 30 && spec["schedulerName"] == "default-scheduler")
  #expect(spec["securityContext"] == [:] && spec["enableServiceLinks"] == true)
  #expect(spec["serviceAccount"] == "sa")
  let container = spec["containers"]![0]!
  #expect(container["imagePullPolicy"] == "Always" && container["terminationMessagePolicy"] == "File")
  #expect(container["ports"]![0]!["protocol"] == "TCP")
  #expect(container.at("resources", "requests", "cpu") == "1")
  #expect(
    container["livenessProbe"] == [
      "httpGet": ["port": 80, "path": "/", "scheme": "HTTP"], "timeoutSeconds": 1, "periodSeconds": 10,
      "successThreshold": 1, "failureThreshold": 3,
    ])
  #expect(spec["containers"]![1]!["imagePullPolicy"] == "IfNotPresent")
  #expect(spec["volumes"]![0] == ["name": "v", "emptyDir": [:]])
  #expect(spec["volumes"]![1]!.at("secret", "defaultMode") == 420)
}

@Test func `services, deployments and policies get theirs`() throws {
  let service = try defaulted(.services, #"{"spec":{"type":"NodePort","ports":[{"port":80}]}}"#).spec
  #expect(service["ports"] == [["port": 80, "protocol": "TCP", "targetPort": 80]])
  #expect(service["sessionAffinity"] == "None" && service["internalTrafficPolicy"] == "Cluster")
  #expect(service["externalTrafficPolicy"] == "Cluster")
  let sticky = try defaulted(.services, #"{"spec":{"sessionAffinity":"ClientIP","clusterIP":"None"}}"#).spec
  #expect(sticky.at("sessionAffinityConfig", "clientIP", "timeoutSeconds") == 10800)
  #expect(sticky["clusterIPs"] == ["None"] && sticky["ipFamilies"] == nil)
  let deployment = try defaulted(.deployments, "{}").spec
  #expect(deployment["replicas"] == 1 && deployment["revisionHistoryLimit"] == 10)
  #expect(deployment["progressDeadlineSeconds"] == 600)
  #expect(
    deployment["strategy"] == [
      "type": "RollingUpdate", "rollingUpdate": ["maxUnavailable": "25%", "maxSurge": "25%"],
    ])
  #expect(
    try defaulted(.networkPolicies, #"{"spec":{"egress":[{}]}}"#).spec["policyTypes"] == [
      "Ingress", "Egress",
    ])
  #expect(try defaulted(.networkPolicies, #"{"spec":{}}"#).spec["policyTypes"] == ["Ingress"])
  #expect(try defaulted(.secrets, #"{"stringData":{"a":"hi"}}"#)["data"] == ["a": "aGk="])
}

/// One of each kind, as people write them.
let samples = [
  #"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"demo"}}"#,
  #"{"apiVersion":"v1","kind":"Node","metadata":{"name":"n1"},"spec":{"podCIDR":"10.42.0.0/24"}}"#,
  #"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","namespace":"d"},"spec":{"containers":[{"name":"c","image":"a:1","readinessProbe":{"tcpSocket":{"port":"web"}},"ports":[{"name":"web","containerPort":80}],"volumeMounts":[{"name":"v","mountPath":"/v"}]}],"volumes":[{"name":"v","projected":{"sources":[{"serviceAccountToken":{"path":"token"}}]}}]}}"#,
  #"{"apiVersion":"v1","kind":"Service","metadata":{"name":"s","namespace":"d"},"spec":{"selector":{"a":"b"},"ports":[{"port":80,"targetPort":"web"}]}}"#,
  #"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c","namespace":"d"},"data":{"a.txt":"1"}}"#,
  #"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"c","namespace":"d"},"data":{"a":"aGk="}}"#,
  #"{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"default","namespace":"d"}}"#,
  #"{"apiVersion":"v1","kind":"Event","metadata":{"name":"e","namespace":"d"},"involvedObject":{"kind":"Pod","name":"p","namespace":"d"},"reason":"Started","eventTime":"2026-01-01T00:00:00.5Z"}"#,
  #"{"apiVersion":"events.k8s.io/v1","kind":"Event","metadata":{"name":"e","namespace":"d"},"regarding":{"kind":"Pod","name":"p"},"reason":"Started","eventTime":"2026-01-01T00:00:00.000000Z","action":"Start","type":"Normal","reportingController":"x/y","reportingInstance":"i"}"#,
  #"{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":"l","namespace":"d"},"spec":{"holderIdentity":"a","leaseDurationSeconds":40}}"#,
  #"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web","namespace":"d"},"spec":{"replicas":0,"selector":{"matchLabels":{"app":"web"}},"template":{"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"name":"c","image":"a"}]}}}}"#,
  #"{"apiVersion":"apps/v1","kind":"ReplicaSet","metadata":{"name":"web","namespace":"d"},"spec":{"selector":{"matchLabels":{"app":"web"}},"template":{"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"name":"c","image":"a"}]}}}}"#,
  #"{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","metadata":{"name":"s-1","namespace":"d"},"addressType":"IPv4","endpoints":[{"addresses":["10.0.0.1"],"conditions":{"ready":true}}],"ports":[{"name":"","port":80}]}"#,
  #"{"apiVersion":"networking.k8s.io/v1","kind":"Ingress","metadata":{"name":"i","namespace":"d"},"spec":{"rules":[{"host":"a.example","http":{"paths":[{"path":"/","pathType":"Prefix","backend":{"service":{"name":"s","port":{"number":80}}}}]}}]}}"#,
  #"{"apiVersion":"networking.k8s.io/v1","kind":"IngressClass","metadata":{"name":"weft"},"spec":{"controller":"weft.dev/ingress"}}"#,
  #"{"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{"name":"n","namespace":"d"},"spec":{"podSelector":{},"ingress":[{"from":[{"ipBlock":{"cidr":"10.0.0.0/8","except":["10.1.0.0/16"]}}],"ports":[{"port":80}]}]}}"#,
]
