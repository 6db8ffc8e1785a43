// Puts one of two clusters in force, to be killed meanwhile. See README.md.

import Addresses
import ClusterObjects
import ClusterView
import Glibc
import KernelNftables
import Policy
import Proxy
import Ruleset

func say(_ line: String, to descriptor: Int32 = 1) {
  var line = line + "\n"
  _ = line.withUTF8 { write(descriptor, $0.baseAddress, $0.count) }
}

func serviceObject(_ name: String, _ address: String, _ port: Int64, nodePort: Int64? = nil) -> JSON {
  var entry: JSON = ["name": "p", "port": JSON(integerLiteral: port), "protocol": "TCP"]
  if let nodePort { entry["nodePort"] = JSON(integerLiteral: nodePort) }
  return [
    "kind": "Service", "metadata": ["name": JSON(name), "namespace": "faults"],
    "spec": [
      "type": JSON(nodePort == nil ? "ClusterIP" : "NodePort"), "clusterIP": JSON(address), "ports": [entry],
    ],
  ]
}

func sliceObject(_ name: String, _ addresses: [String], _ port: Int64) -> JSON {
  [
    "kind": "EndpointSlice", "addressType": "IPv4",
    "metadata": [
      "name": JSON("\(name)-1"), "namespace": "faults", "labels": ["kubernetes.io/service-name": JSON(name)],
    ],
    "ports": [["name": "p", "port": JSON(integerLiteral: port), "protocol": "TCP"]],
    "endpoints": .array(
      addresses.map { ["addresses": [JSON($0)], "nodeName": "n1", "conditions": ["ready": true]] }),
  ]
}

/// Each version has as many pods and policies as Services, up to this.
let policiesMax = 500

func podObject(_ index: Int, _ version: Int) -> JSON {
  [
    "kind": "Pod",
    "metadata": [
      "name": JSON("p\(index)"), "namespace": "faults",
      "labels": ["app": JSON("a\((index + version) % 50)"), "tier": JSON("t\(index % 7)")],
    ],
    "spec": ["nodeName": "n1", "containers": [["name": "c"]]],
    "status": ["phase": "Running", "podIP": JSON("10.42.\(index / 250 + 1).\(index % 250 + 1)")],
  ]
}

/// Who may come to the pods of one label: others in the other version, on another port.
func policyObject(_ index: Int, _ version: Int) -> JSON {
  [
    "kind": "NetworkPolicy", "metadata": ["name": JSON("n\(index)"), "namespace": "faults"],
    "spec": [
      "podSelector": ["matchLabels": ["app": JSON("a\(index % 50)")]],
      "ingress": [
        [
          "from": [["podSelector": ["matchLabels": ["tier": JSON("t\((index + version) % 7)")]]]],
          "ports": [["port": JSON(integerLiteral: Int64(8000 + index + version))]],
        ]
      ],
    ],
  ]
}

/// Version 1 has other endpoints, other policies, and lacks every tenth Service.
func cluster(_ version: Int, _ count: Int) -> ClusterView {
  var view = ClusterView()
  for index in 0..<count where version == 0 || index % 10 != 3 {
    let name = "s\(index)"
    let nodePort: Int64? = index % 10 == 0 && index < 20_000 ? Int64(30000 + index / 10) : nil
    view.apply(
      serviceObject(name, "10.43.\(index / 250).\(index % 250 + 1)", 80, nodePort: nodePort))
    let targets = (0..<2 + (index + version) % 2).map { slot in
      "10.44.\((index * 3 + slot + version) / 250 % 250).\((index * 3 + slot + version) % 250 + 1)"
    }
    view.apply(sliceObject(name, targets, 8080))
  }
  for index in 0..<min(count, policiesMax) {
    view.apply(podObject(index, version))
    view.apply(policyObject(index, version))
  }
  view.apply(serviceObject("held", "10.43.255.1", 90))
  view.apply(sliceObject("held", ["10.42.0.11"], 9090))
  return view
}

let configuration: ProxyConfiguration = {
  var configuration = ProxyConfiguration(nodeName: "n1", families: [.v4])
  configuration.podNetworks = [IPPrefix("10.42.0.0/24")].compactMap(\.self)
  configuration.clusterNetworks = [IPPrefix("10.42.0.0/16")].compactMap(\.self)
  configuration.nodePortAddresses = [IPAddress("192.168.50.1")].compactMap(\.self)
  return configuration
}()

/// The tables of a version, with the numbers that stand in the kernel.
func tables(_ version: Int, _ count: Int, after inForce: InForce) -> [Table] {
  var previous: [IPFamily: ProxyAllocation] = [:]
  if let table = inForce.tables[ProxyTables.id(.v4)] {
    previous[.v4] = ProxyAllocation(recovering: table, family: .v4)
  }
  let view = cluster(version, count)
  return planProxy(view, configuration, previous: previous).tables
    + planPolicy(view: view, attachments: [], settings: PolicySettings(nodeName: "n1"))
}

let words = CommandLine.arguments.dropFirst()
guard let word = words.first, let count = words.last.flatMap({ Int($0) }), count > 0 else {
  say("usage: ProxyFaults once VERSION COUNT | turns COUNT | which COUNT", to: 2)
  exit(2)
}
do {
  let policyTables: [Table.ID] = [Table.ID(.ip, PolicyNames.table), Table.ID(.ip6, PolicyNames.table)]
  let syncer = try RulesetSyncer(owned: ProxyTables.all + policyTables)
  switch word {
  case "once":
    let version = words.dropFirst().first.flatMap { Int($0) } ?? 0
    _ = try syncer.sync(tables(version, count, after: try syncer.observed()))
    // A last message after the transaction: who is killed at it leaves the new rules.
    _ = try syncer.hasForeignChange()
  case "turns":
    let both = [0, 1].map { tables($0, count, after: InForce()) }
    say("\(getpid())")
    for turn in 0... {
      _ = try syncer.sync(both[turn % 2])
      say("\(turn % 2)")
    }
  case "which":
    let inForce = try syncer.observed()
    guard !inForce.tables.isEmpty else {
      say("none")
      exit(0)
    }
    let differences = [0, 1].map { Ruleset(tables($0, count, after: inForce)).operations(from: inForce) }
    if let version = differences.firstIndex(where: \.isEmpty) {
      say("\(version)")
    } else {
      say("neither: \(differences.flatMap(\.self).first?.description ?? "")")
    }
  default:
    say("unknown: \(word)", to: 2)
    exit(2)
  }
} catch {
  say("\(error)", to: 2)
  exit(1)
}
