// Takes away images that nobody uses when their disk is too full: kubelet's 85 and 80 percent, oldest use first.

import ClusterObjects
import Diagnostics
import Logging

/// An image on the disk.
struct StoredImage: Sendable, Hashable {
  var id: String
  var bytes: UInt64
  /// Nanoseconds since 1970.
  var firstSeen: Int64
  var lastUsed: Int64
  var isInUse = false
  /// The runtime's or ours: never taken away.
  var isPinned = false
}

/// Images too young to judge stay: one just pulled has no container yet.
let imageAgeMinNanoseconds: Int64 = 120 * 1_000_000_000

/// Which images go so that the disk is below `low` percent again, when it is at `high` or above. Pure.
func planImageCollection(
  _ images: [StoredImage], disk: FilesystemUsage, high: Int, low: Int, now: Int64
) -> [StoredImage] {
  // 100 is never, as in kubelet.
  guard disk.capacity > 0, high < 100 else { return [] }
  let percent = 100 - Double(disk.available) * 100 / Double(disk.capacity)
  guard percent >= Double(high) else { return [] }
  let wanted = Double(disk.capacity) * Double(100 - low) / 100 - Double(disk.available)
  var freed = 0.0
  var out: [StoredImage] = []
  for image in removable(images, now) where freed < wanted {
    out.append(image)
    freed += Double(image.bytes)
  }
  return out
}

private func removable(_ images: [StoredImage], _ now: Int64) -> [StoredImage] {
  images.filter { !$0.isInUse && !$0.isPinned && now - $0.firstSeen >= imageAgeMinNanoseconds }
    .sorted { ($0.lastUsed, $0.firstSeen, $0.id) < ($1.lastUsed, $1.firstSeen, $1.id) }
}

actor ImageCollector {
  private let cri: CRIClient
  private let settings: NodeSettings
  private let log = Logger(label: "node")
  private var seen: [String: (first: Int64, used: Int64)] = [:]

  init(_ cri: CRIClient, _ settings: NodeSettings) {
    self.cri = cri
    self.settings = settings
  }

  /// Every five minutes, as kubelet.
  func run() async {
    while !Task.isCancelled {
      await collect()
      do { try await Task.sleep(for: .seconds(300)) } catch { return }
    }
  }

  func collect() async {
    guard let images = await observe() else { return }
    await remove(
      planImageCollection(
        images, disk: UsageFiles.filesystem(settings.containerd.rootDirectory),
        high: settings.imageGCPercent.high, low: settings.imageGCPercent.low, now: steadyNanoseconds()))
  }

  /// All that nobody uses, because the disk is under pressure. Returns how many went.
  func removeUnused() async -> Int {
    guard let images = await observe() else { return 0 }
    return await remove(removable(images, steadyNanoseconds()))
  }

  private func observe() async -> [StoredImage]? {
    guard let listed = try? await cri.listImages(), let containers = try? await cri.listContainers() else {
      return nil
    }
    let now = steadyNanoseconds()
    let used = Set(containers.flatMap { [$0.imageRef, $0.image.image] })
    let own: Set<String> = [DemoImage.pauseReference, DemoImage.demoReference]
    let images = listed.map { image in
      let names = [image.id] + image.repoTags + image.repoDigests
      let isInUse = names.contains { used.contains($0) }
      let before = seen[image.id]
      // Zero: never used as far as this agent knows.
      seen[image.id] = (before?.first ?? now, isInUse ? now : before?.used ?? 0)
      return StoredImage(
        id: image.id, bytes: image.size, firstSeen: before?.first ?? now,
        lastUsed: isInUse ? now : before?.used ?? 0, isInUse: isInUse,
        isPinned: image.pinned || names.contains { own.contains($0) })
    }
    let ids = Set(images.map(\.id))
    seen = seen.filter { ids.contains($0.key) }
    return images
  }

  @discardableResult private func remove(_ images: [StoredImage]) async -> Int {
    var count = 0
    for image in images {
      do {
        try await cri.removeImage(image.id)
        count += 1
      } catch {
        log.warning(
          "image not removed", metadata: ["image": "\(image.id)", "error": "\(runtimeMessage(error))"])
      }
    }
    if count > 0 { log.info("unused images removed", metadata: ["count": "\(count)"]) }
    return count
  }
}
