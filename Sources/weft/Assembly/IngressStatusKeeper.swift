// Writes where the ingress is reached into the statuses of the Ingresses it serves. There is no leader: whoever runs writes the same,
// and only what differs.

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
  /// After a write that failed.
  private static let retry: Duration = .seconds(5)

  private let api: any ClusterAPI
  private let informers: SharedInformers
  private let scope: IngressScope
  private let source: IngressStatusSource
  private let log = Logger(label: "ingress")
  private let changes: AsyncStream<Void>
  private let bell: AsyncStream<Void>.Continuation
  private var view: ClusterView?
  private var loop: Task<Void, Never>?
  private var registration: InformerRegistration?
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

  func stop() async {
    bell.finish()
    loop?.cancel()
    await loop?.value
    registration = nil
  }

  private func begin() {
    guard loop == nil else { return }
    if let informer = service {
      registration = informer.onChange { [bell] _ in bell.yield() }
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
    var isDone = true
    let ingresses = informers.informer(scope.informerScope(.ingresses))
    let keys = planServedIngresses(
      view: scope.narrow(view), controller: scope.controller, servesUnclassed: scope.servesUnclassed)
    for key in keys where ingresses[key]?.withIngressStatus(addresses) != nil {
      do {
        try await api.modify(
          .ingresses, key, subresource: "status", fieldManager: "weft-ingress-controller"
        ) { $0.withIngressStatus(addresses) }
        writes.increment()
      } catch let refusal as APIStatusError where refusal.isNotFound {
        continue
      } catch {
        if Task.isCancelled { return true }
        failures.increment()
        isDone = false
        log.warning(
          "status not written", metadata: ["code": "ING0021", "ingress": "\(key)", "error": "\(error)"])
      }
    }
    return isDone
  }
}
