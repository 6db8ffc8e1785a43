// Probes of running containers: a task each, from the node's network namespace.

import ClusterObjects
import Diagnostics
import GRPCCore

extension PodWorker {
  /// Starts the probes of containers that run and have none yet.
  func followProbes(_ spec: PodSpec, _ observed: ObservedPod) {
    for container in spec.all where container.role != .initial {
      guard let running = observed.latest(container.name), running.state == .containerRunning,
        probeTasks[running.id] == nil
      else { continue }
      let declared = ProbeKind.allCases.compactMap { ProbeSpec($0, container) }
      let startup = declared.first { $0.kind == .startup }
      let readiness = declared.contains { $0.kind == .readiness }
      if probes[running.id] == nil {
        // A container adopted after a restart of the agent was started long ago, and was ready if the API says so.
        let isAdopted = running.startedAt < wallNanoseconds() - 5_000_000_000
        let wasReady = isAdopted && statusSaysReady(container.name, running.id)
        probes[running.id] = ProbeVerdict(
          isStarted: startup == nil || wasReady, isReady: !readiness || wasReady)
      }
      let isStarted = probes[running.id]?.isStarted ?? true
      let due = declared.filter { isStarted ? $0.kind != .startup : $0.kind == .startup }
      probeTasks[running.id] = due.map { probe in
        Task { [weak self] in await self?.follow(probe, container, running.id, startedAt: running.startedAt) }
      }
    }
  }

  private func statusSaysReady(_ name: String, _ id: String) -> Bool {
    let statuses =
      (pod.at("status", "containerStatuses")?.elements ?? [])
      + (pod.at("status", "initContainerStatuses")?.elements ?? [])
    return statuses.contains {
      $0["name"]?.string == name && $0["ready"]?.bool == true
        && $0["containerID"]?.string == "containerd://\(id)"
    }
  }

  /// The pod is gone, and so are its numbers.
  func forgetProbes() {
    for container in PodSpec(pod).all {
      for kind in ProbeKind.allCases where container.tree[kind.field] != nil {
        for result in ["successful", "failed"] {
          context.metrics.probes.remove(kind.word, result, container.name, key.name, key.namespace, uid)
        }
      }
    }
  }

  func stopProbes(_ id: String) {
    for task in probeTasks.removeValue(forKey: id) ?? [] { task.cancel() }
    probes[id] = nil
  }

  private func follow(_ spec: ProbeSpec, _ container: ContainerSpec, _ id: String, startedAt: Int64) async {
    var count = ProbeCount()
    let ready =
      steadyMoment(of: startedAt) + Int64(spec.initialDelay) * 1_000_000_000 - steadyNanoseconds()
    if ready > 0 { try? await Task.sleep(for: .nanoseconds(ready)) }
    var tries = 0
    while !Task.isCancelled {
      let failure = await run(spec, container, id)
      if Task.isCancelled { return }
      tries += 1
      context.metrics.probes.child(
        spec.kind.word, failure == nil ? "successful" : "failed", container.name, key.name, key.namespace, uid
      ).increment()
      if let failure, count.verdict != nil || spec.kind != .readiness || tries > 5 {
        event(true, "Unhealthy", "\(spec.kind.word) probe failed: \(failure)", container: container.name)
      }
      if count.add(failure == nil, spec) { verdict(spec, container, id, count.verdict == true) }
      if spec.kind == .startup, count.verdict == true { return }
      // A server needs some milliseconds to listen: until its first success, readiness is asked more often at first.
      let isEager = spec.kind != .liveness && count.verdict != true && spec.initialDelay == 0 && tries <= 5
      try? await Task.sleep(for: isEager ? .milliseconds(min(50 << tries, 1000)) : .seconds(spec.period))
    }
  }

  private func verdict(_ spec: ProbeSpec, _ container: ContainerSpec, _ id: String, _ isGood: Bool) {
    switch spec.kind {
    case .readiness: probes[id]?.isReady = isGood
    case .startup where isGood:
      probes[id]?.isStarted = true
      // The others begin now.
      probeTasks[id] = nil
    case .startup, .liveness:
      if !isGood {
        unhealthy[id] = "Container \(container.name) failed \(spec.kind.rawValue) probe, will be restarted"
        unhealthyGrace[id] = spec.graceSeconds
      }
    }
    wake()
  }

  /// What went wrong, or nil.
  private func run(_ spec: ProbeSpec, _ container: ContainerSpec, _ id: String) async -> String? {
    let own = lastObserved.addresses.first
    let namespace = context.settings.netnsPath
    let milliseconds = spec.timeout * 1000
    let cannotEnter = "the node's network namespace cannot be entered"
    switch spec.action {
    case .exec(let command):
      do {
        let result = try await context.cri.execSync(id, command, timeoutSeconds: spec.timeout)
        if result.exitCode == 0 { return nil }
        // What the command wrote is what people look for.
        return String(decoding: (result.stdout + result.stderr).prefix(10 << 10), as: UTF8.self)
      } catch let error as RPCError where error.code == .deadlineExceeded {
        return "command timed out: \"\(command.joined(separator: " "))\" timed out after \(spec.timeout)s"
      } catch {
        return runtimeMessage(error)
      }
    case .tcp(let host, let port):
      guard let host = host ?? own else { return "the pod has no address" }
      return await NetnsThread.run(namespace) {
        Dial.tcp(host, port: port, timeoutMilliseconds: milliseconds)
      } ?? cannotEnter
    case .http(let probe):
      guard let host = probe.host ?? own else { return "the pod has no address" }
      switch await HTTPProbing.run(probe, host: host, netnsPath: namespace, timeoutMilliseconds: milliseconds)
      {
      case .success: return nil
      case .warning(let text):
        event(true, "ProbeWarning", "\(spec.kind.word) probe warning: \(text)", container: container.name)
        return nil
      case .failure(let text): return text
      }
    case .grpc(let port, let service):
      guard let own else { return "the pod has no address" }
      return await NetnsThread.run(namespace) {
        HealthCall.run(own, port: port, service: service, timeoutMilliseconds: milliseconds)
      } ?? cannotEnter
    case .unsupported(let what): return "this node cannot probe by \(what)"
    }
  }
}
