// What ServiceCIDR and IPAddress objects mean for who gives addresses out: more ranges, and addresses that somebody else holds.

import Addresses
import ClusterClient
import ClusterObjects
import Synchronization

/// Follows both kinds from its making on, and tells the allocator.
final class ServiceRangeFollower: Sendable {
  static let defaultName = "kubernetes"
  private let follower: CacheFollower
  private let ranges = Mutex<[String: [IPPrefix]]>([:])
  private let strangers = Mutex<[String: IPAddress]>([:])

  init(core: RESTCore) {
    follower = CacheFollower(caches: core.caches)
    let services = core.services
    follower.follow("servicecidrs") { [weak self] change in
      guard let self else { return }
      let all = ranges.withLock { ranges in
        switch change {
        case .begin(let objects):
          ranges = [:]
          for object in objects { ranges[object.name] = Self.prefixes(object.tree) }
        case .set(let object): ranges[object.name] = Self.prefixes(object.tree)
        case .removed(let object): ranges[object.name] = nil
        }
        return ranges
      }
      // The one of the settings is there whatever becomes of its object.
      services.widen(
        all.filter { $0.key != Self.defaultName }.sorted { $0.key < $1.key }.flatMap(\.value))
    }
    follower.follow("ipaddresses") { [weak self] change in
      guard let self else { return }
      let all = strangers.withLock { strangers in
        switch change {
        case .begin(let objects):
          strangers = [:]
          for object in objects { strangers[object.name] = Self.stranger(object) }
        case .set(let object): strangers[object.name] = Self.stranger(object)
        case .removed(let object): strangers[object.name] = nil
        }
        return Set(strangers.values)
      }
      services.reserve(all)
    }
  }

  /// Those of a range that is ready and stays.
  private static func prefixes(_ range: JSON) -> [IPPrefix]? {
    guard !range.isTerminating, range.isConditionTrue("Ready") else { return nil }
    return range.spec["cidrs"]?.elements.compactMap { $0.string.flatMap { IPPrefix($0) } }
  }

  private static func stranger(_ object: CachedObject) -> IPAddress? {
    AddressKeeper.isOurs(object) ? nil : IPAddress(object.name)
  }
}
