// How long pulls take, under kubelet's name and its classes of size.

import Diagnostics

struct PullMetrics: Sendable {
  private let duration: MetricFamily<Histogram>
  /// The least size of a class in bytes, and its name.
  private static let sizes: [(least: UInt64, name: String)] = {
    let mega: UInt64 = 1024 * 1024
    let giga = 1024 * mega
    return [
      (100 * giga, "GT100GB"), (60 * giga, "60GB-100GB"), (40 * giga, "40GB-60GB"), (30 * giga, "30GB-40GB"),
      (20 * giga, "20GB-30GB"), (10 * giga, "10GB-20GB"), (5 * giga, "5GB-10GB"), (giga, "1GB-5GB"),
      (500 * mega, "500MB-1GB"), (100 * mega, "100MB-500MB"), (10 * mega, "10MB-100MB"), (0, "0-10MB"),
    ]
  }()

  init(_ metrics: Metrics) {
    duration = metrics.histogram(
      "kubelet_image_pull_duration_seconds", "Time to pull an image, by its size.",
      labels: ["image_size_in_bytes"],
      bounds: [1, 5, 10, 20, 30, 60, 180, 300, 600, 900, 1200, 1800, 2700, 3600])
  }

  /// The class of a size; nil is one that is not known.
  static func sizeClass(_ bytes: UInt64?) -> String {
    guard let bytes, bytes > 0 else { return "N/A" }
    return sizes.first { bytes > $0.least }?.name ?? "N/A"
  }

  func observe(_ time: Duration, bytes: UInt64?) { duration.child(Self.sizeClass(bytes)).observe(time) }
}
