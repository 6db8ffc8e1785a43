// How a Service spreads connections over its endpoints: session affinity, and what its annotations ask for.
//
//   weft.dev/balancing: maglev                     the same client goes to the same endpoint, on every node
//   weft.dev/balancing: least-connections          who has more open connections is given fewer new ones
//   weft.dev/endpoint-weights: web-1=3,zone-b=0    shares, by pod, node, zone or address; others weigh 1
//   weft.dev/reset-connections: "true"             connections to an endpoint that leaves are ended

import Addresses
import ClusterObjects
import ClusterView

/// Read once for a Service. An annotation that cannot be read is reported and passed over.
struct ServiceBalancing: Sendable, Hashable {
  static let balancing = "weft.dev/balancing"
  static let weights = "weft.dev/endpoint-weights"
  static let resets = "weft.dev/reset-connections"
  static let weightMax = 100
  /// Bound on slots of a service port with weights; more are scaled down.
  static let slotsMax = 4096

  private(set) var method = BalancingClass.Method.random
  private(set) var resetsConnections = false
  private var names: [Weight] = []

  private struct Weight: Sendable, Hashable {
    var name: String
    var weight: Int
  }

  init(_ service: Service, _ problems: inout [String]) {
    for (name, value) in service.annotations where name.hasPrefix("weft.dev/") {
      switch name {
      case Self.balancing:
        switch value {
        case "maglev": method = .maglev
        case "least-connections": method = .leastConnections
        case "random": break
        default:
          problems.append("annotation \(name) is not random, maglev or least-connections: random is used")
        }
      case Self.weights:
        guard let read = Self.read(value) else {
          problems.append("annotation \(name) is not NAME=0…\(Self.weightMax),…: endpoints weigh the same")
          continue
        }
        names = read
      case Self.resets: resetsConnections = value == "true"
      default: break
      }
    }
    // Affinity already gives a client one endpoint, and for a limited time.
    if let seconds = service.affinitySeconds {
      method = .affinity(seconds: UInt32(clamping: max(1, seconds)))
    }
  }

  /// Whether plans of the Service depend on open connections. Costs no reading of weights.
  static func countsConnections(_ service: Service) -> Bool {
    service.affinitySeconds == nil && service.annotations[balancing] == "least-connections"
  }

  private static func read(_ text: String) -> [Weight]? {
    var result: [Weight] = []
    for part in text.split(separator: ",") {
      let pair = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      guard pair.count == 2, let weight = Int(pair[1].trimmed), (0...weightMax).contains(weight),
        !pair[0].trimmed.isEmpty
      else { return nil }
      result.append(Weight(name: String(pair[0].trimmed), weight: weight))
    }
    return result
  }

  /// Whether each endpoint has one slot, whatever else is known of it.
  var isPlain: Bool {
    guard names.isEmpty else { return false }
    return switch method {
    case .random, .affinity: true
    case .maglev, .leastConnections: false
    }
  }

  /// The endpoint of each slot, endpoints in their order. Not empty when `list` is not.
  func slots(of list: [ServiceEndpoint]) -> [SocketEndpoint] {
    if names.isEmpty, method != .maglev { return list.map(\.target) }
    let weighted = shares(of: list)
    if method == .maglev { return MaglevTable(weighted).slots }
    return weighted.flatMap { Array(repeating: $0.target, count: $0.weight) }
  }

  /// How many slots there are, without filling them where that takes long.
  func slotCount(of list: [ServiceEndpoint]) -> Int {
    method == .leastConnections
      ? LeastConnections.slots(endpoints: shares(of: list).count) : slots(of: list).count
  }

  /// Weights in lowest terms. When all are zero, nothing is asked for.
  func shares(of list: [ServiceEndpoint]) -> [(target: SocketEndpoint, weight: Int)] {
    guard !names.isEmpty else { return list.map { ($0.target, 1) } }
    var shares = list.map { endpoint in
      (target: endpoint.target, weight: names.first { endpoint.isNamed($0.name) }?.weight ?? 1)
    }
    shares.removeAll { $0.weight == 0 }
    guard !shares.isEmpty else { return list.map { ($0.target, 1) } }
    let total = shares.reduce(0) { $0 + $1.weight }
    if total > Self.slotsMax {
      for index in shares.indices {
        shares[index].weight = max(1, shares[index].weight * Self.slotsMax / total)
      }
    }
    let divisor = shares.reduce(0) { greatestCommonDivisor($0, $1.weight) }
    for index in shares.indices { shares[index].weight /= divisor }
    return shares
  }

  private func greatestCommonDivisor(_ a: Int, _ b: Int) -> Int {
    var (a, b) = (a, b)
    while b != 0 { (a, b) = (b, a % b) }
    return max(a, 1)
  }
}

extension ServiceEndpoint {
  /// Whether a name of the weights' annotation means it.
  fileprivate func isNamed(_ name: String) -> Bool {
    pod?.name == name || nodeName == name || zone == name || target.address.description == name
  }
}

extension Substring {
  fileprivate var trimmed: Substring {
    var view = self
    while view.first == " " { view.removeFirst() }
    while view.last == " " { view.removeLast() }
    return view
  }
}
