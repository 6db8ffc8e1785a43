// Flows for people: one line each (`compact`), or columns under a header (`table`).
//
//   05:12:07.123456  denied     demo/stranger:40122 → demo/web-7d4:8080 (demo/web:80) TCP  no ingress rule of demo/web allows it

import Addresses
import ClusterObjects
import Diagnostics

extension Flow {
  public enum Colour: Sendable { case never, always }

  /// The columns of `cells`.
  public static let header = [
    "TIME", "NODE", "VERDICT", "EVENT", "SOURCE", "DESTINATION", "SERVICE", "PROTO", "BYTES", "DURATION",
    "POLICY",
  ]

  /// One row; what is not known is `-`.
  public func cells(numeric: Bool = false) -> [String] {
    [
      timeText, node.isEmpty ? "-" : node, verdict.rawValue, event.rawValue, source.text(numeric: numeric),
      destination.text(numeric: numeric), service.map { "\($0.key):\($0.asked.port)" } ?? "-", transportName,
      totals.map { "\($0.bytesSent)/\($0.bytesReceived)" } ?? "-",
      totals?.milliseconds.map { "\($0)ms" } ?? "-",
      decision.map {
        $0.policies.isEmpty ? $0.reason : $0.policies.map(\.description).joined(separator: ",")
      } ?? "-",
    ]
  }

  /// One line.
  public func compact(numeric: Bool = false, colour: Colour = .never) -> String {
    var line = timeText.dropFirst(11).dropLast() + "  "
    let word = verdict.rawValue + String(repeating: " ", count: 9 - verdict.rawValue.count)
    switch (colour, verdict) {
    case (.never, _), (_, .forwarded): line += word
    case (.always, .denied): line += "\u{1b}[31m\(word)\u{1b}[0m"
    case (.always, .audited): line += "\u{1b}[33m\(word)\u{1b}[0m"
    }
    line += "  \(source.text(numeric: numeric)) → \(destination.text(numeric: numeric))"
    if let service {
      line += " (\(numeric ? service.asked.description : "\(service.key):\(service.asked.port)"))"
    }
    line += " \(transportName)"
    if event == .end {
      line += "  ended"
      if let totals {
        line += ", \(totals.bytesSent) B sent, \(totals.bytesReceived) B received"
        if let milliseconds = totals.milliseconds { line += ", \(milliseconds) ms" }
      }
      if !hasReply { line += ", never answered" }
    }
    if let decision, verdict != .forwarded || !decision.policies.isEmpty { line += "  \(decision.reason)" }
    return String(line)
  }
}

extension Flow.End {
  func text(numeric: Bool) -> String {
    guard !numeric, let name = pod?.description ?? node.map({ "node/\($0)" }) else {
      return endpoint.port == 0 ? endpoint.address.description : endpoint.description
    }
    return endpoint.port == 0 ? name : "\(name):\(endpoint.port)"
  }
}
