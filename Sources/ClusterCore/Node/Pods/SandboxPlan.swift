// A pod's sandbox and containers in the runtime's words. Pure: objects and settings in, messages out.

import Addresses
import ClusterObjects
import SwiftProtobuf

/// The search list, servers and options a pod's resolver gets. `nodeResolver` is the node's own resolv.conf.
func planDNS(_ pod: JSON, settings: NodeSettings, nodeResolver: String) -> Runtime_V1_DNSConfig {
  var dns = Runtime_V1_DNSConfig()
  let policy = pod.at("spec", "dnsPolicy")?.string ?? "ClusterFirst"
  let isHost = pod.at("spec", "hostNetwork")?.bool ?? false
  let node = parseResolvConf(nodeResolver)
  switch policy {
  case "None": break
  case "Default": dns = node
  case "ClusterFirst" where isHost: dns = node
  default:
    dns.servers = settings.dnsAddresses
    let domain = settings.clusterDomain
    dns.searches = ["\(pod.namespace).svc.\(domain)", "svc.\(domain)", domain] + node.searches
    dns.options = ["ndots:5"]
  }
  if let extra = pod.at("spec", "dnsConfig") {
    dns.servers += extra["nameservers"]?.elements.compactMap(\.string) ?? []
    dns.searches += extra["searches"]?.elements.compactMap(\.string) ?? []
    for option in extra["options"]?.elements ?? [] {
      guard let name = option["name"]?.string else { continue }
      dns.options.removeAll { $0 == name || $0.hasPrefix(name + ":") }
      dns.options.append(option["value"]?.string.map { "\(name):\($0)" } ?? name)
    }
  }
  var seen: Set<String> = []
  dns.searches = Array(dns.searches.filter { seen.insert($0).inserted }.prefix(32))
  seen = []
  dns.servers = Array(dns.servers.filter { seen.insert($0).inserted }.prefix(3))
  return dns
}

/// `nameserver`, `search` and `options` lines.
func parseResolvConf(_ text: String) -> Runtime_V1_DNSConfig {
  var dns = Runtime_V1_DNSConfig()
  for line in text.split(separator: "\n") {
    let words = line.split { $0 == " " || $0 == "\t" }.map(String.init)
    switch words.first {
    case "nameserver": if words.count > 1 { dns.servers.append(words[1]) }
    case "search": dns.searches = Array(words.dropFirst())
    case "options": dns.options += words.dropFirst()
    default: break
    }
  }
  return dns
}

/// The pod's own name among names: `spec.hostnameOverride`, else `spec.hostname`, else its name, at most 63 characters.
func podHostname(_ pod: JSON) -> String {
  if let name = pod.at("spec", "hostnameOverride")?.string, !name.isEmpty { return name }
  let name = pod.at("spec", "hostname")?.string ?? ""
  var short = (name.isEmpty ? pod.name : name).prefix(63)
  // What was cut off may leave what ends no name.
  while short.count < pod.name.count, short.last == "-" || short.last == "." { short.removeLast() }
  return String(short)
}

/// The name by which the cluster's DNS knows the pod; empty without a `subdomain`.
func podFullName(_ pod: JSON, clusterDomain: String) -> String {
  let subdomain = pod.at("spec", "subdomain")?.string ?? ""
  guard !subdomain.isEmpty, pod.at("spec", "hostnameOverride")?.string == nil else { return "" }
  return "\(podHostname(pod)).\(subdomain).\(pod.namespace).svc.\(clusterDomain)"
}

/// What the kernel of the pod says its name is (`uname -n`): the full one with `setHostnameAsFQDN`. Throws `MissingReference` when that
/// is longer than a kernel's name may be.
func planKernelHostname(_ pod: JSON, clusterDomain: String) throws(MissingReference) -> String {
  let full = podFullName(pod, clusterDomain: clusterDomain)
  guard pod.at("spec", "setHostnameAsFQDN")?.bool == true, !full.isEmpty else { return podHostname(pod) }
  // HOST_NAME_MAX of Linux.
  guard full.utf8.count <= 64 else {
    throw MissingReference(
      message: "failed to construct FQDN from pod hostname and cluster domain, FQDN \(full) is too long "
        + "(64 characters is the max, \(full.utf8.count) characters requested)")
  }
  return full
}

