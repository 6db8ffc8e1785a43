// kubelet's config file: what kubeadm writes, what is taken, what is refused and what is said to have no effect.

import ClusterClient
import ClusterObjects
import Diagnostics
import FuzzLab
import Testing

@testable import ClusterNode

/// As `kubeadm init` leaves it in /var/lib/kubelet/config.yaml.
private let kubeadm = """
  apiVersion: kubelet.config.k8s.io/v1beta1
  authentication:
    anonymous: {enabled: false}
    webhook: {cacheTTL: 0s, enabled: true}
    x509: {clientCAFile: /etc/kubernetes/pki/ca.crt}
  authorization: {mode: Webhook, webhook: {cacheAuthorizedTTL: 0s, cacheUnauthorizedTTL: 0s}}
  cgroupDriver: systemd
  clusterDNS: [10.96.0.10]
  clusterDomain: cluster.local
  containerRuntimeEndpoint: ""
  cpuManagerReconcilePeriod: 0s
  crashLoopBackOff: {}
  evictionPressureTransitionPeriod: 0s
  fileCheckFrequency: 0s
  healthzBindAddress: 127.0.0.1
  healthzPort: 10248
  httpCheckFrequency: 0s
  imageMaximumGCAge: 0s
  imageMinimumGCAge: 0s
  kind: KubeletConfiguration
  logging: {flushFrequency: 0, options: {json: {infoBufferSize: "0"}, text: {infoBufferSize: "0"}}, verbosity: 0}
  memorySwap: {}
  nodeStatusReportFrequency: 0s
  nodeStatusUpdateFrequency: 0s
  resolvConf: /run/systemd/resolve/resolv.conf
  rotateCertificates: true
  runtimeRequestTimeout: 0s
  shutdownGracePeriod: 0s
  shutdownGracePeriodCriticalPods: 0s
  staticPodPath: /etc/kubernetes/manifests
  streamingConnectionIdleTimeout: 0s
  syncFrequency: 0s
  volumeStatsAggPeriod: 0s
  """

private let head = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"

private func read(_ text: String) throws -> KubeletConfiguration {
  try KubeletConfiguration(try YAML.parse(text), path: "kubelet.yaml")
}

private func settings(_ text: String) throws -> NodeSettings {
  var settings = NodeSettings(nodeName: "n", addresses: [])
  try read(head + text).apply(to: &settings)
  return settings
}

