// What policies cost among many: prints `key value` lines in the network namespace it is started in; run.sh compares them with
// the bars. PolicyBenchmark PODS POLICIES [LOCAL]; PolicyBenchmark connect ... is told in Connects.swift

import Addresses
import ClusterObjects
import ClusterView
import Glibc
import KernelNftables
import Observe
import Policy
import Ruleset

func say(_ key: String, _ value: Double) {
  var text = "\(key) \((value * 1000).rounded() / 1000)\n"
  _ = text.withUTF8 { write(1, $0.baseAddress, $0.count) }
}

/// Milliseconds of a clock.
func milliseconds(_ clock: clockid_t) -> Double {
  var time = timespec()
  clock_gettime(clock, &time)
  return Double(time.tv_sec) * 1000 + Double(time.tv_nsec) / 1e6
}

func percentile(_ values: [Double], _ share: Double) -> Double {
  let sorted = values.sorted()
  return sorted.isEmpty ? 0 : sorted[min(sorted.count - 1, Int(Double(sorted.count) * share))]
}

struct Load {
  var pods: Int
  var policies: Int
  /// Pods of this node.
  var local: Int
  let namespaces = 100

  /// Spread over namespaces and apps.
  func isHere(_ index: Int) -> Bool { Int((UInt32(index) &* 2_654_435_761) >> 16) % (pods / local) == 0 }

  func podObject(_ index: Int, app: Int? = nil, node: String? = nil) -> JSON {
    let address = JSON("10.\(64 + index / 62_500).\(index / 250 % 250).\(index % 250 + 2)")
    return [
      "kind": "Pod",
      "metadata": [
        "name": JSON("pod-\(index)"), "namespace": JSON("ns-\(index % namespaces)"),
        "labels": [
          "app": JSON("app-\(app ?? index / namespaces % 10)"), "tier": JSON("t\(index % 3)"),
          "pod-template-hash": "6b8f9c", "version": "v1",
        ],
      ],
      "spec": [
        "nodeName": JSON(node ?? (isHere(index) ? "n1" : "n2")),
        "containers": [["ports": [["name": "http", "containerPort": 8080]]]],
      ],
      "status": ["phase": "Running", "podIP": address, "podIPs": [["ip": address]]],
    ]
  }

  /// Ten policies a namespace: each of its apps admits another app, another namespace by label, and a block.
  func policyObject(_ index: Int) -> JSON {
    [
      "kind": "NetworkPolicy",
      "metadata": ["name": JSON("policy-\(index)"), "namespace": JSON("ns-\(index % namespaces)")],
      "spec": [
        "podSelector": ["matchLabels": ["app": JSON("app-\(index / namespaces % 10)")]],
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [
          [
            "from": [
              ["podSelector": ["matchLabels": ["app": JSON("app-\((index / namespaces + 1) % 10)")]]],
              [
                "namespaceSelector": ["matchLabels": ["name": JSON("ns-\((index + 1) % namespaces)")]],
                "podSelector": ["matchLabels": ["tier": "t1"]],
              ],
              ["ipBlock": ["cidr": "192.0.2.0/24", "except": [JSON("192.0.2.\(index % 200)/32")]]],
            ],
            "ports": [["port": "http"], ["port": 9090, "endPort": 9099]],
          ]
        ],
        "egress": [["to": [["namespaceSelector": [:]]]]],
      ],
    ]
  }

  func namespaceObject(_ index: Int, _ label: String) -> JSON {
    ["kind": "Namespace", "metadata": ["name": JSON("ns-\(index)"), "labels": ["name": JSON(label)]]]
  }

