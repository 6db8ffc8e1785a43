// What an ingress is told besides where it listens.

import Addresses
import ArgumentParser
import ClusterObjects
import Diagnostics
import Ingress

struct IngressSettings: Sendable {
  /// The Secret for names that nobody claims.
  var defaultSecret: ObjectKey?
  /// The field's value; empty for none.
  var strictTransportSecurity = IngressOptions.hstsDefault
  /// Nil: none is written.
  var accessLog: AccessLogConfiguration?
  /// Connections begin with a header of the PROXY protocol; nil: they do not.
  var proxy: ProxyAcceptance?
  /// The annotation `ssl-passthrough` is honoured.
  var passesThrough = false
  /// ConfigMaps with ports that lead to Services, by what is carried.
  var portServices: [TransportProtocol: ObjectKey] = [:]
  /// Whose Ingresses are served.
  var scope = IngressScope()
  /// Where the data plane stands; nil: where its Node says.
  var zone: String?
}

struct IngressOptions: ParsableArguments {
  /// What ingress-nginx sends.
  static let hstsDefault = "max-age=31536000; includeSubDomains"

  @Option(
    help: """
      NAMESPACE/NAME of the Secret whose certificate is served for names that no Ingress claims. Default: a self-signed one.
      """)
  var defaultSslCertificate: String?
  @Option(
    help: "Strict-Transport-Security of answers over TLS, for hosts with a certificate; `none` for none.")
  var hsts = IngressOptions.hstsDefault

  @Option(
    help: "File that a line is appended to for each request; `-` for standard output. SIGUSR1 opens it anew.")
  var accessLog: String?
  @Option(help: "How its lines look: json, combined, or upstreaminfo as ingress-nginx has it.")
  var accessLogFormat = AccessLogFormat.upstreaminfo.rawValue

  @Flag(
    help: """
      Expects a PROXY protocol header (version 1 or 2) in front of every connection to --http and --https, as from a load balancer.
      """)
  var useProxyProtocol = false
  @Option(
    help: "Networks whose PROXY protocol headers are believed, comma-separated. Default: all.")
  var proxyRealIpCidr: String?
  @Flag(
    help:
      "Honours the annotation ssl-passthrough: TLS connections to such hosts go to their Service unopened.")
  var enableSslPassthrough = false

  @Option(
    help: "NAMESPACE/NAME of the ConfigMap whose keys are ports of TCP and its values NAMESPACE/SERVICE:PORT."
  )
  var tcpServicesConfigmap: String?
  @Option(help: "The same for UDP.")
  var udpServicesConfigmap: String?

  /// - Parameter kind: of the object that the flag names, for who reads what is wrong.
  static func key(_ text: String, _ flag: String, _ kind: String) throws(WeftError) -> ObjectKey {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
    guard parts.count == 2, parts.allSatisfy({ Names.subdomainProblem($0) == nil }) else {
      throw WeftError(
        "CLI0004", object: "\(flag) \(text)", cause: "is no NAMESPACE/NAME of a \(kind)",
        next: "write it as kube-system/name")
    }
    return ObjectKey(parts[0], parts[1])
  }

  func settings() throws(WeftError) -> IngressSettings {
    var settings = IngressSettings()
    settings.defaultSecret = try defaultSslCertificate.map { text throws(WeftError) in
      try Self.key(text, "--default-ssl-certificate", "Secret")
    }
    settings.portServices[.tcp] = try tcpServicesConfigmap.map { text throws(WeftError) in
      try Self.key(text, "--tcp-services-configmap", "ConfigMap")
    }
    settings.portServices[.udp] = try udpServicesConfigmap.map { text throws(WeftError) in
      try Self.key(text, "--udp-services-configmap", "ConfigMap")
    }
    guard hsts.utf8.allSatisfy({ $0 >= 32 && $0 < 127 }) else {
      throw WeftError(
        "CLI0004", object: "--hsts", cause: "is no value of a header field",
        next: "write it as: --hsts '\(Self.hstsDefault)'")
    }
    settings.strictTransportSecurity = hsts == "none" ? "" : hsts
    if let accessLog {
      guard let format = AccessLogFormat(rawValue: accessLogFormat) else {
        throw WeftError(
          "CLI0004", object: "--access-log-format \(accessLogFormat)",
          cause: "is no format of the access log",
          next: "use \(AccessLogFormat.allCases.map(\.rawValue).joined(separator: ", "))")
      }
      settings.accessLog = AccessLogConfiguration(path: accessLog, format: format)
    }
    settings.passesThrough = enableSslPassthrough
    if useProxyProtocol {
      var sources: [IPPrefix] = []
      for text in (proxyRealIpCidr ?? "").split(separator: ",") {
        guard
          let prefix = IPPrefix(text) ?? IPAddress(text).flatMap({ IPPrefix($0, length: $0.family.width) })
        else {
          throw WeftError(
            "CLI0004", object: "--proxy-real-ip-cidr \(text)", cause: "is no network",
            next: "write it as 10.0.0.0/8,2001:db8::/32")
        }
        sources.append(prefix)
      }
      settings.proxy = ProxyAcceptance(sources: sources)
    }
    return settings
  }
}
