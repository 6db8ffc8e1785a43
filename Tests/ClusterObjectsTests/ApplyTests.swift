// Server-side apply: who owns what, who may change it, what goes when it is no longer applied.
import ClusterObjects
import Testing

private let deployments = KindRegistry.builtin[GroupVersionResource.deployments]!
private let services = KindRegistry.builtin[GroupVersionResource.services]!
private let now = KubeTime("2026-11-21T05:00:00Z")!

private func tree(_ kind: ResourceKind, _ text: String) throws -> JSON {
  try kind.schema.decode(tree: JSON(parsing: text), as: kind.gvk, isIntent: true).object
}

private func entry(_ object: JSON, _ manager: String) -> JSON? {
  object.at("metadata", "managedFields")?.elements.first { $0["manager"]?.string == manager }
}

private let web =
  #"{"metadata":{"name":"web","labels":{"a":"1"}},"spec":{"replicas":2,"template":{"spec":{"containers":[{"name":"c","image":"a:1"}]}}}}"#

@Test func `applying creates the object and says who owns what`() throws {
  let object = try deployments.apply(tree(deployments, web), over: nil, manager: "kubectl", now: now)
  #expect(object.spec["replicas"] == 2)
  let owner = try #require(entry(object, "kubectl"))
  #expect(
    owner["operation"] == "Apply" && owner["apiVersion"] == "apps/v1" && owner["fieldsType"] == "FieldsV1")
  #expect(owner.at("fieldsV1", "f:metadata", "f:labels", "f:a") == [:])
  #expect(owner.at("fieldsV1", "f:spec", "f:replicas") == [:])
  let container = owner.at(
    "fieldsV1", "f:spec", "f:template", "f:spec", "f:containers", #"k:{"name":"c"}"#, "f:image")
  #expect(container == [:])
}

@Test func `applying the same again changes nothing`() throws {
  let wanted = try tree(deployments, web)
  let once = try deployments.apply(wanted, over: nil, manager: "kubectl", now: now)
  let later = KubeTime("2026-11-21T06:00:00Z")!
  #expect(try deployments.apply(wanted, over: once, manager: "kubectl", now: later) == once)
}

@Test func `a field that another manager set differently is a conflict, unless forced`() throws {
  let live = try deployments.apply(tree(deployments, web), over: nil, manager: "one", now: now)
  let other = try tree(deployments, #"{"spec":{"replicas":5}}"#)
  let error = #expect(throws: ApplyError.self) {
    try deployments.apply(other, over: live, manager: "two", now: now)
  }
  #expect(error?.description == #"Apply failed with 1 conflict: conflict with "one": .spec.replicas"#)
  #expect(
    error?.conflicts.map(\.cause) == [
      ["reason": "FieldManagerConflict", "message": #"conflict with "one""#, "field": ".spec.replicas"]
    ])
  let forced = try deployments.apply(other, over: live, manager: "two", force: true, now: now)
  #expect(forced.spec["replicas"] == 5)
  #expect(entry(forced, "one")?.at("fieldsV1", "f:spec", "f:replicas") == nil)
  #expect(entry(forced, "two")?.at("fieldsV1", "f:spec", "f:replicas") == [:])
}

