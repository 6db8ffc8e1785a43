// What the runtime says of a pod: its sandboxes, and of each container the newest state, the words it left and the cause of its end.

import Addresses
import ClusterObjects
import Diagnostics
import GRPCCore

extension PodWorker {
  /// Of a container that was killed without a word of ours, whether memory was the cause, as the kernel's log says. The runtime hears of a
  /// process's end and of the kernel's verdict in two ways, and may miss the second.
  private func withCause(_ told: CRI.ContainerStatus) -> CRI.ContainerStatus {
    guard told.state == .containerExited, told.exitCode == 137, told.reason == "Error",
      expectedExits[told.id] == nil, ending == nil, KernelLog.saysMemoryKill(of: told.id)
    else { return told }
    var status = told
    status.reason = "OOMKilled"
    return status
  }

  /// Everything the runtime has of this pod. Exited containers are asked about once.
  func observe() async throws -> ObservedPod {
    let labels = [RuntimeLabels.podUID: uid]
    var observed = ObservedPod()
    observed.sandboxes = try await context.cri.listSandboxes(labels: labels)
      .sorted { $0.metadata.attempt > $1.metadata.attempt }
    for container in try await context.cri.listContainers(labels: labels) {
      var status = exited[container.id]
      if status == nil {
        do {
          status = withCause(try await context.cri.containerStatus(container.id))
        } catch let error as RPCError where error.isNotFound {
          continue
        }
      }
      guard let status else { continue }
      if status.state == .containerExited, exited[status.id] == nil {
        exited[status.id] = status
        endedAt[status.id] = steadyMoment(of: status.finishedAt)
        if let path = status.annotations[RuntimeLabels.terminationMessagePath],
          let text = Files.readText(path, bytesMax: 4096), !text.isEmpty
        {
          messages[status.id] = text
        } else if status.exitCode != 0,
          status.annotations[RuntimeLabels.terminationMessagePolicy] == "FallbackToLogsOnError"
        {
          messages[status.id] = LogReader.lastWords(status.logPath)
        }
        stopProbes(status.id)
        if status.finishedAt - status.startedAt > cleanRunNanoseconds, status.startedAt > 0 {
          forgiven[status.metadata.name] = Int(status.metadata.attempt)
        }
      }
      observed.containers[status.metadata.name, default: []].append(status)
    }
    for name in observed.containers.keys {
      observed.containers[name]?.sort { $0.metadata.attempt > $1.metadata.attempt }
    }
    if let sandbox = observed.sandbox {
      if sandboxAddresses[sandbox.id] == nil {
        let network = try await context.cri.sandboxStatus(sandbox.id).network
        let own = ([network.ip] + network.additionalIps.map(\.ip)).filter { !$0.isEmpty }
        sandboxAddresses[sandbox.id] =
          PodSpec(pod).isHostNetwork ? context.settings.addresses.map(\.description) : own
      }
      observed.addresses = sandboxAddresses[sandbox.id] ?? []
    }
    lastObserved = observed
    return observed
  }
}
