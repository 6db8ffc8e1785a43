// Ingresses of ingress-nginx as Gateway API: what they become, what they depend on without saying so, what has no place there. Pure: the same
// objects give the same answer, in the same order.

import ClusterObjects
import ClusterView

/// Something about one Ingress that its owner has to know before it moves.
public struct MigrationFinding: Sendable, Hashable {
  /// Stable: scripts may go by it.
  public enum Code: String, Sendable, CaseIterable {
    /// Paths are expressions: without case, for a path's beginning.
    case patterns = "MIG0001"
    /// `use-regex` of one Ingress makes expressions of the paths of others that share its host.
    case spreadingPatterns = "MIG0002"
    /// `rewrite-target` does the same, without a word of expressions.
    case rewritePatterns = "MIG0003"
    /// A request that lacks the slash at the path's end is sent (301) to the path with it.
    case trailingSlash = "MIG0004"
    /// `.`, `..` and `//` are taken out of a request's path before it is compared.
    case normalised = "MIG0005"
    /// Text for nginx's configuration: never translated.
    case snippet = "MIG0010"
    /// Has no place in Gateway API.
    case inexpressible = "MIG0011"
    /// Is expressed, and means something a little different there.
    case approximate = "MIG0012"
    /// Needs an object that is not among those that were read, or has to be made by hand.
    case needsObject = "MIG0013"
  }
  public var code: Code
  /// An annotation, or a host and path.
  public var subject: String
  public var reason: String
  /// What to do.
  public var next: String

  /// The five ways of ingress-nginx that nobody asks for and many depend on.
  public var isQuirk: Bool { code.rawValue < Code.snippet.rawValue }
  /// Something that was there is not there afterwards.
  public var isLoss: Bool { code == .snippet || code == .inexpressible }
}

/// What one Ingress comes to.
public struct MigrationReport: Sendable, Hashable {
  public var ingress: ObjectKey
  public var findings: [MigrationFinding] = []
}

/// The answer of `planMigration`.
public struct Migration: Sendable {
  /// By namespace and name.
  public internal(set) var reports: [MigrationReport] = []
  /// Gateways, routes and policies, ready to be applied.
  public internal(set) var manifests: [JSON] = []

  public var hasLosses: Bool { reports.contains { $0.findings.contains(where: \.isLoss) } }
}

/// What a migration is told.
public struct MigrationInput: Sendable {
  public var ingresses: [Ingress]
  /// Those that are known: they tell the numbers of named ports.
  public var services: [ObjectKey: Service]
  /// ConfigMaps of `custom-headers` that are known.
  public var headers: [ObjectKey: [String: String]]
  /// Name of the GatewayClass that the Gateways get.
  public var gatewayClass: String
  /// Ingresses of other classes are left out; nil: all are taken.
  public var ingressClass: String?

  public init(
    ingresses: [Ingress], services: [ObjectKey: Service] = [:], headers: [ObjectKey: [String: String]] = [:],
    gatewayClass: String = "weft", ingressClass: String? = nil
  ) {
    self.ingresses = ingresses
    self.services = services
    self.headers = headers
    self.gatewayClass = gatewayClass
    self.ingressClass = ingressClass
  }
}

/// Gateway API's objects for Ingresses, and what is to be known about each.
public func planMigration(_ input: MigrationInput) -> Migration {
  var planner = MigrationPlanner(input)
  return planner.plan()
}

struct MigrationPlanner {
  let input: MigrationInput
  let ingresses: [Ingress]
  var findings: [ObjectKey: [MigrationFinding]] = [:]
  /// Hosts whose paths are expressions, with the Ingresses that make them so.
  let patterned: [String: [Ingress]]
  var gateways: [String: GatewayDraft] = [:]
  var routes: [JSON] = []
  var policies: [JSON] = []
  var policyNames: Set<ObjectKey> = []
  /// Ingresses whose endpoints speak gRPC, and that no GRPCRoute can say.
  var plainCalls: Set<ObjectKey> = []

  init(_ input: MigrationInput) {
    self.input = input
    ingresses = input.ingresses.filter { input.ingressClass == nil || $0.className == input.ingressClass }
      .sorted { ($0.creationTimestamp, $0.key) < ($1.creationTimestamp, $1.key) }
    var patterned: [String: [Ingress]] = [:]
    for ingress in ingresses where AnnotationReader(ingress.annotations).makesPatterns {
      for host in Set(ingress.rules.map(\.host)) { patterned[host, default: []].append(ingress) }
    }
    self.patterned = patterned
  }

  mutating func plan() -> Migration {
    for ingress in ingresses {
      findings[ingress.key] = []
      noteQuirks(ingress)
      noteAnnotations(ingress)
    }
    for ingress in ingresses where !CanaryPlan.isCanary(ingress) { translate(ingress) }
    var migration = Migration()
    migration.reports = findings.sorted { $0.key < $1.key }.map {
      MigrationReport(ingress: $0.key, findings: $0.value)
    }
    migration.manifests =
      gateways.sorted { $0.key < $1.key }.map { $1.manifest(input.gatewayClass) } + routes + policies
    return migration
  }

  mutating func tell(
    _ ingress: Ingress, _ code: MigrationFinding.Code, _ subject: String, _ reason: String, _ next: String
  ) {
    let finding = MigrationFinding(code: code, subject: subject, reason: reason, next: next)
    if findings[ingress.key]?.contains(finding) == true { return }
    findings[ingress.key, default: []].append(finding)
  }
}

extension AnnotationReader {
  /// The paths of this Ingress's hosts are expressions because of it.
  var makesPatterns: Bool { isTrue("use-regex") || self["rewrite-target"] != nil }
}
