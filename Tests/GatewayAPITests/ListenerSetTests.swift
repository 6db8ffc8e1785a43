// ListenerSets: tests named after the conformance tests of Gateway API with the prefix ListenerSet.

import ClusterObjects
import ClusterView
import GatewayAPI
import Testing

private let own = "name: own, port: 80, protocol: HTTP, hostname: own.example.org"

private func allowing(_ from: String) -> String { "  allowedListeners: {namespaces: {from: \(from)}}\n" }

@Suite struct ListenerSetTests {
  private func expectRefused(_ plan: GatewayPlan, _ name: String, _ namespace: String = "infra") throws {
    let set = try plan.set(name, namespace)
    #expect(set.conditions["Accepted"] == "False NotAllowed")
    #expect(set.conditions["Programmed"] == "False NotAllowed")
    #expect(!plan.listeners.contains { $0.listenerSet == ObjectKey(namespace, name) })
  }

  private func expectWell(_ plan: GatewayPlan, _ name: String, _ namespace: String = "infra") throws {
    let set = try plan.set(name, namespace)
    #expect(set.conditions["Accepted"] == "True Accepted")
    #expect(set.conditions["Programmed"] == "True Programmed")
    #expect(set.listeners.areWell)
  }

  private func set(_ name: String, _ namespace: String = "infra", port: Int = 81) -> String {
    listenerSet(name, namespace, of: "gw", "name: \(name), port: \(port), protocol: HTTP")
  }

  @Test(arguments: ["", allowing("None")])
  func `ListenerSetDefaultNotAllowed, ListenerSetAllowedNamespaceNone: no set attaches`(more: String) throws {
    let plan = try Lab(gateway("gw", more: more, own), set("a")).plan()
    try expectRefused(plan, "a")
    #expect(try plan.gateway("gw").attachedListenerSets == 0)
    #expect(try plan.gateway("gw").conditions["Accepted"] == "True Accepted")
  }

  @Test func `ListenerSetAllowedNamespaceSame: those of the Gateway's namespace attach`() throws {
    let plan = try Lab(gateway("gw", more: allowing("Same"), own), set("near"), set("away", "web", port: 82))
      .plan()
    try expectWell(plan, "near")
    try expectRefused(plan, "away", "web")
    #expect(try plan.gateway("gw").attachedListenerSets == 1)
  }

  @Test func `ListenerSetAllowedNamespaceSelector: those of chosen namespaces attach`() throws {
    let selector = allowing("Selector, selector: {matchLabels: {team: web}}")
    let plan = try Lab(
      gateway("gw", more: selector, own), set("chosen", "web"), set("away", "other", port: 82)
    ).plan()
    try expectWell(plan, "chosen", "web")
    try expectRefused(plan, "away", "other")
    #expect(try plan.gateway("gw").attachedListenerSets == 1)
  }

  @Test func `ListenerSetAllowedRoutesNamespaces: Same is the set's own namespace`() throws {
    func listener(_ name: String, _ port: Int, _ from: String) -> String {
      "name: \(name), port: \(port), protocol: HTTP, allowedRoutes: {namespaces: {from: \(from)}}"
    }
    let plan = try Lab(
      gateway("gw", more: allowing("All"), own),
      listenerSet(
        "set", of: "gw", listener("all", 81, "All"), listener("same", 82, "Same"),
        listener("chosen", 83, "Selector, selector: {matchLabels: {team: web}}")),
      listenerSet("cross", "web", of: "gw", listener("same", 84, "Same")),
      route("near", to: "{kind: ListenerSet, name: set}"),
      route("chosen", "web", to: "{kind: ListenerSet, name: set, namespace: infra}"),
      route("other", "other", to: "{kind: ListenerSet, name: set, namespace: infra}"),
      route("in-set", "web", to: "{kind: ListenerSet, name: cross}"),
      route("in-gateway", to: "{kind: ListenerSet, name: cross, namespace: web}")
    ).plan()
    #expect(try plan.set("set").listeners.map(\.attachedRoutes) == [3, 1, 1])
    #expect(try plan.set("cross", "web").listeners.map(\.attachedRoutes) == [1])
    #expect(try plan.parent("in-gateway")["Accepted"] == "False NotAllowedByListeners")
    #expect(try plan.parent("in-set", "web")["Accepted"] == "True Accepted")
    #expect(try plan.gateway("gw").attachedListenerSets == 2)
  }

