// Discovery, OpenAPI and selectors as clients read them.
import ClusterObjects
import Testing

private let registry = KindRegistry.builtin

@Test func `aggregated discovery lists kinds with verbs, short names and subresources`() throws {
  let core = Discovery(registry).aggregated(core: true)
  #expect(core["kind"] == "APIGroupDiscoveryList" && core["items"]?.elements.count == 1)
  let pods = try #require(
    core["items"]?[0]?["versions"]?[0]?["resources"]?.elements.first { $0["resource"] == "pods" })
  #expect(pods["shortNames"] == ["po"] && pods["scope"] == "Namespaced")
  #expect(pods["subresources"]?.elements.contains { $0["subresource"] == "status" } == true)
  let groups =
    Discovery(registry).aggregated(core: false)["items"]?.elements.compactMap {
      $0.at("metadata", "name")?.string
    } ?? []
  #expect(groups.contains("apps") && groups.contains("networking.k8s.io") && !groups.contains(""))
}

@Test func `older discovery agrees with it`() {
  let discovery = Discovery(registry)
  let names =
    discovery.resourceList(groupVersion: "apps/v1")?["resources"]?.elements.compactMap { $0["name"]?.string }
    ?? []
  #expect(names.contains("deployments") && names.contains("deployments/scale"))
  #expect(discovery.resourceList(groupVersion: "none/v1") == nil)
  #expect(discovery.group("apps")?["preferredVersion"]?["groupVersion"] == "apps/v1")
}

@Test func `a document names the patch types, merge keys and parameters that kubectl looks for`() throws {
  let document = try #require(OpenAPIv3(registry).document(groupVersion: "apps/v1"))
  let patch = try #require(
    document.at("paths", "/apis/apps/v1/namespaces/{namespace}/deployments/{name}", "patch"))
  #expect(patch.at("requestBody", "content", "application/strategic-merge-patch+json") != nil)
  #expect(patch["parameters"]?.elements.contains { $0["name"] == "fieldValidation" } == true)
  let spec = try #require(document.at("components", "schemas", "io.k8s.api.core.v1.PodSpec", "properties"))
  #expect(spec.at("containers", "x-kubernetes-patch-merge-key") == "name")
  #expect(spec.at("containers", "x-kubernetes-list-type") == "map")
}

@Test func `every reference in every document is there`() throws {
  for groupVersion in registry.groupVersions {
    let document = try #require(OpenAPIv3(registry).document(groupVersion: groupVersion))
    let schemas = document.at("components", "schemas")?.object ?? [:]
    func walk(_ tree: JSON) {
      if let reference = tree["$ref"]?.string {
        #expect(
          schemas.contains(String(reference.dropFirst("#/components/schemas/".count))),
          "\(groupVersion): \(reference)")
      }
      for element in tree.elements { walk(element) }
      for (_, value) in tree.object ?? [:] { walk(value) }
    }
    walk(document)
  }
}

@Test(arguments: [
  ("", true), ("app=web", true), ("app==web,tier!=x", true), ("app in (web, db)", true),
  ("app notin (web)", false), ("!app", false),
  ("app", true), ("missing", false), ("!missing", true), ("missing!=x", true), ("app=", false),
])
func `label selectors select`(text: String, expected: Bool) throws {
  #expect(try LabelSelector(text: text).matches(["app": "web"]) == expected)
}

@Test(arguments: ["app web", ",", "app in web", "=x", "a=b,", "app in (web"])
func `malformed label selectors are refused`(text: String) {
  #expect(throws: SelectorError.self) { try LabelSelector(text: text) }
}

@Test func `field selectors select by name, absence and escapes`() throws {
  let pod: JSON = ["metadata": ["name": "p"], "spec": ["nodeName": "n1"], "status": ["phase": "Running"]]
  #expect(
    try FieldSelector(text: "spec.nodeName=n1,status.phase!=Failed,status.phase!=Succeeded").matches(pod))
  #expect(try !FieldSelector(text: "metadata.name==q").matches(pod))
  #expect(try FieldSelector(text: "spec.hostNetwork=false").matches(pod))
  #expect(try FieldSelector(text: #"metadata.name=a\,b"#).requirements.first?.value == "a,b")
  #expect(throws: SelectorError.self) { try FieldSelector(text: "metadata.name") }
  let kind = try #require(registry[GroupVersionKind("", "v1", "Pod")])
  #expect(try FieldSelector(text: "spec.color=red").unsupportedField(for: kind) == "spec.color")
}
