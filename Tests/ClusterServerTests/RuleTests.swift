// What a rule gives and what it does not, as pure functions; and the index against an evaluation that looks at
// every binding, role and rule each time.

import ClusterObjects
import Testing

@testable import ClusterServer

private func asked(
  _ verb: String, _ resource: String, group: String = "", namespace: String = "", name: String = "",
  user: String = "u", groups: [String] = []
) -> AccessAttributes {
  let parts = resource.split(separator: "/", maxSplits: 1).map(String.init)
  return AccessAttributes(
    identity: Identity(user: user, groups: groups), verb: verb, group: group, resource: parts[0],
    subresource: parts.count > 1 ? parts[1] : "", namespace: namespace, name: name)
}

@Suite struct RuleTests {
  @Test(arguments: [
    (["get"], [""], ["pods"], "get", "", "pods", true),
    (["get"], [""], ["pods"], "list", "", "pods", false),
    (["get"], [""], ["pods"], "get", "apps", "pods", false),
    (["get"], ["*"], ["pods"], "get", "apps", "pods", true),
    (["*"], [""], ["pods"], "approve", "", "pods", true),
    (["get"], [""], ["pods"], "get", "", "pods/log", false),
    (["get"], [""], ["pods/log"], "get", "", "pods/log", true),
    (["get"], [""], ["pods/log"], "get", "", "pods", false),
    (["get"], [""], ["*"], "get", "", "pods/log", true),
    (["get"], ["*"], ["*/scale"], "get", "apps", "deployments/scale", true),
    (["get"], ["*"], ["*/scale"], "get", "apps", "deployments/status", false),
    (["get"], ["*"], ["*/scale"], "get", "apps", "deployments", false),
    (["get"], [""], ["pods/*"], "get", "", "pods/log", false),
    (["get"], [""], ["mypods/log"], "get", "", "pods/log", false),
    (["bind"], [""], ["pods"], "escalate", "", "pods", false),
    (["escalate", "bind"], [""], ["pods"], "escalate", "", "pods", true),
  ])
  func `a role's rule gives no more than it says`(
    verbs: [String], groups: [String], resources: [String], verb: String, group: String, resource: String,
    allowed: Bool
  ) {
    let rule = PolicyRule(verbs: verbs, apiGroups: groups, resources: resources)
    #expect(rule.allows(RuleQuestion(asked(verb, resource, group: group))) == allowed)
  }

  @Test func `names of a rule are for requests that name one of them`() {
    let rule = PolicyRule(verbs: ["get", "list"], apiGroups: [""], resources: ["pods"], resourceNames: ["a"])
    #expect(rule.allows(RuleQuestion(asked("get", "pods", name: "a"))))
    #expect(!rule.allows(RuleQuestion(asked("get", "pods", name: "b"))))
    #expect(!rule.allows(RuleQuestion(asked("list", "pods"))))
  }

