// Keeps container logs from filling the disk: a log past its size is moved aside and the runtime begins a new one; the oldest
// go. Also the links of `/var/log/containers`, by which log shippers find their way.
//
//   0.log                     what is written and what `kubectl logs` reads
//   0.log.20261121-101500     rotated last: as it is, for whoever still reads it
//   0.log.20261121-100500.gz  older ones: packed. Of all there are `containerLogMaxFiles`

import CLinux
import ClusterObjects
import Diagnostics
import Glibc
import Logging

/// What becomes of the rotated files before the log itself is rotated.
struct LogRotation: Sendable, Hashable {
  /// What a crash left, what is packed already, and the oldest.
  var removed: [String] = []
  /// To be packed.
  var packed: [String] = []
}

/// So that after the next rotation the log and the others are `filesMax` together, and all but the newest rotated one are packed:
/// kubelet's rule. `names` are those of the folder. Pure.
func planLogRotation(_ names: [String], log: String, filesMax: Int) -> LogRotation {
  let rotated = names.filter { $0.hasPrefix(log + ".") }
  let all = Set(rotated)
  var plan = LogRotation()
  var kept: [String] = []
  for name in rotated.sorted() {
    let isLeftover = name.hasSuffix(LogArchive.temporarySuffix) || all.contains(name + LogArchive.suffix)
    if isLeftover { plan.removed.append(name) } else { kept.append(name) }
  }
  // The time in the name sorts as text. The log and the one it becomes are counted, too.
  let excess = max(kept.count - max(filesMax - 2, 0), 0)
  plan.removed += kept.prefix(excess)
  plan.packed = kept.dropFirst(excess).filter { !$0.hasSuffix(LogArchive.suffix) }
  return plan
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
    guard !Files.exists(aside), !Files.exists(aside + LogArchive.suffix) else { return }
    await tidy(folder, name)
    guard rename(folder + "/" + name, aside) == 0 else { return }
    do {
      try await cri.reopenLog(container.id)
    } catch {
      // It writes on in the old file: that must be the one people read.
      if !Files.exists(folder + "/" + name) { rename(aside, folder + "/" + name) }
      log.warning(
        "log not rotated", metadata: ["container": "\(container.id)", "error": "\(runtimeMessage(error))"])
      return
    }
  }

  /// Makes room for one more rotated log, and packs those that are not.
  private func tidy(_ folder: String, _ name: String) async {
    let plan = planLogRotation(Files.list(folder), log: name, filesMax: settings.containerLogMaxFiles)
    for old in plan.removed { unlink(folder + "/" + old) }
    for old in plan.packed {
      do throws(WeftError) {
        try await LogArchive.pack(folder + "/" + old)
      } catch {
        // Larger than it might be, and no reason not to rotate.
        log.warning("rotated log not packed", metadata: ["error": "\(error)"])
      }
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

extension LogKeeper {
  /// Takes away the log of an instance, the rotated ones too.
  static func removeLogs(_ path: String) {
    guard let slash = path.lastIndex(of: "/") else { return }
    let (folder, name) = (String(path[..<slash]), path[path.index(after: slash)...])
    for other in Files.list(folder) where other == name || other.hasPrefix("\(name).") {
      unlink("\(folder)/\(other)")
    }
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
