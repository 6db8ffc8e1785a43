// What an object holds that its author did not say. Plain defaults are declared with the field in the schema
// texts; those that depend on other fields are here, a function a type.

extension ResourceKind {
  /// Fills defaults in. Expects normal form (`Schema.decode`); a second call changes nothing.
  public func applyDefaults(_ object: inout JSON) { schema.applyDefaults(&object) }
}

extension Schema {
  /// Fills defaults in, parents before children.
  public func applyDefaults(_ object: inout JSON) {
    guard case .object(var fields) = object else { return }
    object = .null  // Changed in place: the only reference is ours.
    applyDefaults(&fields)
    object = .object(fields)
  }

  private func applyDefaults(_ object: inout JSONObject) {
    Defaults.conditional[name]?(&object)
    for field in self.fields {
      if let value = field.defaultValue, !object.contains(field.name) { object.append(field.name, value) }
      guard field.type.schema != nil, let position = object.position(of: field.name) else { continue }
      Self.applyDefaults(&object.fields[position].value, field.type)
    }
  }

  private static func applyDefaults(_ value: inout JSON, _ type: SchemaType) {
    switch type {
    case .object(let schema): schema.applyDefaults(&value)
    case .either(let schema, let other):
      if value.object != nil { schema.applyDefaults(&value) } else { applyDefaults(&value, other) }
    case .list(let element):
      guard case .array(var elements) = value else { return }
      value = .null
      for index in elements.indices { applyDefaults(&elements[index], element) }
      value = .array(elements)
    case .map(let element):
      guard case .object(var object) = value else { return }
      value = .null
      for index in object.fields.indices { applyDefaults(&object.fields[index].value, element) }
      value = .object(object)
    default: break
    }
  }
}

enum Defaults {
  typealias Rule = @Sendable (inout JSONObject) -> Void

  static let conditional: [String: Rule] = [
    "io.k8s.api.core.v1.PodSpec": podSpec,
    "io.k8s.api.core.v1.Container": container,
    "io.k8s.api.core.v1.EphemeralContainer": container,
    "io.k8s.api.core.v1.ServiceSpec": serviceSpec,
    "io.k8s.api.core.v1.Volume": volume,
    "io.k8s.api.core.v1.Namespace": namespace,
    "io.k8s.api.core.v1.Secret": secret,
    "io.k8s.api.apps.v1.DeploymentStrategy": deploymentStrategy,
    "io.k8s.api.networking.v1.NetworkPolicySpec": networkPolicySpec,
    "io.k8s.api.core.v1.LoadBalancerIngress": loadBalancerIngress,
  ]

  private static func setDefault(_ object: inout JSONObject, _ name: String, _ value: JSON) {
    if !object.contains(name) { object.append(name, value) }
  }

  private static func podSpec(_ spec: inout JSONObject) {
    // The old name of the service account follows the new one, and the other way round.
    if let name = spec["serviceAccountName"] ?? spec["serviceAccount"] {
      setDefault(&spec, "serviceAccountName", name)
      spec["serviceAccount"] = spec["serviceAccountName"]
    }
    guard spec["hostNetwork"]?.bool == true else { return }
    // On the host's network the container's port is the host's.
    for list in ["containers", "initContainers"] {
      guard var containers = spec[list]?.array else { continue }
      for index in containers.indices {
        guard var ports = containers[index]["ports"]?.array else { continue }
        for port in ports.indices where ports[port]["hostPort"] == nil {
          ports[port]["hostPort"] = ports[port]["containerPort"]
        }
        containers[index]["ports"] = .array(ports)
      }
      spec[list] = .array(containers)
    }
  }

  private static func container(_ container: inout JSONObject) {
    if !container.contains("imagePullPolicy") {
      container["imagePullPolicy"] = .string(imagePullPolicy(container["image"]?.string ?? ""))
    }
    // What is limited and not asked for is asked for in full.
    guard let limits = container["resources"]?["limits"]?.object, !limits.isEmpty else { return }
    var requests = container["resources"]?["requests"]?.object ?? [:]
    for (name, value) in limits where !requests.contains(name) { requests[name] = value }
    container["resources"]?["requests"] = .object(requests)
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
  }

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
    // Addresses are the server's to give; what follows from them once they are there is told here.
    if let address = spec["clusterIP"]?.string, !spec.contains("clusterIPs") {
      spec["clusterIPs"] = [.string(address)]
    }
    if let addresses = spec["clusterIPs"]?.array, !addresses.isEmpty {
      setDefault(&spec, "clusterIP", addresses[0])
      let isHeadless = addresses[0] == "None"
      if !isHeadless {
        setDefault(
          &spec, "ipFamilies", .array(addresses.map { $0.string?.contains(":") == true ? "IPv6" : "IPv4" }))
        setDefault(&spec, "ipFamilyPolicy", addresses.count > 1 ? "RequireDualStack" : "SingleStack")
      }
    }
  }

  private static func deploymentStrategy(_ strategy: inout JSONObject) {
    guard strategy["type"] == nil || strategy["type"] == "RollingUpdate" else { return }
    var rolling = strategy["rollingUpdate"] ?? [:]
    if rolling["maxUnavailable"] == nil { rolling["maxUnavailable"] = "25%" }
    if rolling["maxSurge"] == nil { rolling["maxSurge"] = "25%" }
    strategy["rollingUpdate"] = rolling
  }

  private static func networkPolicySpec(_ spec: inout JSONObject) {
    guard !spec.contains("policyTypes") else { return }
    spec["policyTypes"] = spec.contains("egress") ? ["Ingress", "Egress"] : ["Ingress"]
  }

  private static func loadBalancerIngress(_ ingress: inout JSONObject) {
    if ingress.contains("ip") { setDefault(&ingress, "ipMode", "VIP") }
  }
}
