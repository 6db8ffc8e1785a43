// Custom resources selected by fields of their own: in lists and watches, in every version, and told in OpenAPI.

import ClusterClient
import ClusterObjects
import ClusterServer
import Testing

private let v1 = GroupVersionResource("tests.example.com", "v1", "shirts")
private let beta = GroupVersionResource("tests.example.com", "v1beta1", "shirts")

private let size: JSON = ["type": "string", "enum": ["S", "M", "L"]]

/// `color` of v1 is `hue` of v1beta1.
private let shirts = ConvertedKind(
  group: "tests.example.com", plural: "shirts", kind: "Shirt",
  versions: [
    .init(
      name: "v1",
      properties: ConvertedKind.spec([
        "color": ["type": "string"], "quantity": ["type": "integer"], "size": size,
        "branded": ["type": "boolean"],
      ]), selectableFields: [".spec.color", ".spec.quantity", ".spec.size", ".spec.branded"]),
    .init(
      name: "v1beta1", properties: ConvertedKind.spec(["hue": ["type": "string"], "size": size]),
      selectableFields: [".spec.hue"]),
  ], stored: "v1")

private let convert = ConvertedKind.converting { object, version in
  var result = object
  let (from, to) = version == "v1beta1" ? ("color", "hue") : ("hue", "color")
  if let value = object.at("spec", from) {
    result.set(value, at: "spec", to)
    result.set(nil, at: "spec", from)
  }
  return result
}

private func shirt(_ name: String, _ spec: JSON) -> JSON {
  ["metadata": ["name": JSON(name), "namespace": "default"], "spec": spec]
}

@Suite(.serialized, .timeLimit(.minutes(5))) struct SelectableFieldsTests {
  private func withShirts(_ body: (InProcessClient, ClusterServer, String) async throws -> Void) async throws
  {
    try await withServer { server, folder in
      try await WebhookServer.with(folder, convert) { hook in
        try await server.install(crd: shirts.definition(hook))
        let api = server.client(user: "test")
        for (name, spec) in [
          ("one", ["color": "blue", "quantity": 2, "size": "S", "branded": true]),
          ("two", ["color": "blue", "quantity": 3, "size": "M"]),
          ("three", ["color": "green", "quantity": 3, "size": "M"]),
        ] as [(String, JSON)] {
          _ = try await api.create(v1, shirt(name, spec), options: WriteOptions())
        }
        try await body(api, server, folder)
      }
    }
  }

  @Test func `a list is selected by fields of every type, in each version by the fields of that version`()
    async throws
  {
    try await withShirts { api, _, _ in
      func names(_ resource: GroupVersionResource, _ selector: String) async throws -> [String] {
        try await api.list(resource, namespace: "default", options: ListOptions(fieldSelector: selector))
          .items.map(\.name)
      }
      for (selector, expected) in [
        ("spec.color=blue", ["one", "two"]), ("spec.color!=blue", ["three"]),
        ("spec.quantity=3,spec.color=blue", ["two"]), ("spec.branded=true", ["one"]),
        ("spec.size=M", ["three", "two"]), ("metadata.name=two,spec.size=M", ["two"]),
        ("spec.color=red", []),
      ] {
        let found = try await names(v1, selector)
        #expect(found == expected, "\(selector)")
      }
      let older = try await names(beta, "spec.hue=blue")
      #expect(older == ["one", "two"])
      for (resource, field) in [(v1, "spec.hue"), (beta, "spec.color"), (beta, "spec.size")] {
        let error = await refusal { _ = try await names(resource, "\(field)=blue") }
        #expect(error?.code == 400, "\(field)")
        #expect(error?.message == "field label not supported: \(field)")
      }
    }
  }

  @Test(arguments: [(v1, "color"), (beta, "hue")])
  func `a watch by a field sees objects come into its selection and leave it`(
    resource: GroupVersionResource, field: String
  ) async throws {
    try await withShirts { api, _, _ in
      var options = ListOptions(fieldSelector: "spec.\(field)=blue")
      options.resourceVersion =
        try await api.list(resource, namespace: "default", options: ListOptions()).resourceVersion
      let events = try await api.watch(resource, namespace: "default", options: options)
      func paint(_ name: String, _ color: JSON) async throws {
        _ = try await api.patch(
          v1, namespace: "default", name: name, patch: .merge(["spec": ["color": color]]), subresource: nil,
          options: WriteOptions())
      }
      try await paint("three", "red")
      try await paint("three", "blue")
      try await paint("one", "green")
      _ = try await api.patch(
        v1, namespace: "default", name: "two", patch: .merge(["spec": ["size": "L"]]), subresource: nil,
        options: WriteOptions())
      try await api.delete(v1, namespace: "default", name: "two", options: DeleteOptions())
      _ = try await api.create(v1, shirt("four", ["color": "blue"]), options: WriteOptions())
      var seen: [String] = []
      for try await event in events {
        switch event {
        case .added(let object): seen.append("+\(object.name)")
        case .modified(let object): seen.append("~\(object.name)")
        case .deleted(let object): seen.append("-\(object.name)")
        case .bookmark: break
        }
        if seen.last == "+four" { break }
      }
      #expect(seen == ["+three", "-one", "~two", "-two", "+four"])
    }
  }

  @Test func `OpenAPI tells by which fields a kind is selected, and what changes of them`() async throws {
    try await withShirts { api, server, folder in
      let word = "x-kubernetes-selectable-fields"
      func fields(_ path: String, _ place: [String], _ version: String) async throws -> [String]? {
        let document = try await ask(server, folder, path).json
        let kind = document.at(place + ["com.example.tests.\(version).Shirt"])
        return kind?[word]?.elements.compactMap { $0["fieldPath"]?.string }
      }
      func third(_ version: String) async throws -> [String]? {
        try await fields(
          "/openapi/v3/apis/tests.example.com/\(version)", ["components", "schemas"], version)
      }
      let all = ["spec.color", "spec.quantity", "spec.size", "spec.branded"]
      let published = (try await third("v1"), try await third("v1beta1"))
      #expect(published.0 == all && published.1 == ["spec.hue"])
      let second = try await fields("/openapi/v2", ["definitions"], "v1")
      #expect(second == all)
      // The schema stays as it was: only what can be selected changes.
      _ = try await api.patch(
        CustomResourceDefinition.resource, namespace: "", name: "shirts.tests.example.com",
        patch: .json([["op": "remove", "path": "/spec/versions/0/selectableFields/0"]]), subresource: nil,
        options: WriteOptions())
      try await eventually { try await third("v1") == Array(all.dropFirst()) }
      let later = try await fields("/openapi/v2", ["definitions"], "v1")
      #expect(later == Array(all.dropFirst()))
      let error = await refusal {
        _ = try await api.list(
          v1, namespace: "default", options: ListOptions(fieldSelector: "spec.color=blue"))
      }
      #expect(error?.message == "field label not supported: spec.color")
    }
  }
}
