// What a node knows of one Service: its rules in the kernel, and what cluster DNS here answers for its names.
//
//   rules?service=NAMESPACE/NAME      the lines of `weft rules`
//   dns?name=NAME                     or service=NAMESPACE/NAME: its own name

import Addresses
import ClusterClient
import ClusterNode
import ClusterObjects
import DNS
import DataPlane
import Diagnostics
import KernelNftables
import Proxy
import Ruleset

extension NodeHandlers {
  mutating func addServices(_ tables: KernelReading, _ dns: @escaping @Sendable () -> Zone) {
    addJSON("rules") { request in
      let service = try request.objectKey("service")
      var tree = ServiceRules(of: service, in: try await tables.inForce()).json
      tree["service"] = JSON(service.description)
      return tree
    }
    addJSON("dns") { request in
      let zone = dns()
      guard let name = try Self.askedName(request, zone) else {
        throw APIStatusError(code: 400, reason: "BadRequest", message: "name: no DNS name")
      }
      return NameAnswers.json(name, zone)
    }
  }

  private static func askedName(_ request: NodePageRequest, _ zone: Zone) throws -> DomainName? {
    if let text = request.parameter("name") { return DomainName(text) }
    let service = try request.objectKey("service")
    return DomainName("\(service.name).\(service.namespace).svc.\(zone.settings.zone)")
  }
}

/// What the zone answers for a name: an entry for each type that is asked for in practice.
enum NameAnswers {
  static let types: [RecordType] = [.a, .aaaa, .srv]
  /// Records shown of one type.
  static let recordsMax = 100

  static func json(_ name: DomainName, _ zone: Zone) -> JSON {
    [
      "name": JSON("\(name)"),
      "answers": .array(
        types.map { type in
          let result = zone.lookup(name, type)
          return [
            "type": JSON("\(type)"), "outcome": JSON(result.outcome.rawValue), "reason": JSON(result.reason),
            "records": JSON(result.records.prefix(recordsMax).map { "\($0)" }),
            "truncated": JSON(result.records.count > recordsMax),
          ]
        }),
    ]
  }
}

/// The kernel's tables, read at most so often: many who look at once cost one reading.
actor KernelReading {
  static let age: Duration = .seconds(2)

  private var latest: (time: ContinuousClock.Instant, tables: InForce)?
  private var reading: Task<InForce, any Error>?

  /// In the network namespace of the process. Throws `NET0010` when the kernel cannot be read.
  func inForce() async throws -> InForce {
    if let latest, ContinuousClock.now - latest.time < Self.age { return latest.tables }
    if let reading { return try await reading.value }
    let task = Task.detached { try NodeRules.observe() }
    reading = task
    defer { reading = nil }
    let tables = try await task.value
    latest = (.now, tables)
    return tables
  }
}
