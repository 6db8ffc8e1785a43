// Goal: a Service has the families that it asks for, as a real API server decides. Method: a server with one block of
// addresses and one with two, asked as clients ask.

import Addresses
import ClusterClient
import ClusterObjects
import ClusterServer
import Testing

private func service(_ name: String, _ spec: JSON = [:]) -> JSON {
  var spec = spec
  if spec["ports"] == nil { spec["ports"] = [["port": 80]] }
  if spec["selector"] == nil { spec["selector"] = ["app": "web"] }
  return ["metadata": ["name": JSON(name), "namespace": "default"], "spec": spec]
}

/// `IPv4 IPv6 SingleStack 10.43.0.9`: families, policy, and the network of each address.
private func summary(_ service: JSON) -> String {
  let networks = (service.at("spec", "clusterIPs")?.elements ?? []).compactMap(\.string).map { text in
    let network = [IPPrefix("10.43.0.0/16"), IPPrefix("fd00:43::/108")].compactMap(\.self).first { block in
      IPAddress(text).map { block.contains($0) } ?? false
    }
    return network?.description ?? text
  }
  let families = (service.at("spec", "ipFamilies")?.elements ?? []).compactMap(\.string)
  let policy = service.at("spec", "ipFamilyPolicy")?.string ?? "-"
  return (families + [policy] + networks).joined(separator: " ")
}

