// Kinds that serve the cluster itself: what may be stored of them, what is filled in, what kubectl shows.

import ClusterObjects
import Testing

func servedKind(_ apiVersion: String, _ name: String) throws -> ResourceKind {
  try #require(KindRegistry.builtin.kind(apiVersion: apiVersion, kind: name))
}

/// From a body to what would be stored, and the findings on it.
func madeObject(_ text: String) throws -> (object: JSON, findings: [String]) {
  let body = try JSON(parsing: text)
  let kind = try servedKind(body.apiVersion, body.kind)
  var object = try kind.schema.decode(tree: body, as: kind.gvk, validation: .strict).object
  if kind.isNamespaced { object.set("default", at: "metadata", "namespace") }
  kind.applyDefaults(&object)
  return (object, kind.validateCreate(object).map(\.description))
}

private func findings(from old: String, to new: String, part: String? = nil) throws -> [String] {
  let before = try madeObject(old).object
  return try servedKind(before.apiVersion, before.kind)
    .validateUpdate(try madeObject(new).object, old: before, subresource: part).map(\.description)
}

private let rbac = #""apiVersion":"rbac.authorization.k8s.io/v1","metadata":{"name":"system:a"}"#
private let hooks = #""apiVersion":"admissionregistration.k8s.io/v1","metadata":{"name":"a"}"#
private let storage = #""apiVersion":"storage.k8s.io/v1","metadata":{"name":"a"}"#
private let flow = #""apiVersion":"flowcontrol.apiserver.k8s.io/v1","metadata":{"name":"a"}"#
private let network = #""apiVersion":"networking.k8s.io/v1""#
private let rule =
  #""operations":["CREATE"],"apiGroups":["apps"],"apiVersions":["v1"],"resources":["deployments"]"#

// MARK: - What may not be stored

