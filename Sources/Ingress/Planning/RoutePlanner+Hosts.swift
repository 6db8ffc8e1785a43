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

  /// Puts a canary's backends beside those of the Ingress that has the same hosts and paths.
  mutating func addCanary(_ ingress: Ingress, to hosts: inout [String: [Claim]]) {
    let canary = CanaryPlan(ingress)
    let annotations = AnnotationPlan(ingress, credentials: credentials, headers: headers)
    tell(canary.problems + annotations.problems, ingress.key, .annotation)
    for rule in ingress.rules {
      for path in rule.paths {
        let kind: RoutePathKind = path.kind == .exact ? .exact : .prefix
        let wanted = RoutePath(path: path.path, kind: kind, backend: 0)
        let claims = hosts[rule.host] ?? []
        let found = claims.indices.filter {
          claims[$0].path.path == wanted.path && claims[$0].path.kind == kind
        }
        guard let first = found.first else {
          tell(
            ["canary: no other ingress serves \(rule.host)\(path.path), so it has nothing to stand beside"],
            ingress.key)
          continue
        }
        guard found.count == 1, claims[first].path.conditions == nil, !isSplit(claims[first].path) else {
          tell(["canary: \(rule.host)\(path.path) has one already"], ingress.key)
          continue
        }
        let base = claims[first]
        let other = backend(path.backend, of: ingress.key, annotations.policy)
        backends[other].isCanary = true
        let made = canary.paths(base.path, canary: other) { base, targets in
          var action = base.action >= 0 ? actions[base.action] : RouteAction()
          action.targets = targets
          return number(of: action)
        }
        var next = claims
        next.remove(at: first)
        hosts[rule.host] = next + made.map { Claim(path: $0, text: base.text, owner: base.owner) }
      }
    }
  }

  private func isSplit(_ path: RoutePath) -> Bool {
    path.action >= 0 && !actions[path.action].targets.isEmpty
  }

  /// `app-root`, `server-alias` and `from-to-www-redirect`. Names that an Ingress has a rule for are not taken from it.
  mutating func addNames(
    _ host: String, _ ingress: Ingress, _ plan: AnnotationPlan, _ tls: TLSPlan,
    to hosts: inout [String: [Claim]]
  ) {
    guard let own = hosts[host], let sample = own.first(where: { $0.owner == ingress.key }) else { return }
    if let root = plan.appRoot {
      var action = RouteAction()
      action.redirect = RouteRedirect(status: 302, place: .location(root))
      var claim = sample
      claim.path = RoutePath(
        path: "/", kind: .exact, backend: sample.path.backend, action: number(of: action))
      hosts[host] = [claim] + own
    }
    for alias in plan.aliases where alias != host {
      guard isValid(host: alias), !alias.isEmpty else {
        tell(["server-alias \(alias) is not a DNS name (ING0004)"], ingress.key, .annotation)
        continue
      }
      if let known = hosts[alias]?.first?.owner {
        tell(["server-alias \(alias) is already served by ingress \(known)"], ingress.key, .annotation)
        continue
      }
      hosts[alias] = hosts[host]?.filter { $0.owner == ingress.key }
      // What protects a host protects its other names.
      if certified[alias] == nil { certified[alias] = certified[host] }
    }
    guard plan.redirectsWWW, !host.isEmpty, !host.hasPrefix("*.") else { return }
    let other = host.hasPrefix("www.") ? String(host.dropFirst(4)) : "www." + host
    guard hosts[other] == nil else { return }
    var action = RouteAction()
    action.redirect = RouteRedirect(
      status: 308, place: .parts(scheme: nil, host: host, port: 0, path: nil))
    hosts[other] = [
      Claim(
        path: RoutePath(path: "/", kind: .prefix, backend: sample.path.backend, action: number(of: action)),
        text: "/", owner: ingress.key)
    ]
  }
}
