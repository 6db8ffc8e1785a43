// Asking the cluster for a certificate of this node: a key that never leaves the machine, a CertificateSigningRequest, and
// the wait for whoever approves it.

import Addresses
import ClusterClient
import ClusterObjects
import Crypto
import Diagnostics
import Glibc
import SwiftASN1
import X509

/// What the certificate is for.
public enum CertificatePurpose: Sendable, Hashable {
  /// The node's identity towards the API server; approved without a person where the roles say so.
  case client
  /// The agent's port, under these names and addresses; somebody approves it (`kubectl certificate approve`).
  case serving(names: [String], addresses: [IPAddress])

  var signer: String {
    switch self {
    case .client: "kubernetes.io/kube-apiserver-client-kubelet"
    case .serving: "kubernetes.io/kubelet-serving"
    }
  }
  var usages: [String] {
    switch self {
    case .client: ["digital signature", "client auth"]
    case .serving: ["digital signature", "server auth"]
    }
  }
  /// kubelet's, so that who looks for it finds it.
  public var fileName: String {
    switch self {
    case .client: "kubelet-client-current.pem"
    case .serving: "kubelet-server-current.pem"
    }
  }
}

/// Requests for certificates through `api`.
public enum CertificateRequests {
  private static let resource = GroupVersionResource(
    "certificates.k8s.io", "v1", "certificatesigningrequests")
  /// After that a request is made anew, as upstream does.
  public static let patience: Duration = .seconds(900)

  /// Waits until the request is signed, at most `patience`. Throws `NOD0032` when it is denied or nobody answers.
  public static func obtain(
    _ purpose: CertificatePurpose, nodeName: String, api: any ClusterAPI, patience: Duration = patience
  ) async throws -> NodeCertificate {
    let key = P256.Signing.PrivateKey()
    let request = try pem(purpose, nodeName: nodeName, key: key)
    let made = try await api.create(
      resource,
      [
        "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
        "metadata": ["generateName": "csr-"],
        "spec": [
          "request": JSON(Base64.encode(Array(request.utf8))), "signerName": JSON(purpose.signer),
          "usages": JSON(purpose.usages),
        ],
      ], options: WriteOptions(fieldManager: "weft-node"))
    let deadline = ContinuousClock.now + patience
    var pause = Duration.milliseconds(50)
    while ContinuousClock.now < deadline {
      let current = try await api.get(resource, namespace: "", name: made.name)
      for condition in current.at("status", "conditions")?.elements ?? [] {
        guard let type = condition["type"]?.string, type == "Denied" || type == "Failed" else { continue }
        throw failure(made.name, "was \(type.lowercased()): \(condition["message"]?.string ?? "")")
      }
      if let text = current.at("status", "certificate")?.string, !text.isEmpty,
        let bytes = Base64.decode(text)
      {
        guard
          let issued = NodeCertificate(
            certificate: String(decoding: bytes, as: UTF8.self), key: key.pemRepresentation + "\n")
        else { throw failure(made.name, "was answered with what is no certificate for its key") }
        return issued
      }
      try await Task.sleep(for: pause)
      pause = min(pause * 2, .seconds(5))
    }
    throw failure(made.name, "was not approved in time")
  }

  private static func failure(_ name: String, _ cause: String) -> WeftError {
    WeftError(
      "NOD0032", object: "certificatesigningrequest \(name)", cause: cause,
      next: "kubectl describe csr \(name); kubectl certificate approve \(name)", isRetryable: true)
  }

  /// The request itself, in PEM.
  static func pem(
    _ purpose: CertificatePurpose, nodeName: String, key: P256.Signing.PrivateKey
  ) throws -> String {
    let subject = try DistinguishedName {
      OrganizationName("system:nodes")
      CommonName("system:node:\(nodeName)")
    }
    var attributes = CertificateSigningRequest.Attributes()
    if case .serving(let names, let addresses) = purpose {
      let all =
        names.map { GeneralName.dnsName($0) }
        + addresses.map { .ipAddress(ASN1OctetString(contentBytes: $0.bytes[...])) }
      let extensions = try Certificate.Extensions { SubjectAlternativeNames(all) }
      attributes = try CertificateSigningRequest.Attributes([
        .init(ExtensionRequest(extensions: extensions))
      ])
    }
    return try CertificateSigningRequest(
      version: .v1, subject: subject, privateKey: Certificate.PrivateKey(key), attributes: attributes,
      signatureAlgorithm: .ecdsaWithSHA256
    ).serializeAsPEM().pemString
  }
}
