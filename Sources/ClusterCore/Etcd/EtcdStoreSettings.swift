// Where etcd is, how to prove who we are, and under which keys our objects lie.

import ClusterStore
import Diagnostics

/// One member's client address.
public struct EtcdEndpoint: Sendable, Equatable, CustomStringConvertible {
  public var host: String
  public var port: Int
  public var isSecure: Bool

  /// Reads `https://host:2379`, `http://[::1]:2379`; the port may be missing. Nil when it is neither.
  public init?(_ text: some StringProtocol) {
    var rest: Substring
    if text.hasPrefix("https://") {
      isSecure = true
      rest = Substring(text.dropFirst(8))
    } else if text.hasPrefix("http://") {
      isSecure = false
      rest = Substring(text.dropFirst(7))
    } else {
      return nil
    }
    if rest.hasSuffix("/") { rest = rest.dropLast() }
    var portText = Substring()
    if rest.hasPrefix("[") {
      guard let end = rest.firstIndex(of: "]") else { return nil }
      host = String(rest[rest.index(after: rest.startIndex)..<end])
      let tail = rest[rest.index(after: end)...]
      guard tail.isEmpty || tail.hasPrefix(":") else { return nil }
      portText = tail.dropFirst()
    } else {
      let parts = rest.split(separator: ":", omittingEmptySubsequences: false)
      guard parts.count <= 2, let name = parts.first else { return nil }
      host = String(name)
      if parts.count == 2 { portText = parts[1] }
    }
    guard !host.isEmpty, !host.contains("/") else { return nil }
    if portText.isEmpty {
      port = 2379
    } else {
      guard let number = UInt16(portText), number > 0 else { return nil }
      port = Int(number)
    }
  }

  public var description: String {
    "\(isSecure ? "https" : "http")://\(host.contains(":") ? "[\(host)]" : host):\(port)"
  }
}

/// What an `EtcdStore` needs to know.
public struct EtcdStoreSettings: Sendable {
  public var endpoints: [EtcdEndpoint]
  /// PEM files: who may have signed etcd's certificate (nil: the system's roots), and our own certificate and key.
  public var authorityFile: String?
  public var certificateFile: String?
  public var keyFile: String?
  /// Keys of the store begin with `root`; in etcd they begin with `prefix` instead.
  public var root = "/registry"
  public var prefix = "/registry"
  /// Keys with a lifetime get an etcd lease. How many there may be is not bounded here.
  public var ephemeral: [EphemeralRule]
  /// Time for one call, and for a request with all its retries on other members.
  public var callTimeout = Duration.seconds(5)
  public var patience = Duration.seconds(10)
  /// One lease serves the keys of this many seconds, and lasts that much longer than they must.
  public var leaseSlackSeconds: Int64 = 60

  /// Opens a store whose restore is not finished: for the restore itself.
  var isRestoring = false

  /// Events live an hour, the leases of API servers fifteen seconds, as upstream's do.
  public init(
    endpoints: [EtcdEndpoint],
    ephemeral: [EphemeralRule] = [
      EphemeralRule(prefix: "/registry/events/", entriesMax: 0, lifetimeSeconds: 3600),
      EphemeralRule(prefix: "/registry/masterleases/", entriesMax: 0, lifetimeSeconds: 15),
    ]
  ) {
    self.endpoints = endpoints
    self.ephemeral = ephemeral
  }

  /// Reads `etcd:https://a:2379,https://b:2379`, the value of `--store`. Throws `STO0015`.
  public init(store text: String) throws(WeftError) {
    var endpoints: [EtcdEndpoint] = []
    for part in text.dropFirst(text.hasPrefix("etcd:") ? 5 : 0).split(separator: ",") {
      guard let endpoint = EtcdEndpoint(part) else {
        throw WeftError(
          "STO0015", object: "--store \(text)", cause: "\(part) is no address of an etcd member",
          next: "write it as etcd:https://host:2379,https://other:2379")
      }
      endpoints.append(endpoint)
    }
    guard !endpoints.isEmpty else {
      throw WeftError(
        "STO0015", object: "--store \(text)", cause: "names no etcd member",
        next: "write it as etcd:https://host:2379,https://other:2379")
    }
    self.init(endpoints: endpoints)
    // A write that a dying leader took along is never answered: where another member can be asked, that is done soon.
    if endpoints.count > 1 { callTimeout = .seconds(3) }
  }
}