/// The pod's own /etc/hosts.
func planHostsFile(_ pod: JSON, addresses: [String], clusterDomain: String) -> String {
  var lines = [
    "# Made by the node agent; changes are lost when the pod restarts.", "127.0.0.1\tlocalhost",
    "::1\tlocalhost ip6-localhost ip6-loopback", "fe00::\tip6-localnet", "fe00::\tip6-mcastprefix",
    "fe00::1\tip6-allnodes", "fe00::2\tip6-allrouters",
  ]
  let hostname = podHostname(pod)
  let full = podFullName(pod, clusterDomain: clusterDomain)
  for address in addresses {
    lines.append("\(address)\t\(full.isEmpty ? hostname : full + "\t" + hostname)")
  }
  for alias in pod.at("spec", "hostAliases")?.elements ?? [] {
    let names = alias["hostnames"]?.elements.compactMap(\.string) ?? []
    if let address = alias["ip"]?.string, !names.isEmpty {
      lines.append("\(address)\t\(names.joined(separator: "\t"))")
    }
  }
  return lines.joined(separator: "\n") + "\n"
}

/// Where a pod's containers are counted: Guaranteed pods directly under the root, the others under their class.
func podCgroup(_ spec: PodSpec, root: String) -> String {
  let below = spec.qosClass == "Guaranteed" ? "" : "/" + spec.qosClass.lowercased()
  return "\(root)\(below)/pod\(spec.pod.uid)"
}

/// Own process namespace for each container unless the pod says otherwise: the runtime's default would share one, and
/// then the first process of a container is not its first and dies of signals it never handled.
private func namespaces(_ pod: JSON, target: String? = nil) -> Runtime_V1_NamespaceOption {
  .with {
    $0.network = pod.at("spec", "hostNetwork")?.bool == true ? .node : .pod
    $0.ipc = pod.at("spec", "hostIPC")?.bool == true ? .node : .pod
    $0.pid =
      pod.at("spec", "hostPID")?.bool == true
      ? .node : pod.at("spec", "shareProcessNamespace")?.bool == true ? .pod : .container
    if let target, $0.pid == .container {
      $0.pid = .target
      $0.targetID = target
    }
  }
}

/// Profiles of the node's own are named by their place below `folder`.
private func seccomp(_ profile: JSON?, folder: String) -> Runtime_V1_SecurityProfile? {
  switch profile?["type"]?.string {
  case "RuntimeDefault": .with { $0.profileType = .runtimeDefault }
  case "Localhost":
    .with {
      $0.profileType = .localhost
      $0.localhostRef = "\(folder)/\(profile?["localhostProfile"]?.string ?? "")"
    }
  case "Unconfined": .with { $0.profileType = .unconfined }
  default: nil
  }
}

/// The sandbox of a pod. Throws `MissingReference` for a name that cannot be.
func planSandbox(_ spec: PodSpec, attempt: UInt32, settings: NodeSettings, nodeResolver: String)
  throws(MissingReference) -> CRI.SandboxConfig
{
  let pod = spec.pod
  var config = CRI.SandboxConfig()
  config.metadata = .with {
    $0.name = pod.name
    $0.namespace = pod.namespace
    $0.uid = pod.uid
    $0.attempt = attempt
  }
  // With the node's network comes the node's name: the runtime refuses another one.
  if !spec.isHostNetwork {
    config.hostname = try planKernelHostname(pod, clusterDomain: settings.clusterDomain)
  }
  config.logDirectory = settings.podLogDirectory(pod.namespace, pod.name, pod.uid)
  config.dnsConfig = planDNS(pod, settings: settings, nodeResolver: nodeResolver)
  config.labels = pod.labels
  config.labels[RuntimeLabels.podName] = pod.name
  config.labels[RuntimeLabels.podNamespace] = pod.namespace
  config.labels[RuntimeLabels.podUID] = pod.uid
  config.annotations = pod.annotations
  for container in spec.containers {
    for port in container.tree["ports"]?.elements ?? [] {
      guard let number = port["containerPort"]?.int, let host = port["hostPort"]?.int, host > 0 else {
        continue
      }
      config.portMappings.append(
        .with {
          $0.containerPort = Int32(clamping: number)
          $0.hostPort = Int32(clamping: host)
          $0.hostIp = port["hostIP"]?.string ?? ""
          $0.protocol =
            port["protocol"]?.string == "UDP" ? .udp : port["protocol"]?.string == "SCTP" ? .sctp : .tcp
        })
    }
  }
  let security = pod.at("spec", "securityContext")
  config.linux = .with { linux in
    linux.cgroupParent = podCgroup(spec, root: settings.cgroupRoot)
    for entry in security?["sysctls"]?.elements ?? [] {
      if let name = entry["name"]?.string { linux.sysctls[name] = entry["value"]?.string ?? "" }
    }
    linux.securityContext = .with { context in
      context.namespaceOptions = namespaces(pod)
      if let user = security?["runAsUser"]?.integer { context.runAsUser = .with { $0.value = user } }
      if let group = security?["runAsGroup"]?.integer { context.runAsGroup = .with { $0.value = group } }
      context.supplementalGroups = supplementalGroups(security)
      context.privileged = (spec.all + spec.ephemeralContainers).contains {
        $0.tree.at("securityContext", "privileged")?.bool == true
      }
      if let profile = seccomp(security?["seccompProfile"], folder: settings.seccompDirectory) {
        context.seccomp = profile
      }
    }
  }
  return config
}

