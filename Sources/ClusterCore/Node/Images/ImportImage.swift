// Importing an image from outside the agent: another process of the same machine, through containerd's socket.

import CLinux
import Diagnostics
import Glibc
import KernelSockets

/// Loads an OCI image layout or the output of `docker save` into the containerd of `settings`, and returns its references
/// when pods can be started from them.
///
/// Throws `NOD0012` (exit 3) when no containerd answers, `NOD0006` without its `ctr`, `NOD0007` without the file, `NOD0008`
/// when the archive is none.
public func importImage(_ path: String, settings: ContainerdSettings) async throws -> [String] {
  guard access(path, R_OK) == 0 else {
    throw WeftError(
      "NOD0007", object: path, cause: String(cString: strerror(errno)), next: "check the path: ls -l \(path)")
  }
  let descriptor = UnixSocket.connect(settings.socketPath)
  guard descriptor >= 0 else {
    throw WeftError(
      "NOD0012", object: settings.socketPath,
      cause: "no containerd answers: \(String(cString: strerror(errno)))",
      next: "start `weft up` first, or say where it runs with --run-dir", exit: .unreachable,
      isRetryable: true)
  }
  close(descriptor)
  let cri = try CRIClient(socketPath: settings.socketPath)
  defer { cri.close() }
  let images = ImageStore(cri, settings)
  let references = try await images.importArchive(path)
  await images.waitUntilKnown(references)
  return references
}
