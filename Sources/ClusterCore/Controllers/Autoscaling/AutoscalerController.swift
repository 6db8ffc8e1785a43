// HorizontalPodAutoscalers: every fifteen seconds each reads its metrics, and sets the scale of its target.

import ClusterClient
import ClusterObjects
import Diagnostics
import Synchronization

extension GroupVersionResource {
  static let autoscalers = Self("autoscaling", "v2", "horizontalpodautoscalers")
}

func autoscalerController(_ context: ControllerContext) -> Controller {
  let queue: WorkQueue<ObjectKey> = context.queue("horizontalpodautoscaler")
  let autoscalers = context.informers.informer(.autoscalers)
  let reconciler = AutoscalerReconciler(
    context: context, autoscalers: autoscalers, pods: context.informers.informer(.pods),
    memory: AutoscalerMemory(), metrics: AutoscalerMetrics(context.metrics))
  let registration = autoscalers.onChange { changes in
    for change in changes {
      if change.isDeletion {
        reconciler.memory.forget(change.key)
        continue
      }
      // Its status is our own.
      guard
        change.old == nil || change.old?.generation != change.new?.generation
          || change.old?.spec != change.new?.spec
      else { continue }
      queue.add(change.key)
    }
  }
  return Controller(
    "horizontalpodautoscaler", context, queue: queue, registrations: [registration],
    resync: { for key in autoscalers.snapshot.keys { queue.add(key) } }
  ) { key in await reconciler.reconcile(key) }
}

/// What is remembered of each autoscaler between looks.
final class AutoscalerMemory: Sendable {
  private struct State {
    var histories: [ObjectKey: ScaleHistory] = [:]
    var selectors: [ObjectKey: LabelSelector] = [:]
  }
  private let state = Mutex(State())

  func withHistory<T>(_ key: ObjectKey, _ body: (inout ScaleHistory) -> T) -> T {
    state.withLock { state in
      var history = state.histories[key] ?? ScaleHistory()
      defer { state.histories[key] = history }
      return body(&history)
    }
  }

  func forget(_ key: ObjectKey) {
    state.withLock { state in
      state.histories[key] = nil
      state.selectors[key] = nil
    }
  }

  /// Autoscalers of the namespace whose selectors meet one of these pods, this one among them.
  func sharing(_ key: ObjectKey, _ selector: LabelSelector, pods: [JSON]) -> [ObjectKey] {
    state.withLock { state in
      state.selectors[key] = selector
      let labels = pods.map(\.labels)
      return state.selectors.filter { other, selector in
        other == key
          || (other.namespace == key.namespace && labels.contains { selector.matches($0) })
      }.keys.sorted()
    }
  }
}

struct AutoscalerReconciler: Sendable {
  static let source = "horizontal-pod-autoscaler"
  let context: ControllerContext
  let autoscalers: Informer
  let pods: Informer
  let memory: AutoscalerMemory
  let metrics: AutoscalerMetrics

  /// Never throws: what went wrong is tried again with the next look.
  func reconcile(_ key: ObjectKey) async -> Duration? {
    guard let autoscaler = autoscalers[key], !autoscaler.isTerminating else { return nil }
    let start = ContinuousClock.now
    let outcome = await look(at: autoscaler, key)
    metrics.reconciled(outcome, in: ContinuousClock.now - start)
    metrics.desired(key, outcome.desired)
    return context.settings.autoscalerPeriod
  }

