// A flow as one line of JSON, and back: what `weft flows -o json` writes, `--input` and `weft policy suggest` read.
//
//   {"time":"…","event":"end","verdict":"forwarded","node":"n1","protocol":"TCP",
//    "source":{"address":"10.42.0.6","port":40122,"namespace":"demo","pod":"client","labels":{…}},
//    "destination":{…},"service":{"namespace":"demo","name":"web","portName":"http","address":"10.43.0.7","port":80},
//    "policy":{"direction":"Ingress","policies":["demo/web"],"rule":0,"reason":"…"},
//    "bytesSent":420,"bytesReceived":…,"packetsSent":…,"packetsReceived":…,"milliseconds":12,"reply":true}

import Addresses
import ClusterObjects
import Diagnostics

extension Flow {
  /// Fields that say nothing are left out.
  public var json: JSON {
    var object = JSONObject([
      ("time", JSON(timeText)), ("event", JSON(event.rawValue)), ("verdict", JSON(verdict.rawValue)),
      ("node", JSON(node)), ("protocol", JSON(transportName)), ("source", source.json),
      ("destination", destination.json),
    ])
    if let service {
      object["service"] = [
        "namespace": JSON(service.key.namespace), "name": JSON(service.key.name),
        "portName": JSON(service.portName), "address": JSON(service.asked.address.description),
        "port": JSON(service.asked.port),
      ]
    }
    if let decision {
      var policy = JSONObject([
        ("direction", JSON(decision.direction)),
        ("policies", JSON(decision.policies.map(\.description))),
      ])
      if let rule = decision.rule { policy["rule"] = JSON(rule) }
      policy["reason"] = JSON(decision.reason)
      object["policy"] = .object(policy)
    }
    if let totals {
      object["bytesSent"] = JSON(totals.bytesSent)
      object["bytesReceived"] = JSON(totals.bytesReceived)
      object["packetsSent"] = JSON(totals.packetsSent)
      object["packetsReceived"] = JSON(totals.packetsReceived)
      if let milliseconds = totals.milliseconds { object["milliseconds"] = JSON(milliseconds) }
    }
    if hasReply { object["reply"] = true }
    return .object(object)
  }

  /// Reads what `json` wrote; nil for anything else.
  public init?(_ tree: JSON) {
    guard let time = tree["time"]?.string.flatMap({ Timestamp.parse($0) }), time.seconds >= 0,
      let event = tree["event"]?.string.flatMap(Event.init),
      let verdict = tree["verdict"]?.string.flatMap(Verdict.init),
      let transport = tree["protocol"]?.string.flatMap(Flow.transportNumber),
      let source = tree["source"].flatMap(End.init), let destination = tree["destination"].flatMap(End.init)
    else { return nil }
    let (nanoseconds, overflows) = UInt64(time.seconds).multipliedReportingOverflow(by: 1_000_000_000)
    guard !overflows, nanoseconds <= UInt64.max - 1_000_000_000 else { return nil }
    self.init(
      time: nanoseconds + UInt64(time.nanoseconds), event: event, verdict: verdict,
      node: tree["node"]?.string ?? "", transport: transport, source: source, destination: destination)
    if let tree = tree["service"], let asked = End.endpoint(tree), let name = tree["name"]?.string {
      service = Service(
        ObjectKey(tree["namespace"]?.string ?? "", name), portName: tree["portName"]?.string ?? "",
        asked: asked)
    }
    if let tree = tree["policy"] {
      decision = Decision(
        direction: tree["direction"]?.string ?? "",
        policies: (tree["policies"]?.elements ?? []).compactMap { $0.string.map(Flow.key) },
        rule: tree["rule"]?.integer.flatMap { Int(exactly: $0) }, reason: tree["reason"]?.string ?? "")
    }
    if let sent = Flow.amount(tree["bytesSent"]) {
      totals = Totals(
        bytesSent: sent, bytesReceived: Flow.amount(tree["bytesReceived"]) ?? 0,
        packetsSent: Flow.amount(tree["packetsSent"]) ?? 0,
        packetsReceived: Flow.amount(tree["packetsReceived"]) ?? 0,
        milliseconds: Flow.amount(tree["milliseconds"]))
    }
    hasReply = tree["reply"]?.bool ?? false
  }

  private static func amount(_ tree: JSON?) -> UInt64? { tree?.integer.flatMap { UInt64(exactly: $0) } }

  /// `NAMESPACE/NAME`, or a name alone.
  static func key(_ text: String) -> ObjectKey {
    let parts = text.split(separator: "/", maxSplits: 1).map(String.init)
    return parts.count == 2 ? ObjectKey(parts[0], parts[1]) : ObjectKey("", text)
  }
}

extension Flow.End {
  var json: JSON {
    var object = JSONObject([
      ("address", JSON(endpoint.address.description)), ("port", JSON(endpoint.port)),
    ])
    if let pod {
      object["namespace"] = JSON(pod.namespace)
      object["pod"] = JSON(pod.name)
      object["labels"] = JSON(labels)
    }
    if let node { object["node"] = JSON(node) }
    return .object(object)
  }

  init?(_ tree: JSON) {
    guard let endpoint = Self.endpoint(tree) else { return nil }
    self.init(endpoint)
    if let name = tree["pod"]?.string, let namespace = tree["namespace"]?.string {
      pod = ObjectKey(namespace, name)
      labels = tree["labels"]?.stringMap ?? [:]
    }
    node = tree["node"]?.string
  }

  static func endpoint(_ tree: JSON) -> SocketEndpoint? {
    guard let address = tree["address"]?.string.flatMap({ IPAddress($0) }),
      let port = tree["port"]?.integer.flatMap({ UInt16(exactly: $0) })
    else { return nil }
    return SocketEndpoint(address, port)
  }
}
