// `weft dns query NAME --from POD`: what a pod gets when it asks for a name, step by step along its search path.

import Addresses
import ArgumentParser
import ClusterClient
import ClusterObjects
import ClusterView
import DNS
import Diagnostics

struct DNSQueryCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "query", abstract: "What cluster DNS answers, and why.",
    discussion: """
      With --from, NAME is looked for as the pod's resolver does it: names of fewer than five dots along the search path first.
      Exit code: 0 there are records or the name is asked of other servers, 1 there are none, 2 the question cannot be read.
      """)

  @Argument(help: "The name, with a dot at its end to be taken as it stands.") var name: String
  @Argument(help: "The type of records.") var type = "A"
  @Option(help: "The pod that asks: NAMESPACE/NAME, or NAME.") var from: String?
  @OptionGroup var cluster: ClusterOptions
  @OptionGroup var logging: LogOptions
  @Option(help: "A CoreDNS configuration that says how the zone is served.") var corefile: String?

  func run() async throws {
    logging.apply(quiet: true)
    guard let type = RecordType(type), let asked = DomainName(name) else {
      throw WeftError(
        "CLI0004", object: "\(name) \(type)", cause: "is no name and type of record",
        next: "write it as web.demo A")
    }
    let settings =
      try corefile.map { path throws(WeftError) in try CorefilePlan.read(path).zone } ?? ZoneSettings()
    let api = try await cluster.api()
    var view = try await ClusterOptions.view(of: api)
    if !settings.multiclusterZones.isEmpty {
      let list = try await api.list(.serviceImports, namespace: "", options: ListOptions())
      for item in list.items { view.apply(ClusterOptions.named(item, .serviceImports)) }
      view.markImportsRead()
    }
    let zone = planZone(view: view, settings: settings)
    var rows: [[String]] = []
    var last: LookupResult?
    for candidate in try candidates(asked, settings.zone, view) {
      let result = zone.lookup(candidate, type)
      rows.append(["\(candidate)", Self.word(result.outcome), result.reason])
      last = result
      // The resolver goes on after a denial and after a name without such records.
      if result.outcome != .nameError, result.outcome != .noData { break }
    }
    Terminal.say(Terminal.table(rows))
    for record in (last?.records ?? []) { Terminal.say("\(record)") }
    guard let last, last.outcome != .nameError, last.outcome != .noData else {
      throw Finding(status: .finding)
    }
  }

  /// The names a resolver tries, in its order (ndots:5).
  private func candidates(_ asked: DomainName, _ zone: DomainName, _ view: ClusterView) throws(WeftError)
    -> [DomainName]
  {
    guard let from, !name.hasSuffix(".") else { return [asked] }
    let parts = from.split(separator: "/").map(String.init)
    let key = parts.count == 2 ? ObjectKey(parts[0], parts[1]) : ObjectKey(cluster.namespace, from)
    guard let pod = view.pods[key] else {
      throw WeftError(
        "DNS0022", object: "pod \(key)", cause: "is not in the cluster",
        next: "list them: kubectl get pods -A")
    }
    guard let services = zone.child("svc"), let own = services.child(pod.key.namespace) else {
      return [asked]
    }
    let labels = asked.labels.map(Array.init)
    let searched = [own, services, zone].compactMap { DomainName(labels: labels + $0.labels.map(Array.init)) }
    return labels.count > 5 ? [asked] + searched : searched + [asked]
  }

  private static func word(_ outcome: LookupResult.Outcome) -> String {
    switch outcome {
    case .records: "records"
    case .noData: "no data"
    case .nameError: "NXDOMAIN"
    case .elsewhere: "forwarded"
    case .alias: "alias"
    case .serverFailure: "SERVFAIL"
    }
  }
}
