// The ten faults of docs/debugging.md: each is made by netns-scripts/fault.sh in a cluster with the demo, is seen by whoever calls, is
// found by the command that the page names, and is found no longer once it is mended.
import Foundation
import Testing

@Suite(.serialized) struct FaultsTests {
  /// A fault with the command that finds it and what that says.
  private struct Fault {
    var name: String
    var command: [String]
    var says: [String]
    /// What the command says once it is mended.
    var afterwards: String?
    /// What may be meant so is a warning, which is no reason for another status.
    var status: Int32
    init(
      _ name: String, _ command: [String], says: [String], afterwards: String? = nil, status: Int32 = 1
    ) {
      self.status = status
      self.name = name
      self.command = command
      self.says = says
      self.afterwards = afterwards
    }
  }

  private static let faults = [
    Fault("wrong-selector", ["check"], says: ["CLI0130 its selector app=wbe selects no pod"]),
    Fault(
      "missing-endpoint", ["check"], says: ["CLI0133 has no selector, and nobody gave it endpoints"],
      status: 0),
    Fault(
      "denied", ["explain", "demo/client", "demo/web"],
      says: ["denied by NetworkPolicy demo/web-from-client", "kubectl describe networkpolicy -n demo"],
      afterwards: "allow: demo/client to demo/web"),
    Fault(
      "dns-typo", ["explain", "demo/client", "wbe.demo.svc.cluster.local:80"],
      says: ["does not exist in the cluster's zone", "did you mean web.demo.svc.cluster.local?"]),
    Fault(
      "mtu", ["check"],
      says: ["pod demo/stranger", "CLI0143 sends packets of up to", "takes 1280: longer ones are lost"]),
    Fault(
      "port-mismatch", ["check"], says: ["CLI0134 sends to port 8081, and its containers declare 8080"],
      status: 0),
    Fault("hairpin", ["check"], says: ["pod demo/alone", "CLI0144 cannot reach itself by its Services"]),
    Fault("unready", ["check"], says: ["CLI0131 none of its 1 pods is ready: late"]),
    Fault(
      "expired-certificate", ["check"],
      says: ["Secret demo/web-tls", "CLI0145 the certificate of web.localhost expired"]),
    Fault(
      "foreign-rule", ["explain", "demo/client", "demo/web", "--live"],
      says: ["ip firewall guard rule 1 (no web here) → drop", "CLI0153"],
      afterwards: "allow: demo/client to demo/web, kernel agrees"),
  ]

  @Test(.timeLimit(.minutes(10)))
  func `ten faults are made by a script, seen, found by the command that the page names, and mended`() throws
  {
    let node = try TestNode()
    defer { node.remove() }
    try node.start(["--demo"])
    let isReady = eventually(within: 120, every: 0.5) {
      node.kubectl("wait", "--for=condition=Ready", "pods", "--all", "-n", "demo", "--timeout=15s").status
        == 0 && node.kubectl("get", "pods", "-n", "demo", "-o", "name").lines.count == 4
    }
    try #require(isReady != nil, "\(node.log.suffix(4000))")
    func script(_ verb: String, _ fault: String) -> Output {
      run(
        [
          Project.root.appending(path: "netns-scripts/fault.sh").path(), verb, fault,
          String(node.name.dropFirst("weft-".count)),
        ], seconds: 90, environment: ["KUBECONFIG": node.kubeconfig, "KUBECTL": Project.kubectl])
    }
    func ask(_ fault: Fault) -> Output {
      node.weft(Array(fault.command[1...]), fault.command[0], kubeconfig: node.kubeconfig)
    }
    let listed = run([Project.root.appending(path: "netns-scripts/fault.sh").path(), "list"])
    #expect(listed.lines == Self.faults.map(\.name), "each fault of the script is tried")
    // Nothing of the ten is found in a cluster that is well.
    let well = node.weft("check", "--kubeconfig", node.kubeconfig, seconds: 60).standardOutput
    for fault in Self.faults where fault.command == ["check"] {
      let codes = fault.says.compactMap { $0.split(separator: " ").first { $0.hasPrefix("CLI") } }
      for code in codes { #expect(!well.contains(code), "\(fault.name): \(well)") }
    }
    // A runtime that `weft up` runs elsewhere than by default is found by what the node has noted.
    #expect(!well.contains("CNI0101"), "\(well)")
    #expect(well.contains("4 pods"), "the pods' links were looked at: \(well)")
    for fault in Self.faults {
      let made = script("make", fault.name)
      try #require(made.status == 0, "\(fault.name): \(made)")
      let shows = eventually(within: 60, every: 0.5) { script("shows", fault.name).status == 0 }
      #expect(shows != nil, "\(fault.name) is not seen: \(script("shows", fault.name))")
      var last: Output?
      let found = eventually(within: 60, every: 0.5) {
        let output = ask(fault)
        last = output
        return output.status == fault.status && fault.says.allSatisfy(output.standardOutput.contains)
      }
      #expect(found != nil, "\(fault.name): \(last.map { "\($0)" } ?? "")")
      let mended = script("mend", fault.name)
      try #require(mended.status == 0, "\(fault.name): \(mended)")
      // A name that does not exist still does not.
      if fault.name == "dns-typo" { continue }
      let gone = eventually(within: 60, every: 0.5) {
        let output = ask(fault)
        last = output
        guard let wanted = fault.afterwards else {
          return !fault.says.allSatisfy(output.standardOutput.contains)
        }
        return output.status == 0 && output.standardOutput.contains(wanted)
      }
      #expect(gone != nil, "\(fault.name) is mended: \(last.map { "\($0)" } ?? "")")
    }
  }
}

extension TestNode {
  fileprivate func weft(_ words: [String], _ command: String, kubeconfig: String) -> Output {
    exec([Project.weft, command] + words + ["--kubeconfig", kubeconfig], seconds: 60)
  }
}