  private func look(at original: JSON, _ key: ObjectKey) async -> AutoscalerOutcome {
    var autoscaler = original
    let reference = autoscaler.spec["scaleTargetRef"] ?? [:]
    let resource: GroupVersionResource
    let scale: JSON
    do throws(MetricError) {
      resource = try self.resource(of: reference)
      scale = try await read(resource, key.namespace, reference["name"]?.string ?? "")
    } catch {
      record(autoscaler, .warning("FailedGetScale", error.description))
      set(
        &autoscaler, "AbleToScale", false, "FailedGetScale",
        "the HPA controller was unable to get the target's current scale: \(error)")
      await write(autoscaler, original)
      return AutoscalerOutcome(error: "internal")
    }
    set(
      &autoscaler, "AbleToScale", true, "SucceededGetScale",
      "the HPA controller was able to get the target's current scale")
    let current = scale.at("spec", "replicas")?.int ?? 0
    let target = AutoscalerTarget(autoscaler)
    var statuses: [JSON] = []
    var outcome = AutoscalerOutcome(desired: current)
    var plan: AutoscalerPlan
    if let bound = target.bound(current: current) {
      plan = bound
    } else {
      let summary = await summary(of: &autoscaler, key, scale, target)
      guard let summary else {
        await finish(&autoscaler, original, current: current, desired: nil, [])
        return AutoscalerOutcome(error: "spec")
      }
      statuses = summary.statuses
      let now = context.settings.clock.read().steady
      plan = memory.withHistory(key) { planAutoscaler(target, current: current, summary, &$0, now: now) }
      if summary.error != nil { outcome.error = "internal" }
      if summary.replicas == nil {
        for event in plan.events { record(autoscaler, event) }
        apply(plan, to: &autoscaler)
        await finish(&autoscaler, original, current: current, desired: nil, statuses)
        return outcome
      }
    }
    for event in plan.events { record(autoscaler, event) }
    apply(plan, to: &autoscaler)
    guard let wanted = plan.replicas else {
      await finish(&autoscaler, original, current: current, desired: current, statuses)
      return outcome
    }
    do {
      try await write(scale, resource, replicas: wanted)
    } catch {
      record(
        autoscaler, .warning("FailedRescale", "New size: \(wanted); reason: \(plan.reason); error: \(error)"))
      set(
        &autoscaler, "AbleToScale", false, "FailedUpdateScale",
        "the HPA controller was unable to update the target scale: \(error)")
      await finish(&autoscaler, original, current: current, desired: nil, statuses)
      return AutoscalerOutcome(error: "internal")
    }
    set(
      &autoscaler, "AbleToScale", true, "SucceededRescale",
      "the HPA controller was able to update the target scale to \(wanted)")
    record(autoscaler, .normal("SuccessfulRescale", "New size: \(wanted); reason: \(plan.reason)"))
    let moment = context.settings.clock.read().steady
    memory.withHistory(key) { $0.changed(from: current, to: wanted, at: moment) }
    autoscaler.set(JSON(Timestamp.text(seconds: context.now)), at: "status", "lastScaleTime")
    await finish(&autoscaler, original, current: current, desired: wanted, statuses)
    outcome.action = wanted > current ? "scale_up" : "scale_down"
    outcome.desired = wanted
    return outcome
  }

  // MARK: Metrics

  /// Nil when the scale's selector is of no use; the condition says why.
  private func summary(
    of autoscaler: inout JSON, _ key: ObjectKey, _ scale: JSON, _ target: AutoscalerTarget
  ) async -> MetricSummary? {
    func useless(_ autoscaler: inout JSON, _ reason: String, _ event: PlannedEvent, _ message: String) {
      record(autoscaler, event)
      set(&autoscaler, "ScalingActive", false, reason, message)
      record(autoscaler, .warning("FailedComputeMetricsReplicas", event.message))
    }
    let text = scale.at("status", "selector")?.string ?? ""
    if text.isEmpty {
      useless(
        &autoscaler, "InvalidSelector", .warning("SelectorRequired", "selector is required"),
        "the HPA target's scale is missing a selector")
      return nil
    }
    let selector: LabelSelector
    do { selector = try LabelSelector(parsing: text) } catch {
      let problem = "couldn't convert selector into a corresponding internal selector object: \(error)"
      useless(&autoscaler, "InvalidSelector", .warning("InvalidSelector", problem), problem)
      return nil
    }
    let selected = pods.objects(in: key.namespace, selectedBy: selector)
    let sharing = memory.sharing(key, selector, pods: selected)
    if sharing.count > 1 {
      let names = sharing.map { "{\($0.name) \($0.namespace)}" }.joined(separator: " ")
      let problem = "pods by selector \(text) are controlled by multiple HPAs: [\(names)]"
      useless(&autoscaler, "AmbiguousSelector", .warning("AmbiguousSelector", problem), problem)
      return nil
    }
    let evaluation = MetricEvaluation(
      reader: MetricsReader(api: context.api) { [context] in Array(context.apiServices.snapshot.values) },
      calculator: ReplicaCalculator(
        pods: selected, now: context.now, tolerances: target.behavior?.tolerances ?? Tolerances()),
      namespace: key.namespace, selector: text, specReplicas: scale.at("spec", "replicas")?.int ?? 0,
      statusReplicas: scale.at("status", "replicas")?.int ?? 0
    ) { [context] apiVersion, kind in
      context.scalable(apiVersion: apiVersion, kind: kind)?.description
    }
    var results: [Result<MetricProposal, MetricFailure>] = []
    for spec in autoscaler.spec["metrics"]?.elements ?? [] {
      let start = ContinuousClock.now
      do throws(MetricFailure) {
        results.append(.success(try await evaluation.propose(spec)))
      } catch { results.append(.failure(error)) }
      metrics.computed(spec["type"]?.string ?? "", results.last, in: ContinuousClock.now - start)
    }
    return MetricSummary(results, specReplicas: evaluation.specReplicas)
  }

