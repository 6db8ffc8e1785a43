// Somebody who connects, asks and closes without a pause: for what must not be refused while something is replaced.
import Foundation
import Testing

/// Runs in a node from when it is made until `stop`.
final class ConnectLoop {
  private let process: Process
  private let folder: String

  /// - Parameters:
  ///   - port: of the node's loopback.
  ///   - page: what an answer to `/page` holds.
  init(_ node: TestNode, _ folder: String, port: Int, host: String, page: String) throws {
    self.folder = folder + "/loop"
    try FileManager.default.createDirectory(atPath: self.folder, withIntermediateDirectories: true)
    process = try node.background(["python3", "-c", Self.script, self.folder, "\(port)", host, page])
    let begun = self.folder + "/begun"
    try #require(eventually(within: 20) { FileManager.default.fileExists(atPath: begun) } != nil)
  }

  deinit { if process.isRunning { kill(process.processIdentifier, SIGKILL) } }

  /// How often it connected, and how often it did not get what it asked for.
  func stop() throws -> (count: Int, failed: Int) {
    _ = FileManager.default.createFile(atPath: folder + "/over", contents: nil)
    process.waitUntilExit()
    let numbers = try String(contentsOfFile: folder + "/said", encoding: .utf8).split(separator: " ")
    try #require(numbers.count == 2)
    return (Int(numbers[0]) ?? 0, Int(numbers[1]) ?? -1)
  }

  private static let script = """
    import os, socket, sys
    folder, port, host, page = sys.argv[1], int(sys.argv[2]), sys.argv[3].encode(), sys.argv[4].encode()
    count = failed = 0
    while not os.path.exists(folder + "/over"):
        count += 1
        try:
            s = socket.create_connection(("127.0.0.1", port), timeout=20)
            s.sendall(b"GET /page HTTP/1.1\\r\\nHost: " + host + b"\\r\\nConnection: close\\r\\n\\r\\n")
            answer = b""
            while True:
                more = s.recv(65536)
                if not more: break
                answer += more
            s.close()
            if page not in answer: failed += 1
        except OSError:
            failed += 1
        if count == 1: open(folder + "/begun", "w").close()
    with open(folder + "/said.part", "w") as f: f.write("%d %d" % (count, failed))
    os.rename(folder + "/said.part", folder + "/said")
    """
}
