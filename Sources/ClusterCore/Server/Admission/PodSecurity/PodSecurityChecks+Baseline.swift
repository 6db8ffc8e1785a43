// What no pod may do at the level `baseline`: known ways out of a container.

import ClusterObjects

extension PodSecurityChecks {
  static func hostProcess(_ pod: CheckedPod) -> PodSecurityFinding? {
    func isSet(_ object: JSON) -> Bool {
      object.at("securityContext", "windowsOptions", "hostProcess")?.bool == true
    }
    let bad = pod.names(where: isSet)
    let setters = setters(pod: isSet(pod.spec), bad)
    if setters.isEmpty { return nil }
    return PodSecurityFinding(
      reason: "hostProcess", detail: "\(setters) must not set securityContext.windowsOptions.hostProcess=true"
    )
  }

  static func hostNamespaces(_ pod: CheckedPod) -> PodSecurityFinding? {
    let bad = ["hostNetwork", "hostPID", "hostIPC"].filter { pod.spec[$0]?.bool == true }
    if bad.isEmpty { return nil }
    return PodSecurityFinding(
      reason: "host namespaces", detail: bad.map { "\($0)=true" }.joined(separator: ", "))
  }

  static func privileged(_ pod: CheckedPod) -> PodSecurityFinding? {
    let bad = pod.names { $0.at("securityContext", "privileged")?.bool == true }
    if bad.isEmpty { return nil }
    return PodSecurityFinding(
      reason: "privileged", detail: "\(containers(bad)) must not set securityContext.privileged=true")
  }

  private static let defaultCapabilities: Set<String> = [
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE",
    "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
  ]

  static func added(_ container: JSON) -> [String] {
    (container.at("securityContext", "capabilities", "add")?.elements ?? []).compactMap(\.string)
  }

  static func capabilities(_ pod: CheckedPod) -> PodSecurityFinding? {
    func forbidden(_ container: JSON) -> [String] {
      added(container).filter { !defaultCapabilities.contains($0) }
    }
    let bad = pod.names { !forbidden($0).isEmpty }
    if bad.isEmpty { return nil }
    let names = unique(pod.containers.flatMap { forbidden($0.object) })
    return PodSecurityFinding(
      reason: "non-default capabilities",
      detail: "\(containers(bad)) must not include \(quoted(names)) in securityContext.capabilities.add")
  }

  static func hostPaths(_ pod: CheckedPod) -> PodSecurityFinding? {
    let bad = (pod.spec["volumes"]?.elements ?? []).filter { $0["hostPath"] != nil }
      .compactMap { $0["name"]?.string }
    return bad.isEmpty ? nil : PodSecurityFinding(reason: "hostPath volumes", detail: noun("volume", bad))
  }

  static func hostPorts(_ pod: CheckedPod) -> PodSecurityFinding? {
    func ports(_ container: JSON) -> [Int64] {
      (container["ports"]?.elements ?? []).compactMap { $0["hostPort"]?.integer }.filter { $0 != 0 }
    }
    let bad = pod.names { !ports($0).isEmpty }
    if bad.isEmpty { return nil }
    let numbers = unique(pod.containers.flatMap { ports($0.object).map(String.init) })
    return PodSecurityFinding(
      reason: "hostPort",
      detail: "\(containers(bad)) use\(bad.count == 1 ? "s" : "") hostPort\(numbers.count == 1 ? "" : "s") "
        + numbers.joined(separator: ", "))
  }

  /// Since 1.34: a probe of another host makes the node's agent speak to it.
  static func probeHosts(_ pod: CheckedPod) -> PodSecurityFinding? {
    func hosts(_ container: JSON) -> [String] {
      let handlers =
        ["livenessProbe", "readinessProbe", "startupProbe"].map { container[$0] }
        + ["postStart", "preStop"].map { container.at("lifecycle", $0) }
      return handlers.flatMap { handler in
        ["httpGet", "tcpSocket"].compactMap { handler?.at($0, "host")?.string }
      }.filter { !$0.isEmpty && !["127.0.0.1", "::1"].contains($0) }
    }
    let bad = pod.names { !hosts($0).isEmpty }
    if bad.isEmpty { return nil }
    let names = unique(pod.containers.flatMap { hosts($0.object) })
    return PodSecurityFinding(
      reason: "probe or lifecycle host",
      detail: "\(containers(bad)) use\(bad.count == 1 ? "s" : "") probe or lifecycle "
        + noun("host", names))
  }

