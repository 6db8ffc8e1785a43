// Everything a node agent is told at start.

import Addresses

/// Names, places and bounds of one node. The defaults are those of `weft up`.
public struct NodeSettings: Sendable {
  public var nodeName: String
  /// The node's own addresses; the first of a family is its InternalIP.
  public var addresses: [IPAddress]
  /// Pods' blocks, as `spec.podCIDRs` says them.
  public var podCIDRs: [IPPrefix] = []
  /// Survives a reboot: pods' volumes, images.
  public var dataDirectory: String
  /// Does not: sockets, containerd's state.
  public var runDirectory: String
  /// Logs of containers: `<logDirectory>/pods/NS_NAME_UID/CTR/N.log`.
  public var logDirectory = "/var/log"
  public var containerd: ContainerdSettings
  /// The network namespace the node is, when it is not the agent's own: containerd runs and probes dial there.
  public var netnsPath: String?
  public var clusterDomain = "cluster.local"
  public var dnsAddresses: [String] = ["10.43.0.10"]
  /// What Default DNS policy gives, and names that are not the cluster's.
  public var resolvConfPath = "/etc/resolv.conf"
  public var cgroupRoot = "/kubepods"
  /// Where seccomp profiles of `type: Localhost` are, as kubelet's users put them.
  public var seccompDirectory = "/var/lib/kubelet/seccomp"
  public var podsMax = 110
  /// Processes and threads of one pod; nil for as many as the machine has.
  public var podPIDsMax: Int?
  /// Pods starting at once; a start is mostly the runtime's work.
  public var startsMax = 8
  /// Images that are pulled at once; nil for as many as there are.
  public var imagePullsMax: Int? = 1
  /// Where the API server reaches the agent for logs, exec, attach and port-forward.
  public var kubeletPort = 10250
  /// Where `/healthz` is answered without asking who it is, on the node's loopback; 0 for nowhere.
  public var healthzPort = 10248
  /// Manifests of pods that run here whatever the API says; nil for none.
  public var staticPodPath: String?
  /// How often they are looked at beside their changes.
  public var staticPodInterval: Duration = .seconds(20)
  /// The same from a server; nil for none.
  public var staticPodURL: ManifestURL?
  /// How often it is asked.
  public var staticPodURLInterval: Duration = .seconds(20)
  /// A log past this is rotated; so many files are kept of one, the newest included.
  public var containerLogMaxBytes: Int64 = 10 << 20
  public var containerLogMaxFiles = 5
  public var containerLogMonitorInterval: Duration = .seconds(10)
  /// Images nobody uses go when their disk is as full as `high`, until it is at `low`.
  public var imageGCPercent = (high: 85, low: 80)
  /// How old a walk over a pod's volumes and logs may be.
  public var diskUsageInterval: Duration = .seconds(30)
  public var eviction = EvictionSettings()
  /// Sysctls that pods may set beyond the safe ones, by name or with `*` at the end.
  public var allowedUnsafeSysctls: [String] = []
  /// A stream of exec, attach or port-forward on which nothing moves is closed after this, as kubelet's
  /// `--streaming-connection-idle-timeout`.
  public var streamingConnectionIdleTimeout: Duration = .seconds(4 * 3600)
  /// Time for a request's head to come, the TLS handshake included.
  public var requestHeadTimeout: Duration = .seconds(32)
  /// PEM of the authority that signs the API server's client certificate. Nil: nothing listens.
  public var clientAuthority: String?
  /// The port's certificate is asked for at the cluster, and again before it ends; until somebody approves it, the agent shows
  /// one of its own.
  public var requestsServingCertificate = false
  public var version = "v1.37.0+weft"
  public var labels: [String: String] = [:]
  public var taints: [(key: String, value: String, effect: String)] = []
  /// Kept from pods for the machine itself, in thousandths: `cpu`, `memory`, `ephemeral-storage`.
  public var reserved: [String: Int64] = [:]
  public var busyboxPath = "/bin/busybox"
  /// First and longest wait before a crashed container starts again.
  public var crashBackoffSeconds: (initial: Int, max: Int) = (10, 300)
  public var relistInterval: Duration = .seconds(10)
  /// How long a Lease says that it is good for.
  public var leaseSeconds = 40
  /// How often it is renewed, and the node's status looked at.
  public var leaseInterval: Duration = .seconds(10)
  /// How often the CNI plugin is told to collect garbage and asked for its status.
  public var networkUpkeepInterval: Duration = .seconds(180)
  /// Where device plugins find `kubelet.sock` and put their own sockets; nil for none. Programs written for kubelet look in
  /// `/var/lib/kubelet/device-plugins`.
  public var devicePluginPath: String?
  /// Where plugins put sockets at which they are asked who they are; nil for nowhere. Programs written for kubelet use
  /// `/var/lib/kubelet/plugins_registry`.
  public var pluginRegistryPath: String?
  /// Where monitoring programs find `kubelet.sock` and ask which pods have which devices; nil for nowhere.
  public var podResourcesPath: String?
  /// Programs that know logins of registries; nil for none.
  public var credentialProviders: CredentialProviderSettings?
  /// How long pods are given when the machine goes down; nil when they are left as they are.
  public var shutdown: ShutdownSettings?

  /// For a machine that is somebody's own: how full its disk is, is not for the cluster to mend.
  public mutating func leaveDiskAlone() {
    eviction.hard.removeAll { $0.signal.pressure == .disk }
    imageGCPercent = (high: 100, low: 100)
  }

  public init(
    nodeName: String, addresses: [IPAddress], dataDirectory: String = "/var/lib/weft",
    runDirectory: String = "/run/weft", netnsPath: String? = nil
  ) {
    self.nodeName = nodeName
    self.addresses = addresses
    self.dataDirectory = dataDirectory
    self.runDirectory = runDirectory
    self.netnsPath = netnsPath
    containerd = ContainerdSettings(dataDirectory: dataDirectory, runDirectory: runDirectory)
    containerd.netnsPath = netnsPath
  }

  public var nodeSocketPath: String { runDirectory + "/node.sock" }
  /// Certificates and keys that outlive the agent.
  public var certificateFolder: String { dataDirectory + "/pki" }
  /// Outlives pods: folders that claims have.
  var volumeDirectory: String { dataDirectory + "/volumes" }
  func podDirectory(_ uid: String) -> String { dataDirectory + "/pods/" + uid }
  func podLogDirectory(_ namespace: String, _ name: String, _ uid: String) -> String {
    "\(logDirectory)/pods/\(namespace)_\(name)_\(uid)"
  }
}
