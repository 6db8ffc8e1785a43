// Certificates for keys that others hold: what a PKCS#10 request asks for, and its signature by the
// authority.

import ClusterObjects
import Crypto
import Diagnostics
import SwiftASN1
import X509

/// What a request for a certificate asks for.
public struct CertificateRequestContent: Sendable {
  public var commonName = ""
  public var organizations: [String] = []
  public var dnsNames: [String] = []
  public var addresses = 0
  /// Names of any other kind.
  public var hasOtherNames = false
}

extension CertificateAuthority {
  /// Requests larger than this are not read.
  private static var requestBytesMax: Int { 64 << 10 }
  private static var backdate: Int64 { 300 }

  /// Reads a request in PEM. Throws when it cannot be read, or is not signed by the key it is about.
  public static func inspect(request pem: [UInt8]) throws -> CertificateRequestContent {
    let request = try parse(pem)
    var content = CertificateRequestContent()
    for attribute in request.subject.flatMap({ $0 }) {
      if attribute.type == .RDNAttributeType.commonName { content.commonName = "\(attribute.value)" }
      if attribute.type == .RDNAttributeType.organizationName {
        content.organizations.append("\(attribute.value)")
      }
    }
    for name in try names(of: request) {
      switch name {
      case .dnsName(let text): content.dnsNames.append(text)
      case .ipAddress: content.addresses += 1
      default: content.hasOtherNames = true
      }
    }
    return content
  }

  /// Signs a request: its subject, names and key, for these usages (words of `spec.usages`) and so many
  /// seconds.
  public func sign(request pem: [UInt8], usages: [String], seconds: Int) throws -> String {
    let request = try Self.parse(pem)
    let names = try Self.names(of: request)
    var extended: [ExtendedKeyUsage.Usage] = []
    if usages.contains("client auth") { extended.append(.clientAuth) }
    if usages.contains("server auth") { extended.append(.serverAuth) }
    let (signs, wraps) = (usages.contains("digital signature"), usages.contains("key encipherment"))
    let now = now()
    let extensions = try Certificate.Extensions {
      Critical(BasicConstraints.notCertificateAuthority)
      // Without a bit set it would be no key usage at all, and Go's readers refuse the certificate.
      if signs || wraps { Critical(KeyUsage(digitalSignature: signs, keyEncipherment: wraps)) }
      try ExtendedKeyUsage(extended)
      SubjectKeyIdentifier(hash: request.publicKey)
      if !names.isEmpty { SubjectAlternativeNames(names) }
    }
    return try issue(
      key: request.publicKey, subject: request.subject, from: now - Self.backdate,
      until: now + Int64(seconds),
      extensions: extensions)
  }

  private static func parse(_ pem: [UInt8]) throws -> CertificateSigningRequest {
    guard pem.count <= requestBytesMax else { throw CertificateRequestError(cause: "request is too large") }
    let request = try CertificateSigningRequest(pemEncoded: String(decoding: pem, as: UTF8.self))
    guard request.publicKey.isValidSignature(request.signature, for: request) else {
      throw CertificateRequestError(cause: "request is not signed by its own key")
    }
    return request
  }

  private static func names(of request: CertificateSigningRequest) throws -> [GeneralName] {
    guard let wanted = try request.attributes.extensionRequest?.extensions else { return [] }
    return try wanted.subjectAlternativeNames.map { Array($0) } ?? []
  }
}

/// What is wrong with a request, in words for its author.
public struct CertificateRequestError: Error, CustomStringConvertible {
  public var cause: String
  public var description: String { cause }
}

extension ClusterServer {
  /// Signs requests for certificates with the cluster's authority.
  public func sign(request: [UInt8], usages: [String], seconds: Int) throws -> String {
    try authority.sign(request: request, usages: usages, seconds: seconds)
  }

  /// Whether the author of a CertificateSigningRequest (its `spec`) may create
  /// `certificatesigningrequests/SUBRESOURCE`.
  public func mayRequest(_ spec: JSON, _ subresource: String) async -> Bool {
    var extra: [String: [String]] = [:]
    for (name, values) in spec["extra"]?.object ?? [:] { extra[name] = values.elements.compactMap(\.string) }
    let author = Identity(
      user: spec["username"]?.string ?? "", groups: spec["groups"]?.elements.compactMap(\.string) ?? [],
      uid: spec["uid"]?.string ?? "", extra: extra)
    let asked = AccessAttributes(
      identity: author, verb: "create", group: "certificates.k8s.io", version: "*",
      resource: "certificatesigningrequests", subresource: subresource)
    if case .allow = await access.decide(asked) { return true }
    return false
  }
}
