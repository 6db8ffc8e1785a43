// What the network plugin says at `node.sock`, and what it hears.

import Addresses
import ClusterObjects
import Diagnostics
import Glibc
import KernelSockets
import SoakLab
import Synchronization
import Testing

@testable import ClusterNode

@Suite(.timeLimit(.minutes(1))) struct NodeSocketTests {
  /// One line said, one heard.
  private static func ask(_ path: String, _ line: String) -> JSON? {
    let connection = UnixSocket.connect(path)
    guard connection >= 0 else { return nil }
    defer { close(connection) }
    UnixSocket.setPatience(connection, seconds: 10)
    guard UnixSocket.send(connection, line: Array(line.utf8)) else { return nil }
    var lines = SocketLines(connection)
    return lines.next().flatMap { try? JSON(parsing: $0) }
  }

  @Test func `an attachment is told to the agent, and its answer to the plugin`() throws {
    let heard = Mutex<[CNIAttachment]>([])
    let folder = try ScratchFolder.make("socket")
    defer { ScratchFolder.remove(folder) }
    let path = folder + "/node.sock"
    let socket = NodeSocket(path: path) { attachment in
      heard.withLock { $0.append(attachment) }
      await Task.yield()
      return attachment.pod == "web-2" ? .refused("no rules yet") : .ok
    }
    try socket.start()
    #expect(
      Self.ask(path, #"{"event":"add","namespace":"demo","pod":"web-1","ips":["10.1.0.7/24"]}"#)
        == ["ok": true])
    #expect(
      Self.ask(path, #"{"event":"add","namespace":"demo","pod":"web-2"}"#)
        == ["ok": false, "error": "no rules yet"])
    #expect(heard.withLock { $0.map(\.pod) } == ["web-1", "web-2"])
    #expect(heard.withLock { $0[0].addresses.map(\.description) } == ["10.1.0.7"])
    socket.stop()
    #expect(Self.ask(path, "{}") == nil, "nobody listens, and no socket is left")
  }

  @Test(arguments: ["nonsense", "{}", #"{"event":"#, "[1]", "\"add\""])
  func `a line that says no event is answered, and nobody is asked`(line: String) throws {
    let folder = try ScratchFolder.make("socket")
    defer { ScratchFolder.remove(folder) }
    let path = folder + "/node.sock"
    let asked = Mutex(false)
    let socket = NodeSocket(path: path) { _ in
      asked.withLock { $0 = true }
      return .ok
    }
    try socket.start()
    defer { socket.stop() }
    #expect(Self.ask(path, line) == ["ok": false, "error": "not a line of JSON with an event"])
    #expect(!asked.withLock { $0 })
  }

  @Test func `more than so many at once are told to come again`() throws {
    let folder = try ScratchFolder.make("socket")
    defer { ScratchFolder.remove(folder) }
    let path = folder + "/node.sock"
    let socket = NodeSocket(path: path) { _ in .ok }
    try socket.start()
    defer { socket.stop() }
    // They say nothing, and hold their places.
    let silent = (0..<NodeSocket.connectionsMax).map { _ in UnixSocket.connect(path) }
    defer { for connection in silent { close(connection) } }
    #expect(silent.allSatisfy { $0 >= 0 })
    let answer = Self.ask(path, #"{"event":"add","pod":"late"}"#)
    #expect(answer?["ok"] == false)
    #expect(answer?["error"]?.string?.hasPrefix("too many attachments at once") == true)
  }
}
