// The last known names on disk: read when the API server does not answer at the start, written from time to time and at the end.
//
//   NameFeed --each minute in which something changed, and at the end--> file --start, API server away--> ZoneKeeper

import ClusterView
import DNS
import Diagnostics
import Logging
import Synchronization

/// Keeps one file current with what one server of names knows. Thread-safe.
final class LastNames: Sendable {
  /// Between two writings, and before the first.
  static let period: Duration = .seconds(60)
  static let folder = "/var/lib/weft/dns"

  private let file: SnapshotFile
  private let log = Logger(label: "dns")
  private struct State {
    /// What the file holds: steps of which feed.
    var written: (feed: ObjectIdentifier, steps: UInt64)?
    var isFailing = false
  }
  private let state = Mutex(State())
  private static let inForce = Metrics.shared.gauge(
    "weft_dns_snapshot_in_force", "1 while names are answered from a file of an earlier run; 0 otherwise."
  ).child()
  private static let time = Metrics.shared.gauge(
    "weft_dns_snapshot_timestamp_seconds", "When the names on disk were written, seconds since 1970."
  ).child()
  private static let failures = Metrics.shared.counter(
    "weft_dns_snapshot_failures_total", "Times the names on disk could not be written or read.",
    labels: ["operation"])

  private init(_ file: SnapshotFile) { self.file = file }

  /// - Parameter option: a path, `none`, or nothing for a file of this cluster in `folder`.
  static func choose(_ option: String?, cluster: String) -> LastNames? {
    guard option != "none", !cluster.isEmpty else { return nil }
    let own = String(cluster.unicodeScalars.map { isPlain($0) ? Character($0) : "_" }.suffix(200))
    return LastNames(SnapshotFile(option ?? "\(folder)/\(own).names"))
  }

  private static func isPlain(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar {
    case "a"..."z", "A"..."Z", "0"..."9", "-": true
    default: false
    }
  }

  /// What an earlier run knew of the feed's cluster; nil when there is nothing of use, which is said.
  func read(for feed: NameFeed) -> NameSnapshot? {
    do throws(WeftError) {
      let snapshot = try file.read(cluster: feed.cluster, wants: feed.wants)
      if snapshot == nil {
        log.warning("no names of an earlier run", metadata: ["file": "\(file.path)"])
      }
      return snapshot
    } catch {
      Self.failures.child("read").increment()
      log.error("names of an earlier run are not served", metadata: ["error": "\(error)"])
      return nil
    }
  }

  /// Says that these names are served, until `served(nil)`.
  func served(_ snapshot: NameSnapshot?) {
    Self.inForce.set(snapshot == nil ? 0 : 1)
    guard let snapshot else { return }
    Self.time.set(Double(snapshot.written))
    log.warning(
      "the API server does not answer: serving names of an earlier run",
      metadata: [
        "written": "\(Timestamp.text(seconds: snapshot.written))", "file": "\(file.path)",
        "services": "\(snapshot.book.serviceCount)",
      ])
  }

  /// Writes what the feed knows, when that is not what the file holds. A failure is said once, until it works again.
  func write(_ feed: NameFeed) {
    let (book, steps) = feed.known
    let mark = (feed: ObjectIdentifier(feed), steps: steps)
    guard state.withLock({ $0.written.map { $0 != mark } ?? true }) else { return }
    let now = Timestamp.now().seconds
    do throws(WeftError) {
      try file.write(NameSnapshot(cluster: feed.cluster, written: now, book: book))
      Self.time.set(Double(now))
      state.withLock {
        $0.written = mark
        $0.isFailing = false
      }
    } catch {
      Self.failures.child("write").increment()
      let wasFailing = state.withLock { state in
        defer { state.isFailing = true }
        return state.isFailing
      }
      if !wasFailing { log.warning("names are not kept for the next start", metadata: ["error": "\(error)"]) }
    }
  }

  /// Writes once a period until cancelled.
  func run(_ feed: @Sendable () async -> NameFeed?) async {
    while (try? await Task.sleep(for: Self.period)) != nil {
      if let feed = await feed() { write(feed) }
    }
  }
}
