// Services and EndpointSlices read from their text are those read from their trees: whatever stands in them, the same bytes are kept,
// or the text is left to the tree, which alone refuses.

import ClusterObjects
import FuzzLab
import Testing

@testable import ClusterView

private let services: [JSON] = [
  [
    "apiVersion": "v1", "kind": "Service",
    "metadata": [
      "name": "web", "namespace": "demo", "labels": ["tier": "front", "app": "web"],
      "annotations": ["note": "a"], "creationTimestamp": "2026-01-01T00:00:00Z", "resourceVersion": "7",
    ],
    "spec": [
      "clusterIP": "10.43.0.1", "clusterIPs": ["10.43.0.1", "fd00:43::1"], "type": "NodePort",
      "ipFamilies": ["IPv4", "IPv6"], "internalTrafficPolicy": "Cluster", "externalTrafficPolicy": "Local",
      "ports": [
        ["name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080, "nodePort": 30080],
        ["name": "dns", "port": 53, "protocol": "UDP"],
      ],
      "selector": ["app": "web", "tier": "front"], "sessionAffinity": "ClientIP",
      "externalIPs": ["192.0.2.1"], "healthCheckNodePort": 31000, "publishNotReadyAddresses": false,
    ], "status": ["loadBalancer": [:]],
  ],
  [
    "kind": "Service", "metadata": ["name": "db", "namespace": "demo"],
    "spec": ["clusterIP": "None", "clusterIPs": ["None"], "publishNotReadyAddresses": true],
  ],
  [
    "kind": "Service", "metadata": ["name": "out", "namespace": "demo"],
    "spec": ["type": "ExternalName", "externalName": "www.interwebs.test", "ports": .null],
  ],
  [
    "kind": "Service", "metadata": ["name": "lb", "namespace": "demo"],
    "spec": [
      "clusterIP": "10.43.0.9", "type": "LoadBalancer", "ports": [["port": 1, "protocol": "SCTP"]],
      "loadBalancerSourceRanges": ["10.0.0.0/8"],
    ], "status": ["loadBalancer": ["ingress": [["ip": "192.0.2.9", "ipMode": "VIP"]]]],
  ],
]

private let slices: [JSON] = [
  [
    "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
    "metadata": [
      "name": "web-x", "namespace": "demo",
      "labels": ["kubernetes.io/service-name": "web", "other": "y"],
      "annotations": ["endpoints.kubernetes.io/last-change-trigger-time": "2026-01-01T00:00:00Z"],
    ],
    "ports": [["name": "http", "port": 8080, "protocol": "TCP"], ["port": .null]],
    "endpoints": [
      [
        "addresses": ["10.42.0.1", "10.42.0.2"], "hostname": "web-0", "nodeName": "n", "zone": "west",
        "conditions": ["ready": true, "serving": true, "terminating": false],
        "targetRef": ["kind": "Pod", "name": "web-0", "namespace": "demo"],
      ],
      ["addresses": ["10.42.0.3"], "conditions": ["ready": false]],
      ["addresses": ["10.42.0.4"], "targetRef": ["kind": "Pod", "name": "web-3"]],
    ],
  ],
  [
    "kind": "EndpointSlice", "addressType": "IPv6",
    "metadata": ["name": "db-x", "namespace": "demo"], "endpoints": [["addresses": ["fd00:42::1"]]],
    "ports": .null,
  ],
]

private let wanted: [NameBook.Wants] = [[], [.labels, .zones, .endpointPods]]

/// What stands in a field by mistake, or seldom.
private let replacements: [JSON] = [
  .null, "", "None", "x", "TCP", "Local", "10.0.0.7", "fd00::7", "10.0.0.07", 0, 7, 65_535, 65_536, -1,
  .number("8e1"), .number("80.0"), true, false, [], [:], [.null], [""], ["10.0.0.8"], ["a": "b"], ["a": 1],
  [[:]],
]

/// The tree with each of its values in turn taken away, and put in the place of it each of `replacements`.
private func variants(of tree: JSON) -> [JSON] {
  switch tree {
  case .object(let object):
    var all: [JSON] = []
    for (key, value) in object {
      var without = object
      without[key] = nil
      all.append(.object(without))
      for other in replacements + variants(of: value) {
        var changed = object
        changed[key] = other
        all.append(.object(changed))
      }
    }
    return all
  case .array(let elements):
    return elements.indices.flatMap { index in
      (replacements + variants(of: elements[index])).map { other in
        var changed = elements
        changed[index] = other
        return .array(changed)
      }
    }
  default: return []
  }
}

/// Nil when the text is left to the tree; otherwise whether both keep the same.
private func agrees(_ bytes: [UInt8], isService: Bool, _ wants: NameBook.Wants, _ tape: inout JSONTape)
  -> Bool?
{
  let reader = PlainObjects(wants: wants)
  return bytes.withUnsafeBufferPointer { buffer in
    tape.read(buffer) { object, count -> Bool? in
      guard count == bytes.count, let key = object.key else { return nil }
      guard let tree = try? JSON(parsing: bytes), tree.key == key else { return false }
      if isService {
        guard let packed = try? reader.service(object) else { return nil }
        return (try? Service(tree))?.packed(wants) == packed
      }
      guard let packed = try? reader.slice(object, key) else { return nil }
      guard let slice = try? EndpointSlice(tree) else { return false }
      return slice.packed(wants) == packed.bytes && slice.service?.name == packed.service
    }
  } ?? nil
}

@Suite(.timeLimit(.minutes(10))) struct PlainObjectsTests {
  @Test func `what a server writes is read from its text`() {
    var tape = JSONTape()
    for wants in wanted {
      for service in services.dropLast() {
        #expect(agrees(service.bytes, isService: true, wants, &tape) == true, "\(service.name)")
      }
      for slice in slices {
        #expect(agrees(slice.bytes, isService: false, wants, &tape) == true, "\(slice.name)")
      }
      // Addresses that a load balancer gave, and who may use them, are read from the tree.
      #expect(agrees(services[3].bytes, isService: true, wants, &tape) == nil)
    }
  }

  @Test func `with any field missing or another, the text says what the tree says or is left to it`() {
    var tape = JSONTape()
    var (same, left) = (0, 0)
    for (objects, isService) in [(services, true), (slices, false)] {
      for variant in objects.flatMap(variants) {
        for wants in wanted {
          switch agrees(variant.bytes, isService: isService, wants, &tape) {
          case true?: same += 1
          case false?: Issue.record("\(variant.text)")
          case nil: left += 1
          }
        }
      }
    }
    #expect(same > 3000 && left > 1000, "\(same) \(left)")
  }

  @Test func `damaged text is the tree's or is left to it`() {
    var tape = JSONTape()
    var same = 0
    for (objects, isService) in [(services, true), (slices, false)] {
      let words = [
        "null", "None", "\\u0041", "-", "0", "{", "}", "[", "]", ",", ":", "\"", "\"port\":1,", "1e3",
      ]
      for bytes in mutants(of: objects.map(\.bytes), words: words, count: 6000, seed: 3) {
        let result = agrees(bytes, isService: isService, wanted[1], &tape)
        if result == true { same += 1 }
        #expect(result != false, "\(String(decoding: bytes, as: UTF8.self))")
      }
    }
    #expect(same > 300, "\(same)")
  }
}