  @Test(arguments: [
    ("/healthz", "/healthz", true), ("/healthz", "/healthz/x", false), ("/api/*", "/api/v1", true),
    ("/api/*", "/api", false), ("*", "/anything", true), ("/ap*", "/apis", true), ("/api", "/API", false),
  ])
  func `a path is a path or the beginning of one`(own: String, path: String, allowed: Bool) {
    let rule = PolicyRule(verbs: ["get"], nonResourceURLs: [own])
    let identity = Identity(user: "u", groups: [])
    #expect(
      rule.allows(RuleQuestion(AccessAttributes(identity: identity, verb: "get", path: path))) == allowed)
    #expect(!rule.allows(RuleQuestion(AccessAttributes(identity: identity, verb: "post", path: path))))
    #expect(
      !PolicyRule.everything.allows(
        RuleQuestion(AccessAttributes(identity: identity, verb: "get", path: path))))
  }

  @Test func `what is missing is told atom by atom, and joined for people`() {
    let held = [PolicyRule(verbs: ["get"], apiGroups: ["apps"], resources: ["*"])]
    let wanted = [
      PolicyRule(verbs: ["get", "list", "watch"], apiGroups: ["apps"], resources: ["deployments"]),
      PolicyRule(verbs: ["get"], nonResourceURLs: ["/metrics"]),
    ]
    let missing = PolicyRule.compacted(PolicyRule.missing(wanted, held: held))
    #expect(
      missing.map(\.summary) == [
        #"{APIGroups:["apps"], Resources:["deployments"], Verbs:["list" "watch"]}"#,
        #"{NonResourceURLs:["/metrics"], Verbs:["get"]}"#,
      ])
    #expect(PolicyRule.missing(wanted, held: [.everything, .everyPath]).isEmpty)
    let named = PolicyRule(verbs: ["get"], apiGroups: [""], resources: ["pods"], resourceNames: ["a"])
    let all = PolicyRule(verbs: ["get"], apiGroups: [""], resources: ["pods"])
    #expect(PolicyRule.missing([named], held: [all]).isEmpty)
    #expect(PolicyRule.missing([all], held: [named]) == [all])
    let scale = PolicyRule(verbs: ["get"], apiGroups: [""], resources: ["pods/scale"])
    #expect(
      PolicyRule.missing([scale], held: [PolicyRule(verbs: ["*"], apiGroups: ["*"], resources: ["*/scale"])])
        .isEmpty)
  }

  // MARK: The index and the naive evaluation

  @Test func `the index answers what looking at every rule answers`() {
    let seed = UInt64.random(in: 1...UInt64.max)
    var world = World(seed: seed)
    var index = RoleIndex()
    var questions = 0
    var allowed = 0
    for round in 0..<100 {
      for _ in 0..<10 { world.change(&index) }
      for _ in 0..<100 {
        let question = world.question()
        let expected = world.naive(question)
        var answer = false
        if case .allow = index.decide(question) { answer = true }
        #expect(answer == expected, "seed \(seed), round \(round): \(question)")
        questions += 1
        if expected { allowed += 1 }
      }
    }
    #expect(questions == 10_000)
    // Neither answer is so rare that the comparison says nothing.
    #expect(allowed > 300 && allowed < 9_500, "seed \(seed): \(allowed)")
  }
}

/// Few names of each sort, so that they meet.
private struct World {
  private var random: SeededNumbers
  private var roles: [ObjectKey: JSON] = [:]
  private var bindings: [ObjectKey: JSON] = [:]
  private let namespaces = ["", "a", "b"]
  private let verbs = ["get", "list", "create", "approve", "escalate", "*"]
  private let apiGroups = ["", "apps", "*"]
  private let resources = ["pods", "pods/log", "secrets", "*/log", "*", "deployments"]
  private let names = ["x", "y", "z"]
  private let users = ["u1", "u2", "system:serviceaccount:a:s", "system:serviceaccount:b:s"]
  private let groups = ["g1", "g2", "g3"]
  private let paths = ["/m", "/m/*", "*", "/n"]

  init(seed: UInt64) { random = SeededNumbers(seed: seed) }

  private mutating func pick<T>(_ from: [T]) -> T { from[Int(random.next() % UInt64(from.count))] }
  private mutating func some(_ from: [String]) -> JSON {
    var out: [String] = []
    for _ in 0..<(1 + random.next() % 2) { out.append(pick(from)) }
    return JSON(out)
  }

