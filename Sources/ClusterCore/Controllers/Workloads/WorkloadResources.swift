// The resources of workload controllers, and what all of them read of an object in the same way.

import ClusterClient
import ClusterObjects
import Diagnostics

extension GroupVersionResource {
  static let statefulSets = Self("apps", "v1", "statefulsets")
  static let daemonSets = Self("apps", "v1", "daemonsets")
  static let controllerRevisions = Self("apps", "v1", "controllerrevisions")
  static let jobs = Self("batch", "v1", "jobs")
  static let cronJobs = Self("batch", "v1", "cronjobs")
  static let replicationControllers = Self("", "v1", "replicationcontrollers")
  static let disruptionBudgets = Self("policy", "v1", "poddisruptionbudgets")
  static let endpoints = Self("", "v1", "endpoints")
  static let certificateRequests = Self("certificates.k8s.io", "v1", "certificatesigningrequests")
}

extension JSON {
  /// Seconds since 1970 of a time in this tree.
  func time(_ path: String...) -> Int64? { at(path)?.string.flatMap { Timestamp.parse($0)?.seconds } }

  var createdAt: Int64 { Timestamp.parse(creationTimestamp)?.seconds ?? 0 }

  /// Writes a number that is left out when it is zero.
  mutating func count(_ field: String, _ value: Int) { self[field] = value == 0 ? nil : JSON(value) }
}

/// An event that a plan asks for.
struct PlannedEvent: Equatable {
  var type: String
  var reason: String
  var message: String
  static func normal(_ reason: String, _ message: String) -> PlannedEvent {
    PlannedEvent(type: "Normal", reason: reason, message: message)
  }
  static func warning(_ reason: String, _ message: String) -> PlannedEvent {
    PlannedEvent(type: "Warning", reason: reason, message: message)
  }
}

/// A number, or a percentage of `whole`.
func scaledShare(_ value: JSON, of whole: Int, roundsUp: Bool) -> Int {
  if let number = value.int { return max(0, number) }
  guard let text = value.string, text.hasSuffix("%"), let percent = Int(text.dropLast()), percent >= 0,
    percent <= 1_000_000
  else { return 0 }
  return (percent * whole + (roundsUp ? 99 : 0)) / 100
}

/// Earlier of two waits, of which either may be none.
func earlier(_ a: Int?, _ b: Int?) -> Int? {
  guard let a, let b else { return a ?? b }
  return min(a, b)
}

/// Ten letters and digits that spell no words: FNV-1a of the value, whatever the order of its fields.
func stableHash(_ value: JSON, collisions: Int?) -> String {
  func canonical(_ value: JSON) -> JSON {
    switch value {
    case .object(let object): .object(object.mapValues(canonical).sortedByKey())
    case .array(let elements): .array(elements.map(canonical))
    default: value
    }
  }
  var hash: UInt64 = 0xcbf2_9ce4_8422_2325
  var bytes = canonical(value).bytes
  if let collisions { bytes += Array("\(collisions)".utf8) }
  for byte in bytes { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01b3 }
  let alphabet = Array("bcdfghjklmnpqrstvwxz2456789")
  return String(
    (0..<10).map { _ in
      defer { hash /= UInt64(alphabet.count) }
      return alphabet[Int(hash % UInt64(alphabet.count))]
    })
}
