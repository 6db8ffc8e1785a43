// Upstream's cases of conversion by webhook, by their names: `hostPort` of v1 is `host` and `port` of v2.

import ClusterClient
import ClusterObjects
import ClusterServer
import Testing

@Suite(.serialized, .timeLimit(.minutes(2)), .cluster) struct ConversionConformance {
  private func kind(_ group: String, stored: String) -> ConvertedKind {
    func version(_ name: String, _ fields: [String]) -> ConvertedKind.Version {
      .init(name: name, properties: .object(JSONObject(fields.map { ($0, ["type": "string"]) })))
    }
    return ConvertedKind(
      group: group, plural: "multi-versions", kind: "MultiVersion",
      versions: [version("v1", ["hostPort"]), version("v2", ["host", "port"])], stored: stored,
      path: "/crdconvert", reviewVersions: ["v1", "v1beta1"])
  }

  private static let convert = ConvertedKind.converting { object, version in
    var result = object
    if version == "v2", let both = object["hostPort"]?.string {
      let parts = both.split(separator: ":").map(String.init)
      result["hostPort"] = nil
      result["host"] = JSON(parts.first ?? "")
      result["port"] = JSON(parts.last ?? "")
    } else if version == "v1", let host = object["host"]?.string {
      result["host"] = nil
      result["port"] = nil
      result["hostPort"] = JSON("\(host):\(object["port"]?.string ?? "")")
    }
    return result
  }

  private func with(_ group: String, _ body: (Cluster, WebhookServer, String) async throws -> Void)
    async throws
  {
    let cluster = try Cluster.here
    let space = try await cluster.namespace("crd-webhook")
    try await withFolder { folder in
      try await WebhookServer.with(folder, Self.convert) { hook in
        try await cluster.define(kind(group, stored: "v1").definition(hook))
        try await body(cluster, hook, space)
        try await cluster.delete(.definitions, "", "multi-versions.\(group)")
        try await eventually {
          try await cluster.find(.definitions, "", "multi-versions.\(group)") == nil
        }
      }
    }
  }

  private func object(_ space: String, _ name: String, _ apiVersion: String, _ more: JSON) -> JSON {
    var object: JSON = [
      "apiVersion": JSON(apiVersion), "kind": "MultiVersion",
      "metadata": ["name": JSON(name), "namespace": JSON(space)],
    ]
    for (key, value) in more.object ?? [:] { object[key] = value }
    return object
  }

  @Test func `should be able to convert from CR v1 to CR v2`() async throws {
    let group = "one.crd-webhook.example.com"
    try await with(group) { cluster, _, space in
      let (v1, v2) = (
        GroupVersionResource(group, "v1", "multi-versions"),
        GroupVersionResource(group, "v2", "multi-versions")
      )
      try await cluster.create(v1, object(space, "name1", "\(group)/v1", ["hostPort": "localhost:8080"]))
      let read = try await cluster.get(v2, space, "name1")
      #expect(read.apiVersion == "\(group)/v2" && read["host"] == "localhost" && read["port"] == "8080")
      #expect(read["hostPort"] == nil)
    }
  }

  @Test func `should be able to convert a non homogeneous list of CRs`() async throws {
    let group = "mixed.crd-webhook.example.com"
    try await with(group) { cluster, hook, space in
      let (v1, v2) = (
        GroupVersionResource(group, "v1", "multi-versions"),
        GroupVersionResource(group, "v2", "multi-versions")
      )
      try await cluster.create(v1, object(space, "name1", "\(group)/v1", ["hostPort": "localhost:8080"]))
      // From now on v2 is stored; what is there stays as it is.
      try await cluster.replace(.definitions, "", "multi-versions.\(group)") {
        $0["spec"] = kind(group, stored: "v2").definition(hook).spec
      }
      try await cluster.create(
        v2, object(space, "name2", "\(group)/v2", ["host": "localhost", "port": "8080"]))
      try await eventually {
        try await cluster.get(.definitions, "", "multi-versions.\(group)").at("status", "storedVersions")
          == ["v1", "v2"]
      }
      let second = try await cluster.list(v2, space)
      #expect(second.map(\.name) == ["name1", "name2"])
      for item in second {
        #expect(item.apiVersion == "\(group)/v2" && item["host"] == "localhost" && item["port"] == "8080")
      }
      let first = try await cluster.list(v1, space)
      #expect(first.map { $0["hostPort"] } == ["localhost:8080", "localhost:8080"])
    }
  }
}
