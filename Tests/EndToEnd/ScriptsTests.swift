// The scripts that build small topologies, as a person uses them: two nodes, an outside host, pods attached by the plugin.
import Foundation
import Testing

@Suite(.serialized) struct ScriptsTests {
  private func script(_ name: String, _ arguments: String...) -> Output {
    run(
      [Project.root.appending(path: "netns-scripts/\(name)").path()] + arguments,
      environment: ["WEFT_BIN_DIR": Project.binaries])
  }

  @Test(.timeLimit(.minutes(2)))
  func `the lab gives two nodes with pods that reach each other and goes without a trace`() {
    defer { _ = script("lab.sh", "down") }
    for _ in 0..<2 {
      let up = script("lab.sh", "up")
      #expect(up.status == 0, "\(up)")
    }
    let first = script("pod.sh", "add", "a", "p1")
    let second = script("pod.sh", "add", "b", "p2")
    #expect(first.status == 0 && first.trimmed.hasPrefix("10.42.11."), "\(first)")
    #expect(second.status == 0 && second.trimmed.hasPrefix("10.42.12."), "\(second)")
    #expect(script("pod.sh", "add", "a", "p1").trimmed == first.trimmed, "adding again changes nothing")
    let near = script("node.sh", "exec", "a", "busybox", "ping", "-c1", "-W2", first.trimmed)
    #expect(near.status == 0, "the node reaches its pod: \(near)")
    let far = run([
      "nsenter", "--net=/run/netns/weft-a-p1", "--", "busybox", "ping", "-c1", "-W2", second.trimmed,
    ])
    #expect(far.status == 0, "a pod reaches the other node's: \(far)")
    let outside = script("node.sh", "exec", "outside", "busybox", "ping", "-c1", "-W2", "172.30.0.11")
    #expect(outside.status == 0, "\(outside)")
    #expect(script("pod.sh", "del", "a", "p1").status == 0)
    #expect(script("pod.sh", "del", "a", "p1").status == 0, "deleting again is no error")
    #expect(script("lab.sh", "down").status == 0)
    let left = ((try? FileManager.default.contentsOfDirectory(atPath: "/run/netns")) ?? [])
      .filter { $0.hasPrefix("weft-a") || $0.hasPrefix("weft-b") || $0 == "weft-outside" }
    #expect(left.isEmpty, "\(left)")
  }

  /// The short form of Benchmarks/Ingress/edits.sh; times are not judged here.
  @Test(.timeLimit(.minutes(2)))
  func `edits of an Ingress through the API fail no request and close no WebSocket`() {
    let output = run(
      [Project.root.appending(path: "Benchmarks/Ingress/edits.sh").path(), "60", "200", "40"], seconds: 100,
      environment: ["WEFT_BIN_DIR": Project.binaries])
    for promise in ["no failed request: ", "no closed socket: "] {
      let line = output.standardOutput.split(separator: "\n").first { $0.hasPrefix(promise) }
      #expect(line?.hasSuffix(" pass") == true, "\(output)")
    }
  }

  @Test func `wrong use says how it is used`() {
    let usage = script("node.sh", "sideways", "a")
    #expect(usage.status == 2 && usage.standardError.hasPrefix("usage: "), "\(usage)")
    #expect(script("pod.sh", "add", "nowhere", "p").standardError.contains("is not up; run:"))
    #expect(script("node.sh", "up", "Not_A_Name").status == 2)
  }
}