  // MARK: Scale

  private func resource(of reference: JSON) throws(MetricError) -> GroupVersionResource {
    let kind = reference["kind"]?.string ?? ""
    let apiVersion = reference["apiVersion"]?.string ?? ""
    guard let resource = context.scalable(apiVersion: apiVersion.isEmpty ? "v1" : apiVersion, kind: kind)
    else {
      throw MetricError(
        "unable to determine resource for scale target reference: no matches for kind \"\(kind)\" in version "
          + "\"\(apiVersion)\"")
    }
    return resource
  }

  private func read(
    _ resource: GroupVersionResource, _ namespace: String, _ name: String
  ) async throws(MetricError) -> JSON {
    let root = resource.group.isEmpty ? ["api"] : ["apis", resource.group]
    do {
      return try await context.api.read(
        path: root + [resource.version, "namespaces", namespace, resource.resource, name, "scale"],
        query: [])
    } catch {
      let text = (error as? APIStatusError)?.message ?? "\(error)"
      throw MetricError("failed to query scale subresource for \(resource)/\(namespace)/\(name): \(text)")
    }
  }

  private func write(_ scale: JSON, _ resource: GroupVersionResource, replicas: Int) async throws {
    var scale = scale
    scale.set(JSON(replicas), at: "spec", "replicas")
    _ = try await context.api.update(resource, scale, subresource: "scale", options: context.options)
  }

  // MARK: Status

  private func record(_ autoscaler: JSON, _ event: PlannedEvent) {
    context.events.record(autoscaler, event.type, event.reason, event.message, from: Self.source)
  }

  private func set(
    _ autoscaler: inout JSON, _ type: String, _ isTrue: Bool, _ reason: String, _ message: String
  ) {
    autoscaler.setCondition(
      type, isTrue ? "True" : "False", reason: reason, message: message,
      now: Timestamp.text(seconds: context.now))
  }

  private func apply(_ plan: AutoscalerPlan, to autoscaler: inout JSON) {
    for condition in plan.conditions {
      set(&autoscaler, condition.type, condition.isTrue, condition.reason, condition.message)
    }
  }

  /// `desired` nil keeps what was desired.
  private func finish(
    _ autoscaler: inout JSON, _ original: JSON, current: Int, desired: Int?, _ statuses: [JSON]
  ) async {
    autoscaler.set(JSON(current), at: "status", "currentReplicas")
    let before = original.at("status", "desiredReplicas")?.int ?? 0
    autoscaler.set(JSON(desired ?? before), at: "status", "desiredReplicas")
    autoscaler.set(JSON(autoscaler.generation), at: "status", "observedGeneration")
    autoscaler.set(statuses.isEmpty ? .null : .array(statuses), at: "status", "currentMetrics")
    await write(autoscaler, original)
  }

  private func write(_ autoscaler: JSON, _ original: JSON) async {
    guard autoscaler.status != original.status else { return }
    do {
      _ = try await context.api.update(
        .autoscalers, autoscaler, subresource: "status", options: context.options)
    } catch let error as APIStatusError where error.isNotFound || error.isConflict {
      // It was changed or went: the next look sees that.
    } catch {
      if Task.isCancelled { return }
      record(original, .warning("FailedUpdateStatus", "\(error)"))
    }
  }
}

extension ControllerContext {
  /// The resource of a kind, in the version asked for where it is served in that; nil when the kind is not known.
  func scalable(apiVersion: String, kind: String) -> GroupVersionResource? {
    let group = GroupVersionKind(apiVersion: apiVersion, kind: kind).group
    return trackedResources.first { $0.kind == kind && $0.resource.group == group }?.resource
  }
}
