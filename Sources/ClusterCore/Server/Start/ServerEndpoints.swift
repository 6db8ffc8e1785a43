// Where Service `default/kubernetes` leads: every API server that lives.
//
//   SQLite           this server alone
//   a shared store   each server writes /registry/masterleases/ADDRESS:PORT every ten seconds; the store takes the key away
//                    fifteen seconds after the last time. Whoever looks writes what is left into the EndpointSlice: all
//                    servers see the same keys and write the same.

import Addresses
import ClusterClient
import ClusterObjects
import ClusterStore

/// Keeps the EndpointSlices of `default/kubernetes`. Called by the server's chores, one call at a time.
final class ServerEndpoints: Sendable {
  struct Endpoint: Sendable, Hashable, Comparable {
    var address: String
    var port: Int

    static func < (one: Endpoint, other: Endpoint) -> Bool {
      (one.port, one.address) < (other.port, other.address)
    }
  }
  static let leases = "/registry/masterleases/"
  private static let service = "kubernetes"
  private let core: RESTCore
  private let isShared: Bool
  private let own: Endpoint?
  private let port: Int

  /// Pods cannot reach a loopback address, and an EndpointSlice may not hold one: such a server is not told of.
  init(core: RESTCore, address: String, port: Int, isShared: Bool) {
    self.core = core
    self.isShared = isShared
    self.port = port
    own = IPv4Address(address).map(\.isLoopback) ?? false ? nil : Endpoint(address: address, port: port)
  }

  /// Says that this server lives, and writes who does.
  func reconcile() async throws {
    if isShared { try await renew() }
    try await write(try await live(), keepsLast: false)
  }

  /// This server is about to go. The last one to go stays written: clients that look for the API find at least where it was.
  func withdraw() async throws {
    guard isShared, let own else { return }
    if let held = try await core.store.get(Self.key(own)) {
      _ = try await core.store.delete(held.key, expecting: held.revision)
    }
    try await write(try await live(), keepsLast: true)
  }

  // MARK: Leases

  private static func key(_ endpoint: Endpoint) -> String { "\(leases)\(endpoint.address):\(endpoint.port)" }

  private func renew() async throws(StoreError) {
    guard let own else { return }
    let key = Self.key(own)
    if let held = try await core.store.get(key) {
      _ = try await core.store.update(key, Self.lease(own).bytes, expecting: held.revision)
    } else {
      _ = try await core.store.create(key, Self.lease(own).bytes)
    }
  }

  private func live() async throws(StoreError) -> [Endpoint] {
    guard isShared else { return own.map { [$0] } ?? [] }
    let page = try await core.store.list(prefix: Self.leases, limit: 0, after: nil, at: nil)
    return page.values.compactMap { Self.endpoint(of: $0.value) }.sorted()
  }

  /// In upstream's form: Endpoints with one address.
  static func lease(_ endpoint: Endpoint) -> JSON {
    [
      "apiVersion": "v1", "kind": "Endpoints",
      "metadata": ["name": JSON("\(endpoint.address):\(endpoint.port)")],
      "subsets": [
        ["addresses": [["ip": JSON(endpoint.address)]], "ports": [["port": JSON(endpoint.port)]]]
      ],
    ]
  }

  /// Nil for what is no such form.
  static func endpoint(of bytes: [UInt8]) -> Endpoint? {
    guard let subset = (try? JSON(parsing: bytes))?["subsets"]?[0],
      let address = subset["addresses"]?[0]?["ip"]?.string, let port = subset["ports"]?[0]?["port"]?.integer,
      IPAddress(address) != nil, (1...65_535).contains(port)
    else { return nil }
    return Endpoint(address: address, port: Int(port))
  }

  // MARK: Slices

  /// One slice a port and family, named after the Service; those after the first carry the port, and the family when it is
  /// not that of the first.
  static func plan(_ live: [Endpoint]) -> [(name: String, slice: JSON)] {
    let groups = Dictionary(grouping: live) { "\($0.address.contains(":") ? "IPv6" : "IPv4") \($0.port)" }
    return groups.values.compactMap { $0.isEmpty ? nil : $0.sorted() }.sorted { $0[0] < $1[0] }.enumerated()
      .map { index, members in
        let family = members[0].address.contains(":") ? "IPv6" : "IPv4"
        let name = index == 0 ? service : "\(service)-\(family.lowercased())-\(members[0].port)"
        return (name, slice(name, family, members.map(\.address), port: members[0].port))
      }
  }

  private static func slice(_ name: String, _ family: String, _ addresses: [String], port: Int) -> JSON {
    [
      "metadata": [
        "name": JSON(name), "namespace": "default", "labels": ["kubernetes.io/service-name": JSON(service)],
      ],
      "addressType": JSON(family),
      "endpoints": .array(
        addresses.map { ["addresses": [JSON($0)], "conditions": ["ready": true]] as JSON }),
      "ports": [["name": "https", "protocol": "TCP", "port": JSON(port)]],
    ]
  }

  private func write(_ live: [Endpoint], keepsLast: Bool) async throws {
    var slices = Self.plan(live)
    if slices.isEmpty {
      if keepsLast { return }
      slices = [(Self.service, Self.slice(Self.service, "IPv4", [], port: port))]
    }
    let client = InProcessClient(core: core, identity: .system)
    for (name, slice) in slices {
      try await core.createUnlessThere(.endpointSlices, slice)
      _ = try await client.patch(
        .endpointSlices, namespace: "default", name: name,
        patch: .merge(["endpoints": slice["endpoints"] ?? [], "ports": slice["ports"] ?? []]),
        subresource: nil, options: WriteOptions(fieldManager: "weft-apiserver"))
    }
    try await removeOthers(keeping: Set(slices.map(\.name)), client)
    _ = try await client.patch(
      .services, namespace: "default", name: Self.service,
      patch: .strategicMerge([
        "spec": ["ports": [["port": 443, "targetPort": JSON(live.first?.port ?? port)]]]
      ]),
      subresource: nil, options: WriteOptions(fieldManager: "weft-apiserver"))
  }

  /// Slices of ports where nobody listens any more. Others that carry the Service's label are not ours.
  private func removeOthers(keeping names: Set<String>, _ client: InProcessClient) async throws {
    let kind = try core.kind(.endpointSlices)
    var gone: [String] = []
    core.cache(kind).snapshot.forEach(
      prefix: RESTCore.prefix(kind, namespace: "default") + Self.service + "-ipv", after: nil
    ) { slice in
      if slice.labels["kubernetes.io/service-name"] == Self.service, !names.contains(slice.name) {
        gone.append(slice.name)
      }
      return true
    }
    for name in gone {
      try await client.delete(.endpointSlices, namespace: "default", name: name, options: DeleteOptions())
    }
  }
}
