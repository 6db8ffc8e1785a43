// What a rule gives and what it does not, as pure functions; and the index against an evaluation that looks at
// every binding, role and rule each time.

import ClusterClient
import ClusterObjects
import SoakLab
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
    let seed = Soak.seed
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

  @Test func `among a thousand bindings only one's own are looked at`() {
    var index = RoleIndex()
    for object in RoleAggregation.combine(DefaultRoles.objects) {
      if object["roleRef"] != nil { index.setBinding(object) } else { index.setRole(object) }
    }
    func bind(_ number: Int) {
      index.setBinding([
        "metadata": ["name": JSON("b\(number)"), "namespace": JSON("ns\(number % 100)")],
        "roleRef": ["kind": "ClusterRole", "name": JSON(["admin", "edit", "view"][number % 3])],
        "subjects": [["kind": "User", "name": JSON("user\(number)")]],
      ])
    }
    func time() -> Duration {
      let question = asked(
        "list", "deployments", group: "apps", namespace: "ns0", user: "user0",
        groups: ["system:authenticated"])
      return ContinuousClock().measure {
        for _ in 0..<2_000 { #expect(index.decide(question) != .noOpinion(reason: "")) }
      }
    }
    bind(0)
    let few = time()
    for number in 1..<1_000 { bind(number) }
    let many = min(time(), time(), time())
    // Proportional work would take hundreds of times as long; neighbours on the machine do not.
    #expect(many < few * 50, "\(few) with one binding, \(many) with a thousand")
  }

  // MARK: Foreign trees

  @Test func `whatever a role, a binding, a pod or a review looks like, reading it does not trap`() throws {
    let seed = Soak.seed
    var random = RuleNumbers(state: seed)
    let corpus = try [
      #"{"kind":"ClusterRole","metadata":{"name":"a","labels":{"x":"y"}},"rules":[{"verbs":["*"],"apiGroups":[""],"resources":["pods/log"],"resourceNames":["n"]},{"verbs":["get"],"nonResourceURLs":["/a*"]}],"aggregationRule":{"clusterRoleSelectors":[{"matchLabels":{"x":"y"},"matchExpressions":[{"key":"k","operator":"In","values":["v"]}]}]}}"#,
      #"{"metadata":{"name":"b","namespace":"n"},"roleRef":{"kind":"Role","name":"a"},"subjects":[{"kind":"User","name":"u"},{"kind":"ServiceAccount","name":"s","namespace":"n"}]}"#,
      #"{"spec":{"user":"u","groups":["g"],"extra":{"k":["v"]},"resourceAttributes":{"verb":"get","resource":"pods","subresource":"log","namespace":"n","fieldSelector":{"rawSelector":"a=b","requirements":[{"key":"k","operator":"In","values":["v"]}]},"labelSelector":{"requirements":[{"key":"k","operator":"Exists"}]}},"nonResourceAttributes":{"path":"/a","verb":"get"}}}"#,
      #"{"metadata":{"name":"p","namespace":"n"},"spec":{"nodeName":"x","volumes":[{"name":"v","projected":{"sources":[{"secret":{"name":"s"}}]}},{"csi":{"nodePublishSecretRef":{"name":"s"}}}],"containers":[{"env":[{"valueFrom":{"secretKeyRef":{"name":"s"}}}]}],"claimRef":{"name":"c","namespace":"n"}}}"#,
    ].map { try JSON(parsing: $0) }
    var index = RoleIndex()
    var graph = NodeGraph()
    for _ in 0..<4_000 {
      let tree = mutated(corpus[Int(random.next() % UInt64(corpus.count))], &random)
      index.setRole(tree)
      index.setBinding(tree)
      graph.setPod(tree)
      graph.setVolume(tree)
      _ = RoleAggregation.combine([tree, corpus[0]])
      _ = DefaultRoles.reconciled(tree, with: corpus[Int(random.next() % 2)])
      for kind in ["SubjectAccessReview", "LocalSubjectAccessReview", "SelfSubjectAccessReview"] {
        _ = AccessReview.errors(tree.spec, kind: kind, namespace: "n")
      }
      let identity = AccessReview.identity(tree.spec)
      let question = AccessReview.attributes(tree.spec, identity: identity)
      _ = index.decide(question)
      _ = Failure.forbidden(question, reason: "").status.bytes
      let rules = RoleIndex.rules(tree)
      _ = PolicyRule.compacted(PolicyRule.missing(rules, held: rules)).map(\.summary)
    }
    // Taken in and taken out again, nothing is left that answers.
    for name in ["a", "b", "p", ""] {
      for namespace in ["n", ""] {
        index.removeRole(ObjectKey(namespace, name))
        index.removeBinding(ObjectKey(namespace, name))
        graph.removePod(ObjectKey(namespace, name))
      }
    }
    #expect(index.roleCount == 0 && index.bindingCount == 0 && graph.podCount == 0, "seed \(seed)")
  }

  /// One value somewhere replaced, dropped or wrapped.
  private func mutated(_ tree: JSON, _ random: inout RuleNumbers) -> JSON {
    if random.next() % 12 == 0 {
      let strange: [JSON] = [
        .null, true, -1, "", "*", "/", [], [:], [[]], ["*": .null], "\u{0}é/*", .number("1e999"),
      ]
      return strange[Int(random.next() % UInt64(strange.count))]
    }
    switch tree {
    case .object(var object):
      let keys = object.map(\.key)
      if keys.isEmpty { return tree }
      let key = keys[Int(random.next() % UInt64(keys.count))]
      // Names stay, so that what was taken in can be taken out.
      if key == "name" || key == "namespace" { return tree }
      object[key] = mutated(object[key] ?? .null, &random)
      return .object(object)
    case .array(var elements):
      if elements.isEmpty { return tree }
      let position = Int(random.next() % UInt64(elements.count))
      elements[position] = mutated(elements[position], &random)
      return .array(elements)
    default: return random.next() % 2 == 0 ? tree : .string("")
    }
  }
}

/// Few names of each sort, so that they meet.
private struct World {
  private var random: RuleNumbers
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

  init(seed: UInt64) { random = RuleNumbers(state: seed) }

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

private struct RuleNumbers {
  var state: UInt64
  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
}
