// The plugins in their fixed order. Who takes part in which write is computed once: a write of a kind that
// few plugins know costs one look-up and those few.

import ClusterClient
import ClusterObjects
import Diagnostics
import Synchronization

/// The chain of plugins. Immutable; shared by all writers.
struct AdmissionChain: Sendable {
  private struct Step: Sendable {
    var plugin: any AdmissionPlugin
    var subresources: Set<String>?
    var timer: AdmissionTimer
  }
  private struct Turns: Sendable {
    var admit: [Step] = []
    /// After `admit` and after webhooks' second round.
    var last: [Step] = []
    var validate: [Step] = []
  }
  /// By operation.
  private typealias Table = [[GroupResource: Turns]]

  let plugins: [any AdmissionPlugin]
  /// Resources that a plugin names; others are served by `general`.
  private let named: Table
  private let general: [Turns]
  private let configuration: Set<GroupResource>
  private let steps: [(admit: AdmissionTimer, validate: AdmissionTimer)]

  /// Writes of `configuration` are answered when the plugins see them.
  init(_ plugins: [any AdmissionPlugin] = [], configuration: Set<GroupResource> = []) {
    self.plugins = plugins
    self.configuration = configuration
    let names = plugins.reduce(into: Set<GroupResource>()) { $0.formUnion($1.interest.resources ?? []) }
    let metrics = AdmissionMetrics()
    var named: Table = []
    var general: [Turns] = []
    var steps: [(AdmissionTimer, AdmissionTimer)] = []
    for operation in AdmissionOperation.allCases {
      func turns(_ resource: GroupResource?) -> Turns {
        var turns = Turns()
        for plugin in plugins {
          let interest = plugin.interest
          guard interest.operations.contains(operation) else { continue }
          if let resources = interest.resources {
            guard let resource, resources.contains(resource) else { continue }
          }
          func step(_ type: String) -> Step {
            Step(
              plugin: plugin, subresources: interest.subresources,
              timer: metrics.controller(plugin.name, operation, type))
          }
          if interest.admits {
            if interest.isLast { turns.last.append(step("admit")) } else { turns.admit.append(step("admit")) }
          }
          if interest.validates { turns.validate.append(step("validate")) }
        }
        return turns
      }
      general.append(turns(nil))
      named.append(Dictionary(uniqueKeysWithValues: names.map { ($0, turns($0)) }))
      steps.append((metrics.step(operation, "admit"), metrics.step(operation, "validate")))
    }
    self.named = named
    self.general = general
    self.steps = steps
  }

  private func turns(_ request: AdmissionRequest) -> (Turns, Int) {
    let index =
      switch request.operation {
      case .create: 0
      case .update: 1
      case .delete: 2
      case .connect: 3
      }
    if general.isEmpty { return (Turns(), index) }
    let resource = GroupResource(request.kind.group, request.kind.plural)
    return (named[index][resource] ?? general[index], index)
  }

  /// The first turn. When it throws, what plugins took is given back already.
  func admit(_ request: inout AdmissionRequest) async throws {
    let (turns, index) = turns(request)
    if turns.admit.isEmpty, turns.last.isEmpty { return }
    let began = ContinuousClock.now
    do {
      try await take(turns.admit, &request)
      if request.rounds.isNeeded {
        request.rounds.isSecond = true
        try await take(turns.admit, &request)
      }
      try await take(turns.last, &request)
    } catch {
      steps[index].admit.observe(ContinuousClock.now - began, isRejected: true)
      request.tellAudit()
      request.rollBack()
      throw error
    }
    steps[index].admit.observe(ContinuousClock.now - began, isRejected: false)
  }

  private func take(_ steps: [Step], _ request: inout AdmissionRequest) async throws {
    for step in steps {
      if let only = step.subresources, !only.contains(request.subresource) { continue }
      try await step.timer.time { () async throws in try await step.plugin.admit(&request) }
    }
  }

  /// The second turn, after the schema's validation. When it throws, what plugins took is given back already.
  func validate(_ request: inout AdmissionRequest) async throws {
    let (turns, index) = turns(request)
    if turns.validate.isEmpty { return }
    let began = ContinuousClock.now
    do {
      for step in turns.validate {
        if let only = step.subresources, !only.contains(request.subresource) { continue }
        try await step.timer.time { () async throws in try await step.plugin.validate(&request) }
      }
    } catch {
      steps[index].validate.observe(ContinuousClock.now - began, isRejected: true)
      request.tellAudit()
      request.rollBack()
      throw error
    }
    steps[index].validate.observe(ContinuousClock.now - began, isRejected: false)
    request.tellAudit()
  }

  /// Both turns, for what has no schema of its own.
  func run(_ request: inout AdmissionRequest) async throws {
    try await admit(&request)
    try await validate(&request)
  }

  /// Whether plugins read objects of this kind: the writer of one is answered when they see it.
  func isConfiguration(_ kind: ResourceKind) -> Bool {
    configuration.contains(GroupResource(kind.group, kind.plural))
  }
}

/// The histograms that upstream has for admission, and their names.
struct AdmissionMetrics: Sendable {
  static let bounds = [0.005, 0.025, 0.1, 0.5, 1, 2.5, 10, 25]
  private let controllers = Metrics.shared.histogram(
    "apiserver_admission_controller_admission_duration_seconds",
    "Time in one admission plugin, by operation and turn (admit or validate).",
    labels: ["name", "operation", "rejected", "type"], bounds: bounds)
  private let steps = Metrics.shared.histogram(
    "apiserver_admission_step_admission_duration_seconds",
    "Time in a turn of all admission plugins.", labels: ["operation", "rejected", "type"], bounds: bounds)

  func controller(_ name: String, _ operation: AdmissionOperation, _ type: String) -> AdmissionTimer {
    let family = controllers
    return AdmissionTimer { family.child(name, operation.rawValue, $0 ? "true" : "false", type) }
  }

  func step(_ operation: AdmissionOperation, _ type: String) -> AdmissionTimer {
    let family = steps
    return AdmissionTimer { family.child(operation.rawValue, $0 ? "true" : "false", type) }
  }
}

/// A histogram for what passed and one for what was refused, each made when first needed.
final class AdmissionTimer: Sendable {
  private let children = Mutex<(passed: Histogram?, rejected: Histogram?)>((nil, nil))
  private let make: @Sendable (Bool) -> Histogram

  init(_ make: @escaping @Sendable (Bool) -> Histogram) { self.make = make }

  func observe(_ duration: Duration, isRejected: Bool) {
    let histogram = children.withLock { children in
      if let known = isRejected ? children.rejected : children.passed { return known }
      let made = make(isRejected)
      if isRejected { children.rejected = made } else { children.passed = made }
      return made
    }
    histogram.observe(duration)
  }

  func time(_ body: () async throws -> Void) async throws {
    let began = ContinuousClock.now
    do { try await body() } catch {
      observe(ContinuousClock.now - began, isRejected: true)
      throw error
    }
    observe(ContinuousClock.now - began, isRejected: false)
  }
}
