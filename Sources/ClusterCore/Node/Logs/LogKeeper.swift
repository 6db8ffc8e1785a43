// Keeps container logs from filling the disk: a log past its size is moved aside and the runtime begins a new one; the oldest
// go. Also the links of `/var/log/containers`, by which log shippers find their way.
//
//   0.log                     what is written and what `kubectl logs` reads
//   0.log.20261121-101500     rotated: of these and the first there are `containerLogMaxFiles`

import CLinux
import ClusterObjects
import Diagnostics
import Glibc
import Logging

/// Rotated files to take away, so that the log and the others are `filesMax` together. Pure.
func planLogRemoval(_ names: [String], log: String, filesMax: Int) -> [String] {
  // The time in the name sorts as text.
  let rotated = names.filter { $0.hasPrefix(log + ".") }.sorted()
  return Array(rotated.prefix(max(rotated.count - max(filesMax - 1, 0), 0)))
}

/// The suffix of a rotated log: `20261121-101500`.
func rotationSuffix(seconds: Int64) -> String {
  let digits = Timestamp.text(seconds: seconds).filter(\.isNumber)
  return "\(digits.prefix(8))-\(digits.dropFirst(8).prefix(6))"
}

/// `POD_NAMESPACE_CONTAINER-ID.log`, at most as long as a file's name may be.
func logLinkName(pod: String, namespace: String, container: String, id: String) -> String {
  let head = "\(pod)_\(namespace)_\(container)"
  return String(head.prefix(255 - 1 - id.count - 4)) + "-\(id).log"
}

actor LogKeeper {
  private let cri: CRIClient
  private let settings: NodeSettings
  private let log = Logger(label: "node")

  init(_ cri: CRIClient, _ settings: NodeSettings) {
    self.cri = cri
    self.settings = settings
  }

  func run() async {
    while !Task.isCancelled {
      await look()
      do { try await Task.sleep(for: settings.containerLogMonitorInterval) } catch { return }
    }
  }

  func look() async {
    guard let containers = try? await cri.listContainers() else { return }
    for container in containers where container.state == .containerRunning {
      await rotate(container)
    }
    removeDeadLinks()
  }

  private func rotate(_ container: CRI.Container) async {
    let labels = container.labels
    guard let namespace = labels[RuntimeLabels.podNamespace], let pod = labels[RuntimeLabels.podName],
      let uid = labels[RuntimeLabels.podUID]
    else { return }
    let folder = "\(settings.podLogDirectory(namespace, pod, uid))/\(container.metadata.name)"
    let name = "\(container.metadata.attempt).log"
    guard let info = Files.info(folder + "/" + name), info.size >= settings.containerLogMaxBytes else {
      return
    }
    let aside = "\(folder)/\(name).\(rotationSuffix(seconds: Timestamp.now().seconds))"
    guard !Files.exists(aside), rename(folder + "/" + name, aside) == 0 else { return }
    do {
      try await cri.reopenLog(container.id)
    } catch {
      // It writes on in the old file: that must be the one people read.
      if !Files.exists(folder + "/" + name) { rename(aside, folder + "/" + name) }
      log.warning(
        "log not rotated", metadata: ["container": "\(container.id)", "error": "\(runtimeMessage(error))"])
      return
    }
    for old in planLogRemoval(Files.list(folder), log: name, filesMax: settings.containerLogMaxFiles) {
      unlink(folder + "/" + old)
    }
  }

  private func removeDeadLinks() {
    let folder = settings.logDirectory + "/containers"
    for name in Files.list(folder) where name.hasSuffix(".log") {
      let path = folder + "/" + name
      if Files.info(path) != nil, Files.info(path, followingLinks: true) == nil { unlink(path) }
    }
  }
}

extension NodeSettings {
  /// Makes the link of a container's log. What cannot be linked is no reason not to run.
  func linkLog(pod: JSON, container: String, id: String, attempt: UInt32) {
    let folder = logDirectory + "/containers"
    let target = "\(podLogDirectory(pod.namespace, pod.name, pod.uid))/\(container)/\(attempt).log"
    let name = logLinkName(pod: pod.name, namespace: pod.namespace, container: container, id: id)
    guard (try? Files.makeDirectory(folder)) != nil else { return }
    symlink(target, folder + "/" + name)
  }
}

extension LogReader {
  /// The last lines of a log, for a container that failed without a message: 2,048 bytes and 80 lines at most.
  static func lastWords(_ path: String) -> String? {
    guard let info = Files.info(path) else { return nil }
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    // Each entry carries some forty bytes beside its text.
    var bytes = [UInt8](repeating: 0, count: 16 << 10)
    let from = max(info.size - Int64(bytes.count), 0)
    let count = pread(descriptor, &bytes, bytes.count, off_t(from))
    guard count > 0 else { return nil }
    var text = bytes[..<count]
    if from > 0, let end = text.firstIndex(of: 10) { text = text[(end + 1)...] }
    let whole = Array(text)
    var filter = LogFilter(LogOptions(), now: 0)
    let shown = filter.add(whole[tailOffset(whole, lines: 80)...])
    return shown.isEmpty ? nil : String(decoding: shown.suffix(2048), as: UTF8.self)
  }
}
