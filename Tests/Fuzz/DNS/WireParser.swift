// Packets as they come from clients and from upstream servers (T-D3): read in every way there is, and answered from a zone.

import Addresses
import ClusterObjects
import ClusterView
import FuzzDriver
import Glibc

@testable import DNS

struct WireParser: InputTaker {
  /// What one query may take.
  static let queryMax = Duration.microseconds(50)
  /// What an upstream server's answer may take, which is written anew when it says more than it was asked.
  static let answerMax = Duration.milliseconds(2)
  /// How often a packet that takes longer is tried: only one that never keeps to it is found.
  static let attempts = 20
  static let replyBytesMax = 4096

  private let zone = planZone(
    view: ClusterView(objects: WireParser.objects),
    settings: ZoneSettings(compatibility: [], nameServerAddresses: [.v4(IPv4Address(10, 43, 0, 10))]))
  private let space = UnsafeMutableRawBufferPointer.allocate(byteCount: 65535, alignment: 8)
  private let clock = ContinuousClock()

  func take(_ bytes: UnsafeRawBufferPointer) {
    let packet = bytes.bytes
    let whole = Array(bytes)
    time("a message", Self.answerMax) { _ = try? Message(packet) }
    time("an upstream's answer", Self.answerMax) {
      _ = try? UpstreamAnswer.read(whole, ForwardCacheSettings())
    }
    time("an answer without private addresses", Self.answerMax) {
      _ = AddressFilter.filtered(whole, AddressFilter.privateAddresses)
    }
    time("a query", Self.queryMax) { answer(packet) }
  }

  private func answer(_ packet: RawSpan) {
    var head = QueryHead()
    guard head.read(packet) == .query else { return }
    let options = [EDNSValue](query: packet, questionEnd: head.questionEnd)
    check(options.encoded.count <= packet.byteCount, "options are longer than the packet")
    // The room for a reply and the turn of the records come from the packet too.
    let room = 512 + Int(packet.byte(at: 0)) * 14
    var reply = Reply(space)
    reply.begin(packet, head, bytesMax: room)
    _ = zone.answer(packet, head, &reply, rotation: UInt32(packet.byte(at: 1)))
    check(reply.finish(head, udpBytesMax: 1232) <= Self.replyBytesMax, "a reply is longer than it may be")
  }

  /// Stops the run when `work` never keeps to its time.
  private func time(_ what: String, _ limit: Duration, _ work: () -> Void) {
    var took = Duration.zero
    for _ in 0..<Self.attempts {
      took = clock.measure(work)
      if took < limit { return }
    }
    check(false, "\(what) takes \(took)")
  }

  /// Services of each kind, so that every branch of an answer can be met.
  private static var objects: [JSON] {
    func service(_ name: String, _ spec: JSON) -> JSON {
      ["kind": "Service", "metadata": ["name": JSON(name), "namespace": "demo"], "spec": spec]
    }
    let ports: JSON = [["name": "http", "port": 80, "protocol": "TCP"]]
    let endpoints = (1...100).map { number -> JSON in
      [
        "addresses": [JSON("10.42.9.\(number)")], "conditions": ["ready": true],
        "hostname": JSON("big-\(number)"),
      ]
    }
    return [
      ["kind": "Namespace", "metadata": ["name": "demo"]],
      service(
        "web", ["clusterIP": "10.43.0.20", "clusterIPs": ["10.43.0.20", "fd00:43::20"], "ports": ports]),
      service("big", ["clusterIP": "None", "ports": ports]),
      [
        "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": [
          "name": "big-1", "namespace": "demo", "labels": ["kubernetes.io/service-name": "big"],
        ], "ports": ports, "endpoints": .array(endpoints),
      ],
      service("outside", ["type": "ExternalName", "externalName": "www.interwebs.test"]),
      service("inside", ["type": "ExternalName", "externalName": "web.demo.svc.cluster.local"]),
    ]
  }
}
