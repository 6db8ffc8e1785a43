// ClusterRoles that gather the rules of others: kept current by a loop that looks at all of them whenever one
// changed. `admin`, `edit` and `view` are such roles; operators add to them by a label.

import ClusterClient
import ClusterObjects
import ClusterStore
import Logging
import Synchronization

enum RoleAggregation {
  /// The roles with gathered rules filled in, to any depth: `view` goes into `edit`, `edit` into `admin`.
  static func combine(_ roles: [JSON]) -> [JSON] {
    var roles = roles
    let gathering = roles.indices.filter {
      roles[$0].kind == "ClusterRole" && roles[$0]["aggregationRule"]?.object != nil
    }
    // Each round carries rules one step further; a chain is at most as long as there are such roles.
    for _ in gathering {
      var isChanged = false
      for index in gathering {
        let rules = gathered(by: roles[index], from: roles)
        if roles[index]["rules"]?.elements ?? [] != rules {
          roles[index]["rules"] = .array(rules)
          isChanged = true
        }
      }
      if !isChanged { break }
    }
    return roles
  }

  /// Rules of every other role that a selector matches, in order of names, each once.
  private static func gathered(by role: JSON, from roles: [JSON]) -> [JSON] {
    let selectors = (role.at("aggregationRule", "clusterRoleSelectors")?.elements ?? []).compactMap {
      try? LabelSelector($0)
    }
    var seen: Set<PolicyRule> = []
    var rules: [JSON] = []
    let others = roles.filter { other in
      other.kind == "ClusterRole" && other.name != role.name
        && selectors.contains { $0.matches(other.labels) }
    }
    for other in others.sorted(by: { $0.name < $1.name }) {
      for rule in other["rules"]?.elements ?? [] where seen.insert(PolicyRule(rule)).inserted {
        rules.append(rule)
      }
    }
    return rules
  }
}

/// The loop. Ends with `stop`, or when it is let go of.
final class RoleAggregator: Sendable {
  private let core: RESTCore
  private let follower: CacheFollower
  private let loop: Task<Void, Never>
  private static let resource = GroupVersionResource(RoleIndex.group, "v1", "clusterroles")

  init(core: RESTCore) {
    self.core = core
    follower = CacheFollower(caches: core.caches)
    // Many changes at once need one look.
    let (changes, bell) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
    follower.follow("clusterroles") { _ in bell.yield() }
    loop = Task.detached {
      for await _ in changes {
        do {
          try await Self.gather(core)
        } catch {
          if Failure.isClosing(error) { return }
          core.log.warning("aggregated roles not brought up to date", metadata: ["error": "\(error)"])
          // Again, after a while: the next change may be long in coming.
          try? await Task.sleep(for: .seconds(1))
          bell.yield()
        }
      }
    }
  }

  func stop() { loop.cancel() }

  deinit { loop.cancel() }

  private static func gather(_ core: RESTCore) async throws {
    guard let kind = core.registry[resource] else { return }
    var roles: [JSON] = []
    core.cache(kind).snapshot.forEach(prefix: ObjectCaches.root, after: nil) { role in
      if RoleIndex.isOurs(role) { roles.append(role.tree) }
      return true
    }
    let combined = RoleAggregation.combine(roles)
    let api = InProcessClient(core: core, identity: .system)
    for (old, new) in zip(roles, combined) where old != new {
      do {
        _ = try await api.update(
          resource, new, subresource: nil,
          options: WriteOptions(fieldManager: "clusterrole-aggregation-controller"))
      } catch let error as APIStatusError where error.isConflict || error.isNotFound {
        // Its next version rings again.
      }
    }
  }
}
