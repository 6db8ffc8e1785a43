// What a write answers, and which part of an object it may change.

import ClusterObjects

/// What a write answers: the object, whether it is new, and warnings for the client.
struct Written: Sendable {
  var object: CachedObject
  var isNew = false
  var warnings: [String] = []
}

/// Which part of an object a write may change.
enum Part: Sendable, Equatable {
  case main
  case status
  /// Everything but what identifies the object: the server's own writes and `/finalize`.
  case finalize
  /// A pod's containers for debugging.
  case ephemeralContainers
  /// A pod's resources.
  case resize
  /// The verdict on a request for a certificate.
  case approval

  /// As the path names it; empty for the object itself.
  var subresource: String {
    switch self {
    case .main: ""
    case .status: "status"
    case .finalize: "finalize"
    case .ephemeralContainers: "ephemeralcontainers"
    case .resize: "resize"
    case .approval: "approval"
    }
  }
}

extension ResourceKind {
  var isCertificateRequest: Bool { kind == "CertificateSigningRequest" && group == "certificates.k8s.io" }
}

/// What admission sees of an object that is written as something else, such as its Scale.
struct AdmissionView {
  var subresource: String
  var kind: GroupVersionKind
  var show: (JSON) -> JSON
  var take: (JSON, inout JSON) -> Void
}

/// Another server's Service holds what was chosen for this one.
struct ClaimTaken: Error { var name: String }
