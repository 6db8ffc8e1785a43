// Which kinds there are to be emptied and collected: the built-in ones, and those of CustomResourceDefinitions as
// they come and go.

import ClusterClient
import ClusterObjects
import Synchronization

/// A kind as an ownerReference names it, and where it is served.
public struct TrackedResource: Hashable, Sendable {
  public var resource: GroupVersionResource
  public var kind: String
  public var isNamespaced: Bool
  public init(_ resource: GroupVersionResource, kind: String, isNamespaced: Bool = true) {
    self.resource = resource
    self.kind = kind
    self.isNamespaced = isNamespaced
  }

  /// Every built-in kind that is kept, each resource once.
  public static let builtin: [TrackedResource] = {
    // Owners before what they would make again.
    let first: [GroupVersionResource] = [.deployments, .replicaSets, .pods, .services]
    let kinds = KindRegistry.builtin.kinds.filter {
      $0.isStored && $0.supports(verb: "list") && $0.supports(verb: "watch") && $0.supports(verb: "delete")
    }
    var seen: Set<String> = []
    let all = first.compactMap { KindRegistry.builtin[$0] } + kinds
    return all.filter { seen.insert($0.storageName).inserted }
      .map { TrackedResource($0.gvr, kind: $0.kind, isNamespaced: $0.isNamespaced) }
  }()

  /// The kind of a definition that is established; nil for others.
  init?(_ definition: JSON) {
    let definition = CustomResourceDefinition(definition)
    guard definition.isEstablished else { return nil }
    let served = definition.versions.filter { $0["served"]?.bool == true }.compactMap { $0["name"]?.string }
    // Every version shows the same objects; the stored one costs no conversion.
    let version =
      served.contains(definition.storageVersion)
      ? definition.storageVersion : served.min { KubeVersion.isPreferred($0, to: $1) }
    guard let version else { return nil }
    self.init(
      GroupVersionResource(definition.group, version, definition.plural), kind: definition.kind,
      isNamespaced: definition.isNamespaced)
  }
}

extension ControllerContext {
  /// The definitions of custom kinds.
  var definitions: Informer { informers.informer(CustomResourceDefinition.resource) }

  /// Every kind that there is now.
  var trackedResources: [TrackedResource] {
    settings.resources + definitions.snapshot.values.compactMap { TrackedResource($0) }
  }
}
