// What may not be stored, and what is said of it.
import ClusterObjects
import Testing

private let registry = KindRegistry.builtin

/// A sample with changes, in normal form with defaults.
private func object(_ kind: String, _ changes: String = "{}") throws -> (ResourceKind, JSON) {
  let text = try #require(samples.first { $0.contains("\"kind\":\"\(kind)\"") })
  let tree = try JSON(parsing: text).applying(mergePatch: JSON(parsing: changes))
  let kind = try #require(registry.kind(apiVersion: tree.apiVersion, kind: tree.kind))
  var object = try kind.schema.decode(tree: tree, as: kind.gvk).object
  kind.applyDefaults(&object)
  return (kind, object)
}

private let container = #""image":"a","name":"c""#

@Test(arguments: [
  (
    "Pod", #"{"metadata":{"name":"Bad_Name"}}"#,
    "metadata.name: Invalid value: \"Bad_Name\": a lowercase RFC 1123 subdomain"
  ),
  ("Pod", #"{"metadata":{"name":null}}"#, "metadata.name: Required value: name or generateName is required"),
  (
    "Pod", #"{"metadata":{"labels":{"-a":"b"}}}"#,
    "metadata.labels: Invalid value: \"-a\": name part must consist of"
  ),
  (
    "Pod", #"{"metadata":{"labels":{"a":"b c"}}}"#,
    "metadata.labels: Invalid value: \"b c\": a valid label must be"
  ),
  (
    "Pod", #"{"metadata":{"finalizers":["x"]}}"#,
    "metadata.finalizers[0]: Invalid value: \"x\": name is neither"
  ),
  ("Pod", #"{"spec":{"containers":null}}"#, "spec.containers: Required value"),
  ("Pod", #"{"spec":{"containers":[{"name":"c"}]}}"#, "spec.containers[0].image: Required value"),
  ("Pod", #"{"spec":{"containers":[{"image":"c"}]}}"#, "spec.containers[0].name: Required value"),
  (
    "Pod", #"{"spec":{"restartPolicy":"Often"}}"#,
    "spec.restartPolicy: Unsupported value: \"Often\": supported values: \"Always\", \"Never\", \"OnFailure\""
  ),
  (
    "Pod", #"{"spec":{"containers":[{"name":"c","image":"a"},{"name":"c","image":"b"}]}}"#,
    "spec.containers[1].name: Duplicate value: \"c\""
  ),
  (
    "Pod", #"{"spec":{"containers":[{"name":"c","image":"a","ports":[{"containerPort":70000}]}]}}"#,
    "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive"
  ),
  (
    "Pod",
    #"{"spec":{"containers":[{"name":"c","image":"a","volumeMounts":[{"name":"zz","mountPath":"/x"}]}]}}"#,
    "spec.containers[0].volumeMounts[0].name: Not found: \"zz\""
  ),
  (
    "Pod",
    #"{"spec":{"containers":[{"name":"c","image":"a","lifecycle":{"stopSignal":"SIGUSR1"}}]}}"#,
    "spec.containers[0].lifecycle.stopSignal: Forbidden: may not be set for containers with empty `spec.os.name`"
  ),
  (
    "Pod",
    #"{"spec":{"os":{"name":"linux"},"containers":[{"name":"c","image":"a","lifecycle":{"stopSignal":"USR1"}}]}}"#,
    "spec.containers[0].lifecycle.stopSignal: Unsupported value: \"USR1\": supported values: \"SIGABRT\", \"SIGALRM\""
  ),
  (
    "Pod",
    #"{"spec":{"os":{"name":"windows"},"containers":[{"name":"c","image":"a","lifecycle":{"stopSignal":"SIGINT"}}]}}"#,
    "spec.containers[0].lifecycle.stopSignal: Unsupported value: \"SIGINT\": supported values: \"SIGKILL\", \"SIGTERM\""
  ),
  (
    "Pod", #"{"spec":{"containers":[{"name":"c","image":"a","livenessProbe":{}}]}}"#,
    "spec.containers[0].livenessProbe: Required value: must specify a handler type"
  ),
  (
    "Pod",
    #"{"spec":{"containers":[{"name":"c","image":"a","resources":{"limits":{"cpu":"1"},"requests":{"cpu":"2"}}}]}}"#,
    "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1"
  ),
  (
    "Pod", #"{"spec":{"volumes":[{"name":"v","emptyDir":{},"hostPath":{"path":"/"}}]}}"#,
    "may not specify more than 1 volume type"
  ),
  ("Pod", #"{"spec":{"dnsPolicy":"None"}}"#, "spec.dnsConfig.nameservers: Required value"),
  (
    "Service", #"{"metadata":{"name":"1abc"}}"#,
    "metadata.name: Invalid value: \"1abc\": a DNS-1035 label must"
  ),
  ("Service", #"{"spec":{"ports":[]}}"#, "spec.ports: Required value"),
  (
    "Service", #"{"spec":{"ports":[{"port":0}]}}"#,
    "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535"
  ),
  ("Service", #"{"spec":{"ports":[{"port":80},{"port":81}]}}"#, "spec.ports[0].name: Required value"),
  (
    "Service", #"{"spec":{"ports":[{"port":80,"nodePort":30000}]}}"#,
    "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"
  ),
  ("Service", #"{"spec":{"type":"Magic"}}"#, "spec.type: Unsupported value: \"Magic\""),
  ("Service", #"{"spec":{"type":"ExternalName"}}"#, "spec.externalName: Required value"),
  (
    "Service", #"{"spec":{"clusterIP":"10.0.0.999"}}"#,
    "spec.clusterIPs[0]: Invalid value: \"10.0.0.999\": must be a valid IP address"
  ),
  ("Service", #"{"spec":{"externalIPs":["127.0.0.1"]}}"#, "may not be in the loopback range"),
  ("Deployment", #"{"spec":{"selector":null}}"#, "spec.selector: Required value"),
  (
    "Deployment", #"{"spec":{"template":{"metadata":{"labels":{"app":"x"}}}}}"#,
    "spec.template.metadata.labels: Invalid value: {\"app\":\"x\"}: `selector` does not match template `labels`"
  ),
  (
    "Deployment", #"{"spec":{"replicas":-1}}"#,
    "spec.replicas: Invalid value: -1: must be greater than or equal to 0"
  ),
  (
    "Deployment", #"{"spec":{"strategy":{"type":"Recreate","rollingUpdate":{}}}}"#,
    "spec.strategy.rollingUpdate: Forbidden"
  ),
  (
    "Deployment", #"{"spec":{"strategy":{"rollingUpdate":{"maxSurge":0,"maxUnavailable":0}}}}"#,
    "may not be 0 when `maxSurge` is 0"
  ),
  ("ConfigMap", #"{"data":{"a b":"1"}}"#, "data[a b]: Invalid value: \"a b\": a valid config key"),
  ("Secret", #"{"type":"kubernetes.io/tls"}"#, "data[tls.crt]: Required value"),
  ("EndpointSlice", #"{"addressType":""}"#, "addressType: Required value"),
  (
    "EndpointSlice", #"{"endpoints":[{"addresses":["::1"]}]}"#,
    "endpoints[0].addresses[0]: Invalid value: \"::1\": must be a valid IPv4 address"
  ),
  ("EndpointSlice", #"{"endpoints":[{"addresses":[]}]}"#, "endpoints[0].addresses: Required value"),
  (
    "Ingress", #"{"spec":{"rules":null}}"#,
    "spec: Invalid value: []: either `defaultBackend` or `rules` must be specified"
  ),
  (
    "Ingress", #"{"spec":{"rules":[{"host":"1.2.3.4"}]}}"#,
    "spec.rules[0].host: Invalid value: \"1.2.3.4\": must be a DNS name, not an IP address"
  ),
  (
    "Ingress", #"{"spec":{"rules":[{"http":{"paths":[{"path":"a","pathType":"Exact","backend":{}}]}}]}}"#,
    "spec.rules[0].http.paths[0].path: Invalid value: \"a\": must be an absolute path"
  ),
  (
    "Ingress", #"{"spec":{"rules":[{"http":{"paths":[{"path":"/","backend":{}}]}}]}}"#,
    "spec.rules[0].http.paths[0].pathType: Required value"
  ),
  (
    "NetworkPolicy", #"{"spec":{"ingress":[{"from":[{}]}]}}"#,
    "spec.ingress[0].from[0]: Required value: must specify a peer"
  ),
  (
    "NetworkPolicy",
    #"{"spec":{"ingress":[{"from":[{"ipBlock":{"cidr":"10.0.0.0/8","except":["11.0.0.0/16"]}}]}]}}"#,
    "must be a strict subset of `cidr`"
  ),
  (
    "NetworkPolicy", #"{"spec":{"ingress":[{"ports":[{"port":80,"endPort":70}]}]}}"#,
    "must be greater than or equal to `port`"
  ),
  (
    "Lease", #"{"spec":{"leaseDurationSeconds":0}}"#,
    "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0"
  ),
  (
    "Namespace", #"{"metadata":{"name":"a.b"}}"#,
    "metadata.name: Invalid value: \"a.b\": a lowercase RFC 1123 label"
  ),
  (
    "Namespace", #"{"metadata":{"namespace":"a"}}"#, "metadata.namespace: Forbidden: not allowed on this type"
  ),
])
func `what may not be created is told with its path`(kind: String, changes: String, text: String) throws {
  let (kind, object) = try object(kind, changes)
  let errors = kind.validateCreate(object)
  #expect(FieldError.summary(errors).contains(text), "\(FieldError.summary(errors))")
}

@Test(arguments: [
  (
    "Deployment",
    #"{"spec":{"selector":{"matchLabels":{"app":"web","b":"c"}},"template":{"metadata":{"labels":{"b":"c"}}}}}"#,
    "spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"web\",\"b\":\"c\"}}: field is immutable"
  ),
  (
    "Pod", #"{"spec":{"nodeName":"n","hostname":"x"}}"#,
    "spec: Forbidden: pod updates may not change fields other than"
  ),
  (
    "EndpointSlice", #"{"addressType":"FQDN","endpoints":[]}"#,
    "addressType: Invalid value: \"FQDN\": field is immutable"
  ),
  ("Secret", #"{"type":"x/y"}"#, "type: Invalid value: \"x/y\": field is immutable"),
  (
    "IngressClass", #"{"spec":{"controller":"a/b"}}"#,
    "spec.controller: Invalid value: \"a/b\": field is immutable"
  ),
  (
    "ConfigMap", #"{"metadata":{"name":"other"}}"#,
    "metadata.name: Invalid value: \"other\": field is immutable"
  ),
])
func `what may not change is told`(kind: String, changes: String, text: String) throws {
  let (resource, old) = try object(kind)
  let (_, new) = try object(kind, changes)
  let errors = resource.validateUpdate(new, old: old)
  #expect(FieldError.summary(errors).contains(text), "\(FieldError.summary(errors))")
  #expect(resource.validateUpdate(old, old: old).isEmpty)
}

@Test func `an image may change, an address may not`() throws {
  let (pods, old) = try object("Pod")
  var new = old
  new.set([["name": "c", "image": "a:2"]], at: "spec", "containers")
  let (_, image) = try object("Pod")
  var changed = image
  var containers = image.at("spec", "containers")!.array!
  containers[0]["image"] = "a:2"
  changed.set(.array(containers), at: "spec", "containers")
  #expect(pods.validateUpdate(changed, old: old).isEmpty)
  #expect(!pods.validateUpdate(new, old: old).isEmpty)
  let (services, before) = try object("Service", #"{"spec":{"clusterIP":"10.43.0.7"}}"#)
  let (_, after) = try object("Service", #"{"spec":{"clusterIP":"10.43.0.8"}}"#)
  #expect(FieldError.summary(services.validateUpdate(after, old: before)).contains("may not change once set"))
}

@Test func `an immutable secret stays as it is`() throws {
  let (kind, old) = try object("Secret", #"{"immutable":true}"#)
  let (_, new) = try object("Secret", #"{"immutable":true,"data":{"b":"aGk="}}"#)
  #expect(
    FieldError.summary(kind.validateUpdate(new, old: old))
      == "data: Forbidden: field is immutable when `immutable` is set")
}

@Test func `a finding becomes a cause`() {
  let error = FieldError.invalid(FieldPath("spec").child("ports").index(0).child("port"), 0, "too small")
  #expect(
    error.cause == [
      "reason": "FieldValueInvalid", "message": "Invalid value: 0: too small", "field": "spec.ports[0].port",
    ])
}

@Test func `the generation counts changes of what is asked for`() throws {
  let (kind, sample) = try object("Deployment")
  var old = sample
  kind.prepareForCreate(&old)
  #expect(old.generation == 1 && old["status"] == [:])
  old.set(3, at: "status", "replicas")
  var same = old
  same.set(["a": "b"], at: "metadata", "labels")
  same.set(9, at: "status", "replicas")
  kind.prepareForUpdate(&same, old: old)
  #expect(same.generation == 1 && same.at("status", "replicas") == 3)
  var scaled = old
  scaled.set(5, at: "spec", "replicas")
  kind.prepareForUpdate(&scaled, old: old)
  #expect(scaled.generation == 2)
  var status = old
  status.set(7, at: "spec", "replicas")
  status.set(7, at: "status", "replicas")
  kind.prepareForUpdate(&status, old: old, subresource: "status")
  #expect(
    status.at("spec", "replicas") == 0 && status.at("status", "replicas") == 7 && status.generation == 1)
}

@Test func `a Service keeps its addresses when an update leaves them out`() throws {
  let (kind, old) = try object(
    "Service", #"{"spec":{"type":"NodePort","clusterIP":"10.43.0.7","ports":[{"port":80,"nodePort":30001}]}}"#
  )
  var (_, new) = try object("Service", #"{"spec":{"type":"NodePort","selector":{"x":"y"}}}"#)
  kind.prepareForUpdate(&new, old: old)
  #expect(new.spec["clusterIP"] == "10.43.0.7" && new.spec["clusterIPs"] == ["10.43.0.7"])
  #expect(new.spec["ports"]![0]!["nodePort"] == 30001)
}
