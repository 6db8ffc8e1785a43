// Applying a plan: sandboxes, volumes, images, containers.

import Addresses
import ClusterObjects
import Diagnostics
import GRPCCore
import Logging
import SwiftProtobuf

extension PodWorker {
  func apply(_ action: PodAction, _ spec: PodSpec, _ observed: ObservedPod) async throws {
    switch action {
    case .runSandbox(let attempt): try await runSandbox(spec, attempt)
    case .removeSandbox(let id):
      for container in try await context.cri.listContainers(labels: [RuntimeLabels.podUID: uid])
      where container.podSandboxID == id && container.state == .containerRunning {
        try await ignoringNotFound { try await context.cri.stopContainer(container.id, graceSeconds: 0) }
      }
      try await ignoringNotFound { try await context.cri.stopSandbox(id) }
      try await ignoringNotFound { try await context.cri.removeSandbox(id) }
      event(false, "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
    case .stop(let id, let name, let message):
      event(false, "Killing", message, container: name)
      let grace = unhealthyGrace.removeValue(forKey: id) ?? spec.graceSeconds
      unhealthy[id] = nil
      stopProbes(id)
      try await ignoringNotFound {
        try await context.cri.stopContainer(
          id, signal: spec.container(name)?.stopSignal, graceSeconds: grace)
      }
    case .start(let name, let attempt):
      guard let container = spec.container(name), let sandbox = observed.sandbox,
        try await hasImage(container, spec, sandbox)
      else { return }
      try await context.starts.pass { try await start(container, spec, attempt, sandbox, observed) }
    }
  }

  func sandboxConfig(_ spec: PodSpec, _ attempt: UInt32) throws -> CRI.SandboxConfig {
    try planSandbox(
      spec, attempt: attempt, settings: context.settings,
      nodeResolver: Files.readText(context.settings.resolvConfPath) ?? "")
  }

  private func runSandbox(_ spec: PodSpec, _ attempt: UInt32) async throws {
    do {
      let config = try sandboxConfig(spec, attempt)
      try Files.makeDirectory(config.logDirectory)
      try Files.makeDirectory(context.settings.podDirectory(uid), mode: 0o750)
      limitGroup(spec)
      let handler = try await runtimeHandler(spec)
      ownSandbox = try await context.starts.pass {
        try await context.network.pass { try await context.cri.runSandbox(config, handler: handler) }
      }
    } catch {
      if !(error is CancellationError), !Task.isCancelled {
        event(true, "FailedCreatePodSandBox", "Failed to create pod sandbox: \(runtimeMessage(error))")
      }
      throw error
    }
  }

  /// What the pod's RuntimeClass calls its runtime; empty without one.
  private func runtimeHandler(_ spec: PodSpec) async throws -> String {
    guard let name = spec.pod.at("spec", "runtimeClassName")?.string, !name.isEmpty else { return "" }
    guard let handler = try await context.objects.runtimeHandler(name) else {
      throw MissingReference(
        message: "failed to get sandbox runtime: RuntimeClass.node.k8s.io \"\(name)\" not found")
    }
    return handler
  }

  // MARK: - Containers

  /// Whether the container's image is here and may be run. Pulled before the container takes its place among those that start: an
  /// image that is long in coming keeps nobody else's container.
  private func hasImage(
    _ container: ContainerSpec, _ spec: PodSpec, _ sandbox: CRI.Sandbox
  ) async throws -> Bool {
    let name = container.name
    let sandboxConfig = try sandboxConfig(spec, sandbox.metadata.attempt)
    do {
      let image = try await context.images.ensure(
        container.image, policy: container.pullPolicy, sandbox: sandboxConfig,
        logins: { await self.logins(container.image, spec) },
        onPull: {
          await self.event(false, "Pulling", "Pulling image \"\(container.image)\"", container: name)
        })
      if let pull = image.pull {
        event(
          false, "Pulled",
          "Successfully pulled image \"\(container.image)\" in \(planDuration(pull.duration)) "
            + "(\(planDuration(pull.includingWaiting)) including waiting). "
            + "Image size: \(image.image?.size ?? 0) bytes.", container: name)
      } else {
        event(
          false, "Pulled", "Container image \"\(container.image)\" already present on machine",
          container: name)
      }
      if let refusal = planNonRootRefusal(container, spec, image.image) {
        event(true, "Failed", "Error: \(refusal)", container: name)
        refuse(name, Waiting(reason: "CreateContainerConfigError", message: refusal), after: 10)
        return false
      }
      return true
    } catch let refusal as ImageStore.Refusal {
      let words: (isWarning: Bool, reason: String, message: String) =
        switch refusal.reason {
        case "ImagePullBackOff": (false, "BackOff", "Back-off pulling image \"\(container.image)\"")
        case "ErrImageNeverPull": (true, "ErrImageNeverPull", refusal.message)
        case "InvalidImageName": (true, "InspectFailed", refusal.message)
        default: (true, "Failed", "Failed to pull image \"\(container.image)\": \(refusal.message)")
        }
      event(words.isWarning, words.reason, words.message, container: name)
      event(true, "Failed", "Error: \(refusal.reason)", container: name)
      refuse(name, Waiting(reason: refusal.reason, message: refusal.message), after: refusal.nextLookSeconds)
      return false
    }
  }

  private func start(
    _ container: ContainerSpec, _ spec: PodSpec, _ attempt: UInt32, _ sandbox: CRI.Sandbox,
    _ observed: ObservedPod
  ) async throws {
    let name = container.name
    let sandboxConfig = try sandboxConfig(spec, sandbox.metadata.attempt)
    let config: CRI.ContainerConfig
    do {
      config = try await containerConfig(container, spec, attempt, observed)
    } catch let missing as MissingReference where missing.volume != nil {
      // The event is told already; a pod without its volumes is still being made.
      refuse(name, Waiting(reason: "ContainerCreating", message: missing.mountWords), after: 5)
      return
    } catch let missing as MissingReference {
      event(true, "Failed", "Error: \(missing.message)", container: name)
      refuse(name, Waiting(reason: "CreateContainerConfigError", message: missing.message), after: 5)
      return
    } catch let failure as DeviceFailure {
      event(true, "Failed", "Error: \(failure.message)", container: name)
      refuse(name, Waiting(reason: failure.reason, message: failure.message), after: 5)
      return
    }
    var created: String?
    do {
      try await removeOldInstances(name, observed, next: attempt)
      let id = try await context.cri.createContainer(sandbox: sandbox.id, config, sandboxConfig)
      created = id
      event(false, "Created", "Created container: \(name)", container: name)
      try await context.cri.startContainer(id)
      event(false, "Started", "Started container \(name)", container: name)
      context.settings.linkLog(pod: pod, container: name, id: id, attempt: attempt)
      waiting[name] = nil
      notBefore[name] = nil
      if attempt > 0 {
        context.metrics.restarts.child(container.role == .main ? "container" : "init_container").increment()
      }
      await afterStart(container, id, spec)
    } catch {
      if error is CancellationError || Task.isCancelled { throw error }
      let message = runtimeMessage(error)
      event(true, "Failed", "Error: \(message)", container: name)
      let reason = created == nil ? "CreateContainerError" : "RunContainerError"
      refuse(name, Waiting(reason: reason, message: message), after: 2)
    }
  }

  /// What the pod's pull secrets say about the registry of an image, then what the node's credential providers know. Secrets
  /// that are not there are passed over.
  private func logins(_ image: String, _ spec: PodSpec) async -> [RegistryLogin] {
    var secrets: [[String: [UInt8]]] = []
    for entry in spec.pod.at("spec", "imagePullSecrets")?.elements ?? [] {
      guard let name = entry["name"]?.string, !name.isEmpty else { continue }
      guard
        var secret = try? await context.objects.object("secret", namespace: pod.namespace, name: name)
      else {
        event(
          true, "FailedToRetrieveImagePullSecret",
          "Unable to retrieve some image pull secrets (\(name)); attempting to pull the image may not succeed."
        )
        continue
      }
      secret["kind"] = "Secret"
      secrets.append(objectData(secret))
    }
    return planLogins(image: image, secrets: secrets) + (await context.credentials?.logins(image) ?? [])
  }

  /// The container waits, visibly, and is tried again later.
  private func refuse(_ name: String, _ reason: Waiting, after seconds: Int) {
    waiting[name] = reason
    notBefore[name] = steadyNanoseconds() + Int64(seconds) * 1_000_000_000
  }

  private func afterStart(_ container: ContainerSpec, _ id: String, _ spec: PodSpec) async {
    guard let hook = container.tree.at("lifecycle", "postStart") else { return }
    if let failure = await runHook(hook, container, id, seconds: 30) {
      event(true, "FailedPostStartHook", failure, container: container.name)
      unhealthy[id] = "FailedPostStartHook"
    }
  }

  /// Runs a lifecycle hook; what went wrong, or nil.
  func runHook(_ hook: JSON, _ container: ContainerSpec?, _ id: String, seconds: Int) async -> String? {
    if let command = hook.at("exec", "command")?.elements.compactMap(\.string) {
      do {
        let result = try await context.cri.execSync(id, command, timeoutSeconds: seconds)
        return result.exitCode == 0 ? nil : "hook \(command) ended with \(result.exitCode)"
      } catch {
        return "hook \(command): \(runtimeMessage(error))"
      }
    }
    if let pause = hook.at("sleep", "seconds")?.int {
      try? await Task.sleep(for: .seconds(min(pause, seconds)))
      return nil
    }
    if let http = hook["httpGet"], let port = container?.port(http["port"]) {
      let call = HTTPProbe(http, port: port)
      guard let host = call.host ?? lastObserved.addresses.first else { return "hook: no address" }
      switch await HTTPProbing.run(
        call, host: host, netnsPath: context.settings.netnsPath, timeoutMilliseconds: seconds * 1000)
      {
      case .success, .warning: return nil
      case .failure(let text): return text
      }
    }
    return nil
  }

  /// The instance before the newest keeps its logs for `kubectl logs -p`; older ones go.
  private func removeOldInstances(_ name: String, _ observed: ObservedPod, next: UInt32) async throws {
    let instances = observed.containers[name] ?? []
    for instance in instances where instance.metadata.attempt + 1 < next || instance.state != .containerExited
    {
      try await ignoringNotFound { try await context.cri.removeContainer(instance.id) }
      if !instance.logPath.isEmpty { LogKeeper.removeLogs(instance.logPath) }
      exited[instance.id] = nil
      endedAt[instance.id] = nil
      messages[instance.id] = nil
    }
  }

  // MARK: - Environment and mounts

  /// The downward API names addresses that the status may not have reached yet.
  func setAddresses(_ pod: inout JSON, _ observed: ObservedPod) {
    pod.set(observed.addresses.first.map { JSON($0) }, at: "status", "podIP")
    pod.set(.array(observed.addresses.map { ["ip": JSON($0)] }), at: "status", "podIPs")
    let hosts = context.settings.addresses.map(\.description)
    pod.set(hosts.first.map { JSON($0) }, at: "status", "hostIP")
    pod.set(.array(hosts.map { ["ip": JSON($0)] }), at: "status", "hostIPs")
  }

  private func containerConfig(
    _ container: ContainerSpec, _ spec: PodSpec, _ attempt: UInt32, _ observed: ObservedPod
  ) async throws -> CRI.ContainerConfig {
    var pod = spec.pod
    setAddresses(&pod, observed)
    await followObjects()
    let volumes = Volumes(podDirectory: context.settings.podDirectory(uid), capacity: context.capacity)
    let data: PodData
    let places: [String: String]
    do {
      data = try await podData(pod)
      places = try volumes.prepare(pod, data: data)
      noteVersions(data)
    } catch let missing as MissingReference {
      event(true, "FailedMount", missing.mountWords)
      throw missing
    }
    let serviceLinks = pod.at("spec", "enableServiceLinks")?.bool ?? true
    var services: [JSON]
    do {
      services = try await context.objects.services(namespace: pod.namespace)
      if pod.namespace != "default" {
        services += try await context.objects.services(namespace: "default").filter {
          $0.name == "kubernetes"
        }
      }
    } catch {
      // The pods of the node's own files run before there is an API.
      guard pod.isStaticPod else { throw error }
      services = []
    }
    let environment = try planEnvironment(
      container.tree, pod: pod,
      services: planServiceEnvironment(services, namespace: pod.namespace, allServices: serviceLinks),
      capacity: context.capacity, data: data.data)
    var mounts = try volumes.mounts(
      container, places: places, environment: Dictionary(environment, uniquingKeysWith: { $1 }),
      readOnly: Set(data.claimed.filter(\.value.isReadOnly).keys))
    let directory = context.settings.podDirectory(uid)
    if !spec.isHostNetwork, !mounts.contains(where: { $0.containerPath == "/etc/hosts" }) {
      let path = directory + "/etc-hosts"
      try Files.write(
        path,
        planHostsFile(pod, addresses: observed.addresses, clusterDomain: context.settings.clusterDomain))
      mounts.append(
        .with {
          $0.containerPath = "/etc/hosts"
          $0.hostPath = path
        })
    }
    let message = "\(directory)/containers/\(container.name)/\(attempt)"
    try Files.makeDirectory("\(directory)/containers/\(container.name)")
    try Files.write(message, "", mode: 0o666)
    mounts.append(
      .with {
        $0.containerPath = container.tree["terminationMessagePath"]?.string ?? "/dev/termination-log"
        $0.hostPath = message
      })
    var inputs = ContainerInputs(
      attempt: attempt, environment: environment, mounts: mounts, memoryCapacity: context.memoryCapacity,
      terminationMessageHostPath: message, seccompFolder: context.settings.seccompDirectory,
      target: observed.target(of: container))
    inputs.add(try await deviceGrant(container, spec))
    return planContainer(container, spec, inputs)
  }

  private func deviceGrant(_ container: ContainerSpec, _ spec: PodSpec) async throws -> DeviceGrant {
    guard let devices = context.devices else { return DeviceGrant() }
    do {
      return try await devices.grant(container, spec)
    } catch let unavailable as DevicesUnavailable {
      throw DeviceFailure(reason: "CreateContainerConfigError", message: unavailable.message)
    } catch {
      throw DeviceFailure(
        reason: "PreStartHookError",
        message: "device plugin PreStartContainer rpc failed: \(runtimeMessage(error))")
    }
  }
}

extension ImageStore.Refusal {
  /// After a failed pull one looks again soon, only to say that it backs off; then the whole delay is waited for.
  var nextLookSeconds: Int {
    guard let retryAt else { return 10 }
    if reason == "ErrImagePull" { return 2 }
    return max(Int((retryAt - ContinuousClock.now).components.seconds), 0) + 1
  }
}
