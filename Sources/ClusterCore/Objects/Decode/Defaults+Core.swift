// Defaults of core kinds that depend on other fields.

extension Defaults {
  static let core: [String: Rule] = [
    "io.k8s.api.core.v1.Pod": pod,
    "io.k8s.api.core.v1.PodSpec": podSpec,
    "io.k8s.api.core.v1.Container": container,
    "io.k8s.api.core.v1.EphemeralContainer": container,
    "io.k8s.api.core.v1.Volume": volume,
    "io.k8s.api.core.v1.ServiceSpec": serviceSpec,
    "io.k8s.api.core.v1.LoadBalancerIngress": loadBalancerIngress,
    "io.k8s.api.core.v1.Namespace": namespace,
    "io.k8s.api.core.v1.Secret": secret,
    "io.k8s.api.core.v1.NodeStatus": nodeStatus,
    "io.k8s.api.core.v1.LimitRangeItem": limitRangeItem,
    "io.k8s.api.core.v1.ReplicationController": replicationController,
    "io.k8s.api.core.v1.PersistentVolumeClaimSpec": claimSpec,
  ]

  // MARK: - Pods

  /// Of pods alone: a template keeps what its author wrote, so that a new default makes no new revision.
  private static func pod(_ pod: inout JSONObject) {
    guard case .object(var spec)? = pod["spec"] else { return }
    let isOnHost = spec["hostNetwork"]?.bool == true
    for list in ["containers", "initContainers"] {
      guard var containers = spec[list]?.array else { continue }
      for index in containers.indices {
        requestWhatIsLimited(&containers[index])
        if isOnHost { claimHostPorts(&containers[index]) }
      }
      spec[list] = .array(containers)
    }
    requestOfPod(&spec)
    setDefault(&spec, "enableServiceLinks", true)
    pod["spec"] = .object(spec)
  }

  /// What is limited and not asked for is asked for in full.
  private static func requestWhatIsLimited(_ container: inout JSON) {
    guard let limits = container.at("resources", "limits")?.object, !limits.isEmpty else { return }
    var requests = container.at("resources", "requests")?.object ?? [:]
    for (name, value) in limits where !requests.contains(name) { requests[name] = value }
    container.set(.object(requests), at: "resources", "requests")
  }

  /// On the host's network the container's port is the host's.
  private static func claimHostPorts(_ container: inout JSON) {
    guard var ports = container["ports"]?.array else { return }
    for port in ports.indices where ports[port]["hostPort"] == nil {
      ports[port]["hostPort"] = ports[port]["containerPort"]
    }
    container["ports"] = .array(ports)
  }

  /// A pod that limits itself as a whole asks for what its containers ask for, else for its limits.
  private static func requestOfPod(_ spec: inout JSONObject) {
    guard let limits = spec["resources"]?["limits"]?.object, !limits.isEmpty else { return }
    var requests = spec["resources"]?["requests"]?.object ?? [:]
    var containersAlone = spec
    for field in ["resources", "overhead"] { containersAlone.removeValue(forKey: field) }
    let asked = ResourceList.requests(ofPod: ["spec": .object(containersAlone)])
    for name in ["cpu", "memory"] where !requests.contains(name) {
      if let amount = asked.amounts[name], !amount.isZero { requests[name] = .string(amount.description) }
    }
    for (name, value) in limits where !requests.contains(name) && isPodResource(name) {
      requests[name] = value
    }
    spec["resources"]?["requests"] = .object(requests)
  }

  private static func isPodResource(_ name: String) -> Bool {
    name == "cpu" || name == "memory" || name.hasPrefix("hugepages-")
  }

  private static func podSpec(_ spec: inout JSONObject) {
    // The old name of the service account follows the new one, and the other way round.
    if let name = spec["serviceAccountName"] ?? spec["serviceAccount"] {
      setDefault(&spec, "serviceAccountName", name)
      spec["serviceAccount"] = spec["serviceAccountName"]
    }
  }

  private static func container(_ container: inout JSONObject) {
    if !container.contains("imagePullPolicy") {
      container["imagePullPolicy"] = .string(imagePullPolicy(container["image"]?.string ?? ""))
    }
  }

  /// `Always` for `:latest` and for no tag, else `IfNotPresent`. A digest names what it is.
  static func imagePullPolicy(_ image: String) -> String {
    if image.contains("@") { return "IfNotPresent" }
    let name = image.split(separator: "/").last ?? ""
    guard let colon = name.lastIndex(of: ":") else { return "Always" }
    return name[name.index(after: colon)...] == "latest" ? "Always" : "IfNotPresent"
  }

  private static func volume(_ volume: inout JSONObject) {
    // A volume that says nothing about its source is an empty directory.
    if volume.count == 1, volume.contains("name") { volume.append("emptyDir", [:]) }
    if let image = volume["image"], image["pullPolicy"] == nil, let name = image["reference"]?.string {
      volume["image"]?["pullPolicy"] = .string(imagePullPolicy(name))
    }
  }

