// `weft policy`: questions to NetworkPolicies without a packet.

import ArgumentParser
import ClusterClient
import ClusterObjects
import ClusterView
import DataPlane
import Diagnostics
import Observe

struct PolicyCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "policy", abstract: "Ask NetworkPolicies without sending a packet.",
    subcommands: [PolicyTestCommand.self, PolicySuggestCommand.self])
}

struct PolicyTestCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "test", abstract: "Check who may reach whom, against manifests or a cluster.",
    discussion: """
      Each line of FILE is `allow SOURCE DESTINATION:PORT[/PROTOCOL]` or `deny ...`; # begins a comment. An end is a pod or a workload
      (NAMESPACE/NAME; a Deployment stands for a pod of its template), an address, or as destination a Service (svc/NAMESPACE/NAME):
      then it holds for every pod behind it.
      Exit code: 0 all hold, 1 some do not, 2 the file or a policy cannot be read, 3 the cluster does not answer.
      """)

  @Argument(help: "The file of expectations.") var file: String
  @OptionGroup var cluster: ClusterOptions
  @OptionGroup var logging: LogOptions
  @Option(help: "Write the results to this file as JUnit's XML.") var junit: String?
  @Option(name: .shortAndLong, help: "json, or text.") var output: OutputFormat = .text

  /// What policies look at, and what makes pods.
  private static let resources: [GroupVersionResource] =
    [.namespaces, .nodes, .networkPolicies, .services, .pods, .deployments]
    + ["statefulsets", "daemonsets"].map { GroupVersionResource("apps", "v1", $0) }
    + ["jobs", "cronjobs"].map { GroupVersionResource("batch", "v1", $0) }
  private static let kinds = [
    "namespaces": "Namespace", "networkpolicies": "NetworkPolicy",
    "clusternetworkpolicies": "ClusterNetworkPolicy", "nodes": "Node", "services": "Service", "pods": "Pod",
    "deployments": "Deployment", "statefulsets": "StatefulSet", "daemonsets": "DaemonSet", "jobs": "Job",
    "cronjobs": "CronJob",
  ]

  func run() async throws {
    logging.apply(quiet: true)
    let expectations = try PolicyExpectation.read(
      TextFile.read(file, code: "POL0002"), file: file, namespace: cluster.namespace)
    let api = try await cluster.api()
    var objects: [JSON] = []
    let clusterWide =
      try await ViewFollower.areClusterPoliciesServed(api)
      ? [.clusterNetworkPolicies] : [GroupVersionResource]()
    for resource in Self.resources + clusterWide {
      for var item in try await api.list(resource, namespace: "", options: ListOptions()).items {
        if item.kind.isEmpty, let kind = Self.kinds[resource.resource] { item["kind"] = JSON(kind) }
        objects.append(item)
      }
    }
    let test = PolicyTest(objects)
    if let unreadable = test.unreadable.first {
      throw WeftError(
        "POL0003", object: "\(unreadable.kind) \(unreadable.key)", cause: "\(unreadable)",
        next: "mend it: a policy that cannot be read decides nothing")
    }
    let results = test.run(expectations)
    if let junit {
      try TextFile.write(JUnitReport(name: file, results: results).text, to: junit, code: "POL0004")
    }
    let report = PolicyTestReport(results)
    Terminal.say(output == .json ? report.json.text : report.text)
    if !report.hasPassed { throw Finding(status: .finding) }
  }
}
