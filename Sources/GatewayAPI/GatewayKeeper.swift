// Plans Gateways from views and what they name, hands the plan on and writes the statuses that differ. Of the cluster's Secrets and
// ConfigMaps only those that Gateways of ours name and may name are read, each by a watch for its name.

import ClusterClient
import ClusterObjects
import ClusterView
import Diagnostics
import Ingress
import Logging

/// Fed with views; plans the newest one, and writes while newer ones may come.
public actor GatewayKeeper {
  /// The ServiceAccount in `kube-system` whose role this needs.
  public static let account = "weft-gateway-controller"
  /// Statuses written at one time.
  private static let writersMax = 8
  /// After a write that failed for another reason than a newer object.
  private static let retry: ClosedRange<Double> = 0.5...30

  private let api: any ClusterAPI
  private let informers: SharedInformers
  /// Informers of single Secrets and ConfigMaps, which nobody else forgets.
  private let named: SharedInformers
  private var settings: GatewaySettings
  private let onPlan: @Sendable (GatewayPlan, GatewayInput) async -> GatewayServing
  private let log = Logger(label: "gateway")
  private let bell: AsyncStream<Void>.Continuation
  private let changes: AsyncStream<Void>
  private var loop: Task<Void, Never>?
  private var view: ClusterView?
  private var planning = GatewayPlanning()
  private let events: ClusterClient.EventRecorder
  /// What is wrong and was said.
  private var told: Set<RouteServiceProblem> = []
  private var followed: [InformerScope: InformerRegistration] = [:]
  /// Objects that have not been looked for yet.
  private var pending: Set<InformerScope> = []
  private var pauseSeconds = GatewayKeeper.retry.lowerBound
  private let writes = Metrics.shared.counter(
    "weft_gateway_status_writes_total", "Statuses of Gateway API objects that were written.",
    labels: ["kind"])
  private let failures = Metrics.shared.counter(
    "weft_gateway_status_failures_total", "Statuses of Gateway API objects that could not be written."
  ).child()
  private let plans = Metrics.shared.counter(
    "weft_gateway_plans_total", "Times that Gateways were planned."
  ).child()
  private let wholePlans = Metrics.shared.counter(
    "weft_gateway_whole_plans_total",
    "Times that Gateways were planned from nothing: not routes alone had changed."
  ).child()

  /// - Parameters:
  ///   - api: writes statuses.
  ///   - informers: what the objects are read from.
  ///   - onPlan: gets each plan before the statuses are written, with what it names; answers what came of it.
  public init(
    api: any ClusterAPI, informers: SharedInformers, settings: GatewaySettings,
    onPlan: @escaping @Sendable (GatewayPlan, GatewayInput) async -> GatewayServing = { _, _ in
      GatewayServing()
    }
  ) {
    self.api = api
    self.informers = informers
    named = SharedInformers(api: informers.api)
    self.settings = settings
    self.onPlan = onPlan
    events = ClusterClient.EventRecorder(api: api, component: Self.account)
    (changes, bell) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
  }

  /// Returns at once; a view that says nothing new costs a comparison.
  public func take(_ new: ClusterView) {
    if new.gateway.isEmpty, view == nil { return }
    let isNew =
      view.map {
        $0.gateway != new.gateway || $0.namespaces != new.namespaces || $0.services != new.services
      } ?? true
    guard isNew else { return }
    view = new
    follow(planGatewayReferences(view: new, settings: settings))
    begin()
    bell.yield()
  }

  /// Where clients reach the data plane now. Returns at once; the same addresses cost a comparison.
  public func take(addresses: [String]) {
    guard addresses != settings.addresses else { return }
    settings.addresses = addresses
    bell.yield()
  }

  /// Ends watches and writing.
  public func stop() async {
    bell.finish()
    loop?.cancel()
    await loop?.value
    await events.stop()
    followed = [:]
    await named.stop()
  }

  private func begin() {
    guard loop == nil else { return }
    let changes = changes
    loop = Task { [weak self] in
      for await _ in changes {
        guard let self, !Task.isCancelled else { return }
        await work()
      }
    }
  }

  // MARK: What Gateways name

  private func scope(_ resource: GroupVersionResource, _ key: ObjectKey) -> InformerScope {
    InformerScope(resource, namespace: key.namespace, fieldSelector: "metadata.name=\(key.name)")
  }

  private func follow(_ references: GatewayReferences) {
    let wanted = Set(
      references.secrets.map { scope(.secrets, $0) } + references.configMaps.map { scope(.configMaps, $0) })
    for gone in followed.keys where !wanted.contains(gone) {
      followed[gone] = nil
      pending.remove(gone)
      named.forget(gone)
    }
    for scope in wanted where followed[scope] == nil {
      let informer = named.informer(scope)
      pending.insert(scope)
      let bell = bell
      followed[scope] = informer.onChange { _ in bell.yield() }
      Task { [weak self] in
        try? await informer.waitForSync()
        await self?.found(scope)
      }
    }
  }

  private func found(_ scope: InformerScope) {
    pending.remove(scope)
    bell.yield()
  }

  private func input(_ references: GatewayReferences) -> GatewayInput {
    var input = GatewayInput()
    for key in references.secrets {
      input.secrets[key] = named.informer(scope(.secrets, key))[key].map { TLSSecret(secret: $0) }
    }
    for key in references.configMaps {
      input.authorities[key] = named.informer(scope(.configMaps, key))[key].flatMap {
        AuthorityBundle(configMap: $0)
      }
    }
    return input
  }

  // MARK: Planning and writing

  private func work() async {
    // What is named must have been looked for: a Secret that is only not read yet is not missing.
    guard let view, pending.isEmpty else { return }
    let references = planGatewayReferences(view: view, settings: settings)
    let input = input(references)
    var plan = planning.plan(view: view, settings: settings, input: input)
    plans.increment()
    wholePlans.increment(by: UInt64(planning.takeWholePlans()))
    let serving = await onPlan(plan, input)
    if !serving.isWhole {
      // Served is what can be; what cannot is told.
      var told = settings
      told.refused.merge(serving.refused) { $1 }
      told.isServing = settings.isServing && serving.isInForce
      plan = planGateways(view: view, settings: told, input: input)
    }
    let isWritten = settings.writesStatuses ? await write(plan) : true
    tell(plan.serviceProblems(view: view))
    if isWritten, serving.isWhole {
      pauseSeconds = Self.retry.lowerBound
    } else {
      let pause = pauseSeconds
      pauseSeconds = min(pause * 2, Self.retry.upperBound)
      let bell = bell
      Task {
        try? await Task.sleep(for: .seconds(pause))
        bell.yield()
      }
    }
  }

  /// Each problem once, as an event of its route; again when it went and came back.
  private func tell(_ problems: [RouteServiceProblem]) {
    for problem in problems where !told.contains(problem) {
      log.warning("\(problem.message)", metadata: ["route": "\(problem.route)"])
      let (kind, key) = (problem.route.kind, problem.route.key)
      guard settings.writesStatuses, var object = informers.informer(kind.resource)[key] else { continue }
      object["apiVersion"] = JSON("\(GatewayObjects.group)/\(kind.resource.version)")
      object["kind"] = JSON(kind.rawValue)
      events.record(object, "Warning", RouteProblem.Topic.annotation.rawValue, problem.message)
    }
    told = Set(problems)
  }

  /// False when something is to be tried again.
  private func write(_ plan: GatewayPlan) async -> Bool {
    let now = Timestamp.nowText()
    var changed: [(GatewayPlan.Subject, JSON)] = []
    for subject in plan.subjects {
      guard let object = informers.informer(subject.resource)[subject.key], !object.isTerminating,
        let new = plan.updated(object, of: subject, now: now)
      else { continue }
      changed.append((subject, new))
    }
    guard !changed.isEmpty else { return true }
    var isWritten = true
    await withTaskGroup(of: Bool.self) { group in
      for (index, (subject, object)) in changed.enumerated() {
        if index >= Self.writersMax, await group.next() == false { isWritten = false }
        group.addTask { await self.write(object, of: subject, plan, now) }
      }
      for await result in group where !result { isWritten = false }
    }
    return isWritten
  }

  private nonisolated func write(
    _ object: JSON, of subject: GatewayPlan.Subject, _ plan: GatewayPlan, _ now: String
  ) async -> Bool {
    let resource = subject.resource
    do {
      do {
        _ = try await api.update(
          resource, object, subresource: "status", options: WriteOptions(fieldManager: Self.account))
      } catch let refusal as APIStatusError where refusal.isConflict {
        // Somebody else's part of the status, or a newer object: of that the plan says nothing.
        try await api.modify(
          resource, subject.key, subresource: "status", fieldManager: Self.account
        ) { live in
          live.generation == object.generation ? plan.updated(live, of: subject, now: now) : nil
        }
      }
      writes.child([resource.resource]).increment()
      return true
    } catch let refusal as APIStatusError where refusal.isNotFound {
      return true
    } catch {
      if Task.isCancelled { return true }
      failures.increment()
      log.warning(
        "status not written",
        metadata: ["code": "GTW0001", "object": "\(resource.resource)/\(subject.key)", "error": "\(error)"])
      return false
    }
  }
}
