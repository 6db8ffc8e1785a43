// KubeSchedulerConfiguration (kubescheduler.config.k8s.io/v1) as values. `SchedulerConfiguration+Read`
// reads it from a file, `SchedulerConfiguration+Write` writes it with all defaults.

import ClusterObjects

public struct SchedulerConfiguration: Sendable, Equatable {
  public static let apiVersion = "kubescheduler.config.k8s.io/v1"
  public static let kind = "KubeSchedulerConfiguration"

  public var profiles = [ProfileConfiguration()]
  public var extenders: [ExtenderConfiguration] = []
  /// Read and kept; decisions are made one after the other here.
  public var parallelism = 16
  /// 0: computed from the number of nodes.
  public var percentageOfNodesToScore = 0
  public var podInitialBackoffSeconds = 1
  public var podMaxBackoffSeconds = 10
  public var leaderElection = LeaderElectionConfiguration()
  public var clientConnection = ClientConnectionConfiguration()
  public var enableProfiling = true
  public var enableContentionProfiling = true
  public var delayCacheUntilActive = false
  public init() {}
}

public struct ProfileConfiguration: Sendable, Equatable {
  public var schedulerName = "default-scheduler"
  public var percentageOfNodesToScore: Int?
  /// By extension point, in the file's spelling: `filter`, `score`, `multiPoint`.
  public var plugins: [String: PluginSetConfiguration] = [:]
  /// Arguments by plugin.
  public var pluginArguments: [String: JSON] = [:]
  public init(schedulerName: String = "default-scheduler") { self.schedulerName = schedulerName }
}

public struct PluginSetConfiguration: Sendable, Equatable {
  public var enabled: [EnabledPlugin] = []
  /// `*` disables all.
  public var disabled: [String] = []
  public init() {}
}

public struct EnabledPlugin: Sendable, Equatable {
  public var name: String
  /// 0: the plugin's own.
  public var weight: Int
  public init(_ name: String, weight: Int = 0) {
    self.name = name
    self.weight = weight
  }
}

public struct LeaderElectionConfiguration: Sendable, Equatable {
  public var leaderElect = true
  public var leaseDuration: Duration = .seconds(15)
  public var renewDeadline: Duration = .seconds(10)
  public var retryPeriod: Duration = .seconds(2)
  public var resourceLock = "leases"
  public var resourceName = "kube-scheduler"
  public var resourceNamespace = "kube-system"
  public init() {}
}

public struct ClientConnectionConfiguration: Sendable, Equatable {
  public var kubeconfig = ""
  public var acceptContentTypes = ""
  public var contentType = "application/vnd.kubernetes.protobuf"
  public var qps = 50
  public var burst = 100
  public init() {}
}

public struct ExtenderConfiguration: Sendable, Equatable {
  public var urlPrefix = ""
  public var filterVerb = ""
  public var preemptVerb = ""
  public var prioritizeVerb = ""
  public var bindVerb = ""
  public var weight = 0
  public var enableHTTPS = false
  public var skipsVerification = false
  public var serverName = ""
  /// PEM.
  public var certificateAuthority: [UInt8]?
  public var clientCertificate: [UInt8]?
  public var clientKey: [UInt8]?
  public var httpTimeout: Duration = .seconds(5)
  public var nodeCacheCapable = false
  /// Only pods that ask for one of these are its business; empty: all.
  public var managedResources: [String] = []
  /// Of these, what `NodeResourcesFit` leaves to it.
  public var ignoredByScheduler: [String] = []
  public var ignorable = false
  public init() {}
}
