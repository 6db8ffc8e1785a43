// `node.sock`: the CNI plugin reports each attachment here and waits for leave. The answer comes after the pod's verdict
// elements are in the kernel, so no packet passes before its policy.
//
//   -> {"event":"add","namespace":"demo","pod":"web-1","uid":"…","containerID":"…","ifname":"eth0","ips":["10.42.0.7"],…}
//   <- {"ok":true}

import Addresses
import ClusterObjects
import Diagnostics
import Dispatch
import KernelSockets
import Logging
import Synchronization

/// What the CNI plugin says of one interface.
public struct CNIAttachment: Sendable, Hashable {
  public var event: String
  public var namespace: String
  public var pod: String
  public var uid: String
  public var containerID: String
  public var interface: String
  public var addresses: [IPAddress]
  public var hostInterface: String
  public var macAddress: String
  /// The whole line.
  public var tree: JSON

  /// Reads a line; nil when it says no event. Addresses may carry a prefix length.
  public init?(_ tree: JSON) {
    guard let event = tree["event"]?.string, !event.isEmpty else { return nil }
    self.tree = tree
    self.event = event
    func text(_ names: String...) -> String {
      for name in names { if let value = tree[name]?.string { return value } }
      return ""
    }
    namespace = text("namespace", "podNamespace")
    pod = text("pod", "podName", "name")
    uid = text("uid", "podUID")
    containerID = text("containerID", "container")
    interface = text("ifname", "interface")
    hostInterface = text("hostInterface", "host")
    macAddress = text("mac", "macAddress")
    addresses =
      (tree["ips"] ?? tree["addresses"])?.elements.compactMap { entry in
        let value = entry.string ?? entry["address"]?.string ?? ""
        return addressText(value)
      } ?? [tree["ip"]?.string].compactMap { $0.flatMap(addressText) }
  }
}

/// The address of `ADDRESS` or `ADDRESS/LENGTH`.
private func addressText(_ text: String) -> IPAddress? {
  IPAddress(text.split(separator: "/").first.map(String.init) ?? "")
}

/// Leave for an attachment, or why not: then the plugin's ADD fails and the pod is tried again.
public enum CNIAnswer: Sendable, Hashable {
  case ok
  case refused(String)
}

/// Called for each report before it is answered.
public typealias CNIHook = @Sendable (CNIAttachment) async -> CNIAnswer

/// The listener. Each connection is one line and one answer on a thread of its own, at most `connectionsMax` at once.
final class NodeSocket: Sendable {
  static let connectionsMax = 64
  /// A plugin that says nothing, or takes nothing, for so long is left.
  private static let patienceSeconds = 5
  private static let lineMax = 64 << 10
  private final class Said: Sendable { let answer = Mutex<[UInt8]>([]) }
  private let server: UnixServer

  init(path: String, hook: @escaping CNIHook) {
    let refusal = Self.refusal("too many attachments at once; the runtime tries again")
    server = UnixServer(path: path, connectionsMax: Self.connectionsMax, refusal: refusal.bytes) {
      Self.serve($1, hook)
    }
  }

  func start() throws {
    guard server.start() else { throw Files.failure(server.path, "listen on the socket") }
  }

  func stop() { server.stop() }

  private static func serve(_ connection: Int32, _ hook: @escaping CNIHook) {
    UnixSocket.setPatience(connection, seconds: patienceSeconds)
    var lines = SocketLines(connection, lineMax: lineMax)
    guard let line = lines.next() else { return }
    // This thread is the connection's own and may wait.
    let isAnswered = DispatchSemaphore(value: 0)
    let said = Said()
    Task.detached {
      let answer = await Self.answer(line, hook)
      said.answer.withLock { $0 = answer.bytes }
      isAnswered.signal()
    }
    isAnswered.wait()
    _ = UnixSocket.send(connection, line: said.answer.withLock { $0 })
  }

  private static func answer(_ line: [UInt8], _ hook: CNIHook) async -> JSON {
    guard let tree = try? JSON(parsing: line), let attachment = CNIAttachment(tree) else {
      return refusal("not a line of JSON with an event")
    }
    switch await hook(attachment) {
    case .ok: return ["ok": true]
    case .refused(let reason):
      Logger(label: "node").warning(
        "attachment refused",
        metadata: ["pod": "\(attachment.namespace)/\(attachment.pod)", "reason": "\(reason)"])
      return refusal(reason)
    }
  }

  private static func refusal(_ reason: String) -> JSON { ["ok": false, "error": JSON(reason)] }
}