@Test(
  arguments: [
    (
      #"{\#(rbac),"kind":"Role","rules":[{"apiGroups":[""],"resources":["pods"]},{"verbs":["get"]}]}"#,
      [
        "rules[0].verbs: Required value: verbs must contain at least one value",
        "rules[1].apiGroups: Required value: resource rules must supply at least one api group",
        "rules[1].resources: Required value: resource rules must supply at least one resource",
      ]
    ),
    (
      #"{\#(rbac),"kind":"Role","rules":[{"verbs":["get"],"nonResourceURLs":["/x"]}]}"#,
      [
        #"rules[0].nonResourceURLs: Invalid value: ["/x"]: namespaced rules cannot apply to non-resource URLs"#
      ]
    ),
    (
      #"{\#(rbac),"kind":"ClusterRoleBinding","roleRef":{"kind":"Role","name":"x"},"subjects":[{"kind":"ServiceAccount","name":"a"},{"kind":"Robot","name":"b"}]}"#,
      [
        #"roleRef.kind: Unsupported value: "Role": supported values: "ClusterRole""#,
        "subjects[0].namespace: Required value",
        #"subjects[1].kind: Unsupported value: "Robot": supported values: "ServiceAccount", "User", "Group""#,
      ]
    ),
    (
      #"{\#(storage),"kind":"StorageClass","provisioner":"x","reclaimPolicy":"Recycle"}"#,
      [#"reclaimPolicy: Unsupported value: "Recycle": supported values: "Delete", "Retain""#]
    ),
    (
      #"{\#(storage),"kind":"VolumeAttachment","spec":{"attacher":"x","nodeName":"n","source":{}}}"#,
      [
        "spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName"
      ]
    ),
    (
      #"{\#(hooks),"kind":"MutatingWebhookConfiguration","webhooks":[{"name":"a.b","sideEffects":"Some","admissionReviewVersions":["v3"],"timeoutSeconds":31,"clientConfig":{"url":"http://u@h/?q#f"},"rules":[{\#(rule)}]}]}"#,
      [
        #"webhooks[0].name: Invalid value: "a.b": should be a domain with at least three segments separated by dots"#,
        #"webhooks[0].sideEffects: Unsupported value: "Some": supported values: "None", "NoneOnDryRun""#,
        "webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds",
        #"webhooks[0].clientConfig.url: Invalid value: "http": 'https' is the only allowed URL scheme; desired format: https://host[/path]"#,
        #"webhooks[0].clientConfig.url: Invalid value: "u": user information is not permitted in the URL"#,
        #"webhooks[0].clientConfig.url: Invalid value: "f": fragments are not permitted in the URL"#,
        #"webhooks[0].clientConfig.url: Invalid value: "q": query parameters are not permitted in the URL"#,
        #"webhooks[0].admissionReviewVersions: Invalid value: ["v3"]: must include at least one of v1, v1beta1"#,
      ]
    ),
    (
      #"{\#(hooks),"kind":"ValidatingWebhookConfiguration","webhooks":[{"name":"a.b.c","sideEffects":"None","admissionReviewVersions":["v1"],"clientConfig":{"service":{"namespace":"n","name":"s","path":"x","port":0}},"rules":[{"operations":["*","CREATE"],"apiGroups":["a"],"apiVersions":["v1"],"resources":["pods/*","pods/log"]}]}]}"#,
      [
        #"webhooks[0].rules[0].operations: Invalid value: ["*","CREATE"]: if '*' is present, must not specify other operations"#,
        #"webhooks[0].rules[0].resources[1]: Invalid value: "pods/log": if 'pods/*' is present, must not specify pods/log"#,
        "webhooks[0].clientConfig.service.port: Invalid value: 0: port is not valid: must be between 1 and 65535, inclusive",
        #"webhooks[0].clientConfig.service.path: Invalid value: "x": must start with a '/'"#,
      ]
    ),
    (
      #"{\#(hooks),"kind":"ValidatingAdmissionPolicyBinding","spec":{"policyName":"p","validationActions":["Deny","Warn"]}}"#,
      [
        #"spec.validationActions: Invalid value: ["Deny","Warn"]: must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)"#
      ]
    ),
    (
      #"{\#(hooks),"kind":"ValidatingAdmissionPolicy","spec":{"matchConstraints":{"resourceRules":[{\#(rule)}]},"validations":[{"expression":" ","message":"a\nb"}],"variables":[{"name":"a-b","expression":"1"}]}}"#,
      [
        #"spec.variables[0].name: Invalid value: "a-b": name is not a valid CEL identifier"#,
        "spec.validations[0].expression: Required value: expression is not specified",
        #"spec.validations[0].message: Invalid value: "a\nb": message must not contain line breaks"#,
      ]
    ),
    (
      #"{"apiVersion":"apiregistration.k8s.io/v1","kind":"APIService","metadata":{"name":"x"},"spec":{"group":"a.b","version":"v1","groupPriorityMinimum":1,"versionPriority":1001,"caBundle":"AAAA"}}"#,
      [
        #"metadata.name: Invalid value: "x": must be `spec.version+"."+spec.group`: "v1.a.b""#,
        "spec.versionPriority: Invalid value: 1001: must be positive and less than 1000",
        #"spec.caBundle: Invalid value: "3 bytes": local APIServices may not have a caBundle"#,
      ]
    ),
    (
      #"{"apiVersion":"certificates.k8s.io/v1","kind":"CertificateSigningRequest","metadata":{"name":"a:b"},"spec":{"request":"AAAA","signerName":"foo","usages":["any","any"],"expirationSeconds":3}}"#,
      [
        #"spec.request: Invalid value: "AAAA": PEM block type must be CERTIFICATE REQUEST"#,
        #"spec.usages[1]: Duplicate value: "any""#,
        #"spec.signerName: Invalid value: "foo": must be a fully qualified domain and path of the form 'example.com/signer-name'"#,
        "spec.expirationSeconds: Invalid value: 3: may not specify a duration less than 600 seconds (10 minutes)",
      ]
    ),
    (
      #"{"apiVersion":"scheduling.k8s.io/v1","kind":"PriorityClass","metadata":{"name":"a"},"value":1000000001}"#,
      ["value: Forbidden: maximum allowed value of a user defined priority is 1000000000"]
    ),
    (
      #"{"apiVersion":"scheduling.k8s.io/v1","kind":"PriorityClass","metadata":{"name":"system-a"},"value":1}"#,
      [
        "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: system-a is not a known system priority class"
      ]
    ),
    (
      #"{\#(flow),"kind":"FlowSchema","spec":{"matchingPrecedence":1,"priorityLevelConfiguration":{"name":"p"},"rules":[{"subjects":[{"kind":"User"}],"nonResourceRules":[{"verbs":["see"],"nonResourceURLs":["/a*b"]}]}]}}"#,
      [
        "spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1",
        "spec.rules[0].subjects[0].user: Required value: user is required when subject kind is 'User'",
        #"spec.rules[0].nonResourceRules[0].verbs: Unsupported value: ["see"]: supported values: "create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch""#,
        #"spec.rules[0].nonResourceRules[0].nonResourceURLs[0]: Invalid value: "/a*b": wildcard can only do suffix matching"#,
      ]
    ),
    (
      #"{\#(flow),"kind":"PriorityLevelConfiguration","spec":{"type":"Limited","limited":{"limitResponse":{"type":"Queue","queuing":{"queues":4}}}}}"#,
      [
        "spec.limited.limitResponse.queuing.handSize: Invalid value: 8: should not be greater than queues (4)"
      ]
    ),
    (
      #"{\#(network),"kind":"ServiceCIDR","metadata":{"name":"a"},"spec":{"cidrs":["10.0.0.0/8","11.0.0.0/8"]}}"#,
      [
        #"spec.cidrs: Invalid value: {"cidrs":["10.0.0.0/8","11.0.0.0/8"]}: may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"#
      ]
    ),
    (
      #"{\#(network),"kind":"IPAddress","metadata":{"name":"10.0.0"},"spec":{}}"#,
      [
        #"metadata.name: Invalid value: "10.0.0": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"#,
        "spec.parentRef: Required value",
      ]
    ),
    (
      #"{\#(network),"kind":"IngressClass","metadata":{"name":"a"},"spec":{"controller":"a/b","parameters":{"kind":"K","name":"n","scope":"Namespace"}}}"#,
      ["spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'"]
    ),
    (
      #"{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":"a"},"spec":{"leaseDurationSeconds":0,"preferredHolder":"b"}}"#,
      [
        "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
        "spec.preferredHolder: Forbidden: may only be specified if `strategy` is defined",
      ]
    ),
  ] as [(String, [String])])
func `what may not be stored is told in upstream's words`(body: String, expected: [String]) throws {
  #expect(try madeObject(body).findings == expected)
}

@Test(
  arguments: [
    (
      #"{\#(rbac),"kind":"RoleBinding","roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"Role","name":"x"}}"#,
      #"{\#(rbac),"kind":"RoleBinding","roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"Role","name":"y"}}"#,
      [
        #"roleRef: Invalid value: {"apiGroup":"rbac.authorization.k8s.io","kind":"Role","name":"y"}: cannot change roleRef"#
      ]
    ),
    (
      #"{\#(storage),"kind":"StorageClass","provisioner":"x","parameters":{"a":"1"}}"#,
      #"{\#(storage),"kind":"StorageClass","provisioner":"y","parameters":{"a":"2"},"reclaimPolicy":"Retain"}"#,
      [
        "parameters: Forbidden: updates to parameters are forbidden.",
        "provisioner: Forbidden: updates to provisioner are forbidden.",
        "reclaimPolicy: Forbidden: updates to reclaimPolicy are forbidden.",
      ]
    ),
    (
      #"{"apiVersion":"scheduling.k8s.io/v1","kind":"PriorityClass","metadata":{"name":"a"},"value":1}"#,
      #"{"apiVersion":"scheduling.k8s.io/v1","kind":"PriorityClass","metadata":{"name":"a"},"value":2}"#,
      ["value: Forbidden: may not be changed in an update."]
    ),
    (
      #"{"apiVersion":"node.k8s.io/v1","kind":"RuntimeClass","metadata":{"name":"a"},"handler":"x"}"#,
      #"{"apiVersion":"node.k8s.io/v1","kind":"RuntimeClass","metadata":{"name":"a"},"handler":"y"}"#,
      [#"handler: Invalid value: "y": field is immutable"#]
    ),
    (
      #"{\#(network),"kind":"ServiceCIDR","metadata":{"name":"a"},"spec":{"cidrs":["10.0.0.0/8"]}}"#,
      #"{\#(network),"kind":"ServiceCIDR","metadata":{"name":"a"},"spec":{"cidrs":["11.0.0.0/8"]}}"#,
      [#"spec.cidrs: Invalid value: ["11.0.0.0/8"]: field is immutable"#]
    ),
  ] as [(String, String, [String])])
func `what never changes is kept from changing`(old: String, new: String, expected: [String]) throws {
  #expect(try findings(from: old, to: new) == expected)
}

// MARK: - What is filled in

@Test func `webhooks wait ten seconds and fail closed unless told otherwise`() throws {
  let object = try madeObject(
    #"{\#(hooks),"kind":"MutatingWebhookConfiguration","webhooks":[{"name":"a.b.c","sideEffects":"None","admissionReviewVersions":["v1"],"clientConfig":{"service":{"namespace":"n","name":"s"}},"rules":[{\#(rule)}]}]}"#
  ).object
  let hook = try #require(object["webhooks"]?.elements.first)
  #expect(hook["timeoutSeconds"] == 10 && hook["failurePolicy"] == "Fail")
  #expect(hook["matchPolicy"] == "Equivalent" && hook["reinvocationPolicy"] == "Never")
  #expect(hook["namespaceSelector"] == [:] && hook["objectSelector"] == [:])
  #expect(hook.at("clientConfig", "service", "port") == 443)
  #expect(hook["rules"]?.elements[0]["scope"] == "*")
}

@Test func `subjects and roles get the group they are of`() throws {
  let object = try madeObject(
    #"{\#(rbac),"kind":"ClusterRoleBinding","roleRef":{"kind":"ClusterRole","name":"x"},"subjects":[{"kind":"User","name":"a"},{"kind":"ServiceAccount","name":"b","namespace":"c"}]}"#
  ).object
  #expect(object.at("roleRef", "apiGroup") == "rbac.authorization.k8s.io")
  let subjects = try #require(object["subjects"]?.elements)
  #expect(subjects[0]["apiGroup"] == "rbac.authorization.k8s.io" && subjects[1]["apiGroup"] == nil)
}

@Test(
  arguments: [
    (#"{\#(storage),"kind":"StorageClass","provisioner":"x"}"#, ["volumeBindingMode"], "Immediate" as JSON),
    (#"{\#(storage),"kind":"StorageClass","provisioner":"x"}"#, ["reclaimPolicy"], "Delete"),
    (#"{\#(storage),"kind":"CSIDriver","spec":{}}"#, ["spec", "attachRequired"], true),
    (#"{\#(storage),"kind":"CSIDriver","spec":{}}"#, ["spec", "volumeLifecycleModes"], ["Persistent"]),
    (
      #"{"apiVersion":"scheduling.k8s.io/v1","kind":"PriorityClass","metadata":{"name":"a"}}"#,
      ["preemptionPolicy"], "PreemptLowerPriority"
    ),
    (
      #"{\#(flow),"kind":"FlowSchema","spec":{"priorityLevelConfiguration":{"name":"p"}}}"#,
      ["spec", "matchingPrecedence"], 1000
    ),
  ] as [(String, [String], JSON)])
func `what was not said is filled in`(body: String, path: [String], value: JSON) throws {
  let object = try madeObject(body).object
  #expect(path.reduce(object as JSON?) { $0?[$1] } == value)
}

// MARK: - What kubectl shows

@Test(
  arguments: [
    (
      #"{\#(rbac),"kind":"RoleBinding","roleRef":{"kind":"Role","name":"r"},"subjects":[{"kind":"User","name":"a"},{"kind":"ServiceAccount","name":"s","namespace":"n"}]}"#,
      ["Name", "Role", "Age", "Users", "Groups", "ServiceAccounts"],
      ["system:a", "Role/r", "<unknown>", "a", "", "n/s"] as [JSON]
    ),
    (
      #"{\#(storage),"kind":"StorageClass","provisioner":"x"}"#,
      ["Name", "Provisioner", "ReclaimPolicy", "VolumeBindingMode", "AllowVolumeExpansion", "Age"],
      ["a", "x", "Delete", "Immediate", false, "<unknown>"]
    ),
    (
      #"{\#(network),"kind":"IPAddress","metadata":{"name":"10.0.0.1"},"spec":{"parentRef":{"group":"g.io","resource":"things","name":"x"}}}"#,
      ["Name", "ParentRef", "Age"], ["10.0.0.1", "things.g.io/x", "<unknown>"]
    ),
    (
      #"{\#(flow),"kind":"PriorityLevelConfiguration","spec":{"type":"Exempt"}}"#,
      [
        "Name", "Type", "NominalConcurrencyShares", "Queues", "HandSize", "QueueLengthLimit", "Age",
      ], ["a", "Exempt", "<none>", "<none>", "<none>", "<none>", "<unknown>"]
    ),
    (
      #"{"apiVersion":"apiregistration.k8s.io/v1","kind":"APIService","metadata":{"name":"v1."},"spec":{"version":"v1","groupPriorityMinimum":1,"versionPriority":1},"status":{"conditions":[{"type":"Available","status":"False","reason":"Gone"}]}}"#,
      ["Name", "Service", "Available", "Age"], ["v1.", "Local", "False (Gone)", "<unknown>"]
    ),
    (
      certificateRequest, ["Name", "Age", "SignerName", "Requestor", "RequestedDuration", "Condition"],
      ["a", "<unknown>", "example.com/a", "", "<none>", "Pending"]
    ),
  ] as [(String, [String], [JSON])])
func `columns are those that kubectl shows`(body: String, columns: [String], cells: [JSON]) throws {
  let object = try madeObject(body).object
  let printer = TablePrinter.printer(for: GroupVersionKind(apiVersion: object.apiVersion, kind: object.kind))
  #expect(printer.columns.map(\.name) == columns)
  #expect(printer.cells(object, KubeTime(seconds: 0)) == cells)
}

@Test func `every kind of these groups has columns of its own, as many cells as columns`() throws {
  for kind in KindRegistry.builtin.kinds where kind.isStored && kind.group.hasSuffix(".k8s.io") {
    let printer = TablePrinter.printer(for: kind.gvk)
    #expect(printer.columns != TablePrinter.plain.columns, "\(kind.gvk)")
    #expect(printer.cells([:], KubeTime(seconds: 0)).count == printer.columns.count, "\(kind.gvk)")
  }
}

// MARK: - Foreign texts

@Test func `damaged PEM and URLs never trap a rule`() throws {
  var generator = SeededGenerator(state: 0x5eed)
  let kind = try servedKind("certificates.k8s.io/v1", "CertificateSigningRequest")
  let hook = try hookKind()
  let corpus = [
    "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
    "https://user@host:443/path?query#fragment", "-----BEGIN -----", "://@/?#", "//",
  ]
  for _ in 0..<3000 {
    var bytes = Array((corpus.randomElement(using: &generator) ?? "").utf8)
    for _ in 0..<Int.random(in: 1...4, using: &generator) where !bytes.isEmpty {
      let position = Int.random(in: bytes.indices, using: &generator)
      switch Int.random(in: 0..<3, using: &generator) {
      case 0: bytes[position] = UInt8.random(in: 0...255, using: &generator)
      case 1: bytes.remove(at: position)
      default: bytes.insert(contentsOf: bytes[..<position], at: position)
      }
    }
    let text = String(decoding: bytes, as: UTF8.self)
    let request: JSON = ["spec": ["request": JSON(Base64.encode(bytes)), "signerName": JSON(text)]]
    #expect(!kind.validateCreate(request).isEmpty)
    let hooks: JSON = ["webhooks": [["clientConfig": ["url": JSON(text)], "name": JSON(text)]]]
    #expect(!hook.validateCreate(hooks).isEmpty)
  }
}

private func hookKind() throws -> ResourceKind {
  try servedKind("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration")
}

private struct SeededGenerator: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return state ^ state >> 29
  }
}