  mutating func change(_ index: inout RoleIndex) {
    let key = ObjectKey(pick(namespaces), "n\(random.next() % 6)")
    let isRole = random.next() % 2 == 0
    if random.next() % 6 == 0 {
      if isRole {
        roles[key] = nil
        index.removeRole(key)
      } else {
        bindings[key] = nil
        index.removeBinding(key)
      }
      return
    }
    var object: JSON = ["metadata": ["name": JSON(key.name)]]
    if !key.namespace.isEmpty { object.set(JSON(key.namespace), at: "metadata", "namespace") }
    if isRole {
      var rules: [JSON] = []
      for _ in 0..<(1 + random.next() % 3) {
        if random.next() % 5 == 0 {
          rules.append(["verbs": some(["get", "*"]), "nonResourceURLs": some(paths)])
          continue
        }
        var rule: JSON = ["verbs": some(verbs), "apiGroups": some(apiGroups), "resources": some(resources)]
        if random.next() % 3 == 0 { rule["resourceNames"] = some(names) }
        rules.append(rule)
      }
      object["rules"] = .array(rules)
      roles[key] = object
      index.setRole(object)
    } else {
      let kind = pick(["Role", "ClusterRole"])
      object["roleRef"] = ["kind": JSON(kind), "name": JSON("n\(random.next() % 6)")]
      var subjects: [JSON] = []
      for _ in 0..<(random.next() % 4) {
        switch random.next() % 3 {
        case 0: subjects.append(["kind": "User", "name": JSON(pick(users))])
        case 1: subjects.append(["kind": "Group", "name": JSON(pick(groups))])
        default:
          var subject: JSON = ["kind": "ServiceAccount", "name": "s"]
          if random.next() % 2 == 0 { subject["namespace"] = JSON(pick(["a", "b"])) }
          subjects.append(subject)
        }
      }
      object["subjects"] = .array(subjects)
      bindings[key] = object
      index.setBinding(object)
    }
  }

  mutating func question() -> AccessAttributes {
    var own: [String] = []
    for group in groups where random.next() % 2 == 0 { own.append(group) }
    let identity = Identity(user: pick(users), groups: own)
    if random.next() % 8 == 0 {
      return AccessAttributes(
        identity: identity, verb: pick(["get", "post"]), path: pick(["/m", "/m/x", "/n", "/o"]))
    }
    var attributes = asked(
      pick(verbs), pick(["pods", "pods/log", "secrets", "deployments", "services/log"]),
      group: pick(["", "apps", "batch"]), namespace: pick(namespaces), name: pick(["", "x", "y"]))
    attributes.identity = identity
    return attributes
  }

  /// As the documentation tells it, with no index and no shortcut.
  func naive(_ question: AccessAttributes) -> Bool {
    bindings.contains { key, binding in
      guard key.namespace.isEmpty || key.namespace == question.namespace else { return false }
      let applies = binding["subjects"]?.elements.contains { subject in
        let name = subject["name"]?.string ?? ""
        switch subject["kind"]?.string {
        case "User": return question.identity.user == name
        case "Group": return question.identity.groups.contains(name)
        default:
          let home = subject["namespace"]?.string ?? key.namespace
          return !home.isEmpty && question.identity.user == "system:serviceaccount:\(home):\(name)"
        }
      }
      guard applies == true else { return false }
      let isCluster = binding.at("roleRef", "kind")?.string == "ClusterRole"
      if !isCluster, key.namespace.isEmpty { return false }
      let name = binding.at("roleRef", "name")?.string ?? ""
      let role = roles[ObjectKey(isCluster ? "" : key.namespace, name)]
      return role?["rules"]?.elements.contains { Self.allows($0, question) } ?? false
    }
  }

  private static func allows(_ rule: JSON, _ question: AccessAttributes) -> Bool {
    func has(_ field: String, _ wanted: [String]) -> Bool {
      rule[field]?.elements.contains { wanted.contains($0.string ?? "") } ?? false
    }
    guard has("verbs", ["*", question.verb]) else { return false }
    guard question.isResource else {
      return rule["nonResourceURLs"]?.elements.contains { own in
        let text = own.string ?? ""
        return text == question.path || text.hasSuffix("*") && question.path.hasPrefix(text.dropLast())
      } ?? false
    }
    let combined =
      question.subresource.isEmpty
      ? [question.resource] : ["\(question.resource)/\(question.subresource)", "*/\(question.subresource)"]
    return has("apiGroups", ["*", question.group]) && has("resources", ["*"] + combined)
      && (rule["resourceNames"] == nil || has("resourceNames", [question.name]))
  }
}

private struct SplitMix {
  private var state: UInt64
  init(seed: UInt64) { state = seed }
  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
}