@Suite struct KubeletConfigurationTests {
  @Test func `a server of manifests is asked as often and with what the file says`() throws {
    let found = try settings(
      "staticPodURL: https://m.example:8443/pods\nstaticPodURLHeader: {X-Token: [a, b]}\nhttpCheckFrequency: 1m\n"
    )
    #expect(
      found.staticPodURL
        == ManifestURL(
          "https://m.example:8443/pods", headers: [("X-Token", "a"), ("X-Token", "b")]))
    #expect(found.staticPodURLInterval == .seconds(60))
    #expect(try settings("").staticPodURL == nil)
    #expect(throws: WeftError.self) { try settings("staticPodURL: pods.yaml\n") }
  }

  @Test func `the file that kubeadm writes is taken, and what of it has no effect is said`() throws {
    let file = try read(kubeadm)
    #expect(
      file.warnings.sorted() == [
        "authentication.x509.clientCAFile has no effect: the authority of the kubeconfig is believed",
        "cgroupDriver has no effect: control groups are made without systemd",
      ])
    #expect(file.rotatesClientCertificate)
    var settings = NodeSettings(nodeName: "n", addresses: [])
    file.apply(to: &settings)
    #expect(settings.dnsAddresses == ["10.96.0.10"] && settings.staticPodPath == "/etc/kubernetes/manifests")
    #expect(settings.resolvConfPath == "/run/systemd/resolve/resolv.conf" && settings.shutdown == nil)
    // Zero is the default.
    #expect(settings.staticPodInterval == .seconds(20) && settings.eviction == EvictionSettings())
    #expect(settings.streamingConnectionIdleTimeout == .seconds(4 * 3600))
  }

  @Test func `each field that is read sets what it says`() throws {
    let all = try settings(
      """
      maxPods: 20
      port: 10350
      healthzPort: 0
      podLogsDir: /srv/log/pods/
      imageGCHighThresholdPercent: 70
      imageGCLowThresholdPercent: 60
      containerLogMaxSize: 5Mi
      containerLogMaxFiles: 3
      containerLogMonitorInterval: 30s
      allowedUnsafeSysctls: [net.core.*]
      evictionHard: {memory.available: 200Mi, nodefs.available: 100%}
      mergeDefaultEvictionSettings: true
      evictionSoft: {memory.available: 300Mi}
      evictionSoftGracePeriod: {memory.available: 1m30s}
      evictionPressureTransitionPeriod: 1m
      evictionMaxPodGracePeriod: 20
      shutdownGracePeriod: 30s
      shutdownGracePeriodCriticalPods: 10s
      crashLoopBackOff: {maxContainerRestartPeriod: 60s}
      registerWithTaints: [{key: k, value: v, effect: NoSchedule}]
      systemReserved: {cpu: 250m, memory: 100Mi}
      kubeReserved: {memory: 28Mi}
      streamingConnectionIdleTimeout: 10m
      serverTLSBootstrap: true
      """)
    #expect(all.podsMax == 20 && all.kubeletPort == 10_350 && all.healthzPort == 0)
    #expect(all.logDirectory == "/srv/log" && all.imageGCPercent == (high: 70, low: 60))
    #expect(all.containerLogMaxBytes == 5 << 20 && all.containerLogMaxFiles == 3)
    #expect(all.containerLogMonitorInterval == .seconds(30) && all.allowedUnsafeSysctls == ["net.core.*"])
    // Set here, switched off here, and the rest as it is.
    #expect(all.eviction.hard.first == EvictionThreshold(.memoryAvailable, .quantity(200 << 20)))
    #expect(
      Set(all.eviction.hard.map(\.signal)) == [
        .memoryAvailable, .nodefsInodesFree, .imagefsAvailable, .imagefsInodesFree,
      ])
    #expect(
      all.eviction.soft == [EvictionThreshold(.memoryAvailable, .quantity(300 << 20), graceSeconds: 90)])
    #expect(all.eviction.transitionSeconds == 60 && all.eviction.podGraceSecondsMax == 20)
    #expect(all.shutdown == ShutdownSettings(seconds: 30, criticalSeconds: 10))
    #expect(all.crashBackoffSeconds == (10, 60) && all.taints.map(\.key) == ["k"])
    #expect(all.reserved == ["cpu": 250, "memory": (128 << 20) * 1000])
    #expect(all.streamingConnectionIdleTimeout == .seconds(600) && all.requestsServingCertificate)
    let machine = MachineInfo(
      cpus: 2, memoryBytes: 1 << 30, memoryAvailableBytes: 0, diskBytes: 0, diskFreeBytes: 0, machineID: "",
      bootID: "", kernelVersion: "", osImage: "", runtimeVersion: "")
    let status = planNodeStatus(
      all, machine, planNodeHealth(failure: nil, []), images: [], old: .null, now: "t",
      extended: ExtendedResources(capacity: ["example.com/x": 2], allocatable: ["example.com/x": 1]))
    #expect(status.at("allocatable", "cpu") == "1750m" && status.at("capacity", "cpu") == "2")
    #expect(status.at("allocatable", "memory") == "815104Ki")
    #expect(status.at("capacity", "example.com/x") == "2" && status.at("allocatable", "example.com/x") == "1")
  }

  @Test(
    arguments: [
      ("", 1), ("serializeImagePulls: true", 1), ("serializeImagePulls: false", nil),
      ("maxParallelImagePulls: 4", 4), ("serializeImagePulls: false\nmaxParallelImagePulls: 3", 3),
      ("serializeImagePulls: false\nmaxParallelImagePulls: 1", 1),
      ("serializeImagePulls: true\nmaxParallelImagePulls: 1", 1),
    ] as [(String, Int?)])
  func `images come one by one unless the file says otherwise`(text: String, count: Int?) throws {
    let settings = try settings(text)
    #expect(settings.imagePullsMax == count)
    let shown = planConfigz(settings)
    #expect(shown["serializeImagePulls"] == JSON(count == 1))
    #expect(shown["maxParallelImagePulls"]?.int == count)
  }

  @Test func `a Lease is renewed four times in its length`() throws {
    #expect(try settings("").leaseInterval == .seconds(10) && settings("").leaseSeconds == 40)
    let short = try settings("nodeLeaseDurationSeconds: 6")
    #expect(short.leaseSeconds == 6 && short.leaseInterval == .milliseconds(1500))
  }

  @Test func `groups by priority are read`() throws {
    let settings = try settings(
      "shutdownGracePeriodByPodPriority:\n- {priority: 1000, shutdownGracePeriodSeconds: 5}\n"
        + "- {priority: 0, shutdownGracePeriodSeconds: 50}\n")
    #expect(settings.shutdown?.periods.map(\.seconds) == [50, 5])
  }

  @Test(arguments: [
    ("maxPods: many", "maxPods must be a number from 1 to 100000"), ("port: 70000", "port must be a number"),
    ("evictionHard: {memory.available: lots}", "evictionHard: memory.available: lots is no threshold"),
    ("evictionHard: {memory.free: 1Mi}", "evictionHard: memory.free: 1Mi is no threshold"),
    ("evictionSoft: {memory.available: 1Mi}", "evictionSoft: memory.available has no grace period"),
    ("syncFrequency: 1m\nfileCheckFrequency: soon", "fileCheckFrequency: \"soon\" is no duration"),
    (
      "shutdownGracePeriod: 10s\nshutdownGracePeriodCriticalPods: 20s",
      "must not be more than shutdownGracePeriod"
    ),
    ("shutdownGracePeriodCriticalPods: 20s", "needs a shutdownGracePeriod"),
    ("crashLoopBackOff: {maxContainerRestartPeriod: 1h}", "is not between 1s and 300s"),
    ("clusterDNS: 10.0.0.1", "clusterDNS must be a list of strings"),
    ("imageGCHighThresholdPercent: 50\nimageGCLowThresholdPercent: 60", "must be less than"),
    ("podLogsDir: /srv/log", "must be an absolute path that ends with /pods"),
    ("maxParallelImagePulls: 0", "maxParallelImagePulls must be a number greater than 0"),
    (
      "serializeImagePulls: true\nmaxParallelImagePulls: 2",
      "maxParallelImagePulls cannot be larger than 1 unless serializeImagePulls is false"
    ),
    ("nodeLeaseDurationSeconds: soon", "nodeLeaseDurationSeconds must be a number"),
  ])
  func `a value that cannot be is refused by its field`(text: String, words: String) throws {
    let error = #expect(throws: WeftError.self) { try read(head + text) }
    #expect(error?.code == "NOD0031" && error?.cause.contains(words) == true, "\(String(describing: error))")
  }

  @Test func `a field that nobody knows, and one that has no effect, are warnings`() throws {
    let file = try read(
      head + "maxPod: 3\ncpuManagerPolicy: static\nreadOnlyPort: 10255\nenableServer: true\n")
    #expect(
      file.warnings.sorted() == [
        "cpuManagerPolicy has no effect: this node does not do it",
        "readOnlyPort has no effect: there is no port without authentication", "unknown field \"maxPod\"",
      ])
    #expect(throws: WeftError.self) { try read("kind: KubeletConfiguration\napiVersion: v1\n") }
  }

  @Test func `no file, however broken, ends the agent`() {
    for bytes in mutations(of: Array((head + kubeadm).utf8), count: 300, seed: 11) {
      guard let tree = try? YAML.parse(String(decoding: bytes, as: UTF8.self)) else { continue }
      _ = try? KubeletConfiguration(tree, path: "f")
    }
  }
}
