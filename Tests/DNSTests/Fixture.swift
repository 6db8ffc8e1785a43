// A small cluster and its zone, shared by the tests.

import Addresses
import ClusterObjects
import ClusterView
import DNS

enum Fixture {
  static func service(_ name: String, _ spec: JSON) -> JSON {
    ["kind": "Service", "metadata": ["name": JSON(name), "namespace": "demo"], "spec": spec]
  }

  static func slice(_ service: String, _ family: String = "IPv4", _ endpoints: [JSON]) -> JSON {
    [
      "kind": "EndpointSlice", "addressType": JSON(family),
      "metadata": [
        "name": JSON("\(service)-\(family.lowercased())"), "namespace": "demo",
        "labels": ["kubernetes.io/service-name": JSON(service)],
      ],
      "ports": [["name": "http", "port": 8080, "protocol": "TCP"]], "endpoints": .array(endpoints),
    ]
  }

  static func endpoint(_ address: String, hostname: String? = nil, ready: Bool = true) -> JSON {
    let conditions: JSON = ["ready": JSON(ready)]
    guard let hostname else { return ["addresses": [JSON(address)], "conditions": conditions] }
    return ["addresses": [JSON(address)], "conditions": conditions, "hostname": JSON(hostname)]
  }

  static let http: JSON = [["name": "http", "port": 80, "protocol": "TCP"]]

  static var objects: [JSON] {
    [
      ["kind": "Namespace", "metadata": ["name": "demo"]],
      ["kind": "Namespace", "metadata": ["name": "empty"]],
      service("web", ["clusterIP": "10.43.0.20", "clusterIPs": ["10.43.0.20"], "ports": http]),
      service(
        "dual",
        [
          "clusterIP": "10.43.0.21", "clusterIPs": ["10.43.0.21", "fd00:43::15"],
          "ports": [["port": 53, "protocol": "UDP"]],
        ]),
      service("db", ["clusterIP": "None", "ports": http]),
      slice(
        "db", "IPv4",
        [endpoint("10.42.0.5", hostname: "db-0"), endpoint("10.42.0.6"), endpoint("10.42.0.7", ready: false)]),
      service("six", ["clusterIP": "None", "ports": http]),
      slice("six", "IPv6", [endpoint("fd00:42::9", hostname: "six-0")]),
      service("idle", ["clusterIP": "None", "ports": http]),
      slice("idle", "IPv4", [endpoint("10.42.0.8", ready: false)]),
      service("outside", ["type": "ExternalName", "externalName": "www.interwebs.test"]),
      service("inside", ["type": "ExternalName", "externalName": "web.demo.svc.cluster.local"]),
      service("selfish", ["type": "ExternalName", "externalName": "selfish.demo.svc.cluster.local"]),
      service("big", ["clusterIP": "None", "ports": http]),
      slice("big", "IPv4", (1...100).map { endpoint("10.42.9.\($0)") }),
    ]
  }

  static var settings: ZoneSettings {
    ZoneSettings(compatibility: [], nameServerAddresses: [.v4(IPv4Address(10, 43, 0, 10))])
  }

  static var zone: Zone { planZone(view: ClusterView(objects: objects), settings: settings) }

  static func texts(_ zone: Zone, _ name: String, _ type: RecordType) -> [String] {
    lookup(zone, name, type).records.map { ResourceText.data($0) }.sorted()
  }

  static func lookup(_ zone: Zone, _ name: String, _ type: RecordType) -> LookupResult {
    zone.lookup(DomainName(name) ?? .root, type)
  }
}

enum ResourceText {
  /// The data of a record as a zone file spells it.
  static func data(_ record: ResourceRecord) -> String {
    record.description.split(separator: " ").dropFirst(4).joined(separator: " ")
  }
}
