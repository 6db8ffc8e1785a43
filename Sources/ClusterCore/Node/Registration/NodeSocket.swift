// `node.sock`: the CNI plugin reports each attachment here and waits for leave. The answer comes after the pod's verdict
// elements are in the kernel, so no packet passes before its policy.
//
//   -> {"event":"add","namespace":"demo","pod":"web-1","uid":"…","containerID":"…","ifname":"eth0","ips":["10.42.0.7"],…}
//   <- {"ok":true}

import Addresses
import CLinux
import ClusterObjects
import Diagnostics
import Glibc
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

/// The listener. One thread accepts; each connection is one line and one answer, at most `connectionsMax` at once.
final class NodeSocket: Sendable {
  static let connectionsMax = 64
  private static let lineMax = 64 << 10
  private let path: String
  private let hook: CNIHook
  private let log = Logger(label: "node")
  private let descriptor = Mutex<Int32>(-1)
  private let active = Atomic<Int>(0)

  init(path: String, hook: @escaping CNIHook) {
    self.path = path
    self.hook = hook
  }

  func start() throws {
    let listener = UnixSocket.listen(path)
    guard listener >= 0 else { throw Files.failure(path, "listen on the socket") }
    descriptor.withLock { $0 = listener }
    Task.detached {
      _ = await NetnsThread.run(nil) {
        while true {
          let connection = accept(listener, nil, nil)
          if connection < 0 {
            if errno == EINTR || errno == ECONNABORTED { continue }
            return
          }
          _ = fcntl(connection, F_SETFD, FD_CLOEXEC)
          self.serve(connection)
        }
      }
    }
  }

  func stop() {
    let listener = descriptor.withLock { value in
      defer { value = -1 }
      return value
    }
    guard listener >= 0 else { return }
    // Wakes the accepting thread, which then sees the end.
    shutdown(listener, Int32(SHUT_RDWR))
    close(listener)
    unlink(path)
  }

  private func serve(_ connection: Int32) {
    guard active.add(1, ordering: .relaxed).newValue <= Self.connectionsMax else {
      active.subtract(1, ordering: .relaxed)
      close(connection)
      return
    }
    Task.detached {
      defer {
        close(connection)
        self.active.subtract(1, ordering: .relaxed)
      }
      guard let line = await NetnsThread.run(nil, { Self.readLine(connection) }), let line else { return }
      let answer = await self.answer(line)
      let bytes = answer.bytes + [10]
      _ = send(connection, bytes, bytes.count, Int32(MSG_NOSIGNAL))
    }
  }

  private func answer(_ line: [UInt8]) async -> JSON {
    guard let tree = try? JSON(parsing: line), let attachment = CNIAttachment(tree) else {
      return ["ok": false, "error": "not a line of JSON with an event"]
    }
    switch await hook(attachment) {
    case .ok: return ["ok": true]
    case .refused(let reason):
      log.warning(
        "attachment refused",
        metadata: ["pod": "\(attachment.namespace)/\(attachment.pod)", "reason": "\(reason)"])
      return ["ok": false, "error": JSON(reason)]
    }
  }

  /// One line within five seconds; nil otherwise.
  private static func readLine(_ connection: Int32) -> [UInt8]? {
    var limit = timeval(tv_sec: 5, tv_usec: 0)
    setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    var line: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 4096)
    while line.count < lineMax {
      let count = recv(connection, &chunk, chunk.count, 0)
      if count <= 0 { return line.isEmpty ? nil : line }
      line += chunk[..<count]
      if let end = line.firstIndex(of: 10) { return Array(line[..<end]) }
    }
    return nil
  }
}