private func supplementalGroups(_ security: JSON?) -> [Int64] {
  var groups = security?["supplementalGroups"]?.elements.compactMap(\.integer) ?? []
  if let group = security?["fsGroup"]?.integer { groups.append(group) }
  return groups
}

/// Shares, quota and memory of a container, and its place in the out-of-memory killer's queue.
func planResources(_ container: JSON, qosClass: String, memoryCapacity: Int64)
  -> Runtime_V1_LinuxContainerResources
{
  let limits = container.at("resources", "limits")
  let requests = container.at("resources", "requests")
  let cpuLimit = PodSpec.amount(limits?["cpu"])
  let cpuRequest = PodSpec.amount(requests?["cpu"]) ?? cpuLimit
  let memoryLimit = PodSpec.amount(limits?["memory"]).map { $0 / 1000 }
  let memoryRequest = PodSpec.amount(requests?["memory"]).map { $0 / 1000 } ?? memoryLimit ?? 0
  return .with {
    $0.cpuShares = GroupLimits.shares(milli: cpuRequest ?? 0)
    if let cpuLimit, cpuLimit > 0 {
      $0.cpuPeriod = 100_000
      $0.cpuQuota = GroupLimits.quota(milli: cpuLimit)
    }
    if let memoryLimit { $0.memoryLimitInBytes = memoryLimit }
    switch qosClass {
    case "Guaranteed": $0.oomScoreAdj = -997
    case "BestEffort": $0.oomScoreAdj = 1000
    default:
      let score = 1000 - (1000 * Double(memoryRequest) / Double(max(memoryCapacity, 1)))
      $0.oomScoreAdj = min(max(Int64(score), 3), 999)
    }
  }
}

/// What `planContainer` cannot know from the pod alone.
struct ContainerInputs {
  var attempt: UInt32
  var environment: [(String, String)]
  var mounts: [Runtime_V1_Mount]
  var memoryCapacity: Int64
  var terminationMessageHostPath: String
  var seccompFolder = ""
  /// The container whose processes an ephemeral one sees.
  var target: String?
  var devices: [DeviceGrant.Node] = []
  /// Known to the runtime by these names (Container Device Interface).
  var runtimeDevices: [String] = []
  /// Beside the agent's own, which they cannot change.
  var annotations: [String: String] = [:]

  /// What the container's device plugins give. The pod's own variables and mounts go before theirs.
  mutating func add(_ grant: DeviceGrant) {
    let named = Set(environment.map(\.0))
    environment =
      grant.environment.filter { !named.contains($0.key) }.sorted { $0.key < $1.key } + environment
    for mount in grant.mounts where !mounts.contains(where: { $0.containerPath == mount.containerPath }) {
      mounts.append(
        .with {
          $0.containerPath = mount.containerPath
          $0.hostPath = mount.hostPath
          $0.readonly = mount.isReadOnly
        })
    }
    devices += grant.nodes
    runtimeDevices += grant.runtimeDevices.filter { !runtimeDevices.contains($0) }
    annotations.merge(grant.annotations) { first, _ in first }
  }
}

