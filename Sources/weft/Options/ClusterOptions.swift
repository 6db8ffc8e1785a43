// Which cluster a command speaks of: a kubeconfig, or a folder of manifests.

import ArgumentParser
import ClusterClient
import ClusterObjects
import ClusterView
import DataPlane
import Diagnostics
import Glibc

/// An API server alone.
struct KubeconfigOptions: ParsableArguments {
  @Option(
    help:
      "The kubeconfig of the cluster. Default: $KUBECONFIG, the pod's service account, that of `weft up` here, or ~/.kube/config."
  )
  var kubeconfig: String?
  @Option(help: "The kubeconfig's context.") var context: String?

  /// The API over HTTP, for what only a server can be asked.
  func remote() throws(WeftError) -> RemoteClient { try RemoteClient(kubeconfig: configuration()) }

  /// Which server, with which credentials. A pod without a kubeconfig uses its service account.
  func configuration() throws(WeftError) -> Kubeconfig {
    if kubeconfig == nil, context == nil, getenv("KUBECONFIG") == nil, Kubeconfig.isInCluster {
      return try .inCluster()
    }
    return try Kubeconfig(paths: paths(), context: context)
  }

  /// The kubeconfigs: the flag's, the environment's, that of `weft up`, or the user's. Throws `CLI0020` when there is none.
  private func paths() throws(WeftError) -> [String] {
    if let kubeconfig { return [kubeconfig] }
    let variable = getenv("KUBECONFIG").map { String(cString: $0) } ?? ""
    let named = variable.split(separator: ":").map(String.init)
    if !named.isEmpty { return named }
    let home = getenv("HOME").map { String(cString: $0) } ?? "/root"
    for own in ["/var/lib/weft/admin.kubeconfig", "\(home)/.kube/config"] where access(own, R_OK) == 0 {
      return [own]
    }
    throw WeftError(
      "CLI0020", object: "kubeconfig",
      cause:
        "none is given, no `weft up` runs with the default data directory, and ~/.kube/config is not there",
      next: "add --kubeconfig FILE or --manifests FOLDER")
  }

  /// The first of them that is there: of `weft up` it stands in the data directory. Throws `CLI0020` when there is none.
  func path() throws(WeftError) -> String {
    let all = try paths()
    return all.first { access($0, R_OK) == 0 } ?? all[0]
  }
}

/// `-n`, as kubectl has it.
struct NamespaceOption: ParsableArguments {
  @Option(
    name: [.customShort("n"), .customLong("namespace")],
    help: "The namespace of names that do not say one. Default: that of the kubeconfig's context.")
  var given: String?

  /// The flag's, that of the context, or `default`. Without a server the context is not asked.
  func chosen(_ server: KubeconfigOptions?) -> String {
    given ?? server.flatMap { try? $0.configuration().namespace } ?? "default"
  }
}

struct ClusterOptions: ParsableArguments {
  @OptionGroup var server: KubeconfigOptions
  @Option(help: "A folder of YAML or JSON manifests, instead of a cluster.") var manifests: String?
  @OptionGroup var names: NamespaceOption

  /// The namespace of names that do not say one. Manifests have no context.
  var namespace: String { names.chosen(manifests == nil ? server : nil) }

  /// The API, remote or made of manifests.
  func api() async throws -> any ClusterAPI {
    if let manifests { return try ManifestClient(folder: manifests) }
    return try remote()
  }

  /// The API over HTTP, for what only a server can be asked.
  func remote() throws(WeftError) -> RemoteClient { try server.remote() }

  var kubeconfig: String? {
    get { server.kubeconfig }
    set { server.kubeconfig = newValue }
  }
  func configuration() throws(WeftError) -> Kubeconfig { try server.configuration() }
  func path() throws(WeftError) -> String { try server.path() }

  /// One reading of everything the network cares for.
  func view() async throws -> ClusterView { try await Self.view(of: api()) }

  /// One reading of these resources of an API.
  static func view(
    of api: any ClusterAPI, resources: [GroupVersionResource] = ClusterView.resources
  ) async throws -> ClusterView {
    var view = ClusterView()
    for resource in resources {
      let list = try await api.list(resource, namespace: "", options: ListOptions())
      for item in list.items { view.apply(named(item, resource)) }
    }
    if resources.contains(.networkPolicies), try await ViewFollower.areClusterPoliciesServed(api) {
      let list = try await api.list(.clusterNetworkPolicies, namespace: "", options: ListOptions())
      for item in list.items { view.apply(named(item, .clusterNetworkPolicies)) }
    }
    return view
  }

  /// Reads the objects of Gateway API too, as far as the cluster has them.
  static func addGateways(to view: inout ClusterView, of api: any ClusterAPI) async throws {
    for resource in ClusterView.gatewayResources {
      do {
        let list = try await api.list(resource, namespace: "", options: ListOptions())
        for item in list.items { view.apply(named(item, resource)) }
      } catch let refusal as APIStatusError where refusal.isNotFound || refusal.reason == "Forbidden" {
        continue
      }
    }
  }

  /// An item of a typed list with its kind, which it comes without.
  static func named(_ item: JSON, _ resource: GroupVersionResource) -> JSON {
    guard item.kind.isEmpty else { return item }
    var item = item
    item["kind"] = .string(ViewKind.of(resource))
    return item
  }
}
