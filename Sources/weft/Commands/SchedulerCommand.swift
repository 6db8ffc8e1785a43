// `weft scheduler`: the scheduler alone, for a cluster whose control plane runs elsewhere, or as a second
// one.

import ArgumentParser
import ClusterClient
import ClusterObjects
import ClusterScheduler
import Diagnostics
import Glibc

struct SchedulerCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "scheduler", abstract: "The scheduler alone, for any Kubernetes API server.",
    discussion: """
      Several of them on one cluster elect a leader over the Lease that the configuration names. A `weft server` runs a \
      scheduler of its own for its configuration's profiles: give this one profiles of other names.
      """)

  @OptionGroup var cluster: ClusterOptions
  @Option(help: "A KubeSchedulerConfiguration (kubescheduler.config.k8s.io/v1).") var config: String?
  @Option(help: "Write the configuration with every default to this file (- for standard output) and end.")
  var writeConfigTo: String?
  @Option(help: "Whether to elect a leader. Default: what the configuration says.") var leaderElect: Bool?
  @OptionGroup var logging: LogOptions

  func run() async throws {
    logging.apply()
    var settings = SchedulerSettings()
    if let config {
      settings.configuration = try SchedulerConfiguration(
        parsing: TextFile.read(config, code: "SCH0004"), file: config)
    }
    if let leaderElect { settings.configuration.leaderElection.leaderElect = leaderElect }
    try settings.validate()
    if let writeConfigTo {
      try write(settings.configuration.explicit(settings.registry).yaml(), to: writeConfigTo)
      return
    }
    var cluster = cluster
    if cluster.kubeconfig == nil, !settings.configuration.clientConnection.kubeconfig.isEmpty {
      cluster.kubeconfig = settings.configuration.clientConnection.kubeconfig
    }
    let api = try await cluster.api()
    let checked = settings
    let running = Task { try await run(checked, api) }
    _ = await StopSignal.wait()
    running.cancel()
    _ = await running.result
  }

  private func run(_ settings: SchedulerSettings, _ api: any ClusterAPI) async throws {
    let election = settings.configuration.leaderElection
    guard election.leaderElect else {
      await schedule(settings, api)
      return
    }
    var candidate = LeaderElection(
      api: api, lease: ObjectKey(election.resourceNamespace, election.resourceName),
      identity: "\(NodeAddress.hostName)_\(UInt64.random(in: 0...UInt64.max))")
    candidate.duration = election.leaseDuration
    candidate.renewDeadline = election.renewDeadline
    candidate.retryPeriod = election.retryPeriod
    while !Task.isCancelled {
      try await candidate.run { await schedule(settings, LeaderAPI(api, while: $0)) }
    }
  }

  /// Until cancelled.
  private func schedule(_ settings: SchedulerSettings, _ api: any ClusterAPI) async {
    let informers = SharedInformers(api: api)
    guard let scheduler = try? startScheduler(api: api, informers: informers, settings: settings) else {
      return
    }
    Terminal.complain(
      "scheduling for \(settings.configuration.profiles.map(\.schedulerName).joined(separator: ", "))")
    while !Task.isCancelled { try? await Task.sleep(for: .seconds(3600)) }
    await scheduler.stop()
    await informers.stop()
  }

  private func write(_ text: String, to path: String) throws(WeftError) {
    if path == "-" {
      Terminal.say(text)
      return
    }
    let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
    let bytes = Array(text.utf8)
    defer { if descriptor >= 0 { close(descriptor) } }
    guard descriptor >= 0, Glibc.write(descriptor, bytes, bytes.count) == bytes.count else {
      throw WeftError(
        "SCH0005", object: path, cause: "cannot be written: \(String(cString: strerror(errno)))",
        next: "check the path: ls -ld \(path)")
    }
  }
}