/// Why a container's devices keep it from starting: the reason it waits for, and the plugin's words.
struct DeviceFailure: Error {
  var reason: String
  var message: String
}

/// One container of a pod.
func planContainer(_ container: ContainerSpec, _ spec: PodSpec, _ inputs: ContainerInputs)
  -> CRI.ContainerConfig
{
  let tree = container.tree
  let pod = spec.pod
  let values = Dictionary(inputs.environment, uniquingKeysWith: { $1 })
  var config = CRI.ContainerConfig()
  config.metadata = .with {
    $0.name = container.name
    $0.attempt = inputs.attempt
  }
  config.image = .with { $0.image = container.image }
  config.command = (tree["command"]?.elements ?? []).compactMap(\.string).map { expandVariables($0, values) }
  config.args = (tree["args"]?.elements ?? []).compactMap(\.string).map { expandVariables($0, values) }
  config.workingDir = tree["workingDir"]?.string ?? ""
  config.envs = inputs.environment.map { name, value in
    .with {
      $0.key = name
      $0.value = .init(Array(value.utf8))
    }
  }
  config.mounts = inputs.mounts
  config.labels = [
    RuntimeLabels.containerName: container.name, RuntimeLabels.podName: pod.name,
    RuntimeLabels.podNamespace: pod.namespace, RuntimeLabels.podUID: pod.uid,
  ]
  config.annotations = [
    RuntimeLabels.hash: container.hash, RuntimeLabels.restartCount: "\(inputs.attempt)",
    RuntimeLabels.gracePeriod: "\(spec.graceSeconds)",
    RuntimeLabels.terminationMessagePath: inputs.terminationMessageHostPath,
    RuntimeLabels.terminationMessagePolicy: tree["terminationMessagePolicy"]?.string ?? "File",
  ]
  config.annotations.merge(inputs.annotations) { own, _ in own }
  config.devices = inputs.devices.map { device in
    .with {
      $0.containerPath = device.containerPath
      $0.hostPath = device.hostPath
      $0.permissions = device.permissions
    }
  }
  config.cdiDevices = inputs.runtimeDevices.map { name in .with { $0.name = name } }
  config.logPath = "\(container.name)/\(inputs.attempt).log"
  config.stdin = tree["stdin"]?.bool ?? false
  config.stdinOnce = tree["stdinOnce"]?.bool ?? false
  config.tty = tree["tty"]?.bool ?? false
  if let signal = container.stopSignal { config.stopSignal = signal.runtimeNumber }
  let podSecurity = pod.at("spec", "securityContext")
  let security = tree["securityContext"]
  config.linux = .with { linux in
    linux.resources = planResources(tree, qosClass: spec.qosClass, memoryCapacity: inputs.memoryCapacity)
    linux.securityContext = .with { context in
      context.namespaceOptions = namespaces(pod, target: inputs.target)
      context.privileged = security?["privileged"]?.bool ?? false
      context.readonlyRootfs = security?["readOnlyRootFilesystem"]?.bool ?? false
      context.noNewPrivs = security?["allowPrivilegeEscalation"]?.bool == false
      if let user = (security?["runAsUser"] ?? podSecurity?["runAsUser"])?.integer {
        context.runAsUser = .with { $0.value = user }
      }
      if let group = (security?["runAsGroup"] ?? podSecurity?["runAsGroup"])?.integer {
        context.runAsGroup = .with { $0.value = group }
      }
      context.supplementalGroups = supplementalGroups(podSecurity)
      if let capabilities = security?["capabilities"] {
        context.capabilities = .with {
          $0.addCapabilities = capabilities["add"]?.elements.compactMap(\.string) ?? []
          $0.dropCapabilities = capabilities["drop"]?.elements.compactMap(\.string) ?? []
        }
      }
      if let profile = seccomp(
        security?["seccompProfile"] ?? podSecurity?["seccompProfile"], folder: inputs.seccompFolder)
      {
        context.seccomp = profile
      }
      if !context.privileged, security?["procMount"]?.string != "Unmasked" {
        context.maskedPaths = [
          "/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
          "/proc/timer_list",
          "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
          "/sys/devices/virtual/powercap",
        ]
        context.readonlyPaths = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
      }
    }
  }
  return config
}
