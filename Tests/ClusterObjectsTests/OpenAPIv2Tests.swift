// The one document that old clients read: valid, whole, and the same in both forms.

import Testing

@testable import ClusterObjects

@Suite struct OpenAPIv2Tests {
  private static let document: JSON = {
    let openAPI = OpenAPIv3(.builtin)
    return OpenAPIv2.document(
      from: KindRegistry.builtin.groupVersions.compactMap { openAPI.document(groupVersion: $0) })
  }()

  private func walk(_ tree: JSON, _ visit: (String, JSON) -> Void) {
    for (name, value) in tree.object ?? [:] {
      visit(name, value)
      walk(value, visit)
    }
    for value in tree.elements { walk(value, visit) }
  }

  @Test func `every reference leads to a definition, and no word of version 3 is left`() throws {
    let definitions = try #require(Self.document["definitions"]?.object)
    var references = 0
    for part in ["paths", "definitions"] {
      for (_, item) in Self.document[part]?.object ?? [:] {
        walk(item) { name, value in
          if name == "$ref", let target = value.string {
            references += 1
            let prefix = "#/definitions/"
            #expect(target.hasPrefix(prefix) && definitions[String(target.dropFirst(prefix.count))] != nil)
          }
          if ["oneOf", "allOf", "requestBody", "content"].contains(name), value.object?["type"] == nil {
            // Properties may have any name; words of the schema hold lists or objects of media types.
            #expect(value.elements.isEmpty && name != "requestBody", "\(name): \(value.text)")
          }
        }
      }
    }
    #expect(references > 500)
  }

  @Test func `a Service's patch takes the types that kubectl looks for, and merge keys are told`() throws {
    let patch = try #require(
      Self.document.at("paths", "/api/v1/namespaces/{namespace}/services/{name}", "patch"))
    #expect(
      patch["consumes"]?.elements.compactMap(\.string).contains("application/strategic-merge-patch+json")
        == true)
    let body = try #require(patch["parameters"]?.elements.first)
    #expect(body["in"] == "body" && body["required"] == true)
    #expect(
      patch["parameters"]?.elements.contains { $0["name"] == "dryRun" && $0["type"] == "string" } == true)
    let ports = try #require(
      Self.document.at("definitions", "io.k8s.api.core.v1.ServiceSpec", "properties", "ports"))
    #expect(ports["x-kubernetes-patch-merge-key"] == "port")
    #expect(ports.at("items", "$ref") == "#/definitions/io.k8s.api.core.v1.ServicePort")
  }

  @Test func `the protobuf form holds what the JSON form holds`() throws {
    let bytes = OpenAPIv2.protobuf(Self.document)
    let document = try fields(bytes, 0..<bytes.count)
    let swagger = try #require(document.first { $0.0 == 1 }).1
    #expect(String(decoding: bytes[swagger], as: UTF8.self) == "2.0")
    let definitions = try fields(bytes, try #require(document.first { $0.0 == 9 }).1)
    let paths = try fields(bytes, try #require(document.first { $0.0 == 8 }).1)
    #expect(definitions.count == Self.document["definitions"]?.object?.count)
    #expect(paths.count == Self.document["paths"]?.object?.count)
    // ServiceSpec.ports by hand: NamedSchema(2) > Schema.properties(25) > NamedSchema > Schema.
    func named(_ name: String, _ entries: [(Int, Range<Int>)]) throws -> Range<Int> {
      for (_, range) in entries {
        let pair = try fields(bytes, range)
        if pair.count == 2, String(decoding: bytes[pair[0].1], as: UTF8.self) == name { return pair[1].1 }
      }
      throw DecodeError("no \(name)")
    }
    let spec = try fields(bytes, named("io.k8s.api.core.v1.ServiceSpec", definitions))
    let properties = try fields(bytes, try #require(spec.first { $0.0 == 25 }).1)
    #expect(
      properties.count
        == Self.document.at("definitions", "io.k8s.api.core.v1.ServiceSpec", "properties")?.object?.count)
    let ports = try fields(bytes, named("ports", properties))
    let type = try fields(bytes, try #require(ports.first { $0.0 == 22 }).1)
    #expect(String(decoding: bytes[type[0].1], as: UTF8.self) == "array")
    let extensions = ports.filter { $0.0 == 31 }.map { String(decoding: bytes[$0.1], as: UTF8.self) }
    #expect(extensions.contains { $0.contains("x-kubernetes-patch-merge-key") && $0.contains("port") })
  }

  private func fields(_ bytes: [UInt8], _ range: Range<Int>) throws -> [(Int, Range<Int>)] {
    try bytes.withUnsafeBufferPointer { bytes in
      var reader = ProtobufReader(bytes, range)
      var out: [(Int, Range<Int>)] = []
      while let (number, value) = try reader.next() {
        if case .bytes(let range) = value { out.append((number, range)) }
      }
      return out
    }
  }
}