@Test func `the same value is shared and stays until its last owner lets go`() throws {
  let one = try deployments.apply(tree(deployments, web), over: nil, manager: "one", now: now)
  let both = try deployments.apply(
    tree(deployments, #"{"metadata":{"labels":{"a":"1"}}}"#), over: one, manager: "two", now: now)
  let empty = try tree(deployments, "{}")
  let left = try deployments.apply(empty, over: both, manager: "one", now: now)
  #expect(left.labels == ["a": "1"] && left.spec["replicas"] == nil)
  let none = try deployments.apply(empty, over: left, manager: "two", now: now)
  #expect(none.labels == [:])
}

@Test func `elements of a list go by their keys`() throws {
  let two =
    #"{"spec":{"ports":[{"name":"a","port":80,"protocol":"TCP"},{"name":"b","port":81,"protocol":"TCP"}]}}"#
  let one = #"{"spec":{"ports":[{"name":"b","port":81}]}}"#
  var live = try services.apply(tree(services, two), over: nil, manager: "k", now: now)
  live = try services.apply(
    tree(services, #"{"spec":{"ports":[{"name":"z","port":90,"protocol":"UDP"}]}}"#), over: live,
    manager: "other",
    now: now)
  #expect(live.spec["ports"]?.elements.count == 3)
  let after = try services.apply(tree(services, one), over: live, manager: "k", now: now)
  #expect(after.spec["ports"]?.elements.compactMap { $0["port"]?.integer } == [81, 90])
}

@Test func `an update takes fields from their owner, and an apply then meets a conflict`() throws {
  let live = try deployments.apply(tree(deployments, web), over: nil, manager: "kubectl", now: now)
  var scaled = live
  scaled.set(9, at: "spec", "replicas")
  deployments.trackUpdate(&scaled, old: live, manager: "hpa", subresource: "scale", now: now)
  #expect(entry(scaled, "hpa")?["subresource"] == "scale")
  #expect(entry(scaled, "kubectl")?.at("fieldsV1", "f:spec", "f:replicas") == nil)
  #expect(entry(scaled, "kubectl")?.at("fieldsV1", "f:metadata", "f:labels", "f:a") == [:])
  let error = #expect(throws: ApplyError.self) {
    try deployments.apply(tree(deployments, web), over: scaled, manager: "kubectl", now: now)
  }
  #expect(
    error?.description.contains(
      #"conflict with "hpa" with subresource "scale" using apps/v1: .spec.replicas"#) == true)
}

@Test func `selectors are owned as wholes`() throws {
  let live = try services.apply(
    tree(services, #"{"spec":{"selector":{"a":"1"}}}"#), over: nil, manager: "k", now: now)
  #expect(entry(live, "k")?.at("fieldsV1", "f:spec", "f:selector") == [:])
  let after = try services.apply(
    tree(services, #"{"spec":{"selector":{"b":"2"}}}"#), over: live, manager: "k", now: now)
  #expect(after.spec["selector"] == ["b": "2"])
}

@Test func `field sets read back and damaged ones own nothing`() throws {
  let object = try tree(deployments, web)
  let set = FieldSet(of: object, schema: deployments.schema)
  #expect(FieldSet(fieldsV1: set.fieldsV1) == set)
  #expect(FieldSet(fieldsV1: "x").isEmpty && FieldSet(fieldsV1: nil).isEmpty)
  #expect(set.paths.contains(#".spec.template.spec.containers[name="c"].image"#))
}

@Test func `several conflicts are listed by their owners`() throws {
  let wide = #"{"metadata":{"labels":{"a":"1","b":"1"}},"spec":{"replicas":2}}"#
  var live = try deployments.apply(tree(deployments, wide), over: nil, manager: "one", now: now)
  let old = live
  live.set(3, at: "spec", "replicas")
  deployments.trackUpdate(&live, old: old, manager: "two", now: now)
  let other = try tree(deployments, #"{"metadata":{"labels":{"a":"2","b":"2"}},"spec":{"replicas":5}}"#)
  let error = #expect(throws: ApplyError.self) {
    try deployments.apply(other, over: live, manager: "three", now: now)
  }
  #expect(
    error?.description == """
      Apply failed with 3 conflicts: conflicts with "one":
      - .metadata.labels.a
      - .metadata.labels.b
      conflicts with "two" using apps/v1:
      - .spec.replicas
      """)
}

/// `kubectl apply --server-side` rewrites the list of an object that was applied client-side.
@Test func `a writer that sends managed fields is believed, unless they are damaged`() throws {
  var live = try deployments.apply(tree(deployments, web), over: nil, manager: "kubectl", now: now)
  let old = live
  live.set(3, at: "spec", "replicas")
  deployments.trackUpdate(&live, old: old, manager: "before", now: now)
  #expect(live.at("metadata", "managedFields")?.elements.count == 2)

  let kept = try #require(entry(live, "kubectl"))
  var taken = live
  taken.set([kept], at: "metadata", "managedFields")
  deployments.trackUpdate(&taken, old: live, manager: "me", now: now)
  #expect(taken.at("metadata", "managedFields")?.elements.map { $0["manager"] } == ["kubectl"])

  for damaged in [#"[{"manager":"x"}]"#, #"[{"manager":"x","operation":"Walk"}]"#, #""x""#] {
    var object = live
    object.set(try JSON(parsing: damaged), at: "metadata", "managedFields")
    deployments.trackUpdate(&object, old: live, manager: "me", now: now)
    #expect(object == live, "\(damaged)")
  }
}

@Test func `an object nobody owns a field of has no managedFields at all`() throws {
  var object = try tree(deployments, #"{"metadata":{"name":"web"}}"#)
  deployments.trackUpdate(&object, old: nil, manager: "kubectl", now: now)
  #expect(!object.text.contains("managedFields") && !object.text.contains("null"), "\(object.text)")
}

@Test func `nothing chosen by a condition is absence, never null`() {
  var object: JSON = ["a": 1]
  let wanted: [String] = []
  object["a"] = wanted.isEmpty ? nil : JSON(wanted)
  object.set(wanted.isEmpty ? nil : .array([]), at: "b")
  #expect(object.text == "{}")
}

@Test func `an applier whose fields were all taken is no manager any more`() throws {
  let mine = try tree(deployments, #"{"metadata":{"labels":{"a":"1"}}}"#)
  let live = try deployments.apply(mine, over: nil, manager: "one", now: now)
  let theirs = try tree(deployments, #"{"metadata":{"labels":{"a":"2"}}}"#)
  let forced = try deployments.apply(theirs, over: live, manager: "two", force: true, now: now)
  #expect(forced.at("metadata", "managedFields")?.elements.map { $0["manager"] } == ["two"])
}
