// `weft dns query NAME --from POD`: what a pod gets when it asks for a name, step by step along its search path.

import Addresses
import ArgumentParser
import ClusterClient
import ClusterObjects
import ClusterView
import DNS
import Diagnostics
import Observe

struct DNSQueryCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "query", abstract: "What cluster DNS answers, and why.",
    discussion: """
      With --from, NAME is looked for as the pod's resolver does it: names of fewer dots than its ndots along its search list first.
      Exit code: 0 there are records or the name is asked of other servers, 1 there are none, 2 the question cannot be read.
      """)

  @Argument(help: "The name, with a dot at its end to be taken as it stands.") var name: String
  @Argument(help: "The type of records.") var type = "A"
  @Option(help: "The pod that asks: NAMESPACE/NAME, or NAME.") var from: String?
  @OptionGroup var cluster: ClusterOptions
  @OptionGroup var names: NameOptions
  @OptionGroup var logging: LogOptions
  @Option(help: "A CoreDNS configuration that says how the zone is served.") var corefile: String?

  func run() async throws {
    logging.apply(quiet: true)
    guard let type = RecordType(type), DomainName(name) != nil else {
      throw WeftError(
        "CLI0004", object: "\(name) \(type)", cause: "is no name and type of record",
        next: "write it as web.demo A")
    }
    var settings =
      try corefile.map { path throws(WeftError) in try CorefilePlan.read(path).zone } ?? ZoneSettings()
    names.apply(to: &settings)
    let api = try await cluster.api()
    var view = try await ClusterOptions.view(of: api)
    if !settings.multiclusterZones.isEmpty {
      let list = try await api.list(.serviceImports, namespace: "", options: ListOptions())
      for item in list.items { view.apply(ClusterOptions.named(item, .serviceImports)) }
      view.markImportsRead()
    }
    let zone = planZone(view: view, settings: settings)
    let steps = try await search(api, settings.zone).steps(name, type, in: zone)
    Terminal.say(Terminal.table(steps.map(\.cells)))
    for record in steps.last?.result.records ?? [] { Terminal.say("\(record)") }
    if steps.allSatisfy({ $0.result.records.isEmpty }), let meant = suggestion(view, settings.zone) {
      Terminal.complain("did you mean \(meant)?")
    }
    guard steps.last?.isLast == true else { throw Finding(status: .finding) }
  }

  /// The Service whose name was mistyped, seen from the pod's namespace; nil when the name is near none, or one's own.
  private func suggestion(_ view: ClusterView, _ zone: DomainName) -> String? {
    let labels = name.split(separator: ".").map(String.init)
    guard let first = labels.first, labels.count <= 2 || labels[2] == "svc" else { return nil }
    let parts = from?.split(separator: "/").map(String.init) ?? []
    let own = parts.count == 2 ? parts[0] : cluster.namespace
    let typed = ObjectKey(labels.count > 1 ? labels[1] : own, first)
    guard view.services[typed] == nil, let meant = Spelling.service(typed, in: view) else { return nil }
    return "\(meant.name).\(meant.namespace).svc.\("\(zone)".dropLast())"
  }

  /// How the pod's resolver looks for names, by its dnsPolicy and dnsConfig. The node's own list, which is tried last, is not known here.
  private func search(_ api: any ClusterAPI, _ zone: DomainName) async throws -> NameSearch {
    guard let from else { return NameSearch() }
    let parts = from.split(separator: "/").map(String.init)
    let key = parts.count == 2 ? ObjectKey(parts[0], parts[1]) : ObjectKey(cluster.namespace, from)
    let pod: JSON
    do {
      pod = try await api.get(.pods, namespace: key.namespace, name: key.name)
    } catch let error as APIStatusError where error.code == 404 {
      throw WeftError(
        "DNS0022", object: "pod \(key)", cause: "is not in the cluster",
        next: "list them: kubectl get pods -A")
    }
    let policy = pod.at("spec", "dnsPolicy")?.string ?? "ClusterFirst"
    let isHost = pod.at("spec", "hostNetwork")?.bool ?? false
    var search = NameSearch()
    switch policy {
    case "None":
      let servers = (pod.at("spec", "dnsConfig", "nameservers")?.elements ?? []).compactMap(\.string)
      Terminal.complain(
        "pod \(key) has dnsPolicy None and asks \(servers.joined(separator: ", ")): below is what cluster DNS would answer"
      )
    case "Default",
      "ClusterFirst" where isHost:
      Terminal.complain(
        "pod \(key) asks its node's servers (dnsPolicy \(policy)): below is what cluster DNS would answer"
          + (isHost ? "; ClusterFirstWithHostNet asks it" : ""))
    default: search = NameSearch(namespace: key.namespace, zone: zone)
    }
    let extra = pod.at("spec", "dnsConfig")
    search.endings += (extra?["searches"]?.elements ?? []).compactMap { $0.string.flatMap { DomainName($0) } }
    for option in extra?["options"]?.elements ?? [] where option["name"]?.string == "ndots" {
      search.dots = option["value"]?.string.flatMap { Int($0) } ?? search.dots
    }
    return search
  }
}
