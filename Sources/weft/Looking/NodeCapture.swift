// Captures on a node while it runs: its pods as they come and go, and the socket where packets are asked for.

import DataPlane
import Diagnostics
import Logging
import Observe
import Policy
import Synchronization

final class NodeCapture: Sendable {
  private let attachments = Mutex<[String: PodAttachment]>([:])
  private let server = Mutex<CaptureServer?>(nil)

  /// Without a socket, with a warning, the network does without captures.
  func start(_ nodeName: String, socket: String, follower: ViewFollower, flows: FlowKeeper?) {
    let source = CaptureSource(
      nodeName: nodeName, view: { follower.view },
      attachments: { [self] in attachments.withLock { Array($0.values) } }, flows: flows)
    let server = CaptureServer(path: socket, source: source)
    do throws(WeftError) {
      try server.start()
      self.server.withLock { $0 = server }
    } catch {
      Logger(label: "capture").warning("\(error)")
    }
  }

  func attach(_ attachment: PodAttachment, containerID: String) {
    attachments.withLock { $0[containerID] = attachment }
  }

  func detach(containerID: String) { attachments.withLock { _ = $0.removeValue(forKey: containerID) } }

  func stop() {
    let running = server.withLock { server in
      defer { server = nil }
      return server
    }
    running?.stop()
  }
}
