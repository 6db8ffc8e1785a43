// Which flows somebody wants to see. The same filter runs in the node process and over a saved file.
//
//   --from demo/client   --to demo/   --to 10.0.0.0/8   --from app=web   --verdict denied,audited   --service demo/web   --port 8080

import Addresses
import ClusterObjects
import Diagnostics

/// All that is given must hold; an empty filter takes everything.
public struct FlowFilter: Sendable, Hashable {
  /// One end, as people name it.
  public enum Party: Sendable, Hashable {
    case namespace(String)
    case pod(ObjectKey)
    /// Pods of a namespace whose name begins so: `demo/web-*`.
    case podsBeginning(ObjectKey)
    case addresses(IPPrefix)
    case labels(LabelSelector)

    func matches(_ end: Flow.End) -> Bool {
      switch self {
      case .namespace(let name): end.pod?.namespace == name
      case .pod(let key): end.pod == key
      case .podsBeginning(let key):
        end.pod?.namespace == key.namespace && end.pod?.name.hasPrefix(key.name) ?? false
      case .addresses(let prefix): prefix.contains(end.endpoint.address)
      case .labels(let selector): end.pod != nil && selector.matches(end.labels)
      }
    }
  }

  public var from: Party?
  public var to: Party?
  public var verdicts: Set<Flow.Verdict> = []
  public var service: ObjectKey?
  /// Of the destination, or of the Service.
  public var port: UInt16?
  /// Nanoseconds since 1970; earlier flows are left out.
  public var since: UInt64 = 0

  public init() {}

  /// The words of the command line, each nil when not given. Throws `FLW0002` for one that cannot be read.
  public init(
    from: String? = nil, to: String? = nil, verdict: String? = nil, service: String? = nil,
    port: String? = nil, namespace: String = "default"
  ) throws(WeftError) {
    self.from = try from.map { text throws(WeftError) in try Self.party(text, "--from", namespace) }
    self.to = try to.map { text throws(WeftError) in try Self.party(text, "--to", namespace) }
    for word in (verdict ?? "").split(separator: ",") {
      guard let one = Flow.Verdict(rawValue: word.lowercased()) else {
        throw Self.unreadable(
          "--verdict \(word)", "is no verdict",
          "use forwarded, denied or audited, several with commas between")
      }
      verdicts.insert(one)
    }
    if let service {
      let parts = service.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
      guard parts.count <= 2, !parts.contains("") else {
        throw Self.unreadable(
          "--service \(service)", "names no Service", "write it as NAMESPACE/NAME, or NAME with -n NAMESPACE")
      }
      self.service = parts.count == 2 ? ObjectKey(parts[0], parts[1]) : ObjectKey(namespace, parts[0])
    }
    if let port {
      guard let number = UInt16(port), number > 0 else {
        throw Self.unreadable("--port \(port)", "is no port", "use a number from 1 to 65535")
      }
      self.port = number
    }
  }

  public func matches(_ flow: Flow) -> Bool {
    guard flow.time >= since, verdicts.isEmpty || verdicts.contains(flow.verdict) else { return false }
    if let service, flow.service?.key != service { return false }
    if let port, flow.destination.endpoint.port != port, flow.service?.asked.port != port { return false }
    return (from?.matches(flow.source) ?? true) && (to?.matches(flow.destination) ?? true)
  }

  private static func party(_ text: String, _ flag: String, _ namespace: String) throws(WeftError) -> Party {
    if let address = IPAddress(text), let single = IPPrefix(address, length: address.family.width) {
      return .addresses(single)
    }
    if let prefix = IPPrefix(text) { return .addresses(prefix) }
    if text.contains("=") || text.contains(" ") {
      if let selector = try? LabelSelector(parsing: text) { return .labels(selector) }
      throw unreadable("\(flag) \(text)", "is no label selector", "write it as app=web,tier!=cache")
    }
    let parts = text.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
    switch parts.count {
    case 1 where !parts[0].isEmpty: return pod(ObjectKey(namespace, parts[0]))
    case 2 where !parts[0].isEmpty:
      return parts[1].isEmpty || parts[1] == "*"
        ? .namespace(parts[0]) : pod(ObjectKey(parts[0], parts[1]))
    default:
      throw unreadable(
        "\(flag) \(text)", "names no end of a connection",
        "write NAMESPACE/POD, NAMESPACE/POD-* or NAMESPACE/, an address or a block of them, or labels as app=web"
      )
    }
  }

  private static func pod(_ key: ObjectKey) -> Party {
    key.name.hasSuffix("*")
      ? .podsBeginning(ObjectKey(key.namespace, String(key.name.dropLast()))) : .pod(key)
  }

  static func unreadable(_ object: String, _ cause: String, _ next: String) -> WeftError {
    WeftError("FLW0002", object: object, cause: cause, next: next, exit: .usage)
  }

  /// `90s`, `5m`, `2h`, `1d` before `now`, or a time of RFC 3339. Throws `FLW0002`.
  public static func moment(_ text: String, now: UInt64) throws(WeftError) -> UInt64 {
    if let time = Timestamp.parse(text), time.seconds >= 0 {
      let (seconds, overflows) = UInt64(time.seconds).multipliedReportingOverflow(by: 1_000_000_000)
      if !overflows { return seconds &+ UInt64(time.nanoseconds) }
    }
    let units: [Character: UInt64] = ["s": 1, "m": 60, "h": 3600, "d": 86400]
    if let last = text.last, let unit = units[last], let count = UInt64(text.dropLast()), count < 1 << 24 {
      let back = count * unit * 1_000_000_000
      return now > back ? now - back : 0
    }
    throw unreadable("--since \(text)", "is no time", "write 90s, 5m, 2h or 2026-11-22T05:00:00Z")
  }
}
