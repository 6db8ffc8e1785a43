// What annotations of one Ingress do to a whole host: paths that are patterns, canaries, other names, the application's root.

import ClusterObjects
import ClusterView
import Patterns

extension RoutePlanner {
  /// As ingress-nginx does it: when one Ingress of a host has `use-regex` or `rewrite-target`, every path of the host is a
  /// regular expression, without case, for the beginning of a path. A path that is no expression is left out and told.
  mutating func asPatterns(_ claims: [Claim]) -> [Claim] {
    var kept: [Claim] = []
    for claim in claims {
      let (path, text) = (claim.path, claim.text)
      do throws(BytePatternError) {
        let pattern = try BytePattern("^" + text, foldsCase: true)
        var made = RoutePath(
          pattern: pattern, backend: path.backend, action: path.action, conditions: path.conditions,
          redirectsToHTTPS: path.redirectsToHTTPS)
        // Labels show what people wrote.
        made.path = Array(text.utf8)
        kept.append(Claim(path: made, text: text, owner: claim.owner))
      } catch {
        tell(["path \(text) is no regular expression that is known here: \(error) (ING0004)"], claim.owner)
      }
    }
    return kept
  }

  /// Puts canaries' backends beside those of the Ingresses that have the same hosts and paths.
  mutating func addCanaries(
    _ canaries: [Ingress], _ places: [RuleKey: Place], to hosts: inout [String: [Claim]]
  ) {
    var replaced: [RuleKey: [Claim]] = [:]
    for ingress in canaries { addCanary(ingress, places, beside: hosts, &replaced) }
    for host in Set(replaced.keys.map(\.host)) {
      hosts[host] = hosts[host]?.flatMap { claim in
        replaced[RuleKey(host: host, path: claim.path.path, isExact: claim.path.isExact)] ?? [claim]
      }
    }
  }

  private mutating func addCanary(
    _ ingress: Ingress, _ places: [RuleKey: Place], beside hosts: [String: [Claim]],
    _ replaced: inout [RuleKey: [Claim]]
  ) {
    let canary = CanaryPlan(ingress)
    let annotations = AnnotationPlan(ingress, credentials: credentials, headers: headers)
    tell(canary.problems + annotations.problems, ingress.key, .annotation)
    for rule in ingress.rules {
      for path in rule.paths {
        let wanted = RoutePath(path: path.path, kind: path.kind == .exact ? .exact : .prefix, backend: 0)
        let key = RuleKey(host: rule.host, path: wanted.path, isExact: wanted.isExact)
        guard let place = places[key], let claim = hosts[rule.host]?[place.index] else {
          tell(
            ["canary: no other ingress serves \(rule.host)\(path.path), so it has nothing to stand beside"],
            ingress.key)
          continue
        }
        let present = replaced[key] ?? [claim]
        guard present.count == 1, let base = present.first, base.path.conditions == nil, !isSplit(base.path)
        else {
          tell(["canary: \(rule.host)\(path.path) has one already"], ingress.key)
          continue
        }
        let other = backend(path.backend, of: ingress.key, annotations.policy)
        backends[other].isCanary = true
        let made = canary.paths(base.path, canary: other) { base, targets in
          var action = base.action >= 0 ? actions[base.action] : RouteAction()
          action.targets = targets
          return number(of: action)
        }
        replaced[key] = made.map { Claim(path: $0, text: base.text, owner: base.owner) }
      }
    }
  }

  private func isSplit(_ path: RoutePath) -> Bool {
    path.action >= 0 && !actions[path.action].targets.isEmpty
  }

  /// `app-root`, `server-alias` and `from-to-www-redirect`. Names that an Ingress has a rule for are not taken from it.
  mutating func addNames(
    _ ingresses: [(ingress: Ingress, plan: AnnotationPlan)], to hosts: inout [String: [Claim]]
  ) {
    /// A host's claims by owner, made when its first name is asked for.
    var owned: [String: [ObjectKey: [Claim]]] = [:]
    var roots: [String: [Claim]] = [:]
    for (ingress, plan) in ingresses {
      var seen: Set<String> = []
      for host in ingress.rules.map(\.host) where seen.insert(host).inserted {
        if owned[host] == nil { owned[host] = Dictionary(grouping: hosts[host] ?? [], by: \.owner) }
        guard let sample = owned[host]?[ingress.key]?.first else { continue }
        if let root = plan.appRoot {
          var action = RouteAction()
          action.redirect = RouteRedirect(status: 302, place: .location(root))
          var claim = sample
          claim.path = RoutePath(
            path: "/", kind: .exact, backend: sample.path.backend, action: number(of: action))
          owned[host]?[ingress.key]?.insert(claim, at: 0)
          roots[host, default: []].append(claim)
        }
        addAliases(host, ingress, plan, owned[host]?[ingress.key] ?? [], to: &hosts)
        if plan.redirectsWWW { addWWW(host, sample, to: &hosts) }
      }
    }
    for (host, claims) in roots { hosts[host] = claims.reversed() + (hosts[host] ?? []) }
  }

  private mutating func addAliases(
    _ host: String, _ ingress: Ingress, _ plan: AnnotationPlan, _ own: [Claim],
    to hosts: inout [String: [Claim]]
  ) {
    for alias in plan.aliases where alias != host {
      guard isValid(host: alias), !alias.isEmpty else {
        tell(["server-alias \(alias) is not a DNS name (ING0004)"], ingress.key, .annotation)
        continue
      }
      if let known = hosts[alias]?.first?.owner {
        tell(["server-alias \(alias) is already served by ingress \(known)"], ingress.key, .annotation)
        continue
      }
      hosts[alias] = own
      // What protects a host protects its other names.
      if certified[alias] == nil { certified[alias] = certified[host] }
    }
  }

  private mutating func addWWW(_ host: String, _ sample: Claim, to hosts: inout [String: [Claim]]) {
    guard !host.isEmpty, !host.hasPrefix("*.") else { return }
    let other = host.hasPrefix("www.") ? String(host.dropFirst(4)) : "www." + host
    guard hosts[other] == nil else { return }
    var action = RouteAction()
    action.redirect = RouteRedirect(
      status: 308, place: .parts(scheme: nil, host: host, port: 0, path: nil))
    hosts[other] = [
      Claim(
        path: RoutePath(path: "/", kind: .prefix, backend: sample.path.backend, action: number(of: action)),
        text: "/", owner: sample.owner)
    ]
  }
}
