// KubeSchedulerConfiguration: what is read, what is refused, and what profiles come to.

import ClusterClient
import ClusterObjects
import Diagnostics
import Testing

@testable import ClusterScheduler

@Suite struct ConfigurationTests {
  private func read(_ body: String) throws(WeftError) -> SchedulerConfiguration {
    try SchedulerConfiguration(
      parsing: "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n" + body,
      file: "f.yaml")
  }
  private func refusal(_ body: String) -> String {
    do {
      let configuration = try read(body)
      var settings = SchedulerSettings()
      settings.configuration = configuration
      try settings.validate()
      return "accepted"
    } catch { return error.description }
  }

  @Test func `a whole file is read`() throws {
    let configuration = try read(
      """
      parallelism: 8
      percentageOfNodesToScore: 30
      podInitialBackoffSeconds: 2
      podMaxBackoffSeconds: 20
      leaderElection: {leaderElect: false, leaseDuration: 1m0s, resourceName: mine}
      clientConnection: {kubeconfig: /etc/k, qps: 7}
      profiles:
      - schedulerName: first
        percentageOfNodesToScore: 40
        plugins:
          multiPoint: {enabled: [{name: NodeResourcesFit, weight: 7}]}
          score: {disabled: [{name: ImageLocality}]}
        pluginConfig:
        - name: NodeResourcesFit
          args:
            apiVersion: kubescheduler.config.k8s.io/v1
            kind: NodeResourcesFitArgs
            scoringStrategy:
              type: RequestedToCapacityRatio
              resources: [{name: cpu, weight: 3}]
              requestedToCapacityRatio: {shape: [{utilization: 0, score: 0}, {utilization: 100, score: 10}]}
      - schedulerName: second
        plugins:
          filter: {disabled: [{name: "*"}], enabled: [{name: NodePorts}]}
      extenders:
      - urlPrefix: http://127.0.0.1:9/x
        filterVerb: filter
        httpTimeout: 250ms
        managedResources: [{name: example.com/foo, ignoredByScheduler: true}]
        ignorable: true
      """)
    #expect(configuration.parallelism == 8 && configuration.podMaxBackoffSeconds == 20)
    #expect(!configuration.leaderElection.leaderElect)
    #expect(configuration.leaderElection.leaseDuration == .seconds(60))
    #expect(configuration.clientConnection.qps == 7)
    #expect(configuration.extenders[0].httpTimeout == .milliseconds(250))
    #expect(configuration.extenders[0].ignoredByScheduler == ["example.com/foo"])
    let context = PluginContext()
    let first = try PluginRegistry.standard.build(configuration.profiles[0], configuration, context)
    #expect(first.percentageOfNodesToScore == 40)
    #expect(!first.scores.contains { $0.plugin.name == "ImageLocality" })
    let fit = try #require(first.scores.first { $0.plugin.name == "NodeResourcesFit" })
    #expect(fit.weight == 7)
    let plugin = try #require(fit.plugin as? NodeResourcesFit)
    #expect(plugin.resources == [ResourceWeight("cpu", 3)])
    #expect(
      plugin.strategy
        == .requestedToCapacityRatio([
          UtilizationPoint(utilization: 0, score: 0), UtilizationPoint(utilization: 100, score: 10),
        ]))
    #expect(plugin.ignoredResources == ["example.com/foo"])
    let second = try PluginRegistry.standard.build(configuration.profiles[1], configuration, context)
    #expect(second.filters.map(\.name) == ["NodePorts"] && second.percentageOfNodesToScore == 30)
    #expect(second.scores.count == 7)
  }

  @Test func `the defaults are upstream's plugins and weights`() throws {
    let profile = try standardProfile()
    #expect(
      profile.scores.map { "\($0.plugin.name) \($0.weight)" } == [
        "TaintToleration 3", "NodeAffinity 2", "NodeResourcesFit 1", "PodTopologySpread 2",
        "InterPodAffinity 2", "NodeResourcesBalancedAllocation 1", "ImageLocality 1",
      ])
    #expect(
      profile.filters.map(\.name) == [
        "NodeUnschedulable", "NodeName", "TaintToleration", "NodeAffinity", "NodePorts", "NodeResourcesFit",
        "VolumeRestrictions", "NodeVolumeLimits", "VolumeBinding", "VolumeZone", "PodTopologySpread",
        "InterPodAffinity",
      ])
    #expect(profile.binds.map(\.name) == ["DefaultBinder"])
    #expect(profile.postFilters.map(\.name) == ["DefaultPreemption"])
  }

  @Test(arguments: [
    ("paralelism: 3", "unknown field \"paralelism\""),
    ("profiles: [{schedulerNam: x}]", "unknown field \"profiles[0].schedulerNam\""),
    ("profiles: [{plugins: {filters: {}}}]", "unknown field \"profiles[0].plugins.filters\""),
    ("parallelism: many", "parallelism: must be an integer"),
    ("percentageOfNodesToScore: 101", "must be in the range 0-100"),
    ("podInitialBackoffSeconds: 20", "must be greater than or equal to PodInitialBackoffSeconds"),
    ("leaderElection: {leaseDuration: 5}", "leaderElection.leaseDuration: must be a string"),
    ("leaderElection: {leaseDuration: 5s}", "LeaseDuration must be greater than RenewDeadline"),
    (
      "profiles: [{schedulerName: a}, {schedulerName: a}]",
      "profiles[1].schedulerName: Duplicate value: \"a\""
    ),
    ("extenders: [{filterVerb: f}]", "extenders[0].urlPrefix: Required value"),
    ("extenders: [{urlPrefix: u, prioritizeVerb: p}]", "must have a positive weight"),
    ("profiles: [{pluginConfig: [{name: Nope, args: {}}]}]", "SCH0002"),
    ("profiles: [{plugins: {multiPoint: {enabled: [{name: Nope}]}}}]", "there is no plugin Nope"),
    ("profiles: [{plugins: {score: {enabled: [{name: NodeName}]}}}]", "does not take part in score"),
    ("profiles: [{plugins: {bind: {disabled: [{name: '*'}]}}}]", "at least one bind plugin"),
    (
      "profiles: [{pluginConfig: [{name: InterPodAffinity, args: {hardPodAffinityWeigh: 3}}]}]",
      "unknown field \"hardPodAffinityWeigh\""
    ),
    ("algorithmSource: {provider: DefaultProvider}", "algorithmSource ended with Kubernetes 1.23"),
  ])
  func `a mistake is refused by its place`(body: String, words: String) {
    #expect(refusal(body).contains(words), "\(refusal(body))")
  }

  @Test func `another version or kind is refused`() {
    #expect(throws: WeftError.self) {
      try SchedulerConfiguration(
        parsing: "apiVersion: kubescheduler.config.k8s.io/v1beta2\nkind: KubeSchedulerConfiguration",
        file: "f")
    }
    #expect(throws: WeftError.self) { try SchedulerConfiguration(parsing: "kind: Policy", file: "f") }
    #expect(throws: WeftError.self) { try SchedulerConfiguration(parsing: "- a\n- b", file: "f") }
  }

  @Test func `what is written reads back as the same`() throws {
    let configuration = try read(
      """
      podMaxBackoffSeconds: 30
      profiles:
      - schedulerName: mine
        plugins: {score: {disabled: [{name: ImageLocality}], enabled: [{name: NodeAffinity, weight: 9}]}}
        pluginConfig: [{name: NodeResourcesFit, args: {scoringStrategy: {type: MostAllocated}}}]
      extenders: [{urlPrefix: "http://127.0.0.1:9", filterVerb: f, prioritizeVerb: p, weight: 3}]
      """)
    let again = try SchedulerConfiguration(parsing: configuration.yaml(), file: "f")
    #expect(again == configuration)
    let standard = try SchedulerConfiguration(parsing: SchedulerConfiguration().yaml(), file: "f")
    #expect(standard == SchedulerConfiguration())
  }

  @Test func `text that was damaged is refused or read, and never traps`() throws {
    let text = try read(
      "profiles: [{schedulerName: a, plugins: {score: {enabled: [{name: NodeAffinity, weight: 2}]}}}]"
    )
    .yaml()
    var random = Dice(seed: 42)
    for _ in 0..<400 {
      var bytes = Array(text.utf8)
      for _ in 0..<Int.random(in: 1...6, using: &random) {
        let place = Int.random(in: 0..<bytes.count, using: &random)
        switch Int.random(in: 0..<3, using: &random) {
        case 0: bytes[place] = UInt8.random(in: 0...255, using: &random)
        case 1: bytes.remove(at: place)
        default: bytes.insert(contentsOf: bytes[place..<min(bytes.count, place + 9)], at: place)
        }
      }
      _ = try? SchedulerConfiguration(parsing: String(decoding: bytes, as: UTF8.self), file: "f")
    }
  }
}
