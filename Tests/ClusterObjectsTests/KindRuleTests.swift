// Workloads, volumes, limits and autoscalers: what is filled in, what is refused and in which words.

import ClusterObjects
import Testing

private let registry = KindRegistry.builtin

/// A body as somebody would write it, in normal form with defaults.
private func made(_ text: String, _ changes: String = "{}") throws -> (ResourceKind, JSON) {
  let tree = try JSON(parsing: text).applying(mergePatch: JSON(parsing: changes))
  let kind = try #require(registry.kind(apiVersion: tree.apiVersion, kind: tree.kind))
  var object = try kind.schema.decode(tree: tree, as: kind.gvk, validation: .strict).object
  if object.at("metadata", "uid") == nil { object.set("u-1", at: "metadata", "uid") }
  kind.applyDefaults(&object)
  return (kind, object)
}

private let pod = #"{"containers":[{"name":"c","image":"a:1"}]}"#
private let template = #"{"metadata":{"labels":{"a":"b"}},"spec":\#(pod)}"#
private func body(_ apiVersion: String, _ kind: String, _ rest: String, namespace: String = "default")
  -> String
{
  #"{"apiVersion":"\#(apiVersion)","kind":"\#(kind)","metadata":{"name":"x","namespace":"\#(namespace)"},\#(rest)}"#
}