  func run() throws {
    var view = ClusterView()
    view.namePods()
    for index in 0..<namespaces { view.apply(namespaceObject(index, "ns-\(index)")) }
    for index in 0..<pods { view.apply(podObject(index)) }
    for index in 0..<policies { view.apply(policyObject(index)) }
    let owned = [Table.ID(.ip, PolicyNames.table), .init(.ip6, PolicyNames.table)]
    let syncer = try RulesetSyncer(owned: owned)

    let (wall, processor) = (milliseconds(CLOCK_MONOTONIC), milliseconds(CLOCK_PROCESS_CPUTIME_ID))
    var planner = PolicyPlanner(PolicySettings(nodeName: "n1"))
    _ = planner.apply(view.takeChanges())
    let tables = planner.tables
    say("plan_ms", milliseconds(CLOCK_MONOTONIC) - wall)
    let report = try syncer.sync(tables)
    say("load_ms", milliseconds(CLOCK_MONOTONIC) - wall)
    say("load_cpu_ms", milliseconds(CLOCK_PROCESS_CPUTIME_ID) - processor)
    say("operations", Double(report.operations))
    say("bytes", Double(report.netlinkBytes))

    /// From an event to the commit, each time.
    func measure(_ name: String, _ count: Int, _ event: (Int) -> Void) throws {
      var took: [Double] = []
      var operations: [Double] = []
      var bytes = 0
      for index in 0..<count {
        let start = milliseconds(CLOCK_MONOTONIC)
        event(index)
        let delta = planner.apply(view.takeChanges())
        guard !delta.isWhole else {
          print("FAIL: \(name) planned everything")
          exit(1)
        }
        let report = try syncer.sync([], deltas: delta.tables, keeping: Set(owned))
        took.append(milliseconds(CLOCK_MONOTONIC) - start)
        operations.append(Double(report.operations))
        bytes = max(bytes, report.netlinkBytes)
      }
      say("\(name)_p50_ms", percentile(took, 0.5))
      say("\(name)_p99_ms", percentile(took, 0.99))
      say("\(name)_operations", percentile(operations, 0.5))
      say("\(name)_operations_most", operations.max() ?? 0)
      say("\(name)_bytes", Double(bytes))
    }

    try measure("pod", 500) {
      view.apply(podObject(pods + $0, app: $0 % 10, node: $0 % 2 == 0 ? "n1" : "n2"))
    }
    // A namespace holds a hundredth of the pods.
    try measure("label", 20) { view.apply(namespaceObject($0 % 10, $0 < 10 ? "other" : "ns-\($0 % 10)")) }
    try measure("policy", 100) { index in
      var object = policyObject(index)
      object["spec"]?["egress"] = [["ports": [["port": JSON(index + 1)]]]]
      view.apply(object)
    }
    var usage = rusage()
    getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
    say("memory_mb", Double(usage.ru_maxrss) / 1024)

    let source = PolicyParty(address: IPAddress("10.64.0.2")!, pod: ObjectKey("ns-0", "pod-0"))
    let target = PolicyParty(address: IPAddress("10.64.0.3")!, pod: ObjectKey("ns-1", "pod-1"))
    let before = milliseconds(CLOCK_MONOTONIC)
    for _ in 0..<100 { _ = decidePolicy(view: view, from: source, to: target, port: 8080, transport: .tcp) }
    say("decide_ms", (milliseconds(CLOCK_MONOTONIC) - before) / 100)

    let explainer = Explainer(view: view, nodeName: "n1", observed: Ruleset(planner.tables)) { _ in .forwarded
    }
    var explained: [Double] = []
    for index in 0..<100 {
      let start = milliseconds(CLOCK_MONOTONIC)
      _ = try explainer.explain(from: "ns-0/pod-0", to: "ns-\(index % 90 + 1)/pod-\(index % 90 + 1):8080")
      explained.append(milliseconds(CLOCK_MONOTONIC) - start)
    }
    say("explain_p99_ms", percentile(explained, 0.99))

    // In place after all those changes: what a plan of the whole has.
    let fresh = planPolicy(view: view, attachments: [], settings: planner.settings)
    let left = Ruleset(fresh).operations(from: try NftablesSocket().observe(owned))
    say("left", Double(left.count))
  }
}

let words = CommandLine.arguments.dropFirst()
if words.first == "connect", words.count == 5 {
  let rest = Array(words.dropFirst())
  let load = Load(pods: Int(rest[2]) ?? 10_000, policies: Int(rest[3]) ?? 1_000, local: 500)
  try Connects(client: rest[0], server: rest[1], load: load).run()
} else {
  let arguments = words.compactMap { Int($0) }
  try Load(
    pods: arguments.first ?? 10_000, policies: arguments.dropFirst().first ?? 1_000,
    local: arguments.dropFirst(2).first ?? 500
  ).run()
}
