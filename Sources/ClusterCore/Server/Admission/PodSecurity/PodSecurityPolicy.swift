// Levels and versions of the Pod Security Standards, and what a namespace's labels ask for.

import ClusterObjects

/// Exemptions and what holds in namespaces that say nothing.
public struct PodSecuritySettings: Sendable {
  /// `privileged`, `baseline` or `restricted`.
  public var enforce = "privileged"
  public var audit = "privileged"
  public var warn = "privileged"
  /// Exempt from all checks.
  public var exemptUsers: Set<String> = []
  public var exemptNamespaces: Set<String> = []
  public var exemptRuntimeClasses: Set<String> = []
  public init() {}
}

enum PodSecurityLevel: String, Sendable, Comparable {
  case privileged, baseline, restricted
  private var rank: Int { self == .privileged ? 0 : self == .baseline ? 1 : 2 }
  static func < (a: Self, b: Self) -> Bool { a.rank < b.rank }
}

/// A version of the standards: `latest`, or the minor of `v1.N`.
struct PodSecurityVersion: Sendable, Hashable, CustomStringConvertible {
  /// Nil: the latest.
  var minor: Int?
  static let latest = PodSecurityVersion(minor: nil)

  init(minor: Int?) { self.minor = minor }

  init?(_ text: String) {
    if text == "latest" {
      self = .latest
      return
    }
    let digits = text.dropFirst(3)
    guard text.hasPrefix("v1."), !digits.isEmpty, digits.utf8.allSatisfy({ (48...57).contains($0) }),
      digits.count <= 4, digits == "0" || digits.first != "0", let minor = Int(digits)
    else { return nil }
    self.minor = minor
  }

  var description: String { minor.map { "v1.\($0)" } ?? "latest" }
  func isAtLeast(_ minor: Int) -> Bool { self.minor.map { $0 >= minor } ?? true }
}

struct PodSecurityPolicy: Sendable, Hashable, CustomStringConvertible {
  var level = PodSecurityLevel.privileged
  var version = PodSecurityVersion.latest
  var description: String { "\(level.rawValue):\(version)" }
}

/// What is enforced, audited and warned about.
struct PodSecurityPolicies: Sendable, Hashable {
  var enforce = PodSecurityPolicy()
  var audit = PodSecurityPolicy()
  var warn = PodSecurityPolicy()
  var isIdle: Bool {
    enforce.level == .privileged && audit.level == .privileged && warn.level == .privileged
  }

  static let prefix = "pod-security.kubernetes.io/"

  init(_ settings: PodSecuritySettings) {
    enforce.level = PodSecurityLevel(rawValue: settings.enforce) ?? .privileged
    audit.level = PodSecurityLevel(rawValue: settings.audit) ?? .privileged
    warn.level = PodSecurityLevel(rawValue: settings.warn) ?? .privileged
  }

  /// What labels ask for, over what holds without them. A label that cannot be read asks for the strictest
  /// level when it is to enforce, and for nothing when it is to tell.
  init(labels: [String: String], standard: PodSecurityPolicies, errors: inout [FieldError]) {
    self = standard
    var enforced = PodSecurityPolicy()
    func read(_ mode: String, _ policy: inout PodSecurityPolicy, fallback: PodSecurityLevel) {
      if let text = labels[Self.prefix + mode] {
        if let level = PodSecurityLevel(rawValue: text) {
          policy.level = level
        } else {
          policy.level = fallback
          errors.append(
            .invalid(
              FieldPath("metadata.labels").key(Self.prefix + mode), JSON(text),
              "must be one of privileged, baseline, restricted"))
        }
      } else if mode != "enforce", labels[Self.prefix + "enforce"] != nil, policy.level < enforced.level {
        // Who enforces and says nothing of the others is told of what is enforced.
        policy = enforced
      }
      if let text = labels[Self.prefix + mode + "-version"] {
        if let version = PodSecurityVersion(text) {
          policy.version = version
        } else {
          errors.append(
            .invalid(
              FieldPath("metadata.labels").key(Self.prefix + mode + "-version"), JSON(text),
              "must be \"latest\" or \"v1.x\""))
        }
      }
    }
    read("enforce", &enforce, fallback: .restricted)
    enforced = enforce
    read("audit", &audit, fallback: .privileged)
    read("warn", &warn, fallback: .privileged)
  }
}
