// Addresses that wait for their pod: one that asked to keep them (a StatefulSet's) gets the same when it is made anew on this node,
// after a reboot too.
//
// A file each, named by the pod and not by the container. It says whose lease holds the addresses; they are used for as long as
// the file is there, with or without that lease. They are given up when nothing else is left, the longest unused first, and
// after a week without the pod.
import Addresses
import Glibc
import KernelNetlink

/// A pod's claim on addresses.
struct KeptAddresses {
  /// The file's name.
  var name: String
  /// Key of the lease that holds them or held them last.
  var holder: String
  var addresses: [IPAddress]
}

extension LeaseStore {
  /// A pod that stays away for longer is not expected any more.
  static let keptSecondsMax = 7 * 24 * 3600

  private var keptFolder: String { "\(folder)/kept" }

  /// The file's name for the lease's pod; nil when nothing is to be kept. Kubernetes names have no `_`.
  private func keptName(_ lease: Lease) -> String? {
    guard lease.isKept, Self.isName(lease.podNamespace), Self.isName(lease.podName) else { return nil }
    let name = "\(lease.podNamespace)_\(lease.podName):\(lease.interfaceName)"
    return name.utf8.count <= 255 ? name : nil
  }

  /// What may be part of a file's name.
  private static func isName(_ text: String) -> Bool {
    guard let first = text.utf8.first, first != UInt8(ascii: ".") else { return false }
    return text.utf8.allSatisfy { byte in
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"): true
      case UInt8(ascii: "-"), UInt8(ascii: "."): true
      default: false
      }
    }
  }

  /// What the pod had before; empty for a pod that is new or does not ask.
  /// - Throws: error 11 while the container that it was before still holds them.
  func keptAddresses(_ wanted: Lease) throws(CNIError) -> [IPAddress] {
    guard let name = keptName(wanted), let kept = try readKept(name) else { return [] }
    guard kept.holder != wanted.key, let holder = try find(kept.holder), holder.bootID == Self.bootID,
      holder.addresses.contains(where: { kept.addresses.contains($0.address) })
    else { return kept.addresses }
    throw CNIError(
      .tryAgainLater,
      "the addresses kept for pod \(wanted.podNamespace)/\(wanted.podName) are still those of its former container",
      details:
        "container \(holder.containerID) holds \(kept.addresses.map(\.description).joined(separator: ", "))")
  }

  /// Writes down that the lease's addresses are its pod's.
  func keep(_ lease: Lease) throws(CNIError) {
    guard let name = keptName(lease) else { return }
    try Files.makeFolder(keptFolder)
    let json = JSONValue.object([
      "holder": .string(lease.key), "addresses": .array(lease.addresses.map { .string("\($0.address)") }),
    ])
    try Files.replace(
      "\(keptFolder)/\(name)", temporary: "\(folder)/kept.tmp", with: Array((json.text + "\n").utf8))
  }

  /// Undoes `keep` for a pod that had nothing before.
  func forget(_ lease: Lease) throws(CNIError) {
    guard let name = keptName(lease), try readKept(name)?.holder == lease.key else { return }
    unlink("\(keptFolder)/\(name)")
  }

  /// Whether the addresses stay used when this lease goes.
  func isHolding(_ lease: Lease) throws(CNIError) -> Bool {
    guard let name = keptName(lease), let kept = try readKept(name) else { return false }
    return kept.holder == lease.key
  }

  /// Every claim. Linear in their number.
  func allKept() throws(CNIError) -> [KeptAddresses] {
    var all: [KeptAddresses] = []
    for name in try Files.names(in: keptFolder) {
      if let kept = try readKept(name) { all.append(kept) } else { unlink("\(keptFolder)/\(name)") }
    }
    return all
  }

  /// Gives up the claim that has been without its pod for longest.
  /// - Returns: false when there is none.
  func forgetKept(_ pools: [AddressPool]) throws(CNIError) -> Bool {
    var oldest: (kept: KeptAddresses, time: UInt64)?
    for kept in try allKept() where try find(kept.holder) == nil {
      let time = Files.changed("\(keptFolder)/\(kept.name)")
      if time < oldest?.time ?? .max { oldest = (kept, time) }
    }
    guard let oldest else { return false }
    unlink("\(keptFolder)/\(oldest.kept.name)")
    for address in oldest.kept.addresses {
      for pool in pools {
        if let offset = pool.space.offset(of: address) { try pool.give(offset) }
      }
    }
    return true
  }

  /// Drops the claims of pods that have been away for a week. For GC.
  func expireKept() throws(CNIError) {
    guard try !Files.names(in: keptFolder).isEmpty else { return }
    let lock = try FileLock("\(folder)/lock")
    defer { lock.release() }
    var now = timespec()
    clock_gettime(CLOCK_REALTIME, &now)
    let limit = Int64(now.tv_sec) - Int64(Self.keptSecondsMax)
    var dropped = false
    for kept in try allKept() where try find(kept.holder) == nil {
      guard Int64(Files.changed("\(keptFolder)/\(kept.name)") / 1_000_000_000) < limit else { continue }
      unlink("\(keptFolder)/\(kept.name)")
      dropped = true
    }
    // What is free is counted anew by the next call.
    guard dropped else { return }
    for name in try Files.names(in: folder) where name.hasPrefix("index.") { unlink("\(folder)/\(name)") }
  }

  private func readKept(_ name: String) throws(CNIError) -> KeptAddresses? {
    guard let bytes = try Files.read("\(keptFolder)/\(name)"), let json = try? JSONValue(parsing: bytes),
      let holder = json["holder"]?.string, !holder.contains("/"),
      let addresses = json["addresses"]?.array?.compactMap({ $0.string.flatMap { IPAddress($0) } }),
      !addresses.isEmpty
    else { return nil }
    return KeptAddresses(name: name, holder: holder, addresses: addresses)
  }
}