  @Test func `ListenerSetAllowedRoutesSupportedKinds: kinds that do not fit are refused`() throws {
    let plan = try Lab(
      gateway("gw", more: allowing("Same"), own),
      listenerSet(
        "set", of: "gw", "name: a, port: 81, protocol: HTTP, allowedRoutes: {kinds: [{kind: TCPRoute}]}")
    ).plan()
    #expect(try plan.set("set").listeners[0].conditions["ResolvedRefs"] == "False InvalidRouteKinds")
  }

  @Test func `ListenerSetDualParentRefIndependence: one parent's verdict is not the other's`() throws {
    let plan = try Lab(
      gateway("gw", more: allowing("Same"), own), set("set"),
      route("both", to: "{name: gw}, {kind: ListenerSet, name: set}"),
      route("one", to: "{name: gw, sectionName: missing}, {kind: ListenerSet, name: set}")
    ).plan()
    #expect(try plan.parents("both").map { $0.conditions["Accepted"] } == ["True Accepted", "True Accepted"])
    #expect(
      try plan.parents("one").map { $0.conditions["Accepted"] } == [
        "False NoMatchingParent", "True Accepted",
      ])
    #expect(try plan.set("set").listeners.map(\.attachedRoutes) == [2])
  }

  @Test func `ListenerSetGatewayParentSectionNameNotFound: a set's listener is none of the Gateway's`() throws
  {
    let plan = try Lab(
      gateway("gw", more: allowing("Same"), own), set("set"), route("a", to: "{name: gw, sectionName: set}"),
      route("b", to: "{kind: ListenerSet, name: set, sectionName: set}")
    ).plan()
    #expect(try plan.parent("a")["Accepted"] == "False NoMatchingParent")
    #expect(try plan.parent("b")["Accepted"] == "True Accepted")
  }

  @Test func `ListenerSetRouteStatusScopedToParentRef: a route of the Gateway is none of its sets`() throws {
    let plan = try Lab(
      gateway("gw", more: allowing("Same"), own), set("set"), route("gw-only", to: "{name: gw}"),
      route("set-only", to: "{kind: ListenerSet, name: set}")
    ).plan()
    #expect(try plan.parents("gw-only").map { $0.parent["name"] } == ["gw"])
    #expect(try plan.parents("set-only").map { $0.parent["name"] } == ["set"])
    #expect(try plan.set("set").listeners.map(\.attachedRoutes) == [1])
    #expect(try plan.gateway("gw").listeners.map(\.attachedRoutes) == [1])
  }

  @Test func `ListenerSetHTTPRouting: sections, sets and the Gateway each have their routes`() throws {
    let plan = try Lab(
      gateway("gw", more: allowing("Same"), own),
      listenerSet(
        "set", of: "gw", "name: first, port: 81, protocol: HTTP", "name: second, port: 82, protocol: HTTP"),
      route("everywhere", to: "{name: gw}, {kind: ListenerSet, name: set}"),
      route("in-set", to: "{kind: ListenerSet, name: set}"),
      route("in-x", to: "{kind: ListenerSet, name: set, sectionName: first}"),
      route("in-gw", to: "{name: gw}")
    ).plan()
    #expect(try plan.set("set").listeners.map(\.attachedRoutes) == [3, 2])
    #expect(try plan.listener("own", of: "gw").attachedRoutes == 2)
    #expect(
      try plan.table("second").map { $0.split(separator: "/")[0] } == ["*: everywhere", "*: in-set"])
  }

  private func expectConflict(
    _ plan: GatewayPlan, _ set: String, _ listener: String, _ reason: String
  ) throws {
    let found = try #require(try plan.set(set).listeners.first { $0.name == listener })
    #expect(found.conditions["Accepted"] == "False \(reason)", "\(listener)")
    #expect(found.conditions["Programmed"] == "False \(reason)", "\(listener)")
    #expect(found.conditions["Conflicted"] == "True \(reason)", "\(listener)")
  }

  @Test func `ListenerSetHostnameConflict: the Gateway goes before sets, older sets before younger`() throws {
    let plan = try Lab(
      gateway("gw", more: allowing("Same"), own),
      listenerSet(
        "older", of: "gw", "name: mine, port: 80, protocol: HTTP, hostname: older.example.org",
        "name: taken, port: 80, protocol: HTTP, hostname: own.example.org"),
      listenerSet(
        "younger", of: "gw", "name: mine, port: 80, protocol: HTTP, hostname: younger.example.org",
        "name: taken, port: 80, protocol: HTTP, hostname: older.example.org"),
      listenerSet("lost", of: "gw", "name: taken, port: 80, protocol: HTTP, hostname: own.example.org")
    ).plan()
    #expect(try plan.listener("own", of: "gw").isWell)
    for name in ["older", "younger"] {
      try expectConflict(plan, name, "taken", "HostnameConflict")
      #expect(try plan.set(name).conditions["Accepted"].hasPrefix("True "))
      #expect(try plan.set(name).conditions["Programmed"] == "True Programmed")
      #expect(try plan.set(name).listeners[0].isWell)
    }
    try expectConflict(plan, "lost", "taken", "HostnameConflict")
    #expect(try plan.set("lost").conditions["Accepted"] == "False ListenersNotValid")
    #expect(try plan.set("lost").conditions["Programmed"] == "False ListenersNotValid")
    #expect(try plan.gateway("gw").attachedListenerSets == 2)
    #expect(try plan.gateway("gw").conditions["Accepted"] == "True Accepted")
  }

  @Test func `ListenerSetProtocolConflict: a port speaks what the first listener says`() throws {
    let plan = try Lab(
      gateway("gw", more: allowing("Same"), own),
      listenerSet(
        "older", of: "gw", "name: mine, port: 81, protocol: HTTP",
        "name: taken, port: 80, protocol: TCP"),
      listenerSet("lost", of: "gw", "name: taken, port: 81, protocol: TCP")
    ).plan()
    try expectConflict(plan, "older", "taken", "ProtocolConflict")
    #expect(try plan.set("older").listeners[0].isWell)
    try expectConflict(plan, "lost", "taken", "ProtocolConflict")
    #expect(try plan.set("lost").conditions["Accepted"] == "False ListenersNotValid")
    #expect(try plan.gateway("gw").attachedListenerSets == 1)
  }

  @Test func `ListenerSetReferenceGrant: grants name the set, not its Gateway`() throws {
    func secured(_ name: String, _ port: Int) -> String {
      listenerSet(
        name, of: "gw",
        "name: https, port: \(port), protocol: HTTPS, tls: {certificateRefs: [{name: good, namespace: web}]}")
    }
    var lab = try Lab(gateway("gw", more: allowing("Same"), own), secured("a", 443))
    lab.input.secrets[ObjectKey("web", "good")] = TestCertificate.secret
    try lab.add(grant(in: "web", from: "Gateway", to: "{group: '', kind: Secret}"))
    let refused = try lab.plan().set("a")
    #expect(refused.listeners[0].conditions["ResolvedRefs"] == "False RefNotPermitted")
    #expect(refused.conditions["Accepted"] == "False ListenersNotValid")
    #expect(refused.conditions["Programmed"] == "False ListenersNotValid")
    try lab.add(grant("for-sets", in: "web", from: "ListenerSet", to: "{group: '', kind: Secret}"))
    try expectWell(lab.plan(), "a")
  }

  @Test func `a set whose Gateway is refused says so, and one without a Gateway is left alone`() throws {
    let plan = try Lab(
      gateway(
        "gw",
        more: allowing("Same") + "  infrastructure: {parametersRef: {group: a.b, kind: C, name: d}}\n", own),
      set("a"), listenerSet("lost", of: "missing", own)
    ).plan()
    #expect(try plan.set("a").conditions["Accepted"] == "False ParentNotAccepted")
    #expect(plan.listenerSets[ObjectKey("infra", "lost")] == nil)
  }
}
