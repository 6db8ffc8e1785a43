// The fields of a `KubeletConfiguration` (kubelet.config.k8s.io/v1beta1, as of 1.37): which this node reads, and what the others
// have to say for nothing to be missed.

import ClusterObjects

enum KubeletConfigurationFields {
  /// Read by `KubeletConfiguration`.
  static let read: Set<String> = [
    "apiVersion", "kind", "staticPodPath", "fileCheckFrequency", "staticPodURL", "staticPodURLHeader",
    "httpCheckFrequency", "podLogsDir", "port", "healthzPort",
    "clusterDomain", "clusterDNS", "streamingConnectionIdleTimeout", "imageGCHighThresholdPercent",
    "imageGCLowThresholdPercent", "volumeStatsAggPeriod", "maxPods", "podPidsLimit", "resolvConf",
    "evictionHard",
    "evictionSoft",
    "evictionSoftGracePeriod", "evictionPressureTransitionPeriod", "evictionMaxPodGracePeriod",
    "mergeDefaultEvictionSettings", "containerLogMaxSize", "containerLogMaxFiles",
    "containerLogMonitorInterval",
    "allowedUnsafeSysctls", "shutdownGracePeriod", "shutdownGracePeriodCriticalPods",
    "shutdownGracePeriodByPodPriority", "crashLoopBackOff", "registerWithTaints", "systemReserved",
    "kubeReserved",
    "rotateCertificates", "serverTLSBootstrap", "authentication", "authorization", "serializeImagePulls",
    "maxParallelImagePulls", "nodeLeaseDurationSeconds",
  ]

  /// Known, and not what this node does by itself, with the values that ask for nothing else. What is empty, zero or false
  /// asks for the default, as kubelet reads it.
  static let fixed: [String: [JSON]] = [
    "enableServer": [true], "syncFrequency": ["1m", "1m0s"], "address": ["0.0.0.0", "::"], "readOnlyPort": [],
    "tlsCertFile": [],
    "tlsPrivateKeyFile": [], "tlsCipherSuites": [], "tlsCurvePreferences": [],
    "tlsMinVersion": ["VersionTLS12"],
    "registryPullQPS": [5], "registryBurst": [10], "imagePullCredentialsVerificationPolicy": ["NeverVerify"],
    "preloadedImagesVerificationAllowlist": [], "eventRecordQPS": [50], "eventBurst": [100],
    "enableDebuggingHandlers": [true], "enableContentionProfiling": [], "healthzBindAddress": ["127.0.0.1"],
    "oomScoreAdj": [-999], "nodeStatusUpdateFrequency": ["10s"], "nodeStatusReportFrequency": ["5m", "5m0s"],
    "imageMinimumGCAge": ["2m", "2m0s"], "imageMaximumGCAge": [],
    "kubeletCgroups": [], "systemCgroups": [], "cgroupRoot": ["/"], "cgroupsPerQOS": [true],
    "cgroupDriver": ["cgroupfs"], "cpuManagerPolicy": ["none", "None"], "singleProcessOOMKill": [],
    "cpuManagerPolicyOptions": [], "cpuManagerReconcilePeriod": ["10s"],
    "memoryManagerPolicy": ["None", "none"],
    "topologyManagerPolicy": ["none"], "topologyManagerScope": ["container"],
    "topologyManagerPolicyOptions": [],
    "qosReserved": [], "runtimeRequestTimeout": ["2m", "2m0s"],
    "hairpinMode": ["promiscuous-bridge", "hairpin-veth"],
    "podCIDR": [], "runOnce": [], "cpuCFSQuota": [true], "cpuCFSQuotaPeriod": ["100ms"],
    "nodeStatusMaxImages": [50], "maxOpenFiles": [1_000_000],
    "contentType": ["application/vnd.kubernetes.protobuf", "application/json"], "kubeAPIQPS": [50],
    "kubeAPIBurst": [100], "evictionMinimumReclaim": [],
    "podsPerCore": [], "enableControllerAttachDetach": [true], "protectKernelDefaults": [],
    "makeIPTablesUtilChains": [true], "iptablesMasqueradeBit": [14], "iptablesDropBit": [15],
    "featureGates": [],
    "failSwapOn": [], "memorySwap": [], "containerLogMaxWorkers": [1],
    "configMapAndSecretChangeDetectionStrategy": ["Watch"], "reservedSystemCPUs": [],
    "showHiddenMetricsForVersion": [], "systemReservedCgroup": [], "kubeReservedCgroup": [],
    "enforceNodeAllocatable": [["pods"], ["none"]], "defaultPodSysctls": [],
    "volumePluginDir": ["/usr/libexec/kubernetes/kubelet-plugins/volume/exec/"], "providerID": [],
    "kernelMemcgNotification": [], "logging": [], "enableSystemLogHandler": [true],
    "enableSystemLogQuery": [],
    "reservedMemory": [], "enableProfilingHandler": [], "enableDebugFlagsHandler": [], "seccompDefault": [],
    "memoryThrottlingFactor": [], "memoryReservationPolicy": ["None"], "registerNode": [true], "tracing": [],
    "localStorageCapacityIsolation": [true], "containerRuntimeEndpoint": [], "imageServiceEndpoint": [],
    "failCgroupV1": [], "userNamespaces": [],
  ]

  /// Why a field has no effect, where its name does not say it.
  static let reasons: [String: String] = [
    "containerRuntimeEndpoint": "this node starts a containerd of its own",
    "imageServiceEndpoint": "this node starts a containerd of its own",
    "cgroupDriver": "control groups are made without systemd",
    "readOnlyPort": "there is no port without authentication",
    "hairpinMode": "the node's own network has it always",
    "podCIDR": "the control plane gives it, or --pod-cidr",
    "configMapAndSecretChangeDetectionStrategy": "objects are watched",
    "featureGates": "features are not switched one by one", "logging": "-v and --log-format say it",
    "tlsCertFile": "the node makes its own certificate, or asks the cluster for one with serverTLSBootstrap",
    "tlsPrivateKeyFile":
      "the node makes its own certificate, or asks the cluster for one with serverTLSBootstrap",
    "failSwapOn": "swap is neither asked for nor refused",
  ]

  /// Whether a value asks for nothing: what a field that was left out means.
  static func isEmpty(_ value: JSON) -> Bool {
    switch value {
    case .null: true
    case .string(let text): text.isEmpty || text == "0s" || text == "0"
    case .bool(let value): !value
    case .integer(let value): value == 0
    case .array(let elements): elements.isEmpty
    case .object(let members): members.isEmpty || members.allSatisfy { isEmpty($0.value) }
    default: false
    }
  }
}
