// How people name the two ends of a connection on the command line.
//
//   demo/client   pod/demo/web-1   svc/demo/web:http   10.42.0.7:53/UDP   [fd00:43::a]:53/UDP   web.demo.svc.cluster.local:80
//   http://web.example.org/cart

import Addresses
import ClusterObjects
import Diagnostics

/// One end as it was named, not yet looked up.
public struct ExplainTarget: Sendable, Hashable {
  public enum Name: Sendable, Hashable {
    /// A pod as source; a Service, else a pod, as destination.
    case object(ObjectKey)
    case pod(ObjectKey)
    case service(ObjectKey)
    case address(IPAddress)
    case dns(String)
    /// A request to an ingress or a gateway.
    case web(WebTarget)
  }
  public enum Port: Sendable, Hashable {
    case number(UInt16)
    case name(String)
  }

  public var name: Name
  public var port: Port?
  public var transport: TransportProtocol?

  /// Reads one end. Throws `CLI0010` for what cannot be understood.
  public init(_ text: String, namespace: String = "default") throws(WeftError) {
    if let web = try WebTarget(text) {
      name = .web(web)
      return
    }
    var rest = text[...]
    if let slash = rest.lastIndex(of: "/"),
      let transport = TransportProtocol(rawValue: rest[rest.index(after: slash)...].uppercased())
    {
      self.transport = transport
      rest = rest[..<slash]
    }
    if rest.first == "[" {
      guard let close = rest.firstIndex(of: "]"),
        let address = IPAddress(rest[rest.index(after: rest.startIndex)..<close])
      else { throw Self.unreadable(text) }
      name = .address(address)
      rest = rest[rest.index(after: close)...]
      guard rest.isEmpty || rest.first == ":" else { throw Self.unreadable(text) }
      if !rest.isEmpty { port = try Self.port(rest.dropFirst(), text) }
      return
    }
    if let address = IPAddress(rest) {
      name = .address(address)
      return
    }
    if let colon = rest.lastIndex(of: ":") {
      port = try Self.port(rest[rest.index(after: colon)...], text)
      rest = rest[..<colon]
    }
    if let address = IPAddress(rest) {
      name = .address(address)
      return
    }
    let parts = rest.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
    guard !parts.contains("") else { throw Self.unreadable(text) }
    switch (parts.count, parts.first) {
    case (1, _):
      name = parts[0].contains(".") ? .dns(parts[0].lowercased()) : .object(ObjectKey(namespace, parts[0]))
    case (2, "pod"), (2, "pods"): name = .pod(ObjectKey(namespace, parts[1]))
    case (2, "svc"), (2, "service"), (2, "services"): name = .service(ObjectKey(namespace, parts[1]))
    case (2, _): name = .object(ObjectKey(parts[0], parts[1]))
    case (3, "pod"), (3, "pods"): name = .pod(ObjectKey(parts[1], parts[2]))
    case (3, "svc"), (3, "service"), (3, "services"): name = .service(ObjectKey(parts[1], parts[2]))
    default: throw Self.unreadable(text)
    }
  }

  private static func port(_ text: Substring, _ whole: String) throws(WeftError) -> Port {
    if let number = UInt16(text), number > 0 { return .number(number) }
    guard let first = text.first, first.isLetter, text.utf8.count <= 15 else { throw unreadable(whole) }
    return .name(String(text))
  }

  private static func unreadable(_ text: String) -> WeftError {
    WeftError(
      "CLI0010", object: text, cause: "cannot be read as one end of a connection",
      next:
        "write NAMESPACE/NAME, pod/NAMESPACE/NAME, svc/NAMESPACE/NAME, an address or a DNS name, then :PORT and /PROTOCOL"
    )
  }
}
