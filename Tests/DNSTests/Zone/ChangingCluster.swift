// A cluster that changes at random, and what a zone says of it.

import Addresses
import ClusterObjects
import ClusterView

@testable import DNS

/// Every name of a zone with its answers, and every pointer, without what differs from one plan to the next: the seed and the serial.
struct Contents: Equatable {
  var answers: [String: [UInt16: [UInt8]]] = [:]
  var pointers: Set<String> = []

  init(_ zone: Zone) {
    for group in zone.allGroups {
      let key = Array(UnsafeRawBufferPointer(start: group.key, count: group.keyLength))
      for index in 0..<group.nodeCount {
        let node = group.node(index)
        let prefix = Array(UnsafeRawBufferPointer(start: node.prefix, count: node.prefixLength))
        let name = String(decoding: prefix + key, as: UTF8.self)
        answers[name] = [:]
        var at = node.answersAt
        for _ in 0..<node.answers {
          let answer = group.answer(at: at)
          let octets = Array(UnsafeRawBufferPointer(start: answer.octets, count: answer.allBytes))
          if answer.type != .soa { answers[name]?[answer.type.rawValue] = octets }
          at += 16 + answer.allBytes
        }
      }
    }
    for (tree, family) in [(zone.reverse4, 4), (zone.reverse6, 6)] {
      for entry in tree.all {
        guard let base = UnsafeRawPointer(bitPattern: entry.group) else { continue }
        let group = GroupView(base: base)
        let prefix = UnsafeRawBufferPointer(
          start: base + Int(entry.prefixAt), count: Int(entry.prefixLength))
        let key = UnsafeRawBufferPointer(start: group.key, count: group.keyLength)
        pointers.insert(
          "\(family) \(entry.key) \(entry.rank) \(String(decoding: Array(prefix) + Array(key), as: UTF8.self))"
        )
      }
    }
  }
}

/// A cluster that changes: all hear the same, the second book as text where it takes that.
struct Changing {
  var random: SeededRandom
  var view = ClusterView()
  var book: NameBook
  var textBook: NameBook
  var takenAsText = 0
  var objects: [JSON] = []

  init(_ seed: Int, _ wants: NameBook.Wants) {
    random = SeededRandom(state: UInt64(seed))
    book = NameBook(wants: wants)
    textBook = NameBook(wants: wants)
  }

  mutating func put(_ object: JSON) {
    objects.removeAll { $0.kind == object.kind && $0.key == object.key }
    objects.append(object)
    view.apply(object)
    book.apply(object.kind, object.key, object)
    var tape = JSONTape()
    let isTaken = object.bytes.withUnsafeBufferPointer { bytes in
      tape.read(bytes) { text, _ in textBook.apply(object.kind, object.key, plain: text) }
    }
    if isTaken == true { takenAsText += 1 } else { textBook.apply(object.kind, object.key, object) }
  }

  mutating func remove(_ kind: String, _ key: ObjectKey) {
    objects.removeAll { $0.kind == kind && $0.key == key }
    view.remove(kind: kind, key)
    book.remove(kind, key)
    textBook.remove(kind, key)
  }

  mutating func step(_ number: Int) {
    let namespace = ["demo", "prod", "other"].randomElement(using: &random) ?? "demo"
    let name = "s\(Int.random(in: 0..<8, using: &random))"
    let key = ObjectKey(namespace, name)
    switch Int.random(in: 0..<10, using: &random) {
    case 0: remove("Service", key)
    case 1: remove("EndpointSlice", ObjectKey(namespace, "\(name)-a"))
    case 2: remove("Namespace", ObjectKey("", namespace))
    case 3:
      put([
        "kind": "Namespace",
        "metadata": ["name": JSON(namespace), "labels": ["team": JSON(number % 2 == 0 ? "a" : "b")]],
      ])
    case 4, 5, 6:
      let ports: JSON = [
        ["name": "http", "port": 80, "protocol": "TCP"], ["name": "dns", "port": 53, "protocol": "UDP"],
      ]
      let specs: [JSON] = [
        ["clusterIP": "None", "ports": ports, "selector": ["app": "x"]],
        ["clusterIP": JSON("10.43.1.\(number % 200)"), "ports": ports],
        ["clusterIPs": ["10.43.2.9", JSON("fd00:43::\(number % 99)")], "ports": [["port": 9]]],
        ["type": "ExternalName", "externalName": "www.interwebs.test"],
        ["clusterIP": "None", "publishNotReadyAddresses": true, "ports": ports],
        ["clusterIP": "10.43.3.3", "externalIPs": ["192.0.2.7"], "type": "LoadBalancer", "ports": ports],
        ["clusterIP": "no address"],
      ]
      put([
        "kind": "Service",
        "metadata": [
          "name": JSON(name), "namespace": JSON(namespace), "annotations": ["note": JSON("\(number)")],
          "labels": ["tier": JSON(number % 3 == 0 ? "front" : "back")],
        ],
        "spec": specs.randomElement(using: &random) ?? .null,
      ])
    default:
      // A slice that may belong to another Service than before.
      let six = Int.random(in: 0..<4, using: &random) == 0
      let endpoints = (0..<Int.random(in: 0..<4, using: &random)).map { index -> JSON in
        let last = Int.random(in: 1..<9, using: &random)
        var endpoint: JSON = [
          "addresses": [JSON(six ? "fd00:42::\(last)" : "10.42.1.\(last)")],
          "conditions": ["ready": JSON(Int.random(in: 0..<4, using: &random) > 0)],
          "zone": JSON(index == 0 ? "west" : "east"), "nodeName": "n",
          "targetRef": ["kind": "Pod", "name": JSON("pod-\(last)"), "namespace": JSON(namespace)],
        ]
        if index == 1 { endpoint["hostname"] = JSON("host-\(last)") }
        return endpoint
      }
      put([
        "kind": "EndpointSlice", "addressType": six ? "IPv6" : "IPv4",
        "metadata": [
          "name": JSON("s\(Int.random(in: 0..<8, using: &random))-a"), "namespace": JSON(namespace),
          "labels": ["kubernetes.io/service-name": JSON(name)],
        ],
        "ports": [["name": "http", "port": 8080, "protocol": "TCP"], ["port": 1]],
        "endpoints": .array(endpoints),
      ])
    }
  }
}