private let statefulSet = body(
  "apps/v1", "StatefulSet",
  #""spec":{"serviceName":"s","selector":{"matchLabels":{"a":"b"}},"template":\#(template),"volumeClaimTemplates":[{"metadata":{"name":"data"},"spec":{"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1Gi"}}}}]}"#
)
/// Its containers mount what no volume of the template, but a claim stands for.
private let mountingSet = statefulSet.replacing(
  #""image":"a:1"}"#, with: #""image":"a:1","volumeMounts":[{"name":"data","mountPath":"/d"}]}"#)
private let daemonSet = body(
  "apps/v1", "DaemonSet", #""spec":{"selector":{"matchLabels":{"a":"b"}},"template":\#(template)}"#)
private let controller = body("v1", "ReplicationController", #""spec":{"template":\#(template)}"#)
private let jobSpec =
  #"{"template":{"spec":{"restartPolicy":"Never","containers":[{"name":"c","image":"a:1"}]}}}"#
private let job = body("batch/v1", "Job", #""spec":\#(jobSpec)"#)
private let cronJob = body(
  "batch/v1", "CronJob", #""spec":{"schedule":"*/5 1-3 * jan mon","jobTemplate":{"spec":\#(jobSpec)}}"#)
private let claim = body(
  "v1", "PersistentVolumeClaim",
  #""spec":{"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1Gi"}}}"#)
private let volume = #"""
  {"apiVersion":"v1","kind":"PersistentVolume","metadata":{"name":"x"},"spec":{"capacity":{"storage":"1Gi"},
  "accessModes":["ReadWriteOnce"],"hostPath":{"path":"/data"}}}
  """#
private let quota = body("v1", "ResourceQuota", #""spec":{"hard":{"pods":"10"}}"#)
private let limits = body(
  "v1", "LimitRange", #""spec":{"limits":[{"type":"Container","max":{"cpu":"2"},"min":{"memory":"1Mi"}}]}"#)
private let endpoints = body(
  "v1", "Endpoints", #""subsets":[{"addresses":[{"ip":"10.0.0.1"}],"ports":[{"port":80}]}]"#)
private let scaler = body(
  "autoscaling/v2", "HorizontalPodAutoscaler",
  #""spec":{"maxReplicas":3,"scaleTargetRef":{"kind":"Deployment","name":"d"}}"#)
private let budget = body("policy/v1", "PodDisruptionBudget", #""spec":{"minAvailable":1}"#)
private let revision = body("apps/v1", "ControllerRevision", #""data":{"a":1},"revision":1"#)

@Test(arguments: [
  statefulSet, mountingSet, daemonSet, controller, job, cronJob, claim, volume, quota, limits, endpoints,
  scaler, budget,
  revision,
])
func `what is right is taken`(text: String) throws {
  var text = text
  // A claim on a volume of the cluster has no namespace.
  text.replace(#""namespace":"","#, with: "")
  var (kind, object) = try made(text)
  kind.prepareForCreate(&object)
  #expect(kind.validateCreate(object).map(\.description) == [])
  #expect(kind.validateUpdate(object, old: object).map(\.description) == [])
}

@Test(arguments: [
  (
    statefulSet, #"{"spec":{"selector":{"matchLabels":{"a":"c"}}}}"#,
    "spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: `selector` does not match template `labels`"
  ),
  (
    statefulSet, #"{"spec":{"selector":{"matchLabels":null}}}"#, "empty selector is invalid for statefulset"
  ),
  (
    statefulSet, #"{"spec":{"template":{"spec":{"restartPolicy":"Never"}}}}"#,
    "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\""
  ),
  (
    statefulSet, #"{"spec":{"updateStrategy":{"type":"OnDelete","rollingUpdate":{"partition":1}}}}"#,
    "only allowed for updateStrategy 'RollingUpdate'"
  ),
  (
    statefulSet, #"{"spec":{"template":{"spec":{"activeDeadlineSeconds":5}}}}"#,
    "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in StatefulSet is not Supported"
  ),
  (
    daemonSet, #"{"spec":{"updateStrategy":{"rollingUpdate":{"maxUnavailable":0}}}}"#,
    "spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0"
  ),
  (
    daemonSet, #"{"spec":{"updateStrategy":{"rollingUpdate":{"maxSurge":1}}}}"#,
    "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero"
  ),
  (
    controller, #"{"spec":{"selector":{"z":"z"}}}"#, "`selector` does not match template `labels`"
  ),
  (
    job, #"{"spec":{"template":{"spec":{"restartPolicy":"Always"}}}}"#,
    "spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\""
  ),
  (
    job, #"{"spec":{"parallelism":-1}}"#,
    "spec.parallelism: Invalid value: -1: must be greater than or equal to 0"
  ),
  (
    job, #"{"spec":{"completionMode":"Indexed","completions":null,"parallelism":2}}"#,
    "spec.completions: Required value: when completion mode is Indexed"
  ),
  (
    job, #"{"spec":{"selector":{"matchLabels":{"a":"b"}}}}"#, "spec.selector: Invalid value: "
  ),
  (
    job, #"{"spec":{"backoffLimitPerIndex":1}}"#,
    "spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode"
  ),
  (
    cronJob, #"{"spec":{"schedule":"1 2 3"}}"#,
    "spec.schedule: Invalid value: \"1 2 3\": expected exactly 5 fields, found 3: [1 2 3]"
  ),
  (
    cronJob, #"{"spec":{"schedule":"61 * * * *"}}"#,
    "spec.schedule: Invalid value: \"61 * * * *\": end of range (61) above maximum (59): 61"
  ),
  (cronJob, #"{"spec":{"schedule":"@sometimes"}}"#, "unrecognized descriptor: @sometimes"),
  (
    cronJob, #"{"spec":{"schedule":"TZ=UTC 0 * * * *"}}"#,
    "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
  ),
  (
    cronJob, #"{"spec":{"timeZone":""}}"#,
    "spec.timeZone: Invalid value: \"\": timeZone must be nil or non-empty string"
  ),
  (
    cronJob, #"{"metadata":{"name":"a-name-that-is-far-too-long-for-the-jobs-of-a-cron-job"}}"#,
    "must be no more than 52 characters"
  ),
  (
    cronJob, #"{"spec":{"concurrencyPolicy":"Maybe"}}"#,
    "spec.concurrencyPolicy: Unsupported value: \"Maybe\": supported values: \"Allow\", \"Forbid\", \"Replace\""
  ),
  (
    claim, #"{"spec":{"accessModes":null}}"#,
    "spec.accessModes: Required value: at least 1 access mode is required"
  ),
  (claim, #"{"spec":{"resources":null}}"#, "spec.resources[storage]: Required value"),
  (
    claim, #"{"spec":{"accessModes":["ReadWriteOncePod","ReadWriteOnce"]}}"#,
    "spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes"
  ),
  (claim, #"{"spec":{"accessModes":["rwo"]}}"#, "spec.accessModes[0]: Unsupported value: \"rwo\""),
  (volume, #"{"spec":{"hostPath":null}}"#, "spec: Required value: must specify a volume type"),
  (
    volume, #"{"spec":{"nfs":{"server":"s","path":"/"}}}"#,
    "spec.nfs: Forbidden: may not specify more than 1 volume type"
  ),
  (
    volume, #"{"spec":{"hostPath":null,"local":{"path":"/x"}}}"#,
    "spec.nodeAffinity: Required value: Local volume requires node affinity"
  ),
  (volume, #"{"spec":{"capacity":null}}"#, "spec.capacity: Required value"),
  (
    quota, #"{"spec":{"hard":{"pod":"1"}}}"#,
    "spec.hard[pod]: Invalid value: \"pod\": must be a standard resource for quota"
  ),
  (
    quota, #"{"spec":{"hard":{"pods":"1500m"}}}"#,
    "spec.hard[pods]: Invalid value: \"1500m\": must be an integer"
  ),
  (
    limits, #"{"spec":{"limits":[{"type":"Container","max":{"cpu":"1"},"min":{"cpu":"2"}}]}}"#,
    "spec.limits[0].min[cpu]: Invalid value: \"2\": min value 2 is greater than max value 1"
  ),
  (
    limits, #"{"spec":{"limits":[{"type":"Pod","default":{"cpu":"1"}}]}}"#,
    "spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'"
  ),
  (
    endpoints, #"{"subsets":[{"ports":[{"port":80}]}]}"#,
    "subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"
  ),
  (
    endpoints, #"{"subsets":[{"addresses":[{"ip":"localhost"}]}]}"#,
    "subsets[0].addresses[0].ip: Invalid value: \"localhost\": must be a valid IP address"
  ),
  (
    scaler, #"{"spec":{"maxReplicas":0}}"#, "spec.maxReplicas: Invalid value: 0: must be greater than 0"
  ),
  (
    scaler, #"{"spec":{"minReplicas":5}}"#,
    "spec.maxReplicas: Invalid value: 3: must be greater than or equal to `minReplicas`"
  ),
  (
    scaler, #"{"spec":{"metrics":[{"type":"Pods"}]}}"#,
    "spec.metrics[0].pods: Required value: must populate information for the given metric source"
  ),
  (
    budget, #"{"spec":{"maxUnavailable":1}}"#, "minAvailable and maxUnavailable cannot be both set"
  ),
  (
    budget, #"{"spec":{"minAvailable":"150%"}}"#,
    "spec.minAvailable: Invalid value: \"150%\": must not be greater than 100%"
  ),
  (revision, #"{"data":null}"#, "data: Required value: data is mandatory"),
])
func `what is wrong is told`(text: String, changes: String, message: String) throws {
  var (kind, object) = try made(text, changes)
  kind.prepareForCreate(&object)
  let errors = kind.validateCreate(object).map(\.description)
  #expect(errors.contains { $0.contains(message) }, "\(errors)")
}

@Test(
  arguments: [
    (
      statefulSet, #"{"spec":{"serviceName":"other"}}"#,
      "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', "
        + "'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and "
        + "'minReadySeconds' are forbidden"
    ),
    (statefulSet, #"{"spec":{"replicas":9,"minReadySeconds":3}}"#, nil),
    (daemonSet, #"{"spec":{"selector":{"matchLabels":{"c":"d"}}}}"#, "spec.selector: Invalid value"),
    (job, #"{"spec":{"template":{"spec":{"hostNetwork":true}}}}"#, "field is immutable"),
    (job, #"{"spec":{"completions":5}}"#, "spec.completions: Invalid value: 5: field is immutable"),
    (job, #"{"spec":{"parallelism":5,"suspend":true}}"#, nil),
    (claim, #"{"spec":{"volumeMode":"Block"}}"#, "spec: Forbidden: spec is immutable after creation except"),
    (claim, #"{"spec":{"volumeName":"v"}}"#, nil),
    (
      volume, #"{"spec":{"hostPath":{"path":"/other"}}}"#,
      "spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation"
    ),
    (quota, #"{"spec":{"scopes":["BestEffort"]}}"#, "spec.scopes: Invalid value"),
    (revision, #"{"data":{"a":2}}"#, "data: Invalid value: {\"a\":2}: field is immutable"),
    (scaler, #"{"spec":{"maxReplicas":30}}"#, nil),
  ] as [(String, String, String?)])
func `what may change and what may not`(text: String, changes: String, message: String?) throws {
  var (kind, old) = try made(text)
  kind.prepareForCreate(&old)
  var new = old.applying(mergePatch: try JSON(parsing: changes))
  kind.applyDefaults(&new)
  let errors = kind.validateUpdate(new, old: old).map(\.description)
  if let message {
    #expect(errors.contains { $0.contains(message) }, "\(errors)")
  } else {
    #expect(errors == [])
  }
}

// MARK: - Defaults

@Test func `a StatefulSet's claims say what they are`() throws {
  let (_, set) = try made(statefulSet)
  let claim = set.at("spec", "volumeClaimTemplates")?[0]
  #expect(claim?.apiVersion == "v1" && claim?.kind == "PersistentVolumeClaim")
  #expect(claim?.at("status", "phase") == "Pending" && claim?.at("spec", "volumeMode") == "Filesystem")
  #expect(set.at("spec", "updateStrategy") == ["type": "RollingUpdate", "rollingUpdate": ["partition": 0]])
  #expect(
    set.at("spec", "persistentVolumeClaimRetentionPolicy")
      == ["whenDeleted": "Retain", "whenScaled": "Retain"])
  #expect(set.at("spec", "podManagementPolicy") == "OrderedReady")
}

@Test func `a Job finds its pods by its uid`() throws {
  var (kind, object) = try made(job)
  #expect(object.at("spec", "completions") == 1 && object.at("spec", "backoffLimit") == 6)
  #expect(object.at("spec", "podReplacementPolicy") == "TerminatingOrFailed")
  kind.prepareForCreate(&object)
  #expect(object.at("spec", "selector") == ["matchLabels": ["batch.kubernetes.io/controller-uid": "u-1"]])
  let labels = object.at("spec", "template", "metadata", "labels")?.stringMap
  #expect(labels?["job-name"] == "x" && labels?["batch.kubernetes.io/job-name"] == "x")
  #expect(labels?["controller-uid"] == "u-1")
  // The template in a CronJob keeps what its author wrote.
  let (_, cron) = try made(cronJob)
  #expect(cron.at("spec", "jobTemplate", "spec", "parallelism") == nil)
  #expect(cron.at("spec", "failedJobsHistoryLimit") == 1 && cron.at("spec", "suspend") == false)
}

@Test func `requests follow limits in pods and not in templates`() throws {
  let limited = #"{"containers":[{"name":"c","image":"a","resources":{"limits":{"cpu":"1"}}}]}"#
  let (_, alone) = try made(body("v1", "Pod", #""spec":\#(limited)"#))
  #expect(alone.at("spec", "containers")?[0]?.at("resources", "requests", "cpu") == "1")
  #expect(alone.at("spec", "enableServiceLinks") == true)
  let (_, set) = try made(daemonSet, #"{"spec":{"template":{"spec":\#(limited)}}}"#)
  let template = set.at("spec", "template", "spec")
  #expect(template?["containers"]?[0]?.at("resources", "requests") == nil)
  #expect(template?["enableServiceLinks"] == nil)
}

@Test func `a limit range fills in what follows from the maximum`() throws {
  let (_, range) = try made(limits)
  let item = range.at("spec", "limits")?[0]
  #expect(item?["default"] == ["cpu": "2"])
  #expect(item?["defaultRequest"] == ["cpu": "2", "memory": "1Mi"])
}

@Test func `an autoscaler without metrics looks at the cpu`() throws {
  let (_, object) = try made(scaler, #"{"spec":{"behavior":{"scaleUp":{"selectPolicy":"Min"}}}}"#)
  #expect(
    object.at("spec", "metrics")?[0]?.at("resource", "target")
      == ["type": "Utilization", "averageUtilization": 80])
  #expect(object.at("spec", "behavior", "scaleUp", "selectPolicy") == "Min")
  #expect(object.at("spec", "behavior", "scaleUp", "policies")?.elements.count == 2)
  #expect(object.at("spec", "behavior", "scaleDown", "selectPolicy") == "Max")
  let (_, old) = try made(
    body(
      "autoscaling/v1", "HorizontalPodAutoscaler",
      #""spec":{"maxReplicas":3,"scaleTargetRef":{"kind":"Deployment","name":"d"}}"#))
  #expect(old.at("spec", "minReplicas") == 1)
}

// MARK: - Subresources of pods

private func refusals(_ subresource: String, _ new: JSON, _ old: JSON) -> [String] {
  registry[GroupVersionKind("", "v1", "Pod")]?
    .validateUpdate(new, old: old, subresource: subresource).map(\.description) ?? ["no kind"]
}

@Test func `containers for debugging are added and neither changed nor removed`() throws {
  let (_, old) = try made(body("v1", "Pod", #""spec":\#(pod)"#))
  var new = old
  new.set([["name": "debug", "image": "d", "targetContainerName": "c"]], at: "spec", "ephemeralContainers")
  #expect(refusals("ephemeralcontainers", new, old) == [])
  var changed = new
  changed.set([["name": "debug", "image": "e"]], at: "spec", "ephemeralContainers")
  #expect(refusals("ephemeralcontainers", changed, new).first?.contains("may not be changed") == true)
  #expect(refusals("ephemeralcontainers", old, new).first?.contains("may not be removed") == true)
  changed.set([["name": "c", "image": "e", "ports": []]], at: "spec", "ephemeralContainers")
  let errors = refusals("ephemeralcontainers", changed, old)
  #expect(errors.contains { $0.contains("Duplicate value: \"c\"") })
  #expect(errors.contains { $0.contains("ports: Forbidden: cannot be set for an Ephemeral Container") })
}

@Test func `resize changes cpu and memory and keeps the quality of service`() throws {
  let resources = #"{"requests":{"cpu":"1","memory":"1Gi"},"limits":{"cpu":"2","memory":"1Gi"}}"#
  let (kind, bare) = try made(
    body("v1", "Pod", #""spec":{"containers":[{"name":"c","image":"a","resources":\#(resources)}]}"#))
  var old = bare
  kind.prepareForCreate(&old)
  func with(_ resources: JSON, image: String = "a") -> JSON {
    var pod = old
    var container = old.at("spec", "containers")?[0] ?? [:]
    container["resources"] = resources
    container["image"] = JSON(image)
    pod.set([container], at: "spec", "containers")
    return pod
  }
  let more: JSON = ["requests": ["cpu": "2", "memory": "1Gi"], "limits": ["cpu": "3", "memory": "1Gi"]]
  #expect(refusals("resize", with(more), old) == [])
  #expect(
    refusals("resize", with(more, image: "b"), old) == [
      "spec: Forbidden: only cpu and memory resources are mutable"
    ])
  let equal: JSON = ["requests": ["cpu": "2", "memory": "1Gi"], "limits": ["cpu": "2", "memory": "1Gi"]]
  #expect(
    refusals("resize", with(equal), old).contains {
      $0.contains("Pod QOS Class may not change as a result of resizing")
    })
  #expect(
    kind.validateUpdate(with(more), old: old).contains {
      $0.description.contains("pod updates may not change")
    })
}

@Test func `random schedules are judged and never break the judge`() throws {
  let (kind, object) = try made(cronJob)
  var generator = Seeded(state: 11)
  let alphabet = Array("0123456789*/-,? @janmonTZ=".utf8)
  for _ in 0..<5000 {
    let count = Int.random(in: 0...24, using: &generator)
    let bytes = (0..<count).map { _ in alphabet.randomElement(using: &generator) ?? 42 }
    var changed = object
    changed.set(JSON(String(decoding: bytes, as: UTF8.self)), at: "spec", "schedule")
    _ = kind.validateCreate(changed)
  }
}
