// A cluster that changes step by step, drawn from a seed, and what two planners make of it.
import Addresses
import ClusterObjects
import ClusterView
import Policy
import Ruleset

let plannerSettings = PolicySettings(
  nodeName: "n1", podBlocks: [IPPrefix("10.42.0.0/24")!], gateways: [IPAddress("10.42.0.1")!])

struct ChangingCluster {
  var random: Seeded
  var view = ClusterView()
  var attachments: [PodAttachment] = []
  var haveAttachmentsChanged = true
  var planner = PolicyPlanner(plannerSettings)
  /// Tables as the deltas made them.
  var tables: [Table.ID: Table] = [:]
  /// What the kernel would hold after the operations of the deltas.
  var inForce: [Table.ID: InForce.TableInForce] = [:]
  var deltas = 0

  init(seed: Int) {
    random = Seeded(state: UInt64(seed))
    view.namePods()
    for object in randomCluster(&random) { view.apply(object) }
  }

  mutating func change() {
    let name = "p\(random.next() % 12)"
    let namespace = random.pick(namespaceNames)
    switch random.next() % 17 {
    case 0...3:
      // Two pods may claim one address for a moment.
      let address = random.pick(["10.42.0.\(10 + random.next() % 12)", "fd00::\(1 + random.next() % 3)"])
      var object = pod(
        name, namespace, address, random.pick(["web", "db", "job"]), tier: random.pick(["f", "b"]))
      if random.chance(25) { object["spec"]?["nodeName"] = "n2" }
      if random.chance(10) { object["spec"]?["hostNetwork"] = true }
      if random.chance(10) { object["status"]?["phase"] = "Succeeded" }
      if random.chance(20) { object["status"] = ["phase": "Pending"] }
      view.apply(object)
    case 4: view.remove(kind: "Pod", ObjectKey(namespace, name))
    case 5:
      view.apply([
        "kind": "Namespace",
        "metadata": [
          "name": JSON(namespace),
          "labels": ["ns": JSON(namespace), "team": JSON(random.pick(["x", "y", "z"]))],
        ],
      ])
    case 6 where random.chance(30): view.remove(kind: "Namespace", ObjectKey("", namespace))
    case 6, 7, 8: view.apply(randomPolicy("np\(random.next() % 6)", &random))
    case 9: view.remove(kind: "NetworkPolicy", ObjectKey(namespace, "np\(random.next() % 6)"))
    case 12, 13: view.apply(randomClusterPolicy("cnp\(random.next() % 5)", &random))
    case 14: view.remove(kind: "ClusterNetworkPolicy", ObjectKey("", "cnp\(random.next() % 5)"))
    case 15:
      let addresses = resolvedAddresses.filter { _ in random.chance(40) }
      view.resolve(random.pick(resolvedNames), to: Set(addresses))
    case 16 where random.chance(30): view.remove(kind: "Node", ObjectKey("", random.pick(["n1", "n2"])))
    case 16:
      view.apply(
        node(
          random.pick(["n1", "n2"]), [random.pick(["192.0.2.1", "192.0.2.9"]), "2001:db8::1"],
          ["zone": random.pick(["a", "b"])]))
    case 10:
      haveAttachmentsChanged = true
      let key = ObjectKey(namespace, name)
      attachments.removeAll { $0.pod == key }
      attachments.append(
        PodAttachment(
          pod: key, addresses: [IPAddress("10.42.0.\(10 + random.next() % 12)")!],
          hardwareAddress: MACAddress([2, 0, 0, 0, 0, UInt8(random.next() % 9)]), hostInterface: "vp\(name)"))
    default:
      haveAttachmentsChanged = true
      if !attachments.isEmpty { attachments.remove(at: Int(random.next() % UInt64(attachments.count))) }
    }
  }

  /// Plans what has changed, and returns what is wrong.
  mutating func plan() -> (delta: PolicyDelta, wrong: String?) {
    let delta = planner.apply(view.takeChanges(), attachments: haveAttachmentsChanged ? attachments : nil)
    haveAttachmentsChanged = false
    let whole = planPolicy(view: view, attachments: attachments, settings: plannerSettings)
    return (delta, check(delta, whole))
  }

  private mutating func check(_ delta: PolicyDelta, _ whole: [Table]) -> String? {
    if delta.isWhole {
      tables = Dictionary(uniqueKeysWithValues: planner.tables.map { ($0.id, $0) })
      inForce = InForce(Ruleset(planner.tables)).tables
    } else {
      deltas += 1
      for change in delta.tables {
        guard inForce[change.id]?.operations(change) != nil else { return "\(change.id): no operations" }
        tables[change.id]?.apply(change)
        inForce[change.id]?.apply(change)
      }
    }
    for table in whole {
      guard let kept = tables[table.id] else { return "no \(table.id)" }
      if kept.inOrder != table.inOrder { return differences(kept, table) }
      if inForce[table.id] != InForce(Ruleset([table])).tables[table.id] { return "\(table.id) in force" }
    }
    if planner.tables.map(\.inOrder) != whole.map(\.inOrder) { return "its own tables" }
    return nil
  }

  private func differences(_ kept: Table, _ table: Table) -> String {
    let operations = Ruleset([table]).operations(from: InForce(Ruleset([kept])))
    return operations.map(\.description).joined(separator: "\n")
  }
}

extension Table {
  /// Sets and chains by name: their order means nothing.
  var inOrder: Table {
    var copy = self
    copy.sets.sort { $0.name < $1.name }
    copy.chains.sort { $0.name < $1.name }
    return copy
  }
}