@Suite(.serialized, .timeLimit(.minutes(5))) struct ServiceFamilyTests {
  private func withAPI(_ isDual: Bool, _ body: (InProcessClient) async throws -> Void) async throws {
    try await withServer(
      { settings, _ in
        if isDual {
          settings.serviceBlocks = ["10.43.0.0/16", "fd00:43::/108"].compactMap { IPPrefix($0) }
        }
      },
      { server, _ in try await body(server.client(user: "test")) })
  }

  private func create(_ api: InProcessClient, _ object: JSON) async throws -> JSON {
    try await api.create(.services, object, options: WriteOptions())
  }

  private func update(_ api: InProcessClient, _ object: JSON) async throws -> JSON {
    try await api.update(.services, object, subresource: nil, options: WriteOptions())
  }

  @Test func `in a cluster of both families a Service has those it asks for`() async throws {
    let both = "10.43.0.0/16 fd00:43::/108"
    let table: [(JSON, String)] = [
      ([:], "IPv4 SingleStack 10.43.0.0/16"),
      (["ipFamilies": ["IPv6"]], "IPv6 SingleStack fd00:43::/108"),
      (["clusterIP": "fd00:43::99"], "IPv6 SingleStack fd00:43::/108"),
      (["ipFamilyPolicy": "PreferDualStack"], "IPv4 IPv6 PreferDualStack \(both)"),
      (["ipFamilyPolicy": "RequireDualStack"], "IPv4 IPv6 RequireDualStack \(both)"),
      (
        ["ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv6", "IPv4"]],
        "IPv6 IPv4 PreferDualStack fd00:43::/108 10.43.0.0/16"
      ),
      (
        [
          "ipFamilyPolicy": "RequireDualStack", "clusterIP": "10.43.9.9",
          "clusterIPs": ["10.43.9.9", "fd00:43::9"],
        ],
        "IPv4 IPv6 RequireDualStack \(both)"
      ),
      (["clusterIP": "None"], "IPv4 SingleStack None"),
      (["clusterIP": "None", "ipFamilyPolicy": "PreferDualStack"], "IPv4 IPv6 PreferDualStack None"),
      (["clusterIP": "None", "selector": [:]], "IPv4 IPv6 RequireDualStack None"),
    ]
    try await withAPI(true) { api in
      for (index, (spec, wanted)) in table.enumerated() {
        #expect(summary(try await create(api, service("s\(index)", spec))) == wanted, "\(spec.text)")
      }
      let own = try await api.get(.services, namespace: "default", name: "kubernetes")
      #expect(summary(own) == "IPv4 SingleStack 10.43.0.0/16")
    }
  }

  @Test func `in a cluster of one family a Service prefers in vain, requires in vain and gets an error`()
    async throws
  {
    try await withAPI(false) { api in
      let prefers = try await create(api, service("a", ["ipFamilyPolicy": "PreferDualStack"]))
      #expect(summary(prefers) == "IPv4 PreferDualStack 10.43.0.0/16")
      let free = try await create(api, service("b", ["clusterIP": "None", "selector": [:]]))
      #expect(summary(free) == "IPv4 IPv6 RequireDualStack None")
      let table: [(JSON, String)] = [
        (["ipFamilyPolicy": "RequireDualStack"], "this cluster is not configured for dual-stack services"),
        (
          ["ipFamilies": ["IPv6"]],
          "spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster"
        ),
        (["clusterIP": "fd00:43::1"], "IPv6 is not configured on this cluster"),
      ]
      for (index, (spec, wanted)) in table.enumerated() {
        let refused = await refusal { _ = try await create(api, service("r\(index)", spec)) }
        #expect(
          refused?.code == 422 && refused?.message.contains(wanted) == true,
          "\(spec.text): \(String(describing: refused))")
      }
    }
  }

  @Test func `what contradicts itself is refused with the field that says so`() async throws {
    let table: [(JSON, String)] = [
      (["ipFamilies": ["IPv4", "IPv6"]], "when multiple 'ipFamilies' are specified"),
      (
        ["clusterIP": "10.43.9.1", "clusterIPs": ["10.43.9.1", "fd00:43::1:1"]], "when multiple 'clusterIPs'"
      ),
      (
        ["ipFamilies": ["IPv6"], "clusterIP": "10.43.9.1"],
        "expected an IPv6 value as indicated by `ipFamilies[0]`"
      ),
      (["ipFamilies": ["IPv5"]], "spec.ipFamilies[0]: Unsupported value: \"IPv5\""),
      (
        ["ipFamilies": ["IPv4", "IPv4"], "ipFamilyPolicy": "PreferDualStack"],
        "spec.ipFamilies[1]: Duplicate value"
      ),
      (["ipFamilyPolicy": "Triple"], "spec.ipFamilyPolicy: Unsupported value: \"Triple\""),
      (
        ["clusterIP": "fd00:44::1"],
        "the provided IP is not in the valid range. The range of valid IPs is fd00:43::/108"
      ),
      (["clusterIP": "fd00:43::"], "the provided IP is not in the valid range"),
    ]
    try await withAPI(true) { api in
      for (index, (spec, wanted)) in table.enumerated() {
        let refused = await refusal { _ = try await create(api, service("r\(index)", spec)) }
        #expect(
          refused?.code == 422 && refused?.message.contains(wanted) == true,
          "\(spec.text): \(String(describing: refused))")
      }
    }
  }

  @Test func `the second family comes and goes, the first stays`() async throws {
    try await withAPI(true) { api in
      let first = try await create(api, service("s"))
      let address = first.at("spec", "clusterIP")
      var more = first
      more.set("RequireDualStack", at: "spec", "ipFamilyPolicy")
      let two = try await update(api, more)
      #expect(summary(two) == "IPv4 IPv6 RequireDualStack 10.43.0.0/16 fd00:43::/108")
      #expect(two.at("spec", "clusterIP") == address)
      let second = try #require(two.at("spec", "clusterIPs")?[1]?.string)
      let taken = await refusal { _ = try await create(api, service("t", ["clusterIP": JSON(second)])) }
      #expect(taken?.message.contains("provided IP is already allocated") == true)

      // A writer that knows of one address only takes nothing away.
      let plain = try await update(api, service("s", ["clusterIP": address ?? .null]))
      #expect(plain.at("spec", "clusterIPs") == two.at("spec", "clusterIPs"))
      #expect(summary(plain) == summary(two))

      var other = two
      other.set([address ?? .null, "fd00:43::5:5"], at: "spec", "clusterIPs")
      let changed = await refusal { _ = try await update(api, other) }
      #expect(changed?.message.contains("may not change once set") == true)

      var less = two
      less.set(nil, at: "metadata", "resourceVersion")
      less.set("SingleStack", at: "spec", "ipFamilyPolicy")
      let one = try await update(api, less)
      #expect(summary(one) == "IPv4 SingleStack 10.43.0.0/16" && one.at("spec", "clusterIP") == address)
      _ = try await create(api, service("t", ["clusterIP": JSON(second)]))

      var turned = one
      turned.set(["IPv6"], at: "spec", "ipFamilies")
      let refused = await refusal { _ = try await update(api, turned) }
      #expect(refused?.code == 422)
    }
  }

  @Test func `blocks that no Service can have addresses of are refused at start`() async throws {
    for blocks in [
      ["fd00:43::/108"], ["10.43.0.0/16", "10.44.0.0/16"], ["10.43.0.0/16", "fd00:43::/126"], [],
    ] {
      await #expect(throws: (any Error).self, "\(blocks)") {
        try await withServer(
          { settings, _ in settings.serviceBlocks = blocks.compactMap { IPPrefix($0) } }, { _, _ in })
      }
    }
  }
}
