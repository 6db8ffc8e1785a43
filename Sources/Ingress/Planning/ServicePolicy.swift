// What a Service's owner says of how its endpoints are reached: annotations `weft.dev/…` of the Service, the same for Ingresses, Gateways
// and streams.
//
//   weft.dev/balancing: round-robin            or least-requests, source, target, header=NAME, cookie=NAME
//   weft.dev/slow-start: 30s                   a new endpoint's share grows for so long
//   weft.dev/max-failures: "5"                 in a row, then an endpoint is left out …
//   weft.dev/ejection: 30s                     … for so long, longer each time …
//   weft.dev/max-ejected-percent: "50"         … and never more of them than this
//   weft.dev/health-check-path: /healthz       asked of each endpoint, with -interval and -timeout
//   weft.dev/max-connections, -requests, -pending-requests: of a worker at one endpoint
//   weft.dev/retry-budget-percent: "20"        of the requests may be sent again

import ClusterObjects
import ClusterView

extension BackendPolicy {
  /// Takes over what a Service's annotations say, but for balancing that somebody else has chosen already. Cost: a look at each
  /// annotation.
  /// - Returns: what cannot be read and has no effect, each with the code ING0023.
  public mutating func take(_ service: Service) -> [String] {
    var reader = ServiceAnnotations(service)
    if reader.values.isEmpty { return [] }
    if let text = reader["balancing"] {
      if let way = Balancing(annotation: text) {
        if balancing == .leastRequests { balancing = way }
      } else {
        reader.complain(
          "balancing", "least-requests, round-robin, source, target, header=NAME or cookie=NAME")
      }
    }
    slowStart = reader.milliseconds("slow-start") ?? slowStart
    health.failures = reader.number("max-failures", 1...1000).map { UInt16($0) } ?? health.failures
    health.ejection = reader.milliseconds("ejection") ?? health.ejection
    health.ejectedPercentMax =
      reader.number("max-ejected-percent", 0...100).map { UInt8($0) } ?? health.ejectedPercentMax
    if let path = reader["health-check-path"] {
      if path.first == "/", path.utf8.count <= 1024, path.utf8.allSatisfy({ $0 > 32 && $0 < 127 }) {
        var check = HealthPolicy.Check(path: path)
        check.interval = reader.milliseconds("health-check-interval", least: 100) ?? check.interval
        check.timeout = reader.milliseconds("health-check-timeout", least: 10) ?? check.timeout
        health.check = check
      } else {
        reader.complain("health-check-path", "a path")
      }
    }
    circuit.connections = reader.number("max-connections").map { UInt32($0) } ?? circuit.connections
    circuit.requests = reader.number("max-requests").map { UInt32($0) } ?? circuit.requests
    circuit.pending = reader.number("max-pending-requests").map { UInt32($0) } ?? circuit.pending
    retry.budgetPercent =
      reader.number("retry-budget-percent", 1...100).map { UInt8($0) } ?? retry.budgetPercent
    return reader.problems
  }
}

extension Balancing {
  fileprivate init?(annotation text: String) {
    let parts = text.split(separator: "=", maxSplits: 1).map(String.init)
    let name = parts.count == 2 && !parts[1].isEmpty && parts[1].utf8.allSatisfy(isToken) ? parts[1] : nil
    switch (parts.first, name) {
    case ("least-requests", nil) where parts.count == 1: self = .leastRequests
    case ("round-robin", nil) where parts.count == 1: self = .roundRobin
    case ("source", nil) where parts.count == 1: self = .consistentHash(.source)
    case ("target", nil) where parts.count == 1: self = .consistentHash(.target)
    case ("header", let name?): self = .consistentHash(.header(name))
    case ("cookie", let name?): self = .consistentHash(.cookie(name))
    default: return nil
    }
  }
}

private struct ServiceAnnotations {
  static let prefix = "weft.dev/"
  let service: ObjectKey
  let values: [String: String]
  private(set) var problems: [String] = []

  init(_ service: Service) {
    self.service = service.key
    var values: [String: String] = [:]
    for (name, value) in service.annotations where name.hasPrefix(Self.prefix) {
      values[String(name.dropFirst(Self.prefix.count))] = value
    }
    self.values = values
  }

  subscript(_ name: String) -> String? { values[name] }

  mutating func number(_ name: String, _ range: ClosedRange<Int> = 1...1_000_000) -> Int? {
    guard let text = values[name] else { return nil }
    if let number = Int(text), range.contains(number) { return number }
    complain(name, "a number of \(range.lowerBound) to \(range.upperBound)")
    return nil
  }

  /// Up to a day.
  mutating func milliseconds(_ name: String, least: Int = 1) -> UInt32? {
    guard let text = values[name] else { return nil }
    if let found = GatewayRoute.milliseconds(text), (least...86_400_000).contains(found) {
      return UInt32(found)
    }
    complain(name, "a time such as 30s or 500ms, of \(least)ms at least and a day at most")
    return nil
  }

  mutating func complain(_ name: String, _ wanted: String) {
    problems.append(
      "service \(service): annotation \(Self.prefix)\(name) is not \(wanted), and has no effect (ING0023)")
  }
}
