// The signal by which a container is ended, and the name of its pod: what is asked of the runtime and told in the status.

import ClusterObjects
import Testing

@testable import ClusterNode

@Suite struct StopSignalTests {
  private func spec(_ container: JSON, _ more: [String: JSON] = [:]) -> PodSpec {
    var spec: JSON = ["containers": [container]]
    for (key, value) in more { spec[key] = value }
    return PodSpec(["metadata": ["name": "p", "namespace": "d", "uid": "u"], "spec": spec])
  }

  @Test func `every name is a signal of the kernel's and has its place in the runtime's list`() throws {
    for (name, number, place) in [
      ("SIGABRT", 6, 1), ("SIGTERM", 15, 23), ("SIGXFSZ", 25, 34), ("SIGRTMIN", 34, 35),
      ("SIGRTMIN+3", 37, 38),
      ("SIGRTMAX-14", 50, 51), ("SIGRTMAX-1", 63, 64), ("SIGRTMAX", 64, 65),
    ] {
      let signal = try #require(ContainerSignal(name))
      #expect(Int(signal.number) == number && Int(signal.runtimeNumber) == place, "\(name)")
    }
    for name in Names.stopSignals { #expect(ContainerSignal(name)?.runtimeNumber ?? 0 > 0, "\(name)") }
    for name in ["", "TERM", "SIGRTMIN+16", "SIGRTMAX-15", "SIGRTMIN+", "SIGRTMIN+-1", "15"] {
      #expect(ContainerSignal(name) == nil)
    }
  }

  @Test func `the runtime is asked for it, and the status says it`() throws {
    let spec = spec(["name": "c", "image": "i", "lifecycle": ["stopSignal": "SIGUSR1"]])
    let container = try #require(spec.containers.first)
    let config = planContainer(
      container, spec,
      ContainerInputs(
        attempt: 0, environment: [], mounts: [], memoryCapacity: 1, terminationMessageHostPath: ""))
    #expect(config.stopSignal == 29)
    let status = planPodStatus(
      PodStatusInputs(
        spec: spec, observed: ObservedPod(), plan: PodPlan(), hostAddresses: [], startTime: "", now: ""))
    #expect(status["containerStatuses"]?[0]?["stopSignal"] == "SIGUSR1")
    let plain = self.spec(["name": "c", "image": "i"])
    #expect(
      planPodStatus(
        PodStatusInputs(
          spec: plain, observed: ObservedPod(), plan: PodPlan(), hostAddresses: [], startTime: "", now: "")
      )["containerStatuses"]?[0]?["stopSignal"] == nil)
  }

  @Test func `a pod's kernel has its short name, its full one when it asks for that, or another`() throws {
    func name(_ more: [String: JSON]) throws -> String {
      try planKernelHostname(spec(["name": "c"], more).pod, clusterDomain: "cluster.local")
    }
    #expect(try name([:]) == "p" && name(["hostname": "h"]) == "h")
    #expect(try name(["setHostnameAsFQDN": true]) == "p")
    #expect(try name(["subdomain": "s"]) == "p")
    #expect(try name(["subdomain": "s", "setHostnameAsFQDN": true]) == "p.s.d.svc.cluster.local")
    #expect(try name(["subdomain": "s", "hostnameOverride": "other.example"]) == "other.example")
    let long = String(repeating: "s", count: 50)
    let error = #expect(throws: MissingReference.self) {
      try name(["subdomain": JSON(long), "setHostnameAsFQDN": true])
    }
    #expect(
      error?.message
        == "failed to construct FQDN from pod hostname and cluster domain, FQDN p.\(long).d.svc.cluster.local is "
        + "too long (64 characters is the max, 72 characters requested)")
  }

  @Test func `a profile of seccomp of the node's own is named by its place`() throws {
    let spec = spec([
      "name": "c",
      "securityContext": ["seccompProfile": ["type": "Localhost", "localhostProfile": "a/b.json"]],
    ])
    let container = try #require(spec.containers.first)
    let config = planContainer(
      container, spec,
      ContainerInputs(
        attempt: 0, environment: [], mounts: [], memoryCapacity: 1, terminationMessageHostPath: "",
        seccompFolder: "/profiles"))
    #expect(config.linux.securityContext.seccomp.localhostRef == "/profiles/a/b.json")
  }
}
