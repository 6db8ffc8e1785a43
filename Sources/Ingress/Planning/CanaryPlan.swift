// Canary Ingresses: a second backend for paths that another Ingress serves, for some of the requests. ingress-nginx's order:
// header, then cookie, then weight. It becomes rules of the same path with conditions, and a split by weight; nothing at run time
// knows of canaries.

import ClusterObjects
import ClusterView
import Patterns

struct CanaryPlan {
  /// Conditions under which the canary is taken, and those under which it is not, in their order.
  private(set) var rules: [(conditions: RouteConditions, isCanary: Bool)] = []
  private(set) var weight: UInt32 = 0
  private(set) var total: UInt32 = 100
  private(set) var problems: [String] = []

  static func isCanary(_ ingress: Ingress) -> Bool {
    ingress.nginx("canary")?.lowercased() == "true"
  }

  init(_ ingress: Ingress) {
    var reader = AnnotationReader(ingress.annotations)
    if let header = reader["canary-by-header"] {
      if header.utf8.allSatisfy(isToken) {
        byHeader(header, &reader)
      } else {
        reader.wrong("canary-by-header", "a field's name")
      }
    }
    if let cookie = reader["canary-by-cookie"] {
      if cookie.utf8.allSatisfy(isToken) {
        for (value, isCanary) in [("always", true), ("never", false)] {
          rules.append((RouteConditions(cookies: [FieldMatch(cookie, .exact(value))]), isCanary))
        }
      } else {
        reader.wrong("canary-by-cookie", "a cookie's name")
      }
    }
    total = UInt32(reader.number("canary-weight-total", 1...1_000_000) ?? 100)
    weight = min(total, UInt32(reader.number("canary-weight", 0...1_000_000) ?? 0))
    problems = reader.problems
  }

  private mutating func byHeader(_ header: String, _ reader: inout AnnotationReader) {
    if let value = reader["canary-by-header-value"] {
      rules.append((RouteConditions(fields: [FieldMatch(header, .exact(value))]), true))
    } else if let text = reader["canary-by-header-pattern"] {
      do throws(BytePatternError) {
        let pattern = try BytePattern(text)
        rules.append((RouteConditions(fields: [FieldMatch(header, .pattern(pattern))]), true))
      } catch {
        reader.wrong("canary-by-header-pattern", "a regular expression (\(error))")
      }
    } else {
      for (value, isCanary) in [("always", true), ("never", false)] {
        rules.append((RouteConditions(fields: [FieldMatch(header, .exact(value))]), isCanary))
      }
    }
  }

  /// What takes the place of a path that has a canary.
  /// - Parameter split: the number of an action that is `base`'s with these targets.
  func paths(
    _ base: RoutePath, canary: Int, split: (_ base: RoutePath, [RouteTarget]) -> Int
  ) -> [RoutePath] {
    var paths = rules.map { rule in
      var path = base
      path.conditions = rule.conditions
      if rule.isCanary { path.backend = canary }
      return path
    }
    var last = base
    if weight > 0 {
      last.action = split(
        base,
        [
          RouteTarget(backend: base.backend, weight: total - weight),
          RouteTarget(backend: canary, weight: weight),
        ])
    }
    paths.append(last)
    return paths
  }
}
