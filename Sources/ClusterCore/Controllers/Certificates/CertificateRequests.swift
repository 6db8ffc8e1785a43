// Requests for certificates: whose may be signed by the cluster's authority, which are approved without a
// person, and when each is forgotten. Pure.

import ClusterClient
import ClusterObjects
import Diagnostics

/// What a PKCS#10 request asks for.
public struct RequestedCertificate: Sendable, Equatable {
  public var commonName: String
  public var organizations: [String]
  public var dnsNames: [String]
  /// How many addresses.
  public var addresses: Int
  /// Mail addresses and URIs, which no cluster certificate has.
  public var hasOtherNames: Bool
  public init(
    commonName: String, organizations: [String], dnsNames: [String] = [], addresses: Int = 0,
    hasOtherNames: Bool = false
  ) {
    self.commonName = commonName
    self.organizations = organizations
    self.dnsNames = dnsNames
    self.addresses = addresses
    self.hasOtherNames = hasOtherNames
  }
}

/// The cluster's authority, as the certificate controllers use it.
public struct CertificateSigner: Sendable {
  /// What a request in PEM asks for; throws when it is none, or not signed by its own key.
  public var inspect: @Sendable (_ request: [UInt8]) throws -> RequestedCertificate
  /// The signed certificate in PEM, valid for as many seconds.
  public var sign: @Sendable (_ request: [UInt8], _ usages: [String], _ seconds: Int) throws -> String
  /// Whether the author of a request (its `spec`) may create `certificatesigningrequests/SUBRESOURCE`.
  public var isPermitted: @Sendable (_ spec: JSON, _ subresource: String) async -> Bool
  public init(
    inspect: @escaping @Sendable (_ request: [UInt8]) throws -> RequestedCertificate,
    sign: @escaping @Sendable (_ request: [UInt8], _ usages: [String], _ seconds: Int) throws -> String,
    isPermitted: @escaping @Sendable (_ spec: JSON, _ subresource: String) async -> Bool
  ) {
    self.inspect = inspect
    self.sign = sign
    self.isPermitted = isPermitted
  }
}

enum SignerNames {
  static let client = "kubernetes.io/kube-apiserver-client"
  static let node = "kubernetes.io/kube-apiserver-client-kubelet"
  static let serving = "kubernetes.io/kubelet-serving"
  static let own: Set = [client, node, serving]
  /// The longest that a certificate is valid, and what is given when nothing is asked for.
  static let secondsMax = 365 * 86_400
}

/// Why a request may not be signed by its signer; nil when it may.
func signerObjection(_ signer: String, _ asked: RequestedCertificate, usages: [String]) -> String? {
  let used = Set(usages)
  let node: Set = ["digital signature", "client auth"]
  let serving: Set = ["digital signature", "server auth"]
  func isExactly(_ wanted: Set<String>) -> Bool { used.subtracting(["key encipherment"]) == wanted }
  switch signer {
  case SignerNames.client:
    return used.contains("client auth") && used.isSubset(of: node.union(["key encipherment"]))
      ? nil : "usages did not match [client auth digital signature key encipherment]"
  case SignerNames.node:
    if let problem = nodeSubjectObjection(asked) { return problem }
    if asked.hasOtherNames { return "URI and email SANs are not allowed" }
    if !asked.dnsNames.isEmpty { return "DNS SANs are not allowed" }
    if asked.addresses > 0 { return "IP SANs are not allowed" }
    return isExactly(node) ? nil : "usages did not match [client auth digital signature key encipherment]"
  case SignerNames.serving:
    if let problem = nodeSubjectObjection(asked) { return problem }
    if asked.hasOtherNames { return "URI and email SANs are not allowed" }
    if asked.dnsNames.isEmpty, asked.addresses == 0 { return "DNS or IP SANs are required" }
    return isExactly(serving) ? nil : "usages did not match [digital signature key encipherment server auth]"
  default: return "unknown signer"
  }
}

private func nodeSubjectObjection(_ asked: RequestedCertificate) -> String? {
  if asked.organizations != ["system:nodes"] { return "subject organization is not system:nodes" }
  return asked.commonName.hasPrefix("system:node:")
    ? nil : "subject common name does not begin with system:node:"
}

/// The permission that approves a node's request for a client certificate without a person, and what is
/// then said; nil for all other requests.
func autoApproval(_ spec: JSON, _ asked: RequestedCertificate) -> [(subresource: String, message: String)] {
  guard spec["signerName"]?.string == SignerNames.node,
    signerObjection(SignerNames.node, asked, usages: spec["usages"]?.elements.compactMap(\.string) ?? [])
      == nil
  else { return [] }
  let first = ("nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview.")
  let own = ("selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview.")
  return spec["username"]?.string == asked.commonName ? [own, first] : [first]
}

/// Seconds until a request is forgotten: a day when nobody judged it, an hour after its end.
func requestLifetime(_ request: JSON, now: Int64) -> Int {
  let hour: Int64 = 3600
  var ends: [Int64] = [request.createdAt + 24 * hour]
  let isIssued = request.at("status", "certificate")?.string?.isEmpty == false
  for type in ["Approved", "Denied", "Failed"] {
    guard let condition = request.condition(type), type != "Approved" || isIssued else { continue }
    let at = condition.time("lastUpdateTime") ?? condition.time("lastTransitionTime") ?? request.createdAt
    ends.append(at + hour)
  }
  // Approved and not signed: its signer may be somebody else, and late.
  if request.condition("Approved") != nil, !isIssued { ends.removeFirst() }
  return ends.min().map { max(0, Int($0 - now)) } ?? Int(24 * hour)
}
