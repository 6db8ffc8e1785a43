// Plans routes and certificates from views and Secrets, puts those of Gateways beside them, sends both to the data plane, and tells
// people what is wrong. Of the cluster's Secrets only those that Ingresses of ours name are read, each by a watch for its name.

import Addresses
import ClusterClient
import ClusterObjects
import ClusterView
import Diagnostics
import GatewayAPI
import Ingress
import Logging
import Synchronization

/// Fed with views, one after the other.
actor IngressKeeper {
  /// Days before a certificate's end from which on people are warned.
  static let warningDays: Int64 = 30
  private static let datePeriod: Duration = .seconds(3600)

  private let process: IngressProcess
  private let informers: SharedInformers
  private let settings: IngressSettings
  private let nodeName: String
  private let events: ClusterClient.EventRecorder
  private let log = Logger(label: "ingress")
  private var view: ClusterView?
  private var followed: [Reference: InformerRegistration] = [:]
  private var secrets: [ObjectKey: TLSSecret] = [:]
  /// The same Secrets as names and passwords.
  private var credentials: [ObjectKey: CredentialSecret] = [:]
  /// Fields of answers, by ConfigMap.
  private var headers: [ObjectKey: [String: String]] = [:]
  /// An object that an Ingress names, followed by its name.
  private struct Reference: Hashable {
    var key: ObjectKey
    var isConfigMap = false
    var scope: InformerScope {
      InformerScope(
        isConfigMap ? .configMaps : .secrets, namespace: key.namespace,
        fieldSelector: "metadata.name=\(key.name)")
    }
  }
  /// Objects that have not been looked for yet: whether they exist is not known.
  private var pending: Set<Reference> = []
  /// The first routes wait for their certificates, and for those of Gateways where there may be some, but not for ever: a data plane
  /// of a program that is replaced serves until then, by all of them.
  private var isWaitOver = false
  private static let waitMax: Duration = .seconds(5)
  /// What Gateways are to have, as it was planned last.
  private var gateways: (plan: GatewayPlan, input: GatewayInput)?
  /// What the table before was made of.
  private var gatewayRoutes = GatewayRouteMemory()
  /// What the data plane was sent last; nil before the first time.
  private var sent: IngressProcess.Sent?
  private var told: Set<RouteProblem> = []
  private var toldPorts: Set<String> = []
  private var warned: Set<ServedCertificate> = []
  private var certificates: [ServedCertificate] = []
  private var gauged: Set<[String]> = []
  private var dates: Task<Void, Never>?
  private let expiry = Metrics.shared.gauge(
    "nginx_ingress_controller_ssl_expire_time_seconds",
    "When the certificate of a host ends, in seconds since 1970.",
    labels: ["host", "namespace", "secret_name"])

  private let awaitsGateways: Bool
  /// There are objects of Gateway API, so a plan of theirs comes.
  private var hasGateways = false

  /// - Parameter awaitsGateways: plans of Gateways will come too.
  init(
    _ process: IngressProcess, informers: SharedInformers, settings: IngressSettings, nodeName: String,
    awaitsGateways: Bool = false
  ) {
    self.process = process
    self.awaitsGateways = awaitsGateways
    self.informers = informers
    self.settings = settings
    self.nodeName = nodeName
    events = ClusterClient.EventRecorder(
      api: informers.api, component: "weft-ingress-controller", host: nodeName)
  }

  func take(_ whole: ClusterView) {
    let scope = settings.scope
    let view = scope.narrow(whole)
    self.view = view
    hasGateways = awaitsGateways && !whole.gateway.isEmpty
    let certificates =
      process.servesHTTPS
      ? planSecretReferences(
        view: view, controller: scope.controller, servesUnclassed: scope.servesUnclassed,
        defaultSecret: settings.defaultSecret) : []
    let credentials = planCredentialReferences(
      view: view, controller: scope.controller, servesUnclassed: scope.servesUnclassed)
    let secrets = certificates.union(credentials).map { Reference(key: $0) }
    let headers = planHeaderReferences(
      view: view, controller: scope.controller, servesUnclassed: scope.servesUnclassed
    ).map { Reference(key: $0, isConfigMap: true) }
    let ports = settings.portServices.values.map { Reference(key: $0, isConfigMap: true) }
    follow(Set(secrets + headers + ports))
    plan()
    if dates == nil {
      dates = Task { [weak self] in
        try? await Task.sleep(for: Self.waitMax)
        await self?.endWait()
        while (try? await Task.sleep(for: Self.datePeriod)) != nil { await self?.lookAtDates() }
      }
    }
  }

  /// Puts Gateways' listeners, routes and certificates in force beside those of Ingresses. Answers when the data plane works by them,
  /// or after a while what is missing.
  func take(_ plan: GatewayPlan, _ input: GatewayInput) async -> GatewayServing {
    gateways = (plan, input)
    self.plan()
    // The first plan of Ingresses may still wait for their Secrets: until then nothing is told.
    let deadline = ContinuousClock.now + Self.waitMax
    while sent == nil, ContinuousClock.now < deadline { try? await Task.sleep(for: .milliseconds(10)) }
    guard let sent else { return GatewayServing(isInForce: false) }
    var serving = GatewayServing(isInForce: await process.isInForce(sent))
    let sockets = sockets(of: plan)
    for (listener, reason) in sent.refused {
      for socket in sockets[listener] ?? [] { serving.refused[socket] = reason }
    }
    return serving
  }

  func stop() async {
    dates?.cancel()
    followed = [:]
    await events.stop()
  }

  private func follow(_ references: Set<Reference>) {
    for reference in followed.keys where !references.contains(reference) {
      followed[reference] = nil
      if reference.isConfigMap {
        headers[reference.key] = nil
      } else {
        secrets[reference.key] = nil
        credentials[reference.key] = nil
      }
      pending.remove(reference)
      informers.forget(reference.scope)
    }
    for reference in references where followed[reference] == nil {
      let informer = informers.informer(reference.scope)
      pending.insert(reference)
      followed[reference] = informer.onChange { [weak self] _ in
        Task { await self?.read(reference, informer) }
      }
      Task { [weak self] in
        try? await informer.waitForSync()
        await self?.read(reference, informer)
      }
    }
  }

  /// Takes over what the informer holds now, whichever change said so.
  private func read(_ reference: Reference, _ informer: Informer) {
    guard followed[reference] != nil else { return }
    if informer.hasSynced { pending.remove(reference) }
    let (key, object) = (reference.key, informer[reference.key])
    if reference.isConfigMap {
      headers[key] = object.map(headerFields)
    } else {
      secrets[key] = object.map { TLSSecret(secret: $0) }
      credentials[key] = object.map { CredentialSecret(secret: $0) }
    }
    plan()
  }

  private func endWait() {
    isWaitOver = true
    plan()
  }

  private func plan() {
    guard let view, isWaitOver || (pending.isEmpty && (gateways != nil || !hasGateways)) else { return }
    isWaitOver = true
    let input = TLSInput(
      secrets: secrets, defaultSecret: settings.defaultSecret,
      strictTransportSecurity: settings.strictTransportSecurity)
    let place = NodePlace(name: nodeName, zone: settings.zone ?? view.place(of: nodeName).zone)
    let plan = planRoutesExplained(
      view: view, controller: settings.scope.controller, servesUnclassed: settings.scope.servesUnclassed,
      tls: process.servesHTTPS ? input : nil, credentials: credentials, headers: headers,
      passthroughPort: settings.passesThrough ? process.securePort : nil, near: place)
    var (table, tls, streams) = (plan.table, plan.tls, plan.streams)
    var listeners: Set<IngressListener> = []
    if !settings.portServices.isEmpty {
      let ports = planServicePorts(
        view: view, settings.portServices.compactMapValues { headers[$0] }, taken: process.ports,
        beside: streams)
      streams = ports.table
      for (transport, numbers) in ports.ports {
        for port in numbers {
          listeners.insert(
            IngressListener(
              SocketEndpoint(process.address, port), transport: transport, serves: .streams))
        }
      }
      for problem in Set(ports.problems).subtracting(toldPorts) { log.warning("\(problem)") }
      toldPorts = Set(ports.problems)
    }
    if let gateways, !gateways.plan.servedSockets.isEmpty {
      let shared = process.ports
      table = gateways.plan.routeTable(
        view: view, input: gateways.input, beside: table, shared: shared, near: place, memory: &gatewayRoutes)
      tls = gateways.plan.certificateTable(input: gateways.input, beside: tls, shared: shared)
      streams = gateways.plan.streamTable(
        view: view, input: gateways.input, beside: streams, shared: shared, near: place)
      listeners.formUnion(sockets(of: gateways.plan).keys)
    }
    sent = process.send(table, tls, streams, listeners)
    tell(plan.problems.filter { pending.isEmpty || $0.topic == .route })
    certificates = plan.certificates
    lookAtDates()
  }

  /// What Gateways need open beside the ports of Ingresses, and for whom.
  private func sockets(of plan: GatewayPlan) -> [IngressListener: [GatewaySocket]] {
    plan.sockets(at: process.address, beside: process.endpoints)
  }

  /// Each problem once, as an event of its Ingress; again when it went and came back.
  private func tell(_ problems: [RouteProblem]) {
    let now = Set(problems)
    for problem in now.subtracting(told) {
      log.warning("\(problem)")
      warn(problem.ingress, problem.topic.rawValue, problem.reason)
    }
    told = now
  }

  private func lookAtDates() {
    let now = Timestamp.now().seconds
    var present: Set<[String]> = []
    for certificate in certificates {
      for host in certificate.hosts {
        let labels = [host, certificate.secret.namespace, certificate.secret.name]
        present.insert(labels)
        expiry.child(labels).set(Double(certificate.notAfter))
      }
      guard certificate.expires(withinDays: Self.warningDays, of: now) else { continue }
      guard warned.insert(certificate).inserted else { continue }
      let days = (certificate.notAfter - now) / 86_400
      let text =
        certificate.notAfter <= now
        ? "the certificate of secret \(certificate.secret) has expired"
        : "the certificate of secret \(certificate.secret) expires in \(days) days"
      log.warning("\(text)", metadata: ["hosts": "\(certificate.hosts.joined(separator: ","))"])
      if let ingress = certificate.ingress { warn(ingress, "CertificateExpiring", text) }
    }
    warned.formIntersection(certificates)
    for labels in gauged.subtracting(present) { expiry.remove(labels[0], labels[1], labels[2]) }
    gauged = present
  }

  private func warn(_ ingress: ObjectKey, _ reason: String, _ message: String) {
    guard var object = informers.informer(settings.scope.informerScope(.ingresses))[ingress] else { return }
    object["apiVersion"] = "networking.k8s.io/v1"
    object["kind"] = "Ingress"
    events.record(object, "Warning", reason, message)
  }
}
