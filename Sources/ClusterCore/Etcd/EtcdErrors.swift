// What etcd's refusals mean to a caller of the store. etcd tells its reasons apart by gRPC code and text; the texts are part
// of its interface.

import ClusterStore
import Diagnostics
import GRPCCore

extension RPCError {
  /// Another try, perhaps on another member, may succeed: no leader at the moment, a time-out, a lost connection. Whether a
  /// write took place is not known then.
  var isTransient: Bool {
    switch code {
    case .unavailable, .deadlineExceeded, .cancelled, .aborted, .unknown: true
    case .internalError: !message.contains("decod")
    case .resourceExhausted: message.contains("too many requests")
    default: false
    }
  }

  /// The member is overtaken: the revision was compacted away.
  var isCompacted: Bool { code == .outOfRange && message.contains("compacted") }
  var isFuture: Bool { code == .outOfRange && message.contains("future revision") }
  var isLeaseGone: Bool { code == .notFound && message.contains("lease not found") }

  /// The error a person reads. `endpoints` names etcd.
  func explained(_ endpoints: String) -> WeftError {
    switch code {
    case .resourceExhausted where message.contains("space exceeded"):
      WeftError(
        "STO0011", object: endpoints, cause: "etcd's quota of space is used up",
        next: "compact and defragment etcd, then: etcdctl alarm disarm", exit: .unreachable,
        isRetryable: true,
        underlying: self)
    case .unauthenticated, .permissionDenied:
      WeftError(
        "STO0012", object: endpoints, cause: "etcd refuses us (\(message))",
        next: "check --etcd-certfile and --etcd-keyfile, and the role of that user in etcd", underlying: self)
    case .invalidArgument where message.contains("too large"):
      WeftError(
        "STO0013", object: endpoints,
        cause: "the object is larger than etcd takes in one request (\(message))",
        next: "make it smaller, or raise etcd's --max-request-bytes", underlying: self)
    case _ where isTransient:
      WeftError(
        "STO0010", object: endpoints, cause: "etcd does not answer (\(reason))",
        next: "check it: etcdctl --endpoints \(endpoints) endpoint health", exit: .unreachable,
        isRetryable: true, underlying: self)
    default:
      WeftError(
        "STO0014", object: endpoints, cause: "etcd says: \(message) (\(code))",
        next: "look at etcd's log", exit: .unreachable, underlying: self)
    }
  }

  /// Its own words, and those of what caused it: a certificate that was refused shows only there.
  private var reason: String {
    guard let cause else { return message.isEmpty ? "\(code)" : message }
    return "\(message): \(cause)"
  }
}