  static func appArmor(_ pod: CheckedPod) -> PodSecurityFinding? {
    func bad(_ object: JSON) -> String? {
      guard let type = object.at("securityContext", "appArmorProfile", "type")?.string,
        type != "RuntimeDefault", type != "Localhost"
      else { return nil }
      return type
    }
    var values: [String] = []
    var setters: [String] = []
    if let value = bad(pod.spec) {
      values.append(value)
      setters.append("pod")
    }
    let names = pod.names { bad($0) != nil }
    values += pod.containers.compactMap { bad($0.object) }
    if !names.isEmpty { setters.append(containers(names)) }
    let prefix = "container.apparmor.security.beta.kubernetes.io/"
    let annotations = pod.annotations.filter { key, value in
      key.hasPrefix(prefix) && !["", "runtime/default"].contains(value) && !value.hasPrefix("localhost/")
    }
    if !annotations.isEmpty {
      values += annotations.values
      setters.append(
        "annotation\(annotations.count == 1 ? "" : "s") "
          + annotations.sorted { $0.key < $1.key }.map { "\($0.key)=\"\($0.value)\"" }
          .joined(separator: ", "))
    }
    if setters.isEmpty { return nil }
    let all = unique(values)
    return PodSecurityFinding(
      reason: "forbidden AppArmor profile\(all.count == 1 ? "" : "s")",
      detail: "\(setters.joined(separator: " and ")) must not set AppArmor profile type to \(quoted(all))")
  }

  static func procMount(_ pod: CheckedPod) -> PodSecurityFinding? {
    func bad(_ container: JSON) -> String? {
      guard let mount = container.at("securityContext", "procMount")?.string, mount != "Default" else {
        return nil
      }
      return mount
    }
    let names = pod.names { bad($0) != nil }
    if names.isEmpty { return nil }
    return PodSecurityFinding(
      reason: "procMount",
      detail: "\(containers(names)) must not set securityContext.procMount to "
        + quoted(unique(pod.containers.compactMap { bad($0.object) })))
  }

  static func seLinux(_ pod: CheckedPod, _ version: PodSecurityVersion) -> PodSecurityFinding? {
    var allowed: Set<String> = ["", "container_t", "container_init_t", "container_kvm_t"]
    if version.isAtLeast(31) { allowed.insert("container_engine_t") }
    var types: [String] = []
    var hasUser = false
    var hasRole = false
    func isBad(_ object: JSON) -> Bool {
      guard let options = object.at("securityContext", "seLinuxOptions") else { return false }
      var isBad = false
      if let type = options["type"]?.string, !allowed.contains(type) {
        types.append(type)
        isBad = true
      }
      if !(options["user"]?.string ?? "").isEmpty {
        hasUser = true
        isBad = true
      }
      if !(options["role"]?.string ?? "").isEmpty {
        hasRole = true
        isBad = true
      }
      return isBad
    }
    let setters = setters(pod: isBad(pod.spec), pod.names(where: isBad))
    if setters.isEmpty { return nil }
    var data: [String] = []
    if !types.isEmpty { data.append(noun("type", unique(types))) }
    if hasUser { data.append("user may not be set") }
    if hasRole { data.append("role may not be set") }
    return PodSecurityFinding(
      reason: "seLinuxOptions",
      detail: "\(setters) set forbidden securityContext.seLinuxOptions: \(data.joined(separator: "; "))")
  }

  static func seccompType(_ object: JSON) -> String? {
    object.at("securityContext", "seccompProfile", "type")?.string
  }

  static func seccomp(_ pod: CheckedPod) -> PodSecurityFinding? {
    let bad = pod.names { seccompType($0) == "Unconfined" }
    let setters = setters(pod: seccompType(pod.spec) == "Unconfined", bad)
    if setters.isEmpty { return nil }
    return PodSecurityFinding(
      reason: "seccompProfile",
      detail: "\(setters) must not set securityContext.seccompProfile.type to \"Unconfined\"")
  }

  static func sysctls(_ pod: CheckedPod, _ version: PodSecurityVersion) -> PodSecurityFinding? {
    var allowed: Set<String> = [
      "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies",
      "net.ipv4.ping_group_range", "net.ipv4.ip_unprivileged_port_start",
    ]
    if version.isAtLeast(27) { allowed.insert("net.ipv4.ip_local_reserved_ports") }
    if version.isAtLeast(29) {
      allowed.formUnion([
        "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
      ])
    }
    if version.isAtLeast(32) { allowed.formUnion(["net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"]) }
    let bad = (pod.spec.at("securityContext", "sysctls")?.elements ?? []).compactMap { $0["name"]?.string }
      .filter { !allowed.contains($0) }
    return bad.isEmpty
      ? nil : PodSecurityFinding(reason: "forbidden sysctls", detail: bad.joined(separator: ", "))
  }
}
