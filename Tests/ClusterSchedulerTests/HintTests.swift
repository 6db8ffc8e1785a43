// Which events wake a pod that a plugin rejected: too few and it waits five minutes, too many and it is tried in vain.

import ClusterClient
import ClusterObjects
import Testing

@testable import ClusterScheduler

@Suite struct HintTests {
  private func added(_ node: JSON) -> ClusterEvent { .nodeAdded(info(node)) }
  private func changed(_ old: JSON, _ new: JSON) -> ClusterEvent { .nodeChanged(NodeFacts(old), info(new)) }
  private func removed(_ pod: JSON) -> ClusterEvent { .podRemoved(PodInfo(pod)) }
  private func assigned(_ pod: JSON) -> ClusterEvent { .podAssigned(PodInfo(pod)) }

  @Test func `resources: a node with room, more capacity, a pod that goes`() {
    let plugin = NodeResourcesFit()
    let pod = PodInfo(makePod("p", cpu: "2"))
    #expect(plugin.mayHelp(added(makeNode("n", cpu: "2")), pod))
    #expect(!plugin.mayHelp(added(makeNode("n", cpu: "1")), pod))
    #expect(plugin.mayHelp(changed(makeNode("n", cpu: "1"), makeNode("n", cpu: "4")), pod))
    #expect(
      !plugin.mayHelp(changed(makeNode("n", cpu: "4"), makeNode("n", cpu: "4", labels: ["a": "b"])), pod))
    #expect(plugin.mayHelp(removed(makePod("x", cpu: "1")), pod))
    #expect(
      plugin.mayHelp(.podChanged(PodInfo(makePod("x", cpu: "2")), PodInfo(makePod("x", cpu: "1"))), pod))
    #expect(!plugin.mayHelp(assigned(makePod("x")), pod) && !plugin.mayHelp(.storage, pod))
  }

  @Test func `taints, labels and cordons: a node that would do now`() {
    let tainted = makeNode("n", taints: [["key": "k", "effect": "NoSchedule"]])
    let pod = PodInfo(makePod("p", spec: ["nodeSelector": ["disk": "ssd"]]))
    #expect(TaintToleration().mayHelp(changed(tainted, makeNode("n")), pod))
    #expect(!TaintToleration().mayHelp(added(tainted), pod))
    #expect(!TaintToleration().mayHelp(removed(makePod("x")), pod))
    #expect(NodeAffinity().mayHelp(added(makeNode("n", labels: ["disk": "ssd"])), pod))
    #expect(!NodeAffinity().mayHelp(added(makeNode("n", labels: ["disk": "hdd"])), pod))
    let cordoned = makeNode("n", spec: ["unschedulable": true])
    #expect(NodeUnschedulable().mayHelp(changed(cordoned, makeNode("n")), pod))
    #expect(!NodeUnschedulable().mayHelp(added(cordoned), pod))
  }

  @Test func `ports: only the end of a pod that had one of them`() {
    func claiming(_ port: Int) -> JSON {
      makePod(
        "p\(port)",
        spec: ["containers": [["name": "c", "ports": [["hostPort": JSON(port), "containerPort": 80]]]]])
    }
    let pod = PodInfo(claiming(80))
    #expect(NodePorts().mayHelp(removed(claiming(80)), pod))
    #expect(
      !NodePorts().mayHelp(removed(claiming(81)), pod) && !NodePorts().mayHelp(removed(makePod("x")), pod))
    #expect(NodePorts().mayHelp(added(makeNode("n")), pod))
  }

  @Test func `affinity: a pod of the sort that was missed, or one that kept it away`() {
    func near(_ kind: String) -> PodInfo {
      let term: JSON = [
        "labelSelector": ["matchLabels": ["app": "db"]], "topologyKey": "kubernetes.io/hostname",
      ]
      return PodInfo(
        makePod(
          "p", spec: ["affinity": [kind: ["requiredDuringSchedulingIgnoredDuringExecution": [term]]]]))
    }
    let plugin = InterPodAffinity()
    #expect(plugin.mayHelp(assigned(makePod("x", labels: ["app": "db"])), near("podAffinity")))
    #expect(!plugin.mayHelp(assigned(makePod("x", labels: ["app": "web"])), near("podAffinity")))
    #expect(!plugin.mayHelp(assigned(makePod("x", labels: ["app": "db"])), near("podAntiAffinity")))
    #expect(plugin.mayHelp(removed(makePod("x", labels: ["app": "db"])), near("podAntiAffinity")))
    #expect(plugin.mayHelp(changed(makeNode("n"), makeNode("n", labels: ["a": "b"])), near("podAffinity")))
    #expect(!plugin.mayHelp(.storage, near("podAffinity")))
  }

  @Test func `spread: pods of the namespace and the shape of the nodes`() {
    let plugin = PodTopologySpread()
    let pod = PodInfo(makePod("p"))
    #expect(plugin.mayHelp(removed(makePod("x")), pod))
    #expect(!plugin.mayHelp(removed(makePod("x", namespace: "other")), pod))
    #expect(plugin.mayHelp(changed(makeNode("n"), makeNode("n", labels: ["zone": "a"])), pod))
    #expect(!plugin.mayHelp(changed(makeNode("n"), makeNode("n", cpu: "9")), pod))
  }

  @Test func `volumes: storage, and a pod that used the claim`() {
    let using = makePod(
      "x", spec: ["volumes": [["name": "v", "persistentVolumeClaim": ["claimName": "c"]]]])
    let pod = PodInfo(using)
    #expect(VolumeBinding { ClusterObjectsView() }.mayHelp(.storage, pod))
    #expect(!VolumeBinding { ClusterObjectsView() }.mayHelp(removed(makePod("y")), pod))
    #expect(VolumeRestrictions().mayHelp(removed(using), pod))
    #expect(!VolumeRestrictions().mayHelp(removed(makePod("y")), pod))
    #expect(VolumeZone().mayHelp(.storage, pod) && NodeVolumeLimits().mayHelp(removed(using), pod))
  }
}
