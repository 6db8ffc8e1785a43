// Columns and cells of workloads, storage and limits, wide ones too, as `kubectl get -o wide` shows them.

import ClusterObjects
import Testing

private let now = KubeTime("2026-11-21T05:00:00Z")!

@Test(arguments: [
  (
    #"{"apiVersion":"apps/v1","kind":"StatefulSet","spec":{"replicas":3,"template":{"spec":{"containers":[{"name":"c","image":"i:1"}]}}},"status":{"readyReplicas":1}}"#,
    "Name Ready Age Containers Images", "x 1/3 60m c i:1"
  ),
  (
    #"{"apiVersion":"apps/v1","kind":"DaemonSet","spec":{"selector":{"matchLabels":{"a":"b"}},"template":{"spec":{"nodeSelector":{"k":"v"},"containers":[{"name":"c","image":"i:1"}]}}},"status":{"desiredNumberScheduled":3,"currentNumberScheduled":2,"numberReady":1,"updatedNumberScheduled":2,"numberAvailable":1}}"#,
    "Name Desired Current Ready Up-to-date Available Node_Selector Age Containers Images Selector",
    "x 3 2 1 2 1 k=v 60m c i:1 a=b"
  ),
  (
    #"{"apiVersion":"v1","kind":"ReplicationController","spec":{"replicas":2,"selector":{"a":"b"},"template":{"spec":{"containers":[{"name":"c","image":"i:1"}]}}},"status":{"replicas":2,"readyReplicas":1}}"#,
    "Name Desired Current Ready Age Containers Images Selector", "x 2 2 1 60m c i:1 a=b"
  ),
  (
    #"{"apiVersion":"batch/v1","kind":"Job","spec":{"completions":3,"template":{"spec":{"containers":[{"name":"c","image":"i"}]}}},"status":{"succeeded":1,"startTime":"2026-11-21T04:59:00Z"}}"#,
    "Name Status Completions Duration Age Containers Images Selector", "x Running 1/3 60s 60m c i <none>"
  ),
  (
    #"{"apiVersion":"batch/v1","kind":"Job","spec":{"parallelism":2},"status":{"succeeded":1,"startTime":"2026-11-21T04:50:00Z","completionTime":"2026-11-21T04:51:00Z","conditions":[{"type":"Complete","status":"True"}]}}"#,
    "Name Status Completions Duration Age Containers Images Selector",
    "x Complete 1/1_of_2 60s 60m <none> <none> <none>"
  ),
  (
    #"{"apiVersion":"batch/v1","kind":"CronJob","spec":{"schedule":"@daily","suspend":false,"jobTemplate":{"spec":{"template":{"spec":{"containers":[{"name":"c","image":"i"}]}}}}},"status":{"active":[{}]}}"#,
    "Name Schedule Timezone Suspend Active Last_Schedule Age Containers Images Selector",
    "x @daily <none> False 1 <none> 60m c i <none>"
  ),
  (
    #"{"apiVersion":"policy/v1","kind":"PodDisruptionBudget","spec":{"maxUnavailable":"25%"},"status":{"disruptionsAllowed":2}}"#,
    "Name Min_Available Max_Unavailable Allowed_Disruptions Age", "x N/A 25% 2 60m"
  ),
  (
    #"{"apiVersion":"autoscaling/v2","kind":"HorizontalPodAutoscaler","spec":{"scaleTargetRef":{"kind":"Deployment","name":"d"},"minReplicas":1,"maxReplicas":9,"metrics":[{"type":"Resource","resource":{"name":"cpu","target":{"type":"Utilization","averageUtilization":60}}},{"type":"Pods","pods":{"metric":{"name":"m"},"target":{"averageValue":"5"}}},{"type":"Pods"}]},"status":{"currentReplicas":2,"currentMetrics":[{"type":"Resource","resource":{"name":"cpu","current":{"averageUtilization":40}}}]}}"#,
    "Name Reference Targets MinPods MaxPods Replicas Age",
    "x Deployment/d cpu:_40%/60%,_<unknown>/5_+_1_more... 1 9 2 60m"
  ),
  (
    #"{"apiVersion":"autoscaling/v1","kind":"HorizontalPodAutoscaler","spec":{"scaleTargetRef":{"kind":"Deployment","name":"d"},"maxReplicas":9,"targetCPUUtilizationPercentage":70}}"#,
    "Name Reference Targets MinPods MaxPods Replicas Age",
    "x Deployment/d cpu:_<unknown>/70% <unset> 9 0 60m"
  ),
  (
    #"{"apiVersion":"v1","kind":"PersistentVolume","spec":{"capacity":{"storage":"1Gi"},"accessModes":["ReadWriteMany","ReadWriteOnce"],"persistentVolumeReclaimPolicy":"Retain","claimRef":{"namespace":"n","name":"c"},"storageClassName":"fast","volumeMode":"Filesystem"},"status":{"phase":"Bound"}}"#,
    "Name Capacity Access_Modes Reclaim_Policy Status Claim StorageClass VolumeAttributesClass Reason Age "
      + "VolumeMode",
    "x 1Gi RWO,RWX Retain Bound n/c fast <unset>  60m Filesystem"
  ),
  (
    #"{"apiVersion":"v1","kind":"PersistentVolumeClaim","spec":{"volumeName":"v","volumeMode":"Block"},"status":{"phase":"Bound","capacity":{"storage":"2Gi"},"accessModes":["ReadWriteOncePod"]}}"#,
    "Name Status Volume Capacity Access_Modes StorageClass VolumeAttributesClass Age VolumeMode",
    "x Bound v 2Gi RWOP  <unset> 60m Block"
  ),
  (
    #"{"apiVersion":"v1","kind":"ResourceQuota","status":{"hard":{"pods":"4","limits.cpu":"2"},"used":{"pods":"1"}}}"#,
    "Name Request Limit Age", "x pods:_1/4 limits.cpu:_0/2 60m"
  ),
  (
    #"{"apiVersion":"v1","kind":"LimitRange"}"#, "Name Created_At", "x 2026-11-21T04:00:00Z"
  ),
  (
    #"{"apiVersion":"v1","kind":"Endpoints","subsets":[{"addresses":[{"ip":"10.0.0.1"},{"ip":"fd00::1"}],"ports":[{"port":80},{"port":443}]}]}"#,
    "Name Endpoints Age", "x 10.0.0.1:80,[fd00::1]:80,10.0.0.1:443_+_1_more... 60m"
  ),
  (
    #"{"apiVersion":"apps/v1","kind":"ControllerRevision","revision":3}"#, "Name Controller Revision Age",
    "x daemonset.apps/d 3 60m"
  ),
  (
    #"{"apiVersion":"v1","kind":"PodTemplate","template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}"#,
    "Name Containers Images Pod_Labels", "x c i a=b"
  ),
  (
    #"{"apiVersion":"v1","kind":"ComponentStatus","conditions":[{"type":"Healthy","status":"True","message":"ok"}]}"#,
    "Name Status Message Error", "x Healthy ok "
  ),
])
func `a line tells what people look for`(text: String, columns: String, line: String) throws {
  var object = try JSON(parsing: text)
  object["metadata"] = ["name": "x", "creationTimestamp": "2026-11-21T04:00:00Z"]
  if object.kind == "ControllerRevision" {
    object.set(
      [["apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "u", "controller": true]],
      at: "metadata", "ownerReferences")
  }
  let printer = TablePrinter.printer(
    for: GroupVersionKind(apiVersion: object.apiVersion, kind: object.kind))
  #expect(printer.columns.map { $0.name.replacing(" ", with: "_") }.joined(separator: " ") == columns)
  let cells = printer.row(object, now: now, include: .none)["cells"]?.elements ?? []
  #expect(cells.map { ($0.string ?? $0.text).replacing(" ", with: "_") }.joined(separator: " ") == line)
  #expect(cells.count == printer.columns.count)
}
