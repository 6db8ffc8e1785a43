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
      "The kubeconfig of the cluster. Default: $KUBECONFIG, the pod's service account, or that of `weft up` here."
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
    return try Kubeconfig(path: path(), context: context)
  }

  /// The kubeconfig: the flag's, the environment's, or that of `weft up`. Throws `CLI0020` when there is none.
  func path() throws(WeftError) -> String {
    if let kubeconfig { return kubeconfig }
    if let variable = getenv("KUBECONFIG").map({ String(cString: $0) }), !variable.isEmpty { return variable }
    let own = "/var/lib/weft/admin.kubeconfig"
    if access(own, R_OK) == 0 { return own }
    throw WeftError(
      "CLI0020", object: "kubeconfig",
      cause: "none is given, and no `weft up` runs with the default data directory",
      next: "add --kubeconfig FILE or --manifests FOLDER")
  }
}

struct ClusterOptions: ParsableArguments {
  @OptionGroup var server: KubeconfigOptions
  @Option(help: "A folder of YAML or JSON manifests, instead of a cluster.") var manifests: String?
  @Option(name: .shortAndLong, help: "The namespace of names that do not say one.") var namespace = "default"

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