  // MARK: - Services

  private static func serviceSpec(_ spec: inout JSONObject) {
    let type = spec["type"]?.string ?? "ClusterIP"
    if spec["sessionAffinity"]?.string == "ClientIP", spec["sessionAffinityConfig"]?["clientIP"] == nil {
      spec["sessionAffinityConfig"] = ["clientIP": ["timeoutSeconds": 10800]]
    }
    if let ports = spec["ports"]?.array {
      spec["ports"] = .array(
        ports.map { port in
          var port = port
          if port["protocol"] == nil { port["protocol"] = "TCP" }
          if port["targetPort"] == nil || port["targetPort"] == 0 || port["targetPort"] == "" {
            port["targetPort"] = port["port"]
          }
          return port
        })
    }
    if type == "NodePort" || type == "LoadBalancer" || !(spec["externalIPs"]?.elements ?? []).isEmpty {
      setDefault(&spec, "externalTrafficPolicy", "Cluster")
    }
    if type == "NodePort" || type == "LoadBalancer" || type == "ClusterIP" {
      setDefault(&spec, "internalTrafficPolicy", "Cluster")
    }
    if type == "LoadBalancer" { setDefault(&spec, "allocateLoadBalancerNodePorts", true) }
    guard type != "ExternalName" else { return }
    // Addresses and families are the server's to give.
    if let address = spec["clusterIP"]?.string, !spec.contains("clusterIPs") {
      spec["clusterIPs"] = [.string(address)]
    }
    if let first = spec["clusterIPs"]?.array?.first { setDefault(&spec, "clusterIP", first) }
  }

  private static func loadBalancerIngress(_ ingress: inout JSONObject) {
    if ingress.contains("ip") { setDefault(&ingress, "ipMode", "VIP") }
  }

  // MARK: - Others

  private static func namespace(_ namespace: inout JSONObject) {
    // Every namespace carries its name as a label, so that selectors can name it.
    let metadata = namespace["metadata"] ?? [:]
    if let name = metadata["name"]?.string, !name.isEmpty {
      var changed = metadata
      var labels = metadata["labels"] ?? [:]
      labels["kubernetes.io/metadata.name"] = .string(name)
      changed["labels"] = labels
      namespace["metadata"] = changed
    }
  }

  private static func secret(_ secret: inout JSONObject) {
    // Plain text given for convenience moves into data and wins over it.
    guard let plain = secret["stringData"]?.object else { return }
    var data = secret["data"]?.object ?? [:]
    for (key, value) in plain { if let text = value.string { data[key] = .string(Base64.encode(text.utf8)) } }
    secret["data"] = .object(data)
    secret.removeValue(forKey: "stringData")
  }

  private static func nodeStatus(_ status: inout JSONObject) {
    if let capacity = status["capacity"] { setDefault(&status, "allocatable", capacity) }
  }

  /// Of containers a limit follows the maximum, and a request the limit or the minimum.
  private static func limitRangeItem(_ item: inout JSONObject) {
    guard item["type"] == "Container" else { return }
    var limits = item["default"]?.object ?? [:]
    for (name, value) in item["max"]?.object ?? [:] { setDefault(&limits, name, value) }
    var requests = item["defaultRequest"]?.object ?? [:]
    for (name, value) in limits { setDefault(&requests, name, value) }
    for (name, value) in item["min"]?.object ?? [:] { setDefault(&requests, name, value) }
    if !limits.isEmpty { item["default"] = .object(limits) }
    if !requests.isEmpty { item["defaultRequest"] = .object(requests) }
  }

  private static func replicationController(_ controller: inout JSONObject) {
    guard let labels = controller["spec"]?.at("template", "metadata", "labels"),
      labels.object?.isEmpty == false
    else { return }
    if controller["spec"]?["selector"]?.object?.isEmpty ?? true { controller["spec"]?["selector"] = labels }
    adoptLabels(&controller, labels)
  }

  /// An object without labels takes those of the pods it makes.
  static func adoptLabels(_ object: inout JSONObject, _ labels: JSON) {
    var metadata = object["metadata"] ?? [:]
    guard metadata["labels"]?.object?.isEmpty ?? true else { return }
    metadata["labels"] = labels
    object["metadata"] = metadata
  }

  private static func claimSpec(_ spec: inout JSONObject) {
    // The two ways to name a source say the same when the source is in the claim's own namespace.
    if let source = spec["dataSource"], !spec.contains("dataSourceRef") {
      spec["dataSourceRef"] = source
    } else if let reference = spec["dataSourceRef"], !spec.contains("dataSource"),
      (reference["namespace"]?.string ?? "").isEmpty,
      ["PersistentVolumeClaim", "VolumeSnapshot"].contains(reference["kind"]?.string ?? "")
    {
      spec["dataSource"] = reference
    }
  }
}
