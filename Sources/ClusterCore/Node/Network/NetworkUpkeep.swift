// The CNI verbs that containerd 1.x never calls: GC frees what pods left that no longer exist, STATUS says whether a pod could be
// attached now. At start and every few minutes.

import ClusterObjects
import Diagnostics
import Glibc
import Logging

/// Asks the plugins of the network that containerd uses.
actor NetworkUpkeep {
  /// One round's outcome.
  enum Outcome: Sendable, Hashable {
    /// Garbage was collected (unless the list says not to) and the network could take a pod.
    case ready
    /// A plugin said no: to GC or STATUS, with its words.
    case failed(verb: String, reason: String)
    /// Pods were starting all the time: the next round tries again.
    case busy
    /// No list, or one of a version before GC and STATUS.
    case unsupported
  }

  private let settings: ContainerdSettings
  private let gate: Gate
  private let sandboxes: @Sendable () async throws -> [String]
  private let log = Logger(label: "network-upkeep")
  private let rounds: MetricFamily<Counter>
  private let ready: Gauge
  private let remarks: Gauge
  private var last: Outcome?
  /// What a plugin that could take a pod says besides: that its addresses run out.
  private(set) var warnings: [String] = []

  /// How often it is tried to find a moment without a pod starting, a second apart.
  static let attemptsMax = 20
  /// A plugin that takes longer is ended.
  static let secondsMax = 60
  /// Lines that are kept of what a plugin says at once.
  static let warningsMax = 16

  /// - Parameter sandboxes: the ids of all of containerd's, running or not.
  init(
    _ settings: ContainerdSettings, gate: Gate, metrics: Metrics,
    sandboxes: @escaping @Sendable () async throws -> [String]
  ) {
    self.settings = settings
    self.gate = gate
    self.sandboxes = sandboxes
    rounds = metrics.counter(
      "weft_cni_upkeep_total", "Rounds of CNI GC and STATUS by outcome.", labels: ["outcome"])
    ready = metrics.gauge("weft_cni_ready", "1 when the network's STATUS says that a pod could be attached.")
      .child()
    remarks = metrics.gauge(
      "weft_cni_remarks",
      "Warnings of the network's STATUS although a pod could be attached: addresses that run out."
    ).child()
  }

  /// Rounds until cancelled.
  func run(every interval: Duration) async {
    while (try? await Task.sleep(for: interval)) != nil { await round() }
  }

  /// One round.
  @discardableResult func round() async -> Outcome {
    var outcome = Outcome.busy
    for attempt in 0..<Self.attemptsMax {
      if attempt > 0, (try? await Task.sleep(for: .seconds(1))) == nil { break }
      do {
        if let done = try await gate.alone({ try await self.sweep() }) {
          outcome = done
          break
        }
      } catch {
        // Without the list of sandboxes nothing may be called garbage.
        outcome = .failed(verb: "GC", reason: "containerd's sandboxes cannot be listed (\(error))")
        break
      }
    }
    note(outcome)
    return outcome
  }

  private func sweep() async throws -> Outcome {
    guard let list = Self.list(in: settings.cniConfDirectory), list.knowsUpkeep else { return .unsupported }
    if !list.disablesGC {
      let valid = PluginList.validAttachments(try await sandboxes())
      for plugin in list.plugins {
        let input = list.input(plugin, adding: [("cni.dev/valid-attachments", valid)])
        if let reason = try await ask("GC", plugin, input) { return .failed(verb: "GC", reason: reason) }
      }
    }
    let before = warnings
    warnings = []
    defer { noteWarnings(before) }
    for plugin in list.plugins {
      if let reason = try await ask("STATUS", plugin, list.input(plugin)) {
        return .failed(verb: "STATUS", reason: reason)
      }
    }
    return .ready
  }

  private func noteWarnings(_ before: [String]) {
    remarks.set(Double(warnings.count))
    for warning in warnings where !before.contains(warning) {
      log.warning("network plugin warns", metadata: ["reason": "\(warning)"])
    }
  }

  private func note(_ outcome: Outcome) {
    defer { last = outcome }
    let name: String
    switch outcome {
    case .ready: name = "ready"
    case .failed: name = "failed"
    case .busy: name = "busy"
    case .unsupported: name = "unsupported"
    }
    rounds.child(name).increment()
    guard outcome != .busy else { return }
    ready.set(outcome == .ready ? 1 : 0)
    guard outcome != last else { return }
    switch outcome {
    case .failed(let verb, let reason):
      log.warning("network plugin is not well", metadata: ["verb": "\(verb)", "reason": "\(reason)"])
    case .ready where last != nil: log.info("network plugin is well again")
    default: break
    }
  }

  /// Runs one plugin in the node's network namespace. Nil when it is content, else what it says.
  private func ask(_ verb: String, _ plugin: JSON, _ input: JSON) async throws -> String? {
    let program = "\(settings.cniBinDirectory)/\(plugin["type"]?.string ?? "")"
    let path = "/tmp/weft-\(getpid())-\(UInt64.random(in: 0 ... .max)).in"
    defer { unlink(path) }
    try Files.write(path, input.text, mode: 0o600)
    var words = ["/bin/sh", "-c", "exec \"$0\" <\"$1\"", program, path]
    if let netns = settings.netnsPath { words = ["/usr/bin/nsenter", "--net=\(netns)"] + words }
    let environment = ["CNI_COMMAND": verb, "CNI_PATH": settings.cniBinDirectory]
    let (code, output) = try await Subprocess.run(words, environment: environment, seconds: Self.secondsMax)
    guard code != 0 else {
      // A plugin that is content has nothing to say on standard output; standard error is for people.
      if verb == "STATUS" {
        warnings += output.split(whereSeparator: \.isNewline).prefix(Self.warningsMax).map(String.init)
      }
      return nil
    }
    guard let answer = try? JSON(parsing: Array(output.utf8)), let message = answer["msg"]?.string else {
      return "\(program) ended with \(code): \(output.prefix(200))"
    }
    let details = answer["details"]?.string ?? ""
    return details.isEmpty ? message : "\(message): \(details)"
  }

  /// The list that containerd takes: the first of the folder by name.
  static func list(in folder: String) -> PluginList? {
    let names = Files.list(folder).filter { name in
      [".conflist", ".conf", ".json"].contains { name.hasSuffix($0) }
    }
    guard let first = names.min(), let bytes = Files.read("\(folder)/\(first)", bytesMax: 1 << 20),
      let tree = try? JSON(parsing: bytes)
    else { return nil }
    return PluginList(tree)
  }
}
