// OpenAPI documents as kubectl reads them.
import ClusterObjects
import Testing

private let registry = KindRegistry.builtin

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
