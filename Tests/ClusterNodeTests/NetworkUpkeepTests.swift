// The agent's own GC and STATUS: what the plugins are told, and that no pod is attached meanwhile.
import ClusterObjects
import Diagnostics
import Glibc
import Synchronization
import Testing

@testable import ClusterNode

/// A folder with plugins that write down what they are asked, and answer as a file says.
private final class PluginFolder {
  let path: String
  init(_ list: String) throws {
    path = "/tmp/weft-upkeep-\(getpid())-\(UInt32.random(in: 0 ... .max))"
    try Files.makeDirectory("\(path)/bin")
    try Files.makeDirectory("\(path)/net.d")
    try write(list)
    for name in ["first", "second"] {
      let script = """
        #!/bin/sh
        [ "$CNI_PATH" = "\(path)/bin" ] || { echo no CNI_PATH; exit 1; }
        { printf '\(name) %s ' "$CNI_COMMAND"; cat; echo; } >>\(path)/calls
        cat "\(path)/\(name).$CNI_COMMAND.warning" >&2 2>/dev/null
        [ -e "\(path)/\(name).$CNI_COMMAND" ] || exit 0
        cat "\(path)/\(name).$CNI_COMMAND"
        exit 1
        """
      try Files.write("\(path)/bin/\(name)", script, mode: 0o755)
    }
  }

  deinit { Files.removeTree(path) }

  func write(_ list: String) throws { try Files.write("\(path)/net.d/10-net.conflist", list) }

  var calls: [String] { (Files.readText("\(path)/calls") ?? "").split(separator: "\n").map(String.init) }

  var settings: ContainerdSettings {
    var settings = ContainerdSettings(dataDirectory: path, runDirectory: path)
    settings.cniConfDirectory = "\(path)/net.d"
    settings.cniBinDirectory = "\(path)/bin"
    return settings
  }

  func upkeep(_ gate: Gate = Gate(), _ ids: [String] = ["b", "a"]) -> NetworkUpkeep {
    NetworkUpkeep(settings, gate: gate, metrics: Metrics()) { ids }
  }
}

/// What the test's own tasks have seen.
private final class Seen: Sendable {
  let isSweeping = Mutex(false)
  let calls = Mutex(0)
}

private let list = """
  {"cniVersion": "1.0.0", "cniVersions": ["1.0.0", "1.1.0"], "name": "n", "plugins": [
    {"type": "first", "capabilities": {"ips": true}, "mtu": 1400}, {"type": "second"}]}
  """

@Suite(.timeLimit(.minutes(2))) struct NetworkUpkeeping {
  @Test func `a round tells every plugin which sandboxes there are, and then asks for its status`()
    async throws
  {
    let folder = try PluginFolder(list)
    #expect(await folder.upkeep().round() == .ready)
    let calls = folder.calls
    #expect(
      calls.map { $0.split(separator: " ").prefix(2).joined(separator: " ") } == [
        "first GC", "second GC", "first STATUS", "second STATUS",
      ])
    let told = try JSON(parsing: Array(try #require(calls.first).dropFirst("first GC ".count).utf8))
    #expect(told["cniVersion"] == "1.1.0" && told["name"] == "n" && told["mtu"] == 1400)
    #expect(told["capabilities"] == nil)
    #expect(
      told["cni.dev/valid-attachments"]
        == .array([["containerID": "a", "ifname": "eth0"], ["containerID": "b", "ifname": "eth0"]]))
  }

  @Test func `a plugin that is not well is reported in its own words`() async throws {
    let folder = try PluginFolder(list)
    try Files.write("\(folder.path)/second.STATUS", #"{"code":50,"msg":"no free address","details":"all 5"}"#)
    #expect(await folder.upkeep().round() == .failed(verb: "STATUS", reason: "no free address: all 5"))
    unlink("\(folder.path)/bin/second")
    guard case .failed(verb: "GC", let reason) = await folder.upkeep().round() else {
      Issue.record("a plugin that is missing was not missed")
      return
    }
    #expect(reason.contains("/bin/second"))
  }

  @Test func `addresses that run out are told while pods can still be attached`() async throws {
    let folder = try PluginFolder(list)
    let metrics = Metrics()
    let upkeep = NetworkUpkeep(folder.settings, gate: Gate(), metrics: metrics) { [] }
    try Files.write("\(folder.path)/first.STATUS.warning", "weft-cni: 230 of 253 addresses are leased\n")
    #expect(await upkeep.round() == .ready)
    #expect(await upkeep.warnings == ["weft-cni: 230 of 253 addresses are leased"])
    #expect(metrics.text().contains("weft_cni_remarks 1\n"), "\(metrics.text())")
    unlink("\(folder.path)/first.STATUS.warning")
    #expect(await upkeep.round() == .ready)
    #expect(await upkeep.warnings == [])
  }

  @Test func `nothing is garbage while containerd cannot say what runs`() async throws {
    struct Refusal: Error {}
    let folder = try PluginFolder(list)
    let upkeep = NetworkUpkeep(folder.settings, gate: Gate(), metrics: Metrics()) { throw Refusal() }
    guard case .failed(verb: "GC", _) = await upkeep.round() else {
      Issue.record("a round without sandboxes went on")
      return
    }
    #expect(folder.calls.isEmpty)
  }

  @Test func `a list that is older, or forbids it, or is none is not asked for GC`() async throws {
    let folder = try PluginFolder(list.replacing("\"1.1.0\"", with: "\"0.4.0\""))
    #expect(await folder.upkeep().round() == .unsupported)
    #expect(folder.calls.isEmpty)
    try folder.write(list.replacing("\"name\"", with: "\"disableGC\": true, \"name\""))
    #expect(await folder.upkeep().round() == .ready)
    #expect(folder.calls.allSatisfy { $0.contains(" STATUS ") } && folder.calls.count == 2)
    for text in ["", "{", "[]", "{}", list.replacing("first", with: "../first")] {
      try folder.write(text)
      #expect(await folder.upkeep().round() == .unsupported)
    }
  }

  @Test func `a sweep waits for no call and no call runs beside a sweep`() async throws {
    let gate = Gate()
    let (inside, entered) = AsyncStream.makeStream(of: Void.self)
    let (leave, left) = AsyncStream.makeStream(of: Void.self)
    let call = Task {
      await gate.pass {
        entered.yield()
        for await _ in leave { break }
      }
    }
    for await _ in inside { break }
    #expect(await gate.alone { true } == nil)
    left.yield()
    await call.value
    let seen = Seen()
    let swept = await gate.alone {
      seen.isSweeping.withLock { $0 = true }
      let waiting = (0..<8).map { _ in
        Task {
          await gate.pass {
            #expect(!seen.isSweeping.withLock { $0 })
            seen.calls.withLock { $0 += 1 }
          }
        }
      }
      for _ in 0..<100 { await Task.yield() }
      #expect(seen.calls.withLock { $0 } == 0)
      seen.isSweeping.withLock { $0 = false }
      return waiting
    }
    for task in try #require(swept) { await task.value }
    #expect(seen.calls.withLock { $0 } == 8)
    #expect(await gate.alone { true } == true)
  }
}
