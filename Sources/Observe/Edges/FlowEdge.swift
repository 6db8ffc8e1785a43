// The edges of the service map: what one node has seen, several nodes' sum, and the three forms of it (JSON, back, a table).

import ClusterObjects
import ClusterView

/// One pair and what became of its connections.
public struct FlowEdge: Sendable, Hashable {
  public var from: FlowParty
  public var to: FlowParty
  public var signals: FlowSignals
  /// Services that the pods of an end stand behind, when the end is a workload.
  public var fromServices: [ObjectKey] = []
  public var toServices: [ObjectKey] = []

  public init(from: FlowParty, to: FlowParty, signals: FlowSignals) {
    self.from = from
    self.to = to
    self.signals = signals
  }

  /// Refused ones first, then by number; equal ones by name, so that lists stand still.
  func isBusier(than other: FlowEdge) -> Bool {
    let (one, two) = (signals, other.signals)
    if (one.denied > 0) != (two.denied > 0) { return one.denied > 0 }
    let (mine, its) = (one.connections + one.denied, two.connections + two.denied)
    return mine == its ? (from, to) < (other.from, other.to) : mine > its
  }
}

/// Edges of one node, or of several.
public struct FlowEdgeList: Sendable, Hashable {
  /// How long was counted.
  public var seconds: Double
  public var edges: [FlowEdge] = []
  /// Of pairs that found no room.
  public var others = FlowSignals()
  /// Whether there were more edges than were asked for.
  public var isCut = false

  public init(seconds: Double) { self.seconds = seconds }

  /// Puts the Services to workloads, as the view has them now. Costs a pass over all endpoints.
  public mutating func name(by services: [ObjectKey: [ObjectKey]]) {
    for index in edges.indices {
      let signals = edges[index].signals
      if edges[index].from.kind == .workload, let pod = signals.sourcePod {
        edges[index].fromServices = services[pod] ?? []
      }
      if edges[index].to.kind == .workload, let pod = signals.destinationPod {
        edges[index].toServices = services[pod] ?? []
      }
    }
  }

  /// Takes in what another node has seen.
  public mutating func merge(_ other: FlowEdgeList) {
    seconds = max(seconds, other.seconds)
    isCut = isCut || other.isCut
    others.add(other.others)
    var places: [FlowEdges.Pair: Int] = [:]
    for (index, edge) in edges.enumerated() { places[.init(from: edge.from, to: edge.to)] = index }
    for edge in other.edges {
      if let place = places[.init(from: edge.from, to: edge.to)] {
        edges[place].signals.add(edge.signals)
        if edges[place].fromServices.isEmpty { edges[place].fromServices = edge.fromServices }
        if edges[place].toServices.isEmpty { edges[place].toServices = edge.toServices }
      } else {
        edges.append(edge)
      }
    }
    edges.sort { $0.isBusier(than: $1) }
  }

  public static let header = [
    "FROM", "TO", "PORT", "RATE", "UNANSWERED", "DENIED", "LASTED P50", "P99", "DENIED BY",
  ]

  /// Rows for people, without the header. Rates are connections a second.
  public var rows: [[String]] {
    edges.map { edge in
      let signals = edge.signals
      return [
        edge.from.text, edge.to.text, "\(signals.port)/\(signals.transport)", rate(signals.connections),
        "\(signals.unanswered)", "\(signals.denied)", Self.lasted(signals, 0.5), Self.lasted(signals, 0.99),
        signals.deniedBy.isEmpty ? "-" : signals.deniedBy.map(\.description).joined(separator: ","),
      ]
    }
  }

  private func rate(_ count: UInt64) -> String {
    let tenths = (Double(count) / seconds * 10).rounded()
    return tenths == 0 && count > 0 ? "<0.1/s" : "\(tenths / 10)/s"
  }

  private static func lasted(_ signals: FlowSignals, _ share: Double) -> String {
    if let bound = signals.lasted(share: share) { return "≤\(bound)ms" }
    return signals.lasted.isEmpty ? "-" : ">\(FlowSignals.bounds.last ?? 0)ms"
  }
}

extension FlowEdgeList {
  /// Stable fields; what says nothing is left out.
  public var json: JSON {
    [
      "milliseconds": JSON(Int(seconds * 1000)), "bounds": .array(FlowSignals.bounds.map { JSON($0) }),
      "edges": .array(edges.map(\.json)), "others": others.json, "truncated": JSON(isCut),
    ]
  }

