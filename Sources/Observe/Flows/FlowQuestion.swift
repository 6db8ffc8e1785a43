// What `weft flows` asks the node process, as one line of JSON; and what comes back, a line each.
//
//   -> {"follow":true,"limit":100,"since":1790000000000000000,"from":"demo/client","verdict":"denied","namespace":"default"}
//   <- {"time":…}            a flow
//   <- {"missed":12}         so many were overwritten before they could be sent
//   <- {"error":"…"}         the question cannot be read

import ClusterObjects
import Diagnostics

/// One question. The filter travels in the words of the command line and is read where it is applied.
public struct FlowQuestion: Sendable, Hashable {
  public var follows = false
  /// The newest so many of what is kept; nil: all of it.
  public var limit: Int?
  /// Nanoseconds since 1970.
  public var since: UInt64 = 0
  public var from: String?
  public var to: String?
  public var verdict: String?
  public var service: String?
  public var port: String?
  /// The namespace of names that do not say one.
  public var namespace = "default"

  public init() {}

  public var json: JSON {
    var object = JSONObject([("follow", JSON(follows)), ("namespace", JSON(namespace))])
    if let limit { object["limit"] = JSON(limit) }
    if since > 0 { object["since"] = JSON(since) }
    for (name, word) in [
      ("from", from), ("to", to), ("verdict", verdict), ("service", service), ("port", port),
    ] {
      if let word { object[name] = JSON(word) }
    }
    return .object(object)
  }

  /// Nil for what is no object.
  public init?(_ tree: JSON) {
    guard tree.object != nil else { return nil }
    follows = tree["follow"]?.bool ?? false
    limit = tree["limit"]?.integer.flatMap { Int(exactly: $0) }
    since = tree["since"]?.integer.flatMap { UInt64(exactly: $0) } ?? 0
    from = tree["from"]?.string
    to = tree["to"]?.string
    verdict = tree["verdict"]?.string
    service = tree["service"]?.string
    port = tree["port"]?.string
    namespace = tree["namespace"]?.string ?? "default"
  }

  /// Throws `FLW0002`.
  public func filter() throws(WeftError) -> FlowFilter {
    var filter = try FlowFilter(
      from: from, to: to, verdict: verdict, service: service, port: port, namespace: namespace)
    filter.since = since
    return filter
  }
}
