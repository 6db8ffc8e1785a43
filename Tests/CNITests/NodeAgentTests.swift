// Policy before packets: ADD returns only after the node agent has spoken.
import CNI
import Glibc
import KernelNetlink
import Testing

/// A node agent of one answer: takes one connection, reads a line, says `reply` (or nothing), keeps the line.
final class ScriptedAgent: @unchecked Sendable {
  let path: String
  private let listener: Int32
  private var thread = pthread_t()
  private let replies: [String?]
  /// Written by the agent's thread, read after `finish`.
  private(set) var lines: [JSONValue] = []

  init(_ path: String, replies: [String?]) throws {
    self.path = path
    self.replies = replies
    listener = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
    let bound = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(listener, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    try #require(bound == 0 && listen(listener, 4) == 0)
    let code = pthread_create(
      &thread, nil,
      { raw in
        if let raw { Unmanaged<ScriptedAgent>.fromOpaque(raw).takeRetainedValue().serve() }
        return nil
      }, Unmanaged.passRetained(self).toOpaque())
    try #require(code == 0)
  }

  private func serve() {
    for reply in replies {
      // Bounded: a call that never comes ends the agent.
      var watched = pollfd(fd: listener, events: Int16(POLLIN), revents: 0)
      guard poll(&watched, 1, 30_000) == 1 else { return }
      let connection = accept(listener, nil, nil)
      guard connection >= 0 else { return }
      var buffer = [UInt8](repeating: 0, count: 4096)
      let count = recv(connection, &buffer, buffer.count, 0)
      if count > 0, let json = try? JSONValue(parsing: Array(buffer[0..<count])) { lines.append(json) }
      if let reply {
        let bytes = Array((reply + "\n").utf8)
        _ = send(connection, bytes, bytes.count, 0)
      } else {
        // Silent until the plugin has given up.
        _ = recv(connection, &buffer, buffer.count, 0)
      }
      close(connection)
    }
  }

  func finish() -> [JSONValue] {
    pthread_join(thread, nil)
    close(listener)
    return lines
  }
}

@Suite struct NodeAgents {
  /// - Parameter milliseconds: how long the plugin waits for the agent; short where silence is what is tried.
  private func lab(_ label: String, require: Bool = false, milliseconds: Int = 20_000) throws -> Laboratory {
    let lab = try Laboratory(label)
    lab.configuration = lab.configuration.replacing(
      "\"bridge\"",
      with:
        "\"nodeSocket\":\"\(lab.scratch.path)/node.sock\",\"nodeSocketTimeoutMilliseconds\":\(milliseconds),"
        + "\"requireNode\":\(require),\"bridge\"")
    return lab
  }

  @Test func `the agent hears of the pod before ADD returns and of its end`() throws {
    let lab = try lab("agent")
    let agent = try ScriptedAgent(
      "\(lab.scratch.path)/node.sock", replies: [#"{"ok":true}"#, #"{"ok":true}"#])
    let arguments = "IgnoreUnknown=1;K8S_POD_NAME=web-1;K8S_POD_NAMESPACE=demo"
    lab.configuration = lab.configuration.replacing(
      "\"bridge\"", with: "\"runtimeConfig\":{\"aliases\":[\"db\",\"primary\"]},\"bridge\"")
    #expect(try lab.invoke("ADD", "a", namespace: try lab.pod("a"), arguments: arguments).code == 0)
    #expect(try lab.invoke("DEL", "a").code == 0)
    let lines = agent.finish()
    #expect(lines.map { $0["event"]?.string } == ["add", "del"])
    let added = try #require(lines.first)
    #expect(added["podName"]?.string == "web-1" && added["podNamespace"]?.string == "demo")
    #expect(added["ip"]?.string == "10.99.0.2" && added["mac"]?.string == "0a:58:0a:63:00:02")
    #expect(added["hostInterface"]?.string == hostInterfaceName(containerID: "a", ifname: "eth0"))
    #expect(added["aliases"]?.array == [.string("db"), .string("primary")])
    #expect(added["containerID"]?.string == "a" && added["ifname"]?.string == "eth0")
  }

  @Test func `a refusal and a silence undo the ADD`() throws {
    for (label, reply, words, milliseconds) in [
      ("refuse", #"{"ok":false,"error":"no policy yet"}"#, "no policy yet", 20_000),
      ("silent", nil, "1000 ms", 1_000),
    ] {
      let lab = try lab(label, milliseconds: milliseconds)
      let agent = try ScriptedAgent("\(lab.scratch.path)/node.sock", replies: [reply, #"{"ok":true}"#])
      let refused = try lab.invoke("ADD", "a", namespace: try lab.pod("a"))
      #expect(refused.json["code"]?.integer == 11)
      #expect(refused.json["details"]?.string?.contains(words) == true)
      #expect(try lab.ports().isEmpty && lab.leaseNames().isEmpty)
      #expect(agent.finish().map { $0["event"]?.string } == ["add", "del"])
    }
  }

  @Test func `an absent agent is passed over, and said so, unless it is required`() throws {
    let relaxed = try lab("absent")
    let alone = try relaxed.invoke("ADD", "a", namespace: try relaxed.pod("a"))
    #expect(alone.code == 0 && alone.notes.contains("no node agent listens on"), "\(alone)")
    let strict = try lab("required", require: true)
    #expect(try strict.invoke("ADD", "a", namespace: try strict.pod("a")).json["code"]?.integer == 11)
    #expect(try strict.ports().isEmpty && strict.leaseNames().isEmpty)
  }
}