  /// Reads what `json` wrote; nil for anything else. Edges that cannot be read are passed over.
  public init?(_ tree: JSON) {
    guard let milliseconds = tree["milliseconds"]?.integer, (0..<1 << 40).contains(milliseconds),
      let list = tree["edges"]?.array
    else { return nil }
    self.init(seconds: max(1, Double(milliseconds) / 1000))
    edges = list.prefix(FlowEdges.pairsMax).compactMap(FlowEdge.init)
    others = tree["others"].map(FlowSignals.init) ?? FlowSignals()
    isCut = tree["truncated"]?.bool ?? false
  }
}

extension FlowEdge {
  var json: JSON {
    var object = JSONObject([("from", from.json), ("to", to.json)])
    if !fromServices.isEmpty { object["fromServices"] = JSON(fromServices.map(\.description)) }
    if !toServices.isEmpty { object["toServices"] = JSON(toServices.map(\.description)) }
    object["signals"] = signals.json
    return .object(object)
  }

  init?(_ tree: JSON) {
    guard let from = tree["from"].flatMap(FlowParty.init), let to = tree["to"].flatMap(FlowParty.init) else {
      return nil
    }
    self.init(from: from, to: to, signals: tree["signals"].map(FlowSignals.init) ?? FlowSignals())
    fromServices = Flow.keys(tree["fromServices"])
    toServices = Flow.keys(tree["toServices"])
  }
}

extension FlowParty {
  var json: JSON {
    var object = JSONObject([("kind", JSON(kind.rawValue))])
    if !namespace.isEmpty { object["namespace"] = JSON(namespace) }
    if !name.isEmpty { object["name"] = JSON(name) }
    return .object(object)
  }

  init?(_ tree: JSON) {
    guard let kind = tree["kind"]?.string.flatMap(Kind.init) else { return nil }
    self.init(kind, tree["namespace"]?.string ?? "", tree["name"]?.string ?? "")
  }
}

extension FlowSignals {
  var json: JSON {
    var object = JSONObject([
      ("connections", JSON(connections)), ("unanswered", JSON(unanswered)), ("denied", JSON(denied)),
      ("audited", JSON(audited)), ("bytesSent", JSON(bytesSent)), ("bytesReceived", JSON(bytesReceived)),
    ])
    if !lasted.isEmpty { object["lasted"] = .array(lasted.map { JSON($0) }) }
    if !deniedBy.isEmpty { object["deniedBy"] = JSON(deniedBy.map(\.description)) }
    if !deniedReason.isEmpty { object["deniedReason"] = JSON(deniedReason) }
    if let sourcePod { object["sourcePod"] = JSON(sourcePod.description) }
    if let destinationPod { object["destinationPod"] = JSON(destinationPod.description) }
    if !transport.isEmpty {
      object["port"] = JSON(port)
      object["protocol"] = JSON(transport)
    }
    return .object(object)
  }

  /// What is missing or no number counts as nothing.
  init(_ tree: JSON) {
    func number(_ name: String) -> UInt64 {
      tree[name]?.integer.flatMap { UInt64(exactly: $0) }.map { min($0, 1 << 53) } ?? 0
    }
    (connections, unanswered) = (number("connections"), number("unanswered"))
    (denied, audited) = (number("denied"), number("audited"))
    (bytesSent, bytesReceived) = (number("bytesSent"), number("bytesReceived"))
    let counts = (tree["lasted"]?.elements ?? []).compactMap { $0.integer.flatMap { UInt64(exactly: $0) } }
    if counts.count == Self.bounds.count + 1 { lasted = counts.map { min($0, 1 << 53) } }
    deniedBy = Flow.keys(tree["deniedBy"])
    deniedReason = tree["deniedReason"]?.string ?? ""
    sourcePod = tree["sourcePod"]?.string.map(Flow.key)
    destinationPod = tree["destinationPod"]?.string.map(Flow.key)
    port = tree["port"]?.integer.flatMap { UInt16(exactly: $0) } ?? 0
    transport = tree["protocol"]?.string ?? ""
  }
}

extension Flow {
  /// Names of a list, at most 64 of them.
  static func keys(_ tree: JSON?) -> [ObjectKey] {
    (tree?.elements ?? []).prefix(64).compactMap { $0.string.map(key) }
  }
}

/// The Services that each pod stands behind, by name. Costs a pass over all endpoints.
public func servicesOfPods(_ view: ClusterView) -> [ObjectKey: [ObjectKey]] {
  var found: [ObjectKey: [ObjectKey]] = [:]
  for (service, slices) in view.endpointSlices {
    for slice in slices.values {
      for endpoint in slice.endpoints {
        guard let pod = endpoint.pod, found[pod]?.contains(service) != true else { continue }
        found[pod, default: []].append(service)
      }
    }
  }
  return found.mapValues { $0.sorted() }
}
