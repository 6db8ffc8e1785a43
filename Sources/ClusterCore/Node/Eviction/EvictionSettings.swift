// When a node is short of something: thresholds as kubelet's `--eviction-hard` and `--eviction-soft` write them. Pure.

import ClusterObjects

/// What is looked at.
public enum EvictionSignal: String, Sendable, Hashable, CaseIterable {
  case memoryAvailable = "memory.available"
  case nodefsAvailable = "nodefs.available"
  case nodefsInodesFree = "nodefs.inodesFree"
  case imagefsAvailable = "imagefs.available"
  case imagefsInodesFree = "imagefs.inodesFree"
  case pidAvailable = "pid.available"

  /// The word of messages.
  var resource: String {
    switch self {
    case .memoryAvailable: "memory"
    case .nodefsAvailable, .imagefsAvailable: "ephemeral-storage"
    case .nodefsInodesFree, .imagefsInodesFree: "inodes"
    case .pidAvailable: "pids"
    }
  }

  var pressure: NodePressure {
    switch self {
    case .memoryAvailable: .memory
    case .pidAvailable: .pid
    default: .disk
    }
  }
}

/// A condition of the node.
enum NodePressure: String, Sendable, Hashable, CaseIterable {
  case memory = "MemoryPressure"
  case disk = "DiskPressure"
  case pid = "PIDPressure"
}

/// An amount, or a part of the whole.
public enum EvictionAmount: Sendable, Hashable, CustomStringConvertible {
  case quantity(Int64)
  case percent(Double)

  /// `100Mi` or `10%`; nil for anything else.
  public init?(_ text: String) {
    if text.hasSuffix("%") {
      guard let value = Double(text.dropLast()), value >= 0, value <= 100 else { return nil }
      self = .percent(value)
    } else {
      guard let value = Amount.units(text), value >= 0 else { return nil }
      self = .quantity(value)
    }
  }

  public var description: String {
    switch self {
    case .quantity(let value): evictionText(value)
    case .percent(let value): MetricText.number(value) + "%"
    }
  }

  func amount(of capacity: Int64) -> Int64 {
    switch self {
    case .quantity(let value): value
    case .percent(let value): Int64(Double(capacity) * value / 100)
    }
  }
}

public struct EvictionThreshold: Sendable, Hashable {
  public var signal: EvictionSignal
  public var value: EvictionAmount
  /// How long a soft threshold must be crossed; 0 for a hard one.
  public var graceSeconds: Int64

  public init(_ signal: EvictionSignal, _ value: EvictionAmount, graceSeconds: Int64 = 0) {
    self.signal = signal
    self.value = value
    self.graceSeconds = graceSeconds
  }
}

public struct EvictionSettings: Sendable, Hashable {
  public var hard: [EvictionThreshold] = [
    EvictionThreshold(.memoryAvailable, .quantity(100 << 20)),
    EvictionThreshold(.nodefsAvailable, .percent(10)), EvictionThreshold(.nodefsInodesFree, .percent(5)),
    EvictionThreshold(.imagefsAvailable, .percent(15)), EvictionThreshold(.imagefsInodesFree, .percent(5)),
  ]
  public var soft: [EvictionThreshold] = []
  /// A condition stays so long after its threshold was last crossed, so that it does not flap.
  public var transitionSeconds: Int64 = 300
  /// What a pod evicted by a soft threshold gets at most.
  public var podGraceSecondsMax = 0
  public var interval: Duration = .seconds(10)
  public init() {}
}

/// Bytes as Kubernetes writes them: `100Mi`, `53248Ki`, `17`.
func evictionText(_ bytes: Int64) -> String {
  for (suffix, unit) in [("Gi", Int64(1) << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)]
  where bytes > 0 && bytes % unit == 0 { return "\(bytes / unit)\(suffix)" }
  return "\(bytes)"
}
