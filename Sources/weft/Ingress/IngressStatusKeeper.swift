// Writes where the ingress is reached into the statuses of the Ingresses it serves, and takes it back from those it serves no more. There
// is no leader: whoever runs writes once, only what differs, and again when nobody's address is there any more.

import ClusterClient
import ClusterObjects
import ClusterView
import Diagnostics
import Ingress
import Logging

/// Where the addresses come from.
enum IngressStatusSource: Sendable {
  case addresses([IngressAddress])
  /// A Service in front of the ingress.
  case service(ObjectKey)
}

/// Fed with views; writes for the newest one.
actor IngressStatusKeeper {
  /// The ServiceAccount in `kube-system` whose role this needs, and who is said to have written.
  static let account = "weft-ingress-controller"
  /// After a write that failed.
  private static let retry: Duration = .seconds(5)
  /// Time for taking statuses back when all ends.
  private static let takingBackMax: Duration = .seconds(3)

  private let api: any ClusterAPI
  private let informers: SharedInformers
  private let scope: IngressScope
  private let source: IngressStatusSource
  private let log = Logger(label: "ingress")
  private let changes: AsyncStream<Void>
  private let bell: AsyncStream<Void>.Continuation
  private var view: ClusterView?
  private var loop: Task<Void, Never>?
  private var registrations: [InformerRegistration] = []
  /// Ingresses whose statuses say where we are reached, and what they say.
  private var told: [ObjectKey: [IngressAddress]] = [:]
  private let writes = Metrics.shared.counter(
    "weft_ingress_status_writes_total", "Statuses of Ingresses that were written."
  ).child()
  private let failures = Metrics.shared.counter(
    "weft_ingress_status_failures_total", "Statuses of Ingresses that could not be written."
  ).child()

  init(
    api: any ClusterAPI, informers: SharedInformers, scope: IngressScope, source: IngressStatusSource
  ) {
    self.api = api
    self.informers = informers
    self.scope = scope
    self.source = source
    (changes, bell) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
  }

  /// Returns at once.
  func take(_ view: ClusterView) {
    self.view = view
    begin()
    bell.yield()
  }

  /// - Parameter takesBack: what was written is taken away again, as far as three seconds go: nobody is served here any more.
  func stop(takesBack: Bool = false) async {
    bell.finish()
    loop?.cancel()
    await loop?.value
    registrations = []
    guard takesBack else { return }
    // Whoever stops us may be cancelled itself.
    let last = Task.detached { await self.takeBack(all: true) }
    let end = Task.detached {
      try? await Task.sleep(for: Self.takingBackMax)
      last.cancel()
    }
    _ = await last.value
    end.cancel()
  }

  /// Where the ingress is reached, as far as it is known.
  var current: [IngressAddress] { addresses }

  private func begin() {
    guard loop == nil else { return }
    for informer in [service, informers.informer(scope.informerScope(.ingresses))].compactMap(\.self) {
      registrations.append(informer.onChange { [bell] _ in bell.yield() })
    }
    let changes = changes
    loop = Task { [weak self] in
      for await _ in changes {
        guard let self, !Task.isCancelled else { return }
        if await work() { continue }
        try? await Task.sleep(for: Self.retry)
        bell.yield()
      }
    }
  }

  /// Of the Service in front, which may lie outside the namespace that is watched.
  private var service: Informer? {
    guard case .service(let key) = source else { return nil }
    return informers.informer(
      InformerScope(.services, namespace: key.namespace, fieldSelector: "metadata.name=\(key.name)"))
  }

  private var addresses: [IngressAddress] {
    switch source {
    case .addresses(let addresses): addresses
    case .service(let key): service?[key].map(IngressAddress.of(service:)) ?? []
    }
  }

  /// False when something has to be tried again.
  private func work() async -> Bool {
    guard let view else { return true }
    let addresses = addresses
    // A Service that is not known yet, or has no address: what is written stays.
    guard !addresses.isEmpty else { return true }
    let keys = planServedIngresses(
      view: scope.narrow(view), controller: scope.controller, servesUnclassed: scope.servesUnclassed)
    var isDone = true
    for key in keys {
      // Where several write other addresses each says its own once: nobody answers another without end.
      let isTold = told[key] == addresses
      if await write(key, { isTold && $0.hasIngressStatus ? nil : $0.withIngressStatus(addresses) }) {
        told[key] = addresses
      } else {
        isDone = false
      }
    }
    return await takeBack(all: false, except: Set(keys)) && isDone
  }

  /// From Ingresses that are another's now, or from all. False when something has to be tried again.
  private func takeBack(all: Bool, except served: Set<ObjectKey> = []) async -> Bool {
    var isDone = true
    for (key, addresses) in told where all || !served.contains(key) {
      if await write(key, { $0.withoutIngressStatus(addresses) }) { told[key] = nil } else { isDone = false }
    }
    return isDone
  }

  /// Nothing for who is as it should be. False when it has to be tried again.
  private func write(_ key: ObjectKey, _ change: @Sendable @escaping (JSON) -> JSON?) async -> Bool {
    let ingresses = informers.informer(scope.informerScope(.ingresses))
    guard let known = ingresses[key], change(known) != nil else { return true }
    do {
      try await api.modify(
        .ingresses, key, subresource: "status", fieldManager: Self.account, change)
      writes.increment()
    } catch let refusal as APIStatusError where refusal.isNotFound {
      return true
    } catch {
      if Task.isCancelled { return true }
      failures.increment()
      log.warning(
        "status not written", metadata: ["code": "ING0021", "ingress": "\(key)", "error": "\(error)"])
      return false
    }
    return true
  }
}
