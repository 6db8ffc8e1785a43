// Prefers nodes that have the pod's images already, the more the larger they are.

import ClusterObjects

public struct ImageLocality: ScorePlugin {
  static let leastBytes: Int64 = 23 << 20
  static let mostBytesOfAContainer: Int64 = 1000 << 20
  public let name = "ImageLocality"
  public init() {}

  public func preScore(_ pod: PodInfo, _ nodes: [NodeInfo], _ cluster: ClusterState) -> (any NodeScorer)? {
    if cluster.imageNodes.isEmpty { return nil }
    let names = pod.images.map(Self.normalized)
    let spread = names.map { Double(cluster.imageNodes[$0] ?? 0) / Double(max(1, cluster.nodes.count)) }
    return spread.allSatisfy { $0 == 0 } ? nil : Present(images: names, spread: spread)
  }

  /// With `:latest` when it has neither tag nor digest.
  static func normalized(_ image: String) -> String {
    let last = image.split(separator: "/").last ?? ""
    return last.contains(":") || last.contains("@") ? image : image + ":latest"
  }

  private struct Present: NodeScorer {
    var images: [String]
    /// The share of all nodes that has each image: one that is on few nodes draws less, so that they do not
    /// get every pod.
    var spread: [Double]

    func score(_ node: NodeInfo) -> Int64 {
      var bytes: Int64 = 0
      for (image, share) in zip(images, spread) {
        if let size = node.facts.images[image] { bytes = sum(bytes, Int64(Double(size) * share)) }
      }
      let most = mostBytesOfAContainer * Int64(images.count)
      let counted = min(max(bytes, leastBytes), most)
      return nodeScoreMax * (counted - leastBytes) / (most - leastBytes)
    }
  }
}
