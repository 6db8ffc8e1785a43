// A migration for people and for programs.

import ClusterObjects
import ClusterView

extension MigrationFinding {
  /// One word for what it is about.
  var kind: String {
    switch code {
    case .patterns, .spreadingPatterns, .rewritePatterns, .trailingSlash, .normalised: "quirk"
    case .snippet: "snippet"
    case .inexpressible: "lost"
    case .approximate: "approximate"
    case .needsObject: "needs"
    }
  }
}

extension Migration {
  /// Stable: fields are added, none change their meaning.
  public var json: JSON {
    let ingresses = reports.map { report -> JSON in
      [
        "namespace": JSON(report.ingress.namespace), "name": JSON(report.ingress.name),
        "findings": .array(
          report.findings.map { finding -> JSON in
            [
              "code": JSON(finding.code.rawValue), "kind": JSON(finding.kind),
              "subject": JSON(finding.subject),
              "reason": JSON(finding.reason), "next": JSON(finding.next),
            ]
          }),
      ]
    }
    return ["ingresses": .array(ingresses), "manifests": .array(manifests), "complete": .bool(!hasLosses)]
  }

  /// Documents for `kubectl apply -f -`.
  public var yaml: String { manifests.map { BlockYAML.text($0) }.joined(separator: "---\n") }

  /// What is to be known, Ingress by Ingress.
  public var text: String {
    var lines: [String] = []
    for report in reports {
      lines.append("ingress \(report.ingress)" + (report.findings.isEmpty ? ": nothing to note" : ""))
      for finding in report.findings {
        lines.append(
          "  \(finding.code.rawValue) \(finding.kind) \(finding.subject): \(finding.reason); \(finding.next)")
      }
    }
    let lost = reports.reduce(0) { $0 + $1.findings.count(where: \.isLoss) }
    let quirks = reports.reduce(0) { $0 + $1.findings.count(where: \.isQuirk) }
    lines.append(
      "\(reports.count) ingresses, \(manifests.count) manifests, \(lost) things that are lost, \(quirks) quirks that may be depended on"
    )
    return lines.joined(separator: "\n")
  }
}
