// Runs the scenarios of `weft test connectivity` in a cluster: a namespace of its own, servers, a pod for each scenario, and away again.

import Addresses
import ClusterClient
import ClusterObjects
import ClusterView
import Diagnostics
import Observe

/// One run. Nothing outside its namespace is touched.
struct ConnectivityRun {
  let api: RemoteClient
  let plan: ConnectivityPlan
  /// For the servers, and for each scenario.
  let seconds: Double
  /// How long an address of a load balancer is waited for.
  private static let balancerSeconds = 10.0
  private static let pause: Duration = .milliseconds(250)
  private static let options = WriteOptions(fieldManager: "weft-test")

  private var namespace: String { plan.ground.namespace }

  /// Throws `CLI0160` when the servers do not come up.
  func run() async throws -> ConnectivityReport {
    _ = try await api.create(.namespaces, plan.namespace, options: Self.options)
    for object in plan.servers { try await create(object) }
    let facts = try await waitForServers()
    let scenarios = plan.scenarios(facts)
    let began = ContinuousClock.now
    for scenario in scenarios where scenario.script != nil { try await create(plan.pod(of: scenario)) }
    var ended: [String: ConnectivityReport.Line] = [:]
    let awaited = scenarios.count { $0.script != nil }
    while ended.count < awaited {
      let isOver = ContinuousClock.now - began > .seconds(seconds)
      let pods = Dictionary(try await pods().map { ($0.name, $0) }) { first, _ in first }
      for scenario in scenarios where scenario.script != nil && ended[scenario.name] == nil {
        let spent = (ContinuousClock.now - began) / .seconds(1)
        guard let outcome = await outcome(of: pods[scenario.name], scenario.name, isOver: isOver) else {
          continue
        }
        ended[scenario.name] = .init(scenario, outcome, seconds: spent)
      }
      if ended.count < awaited { try await Task.sleep(for: Self.pause) }
    }
    return ConnectivityReport(
      scenarios.map { ended[$0.name] ?? .init($0, .skipped($0.skipped ?? ""), seconds: 0) })
  }

  /// Nil while its pod runs.
  private func outcome(of pod: JSON?, _ name: String, isOver: Bool) async -> ConnectivityReport.Outcome? {
    switch pod?.at("status", "phase")?.string {
    case "Succeeded": return .passed
    case "Failed": return .failed(await lastWords(of: name))
    default:
      guard isOver else { return nil }
      let words = await lastWords(of: name)
      let phase = pod?.at("status", "phase")?.string ?? "gone"
      return .failed("not done after \(Int(seconds)) s (\(phase))" + (words.isEmpty ? "" : ": \(words)"))
    }
  }

  private func lastWords(of pod: String) async -> String {
    let answer = try? await api.raw("/api/v1/namespaces/\(namespace)/pods/\(pod)/log?tailLines=3")
    guard let answer, answer.status == 200 else { return "" }
    return String(decoding: answer.body.suffix(400), as: UTF8.self).split(separator: "\n").joined(
      separator: "; ")
  }

  private func create(_ object: JSON) async throws {
    guard let kind = KindRegistry.builtin.kind(apiVersion: object.apiVersion, kind: object.kind) else {
      return
    }
    let deadline = ContinuousClock.now + .seconds(seconds)
    while true {
      do {
        _ = try await api.create(kind.gvr, object, options: Self.options)
        return
      } catch let refusal as APIStatusError
        where refusal.reason == "Forbidden" && refusal.message.contains("serviceaccount")
        && ContinuousClock.now < deadline
      {
        // A namespace's ServiceAccount comes a moment after it.
        try await Task.sleep(for: Self.pause)
      }
    }
  }

  private func pods() async throws -> [JSON] {
    try await api.list(.pods, namespace: namespace, options: ListOptions()).items
  }

  private func waitForServers() async throws -> ConnectivityFacts {
    var facts = ConnectivityFacts()
    let began = ContinuousClock.now
    while true {
      let own = try await pods().map { (name: $0.name, pod: try? Pod($0)) }
      let ready = own.filter { $0.pod?.isReady == true && $0.pod?.addresses.isEmpty == false }
      if Set(ready.map(\.name)).isSuperset(of: plan.serverNames) {
        func address(_ name: String) -> String? {
          ready.first { $0.name == name }?.pod?.addresses.first { $0.family == .v4 }?.description
        }
        facts.near = address("near") ?? ""
        facts.far = address("far")
        break
      }
      guard ContinuousClock.now - began < .seconds(seconds) else {
        let late = plan.serverNames.filter { name in !ready.contains { $0.name == name } }
        let why = own.compactMap { $0.pod?.stoppedContainers.first }.first ?? "not ready"
        throw WeftError(
          "CLI0160", object: "pods \(late.joined(separator: ", ")) of \(namespace)",
          cause: "do not run after \(Int(seconds)) s: \(why)",
          next: "see why: weft test connectivity --keep; kubectl describe pods -n \(namespace)"
            + "; another image: --image", exit: .finding)
      }
      try await Task.sleep(for: Self.pause)
    }
    let balancerEnd = ContinuousClock.now + .seconds(Self.balancerSeconds)
    repeat {
      let services = try await api.list(.services, namespace: namespace, options: ListOptions()).items
      func service(_ name: String) -> JSON? { services.first { $0.name == name } }
      facts.clusterIP = service("server")?.at("spec", "clusterIP")?.string ?? ""
      facts.nodePort = service("by-node")?.at("spec", "ports")?.elements.first?["nodePort"]?.int ?? 0
      facts.balancer =
        service("balanced")?.at("status", "loadBalancer", "ingress")?.elements.first?["ip"]?.string
      if facts.balancer != nil { break }
      try await Task.sleep(for: Self.pause)
    } while ContinuousClock.now < balancerEnd
    return facts
  }

  /// Deletes the namespace with all that is in it, and waits until it is gone. False when it is still there after a minute.
  func remove() async -> Bool {
    let deadline = ContinuousClock.now + .seconds(60)
    while ContinuousClock.now < deadline {
      do {
        try await api.delete(.namespaces, namespace: "", name: namespace, options: DeleteOptions())
        _ = try await api.get(.namespaces, namespace: "", name: namespace)
      } catch let refusal as APIStatusError where refusal.isNotFound {
        return true
      } catch {
        // It is being deleted already, or the server is busy.
      }
      try? await Task.sleep(for: Self.pause)
    }
    return false
  }
}
