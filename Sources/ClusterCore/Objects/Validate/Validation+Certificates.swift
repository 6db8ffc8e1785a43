// Requests for certificates, their approval, and bundles of roots. That a request is signed by its own key is
// for the signer to check, who must parse it anyway; what can be told from the text is told here.

extension Validator {
  static let secondsMin: Int64 = 600
  private static let trustBundleBytesMax = 1 << 20

  static let certificateRequest = Rules(
    create: { $0.certificateRequest($1) },
    update: { $0.certificateConditions($1, $2, allowsApproval: false) },
    part: { validator, new, old, part in
      validator.certificateStatus(new, old)
      validator.certificateConditions(new, old, allowsApproval: part == "approval")
      if part != "status", new.at("status", "certificate") != old.at("status", "certificate") {
        validator.add(.forbidden("status.certificate", "updates may not set certificate content"))
      }
    })

  private mutating func certificateRequest(_ request: JSON) {
    let spec = request.spec
    let path: FieldPath = "spec"
    if let text = spec["request"]?.string, !text.isEmpty,
      PEMText.blockTypes(Base64.decode(text) ?? []).first != "CERTIFICATE REQUEST"
    {
      add(
        .invalid(path.child("request"), .string(text), "PEM block type must be CERTIFICATE REQUEST"))
    }
    let usages = spec["usages"]?.elements ?? []
    if usages.isEmpty { add(.required(path.child("usages"))) }
    duplicates(usages, path.child("usages"))
    let signer = spec["signerName"]?.string ?? ""
    if signer == "kubernetes.io/legacy-unknown" {
      add(
        .invalid(
          path.child("signerName"), .string(signer),
          "the legacy signerName is not allowed via this API version"))
    } else {
      signerName(signer, path.child("signerName"))
    }
    if let seconds = spec["expirationSeconds"]?.integer, seconds < Self.secondsMin {
      add(
        .invalid(
          path.child("expirationSeconds"), .integer(seconds),
          "may not specify a duration less than 600 seconds (10 minutes)"))
    }
  }

  /// `example.com/signer`.
  mutating func signerName(_ name: String, _ path: FieldPath) {
    if name.isEmpty { return }  // Told as required.
    let parts = name.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
    guard parts.count == 2 else {
      add(
        .invalid(
          path, .string(name),
          "must be a fully qualified domain and path of the form 'example.com/signer-name'"))
      return
    }
    if let problem = Names.subdomainProblem(parts[0]) {
      add(.invalid(path, .string(parts[0]), "validating label \"\(parts[0])\": \(problem)"))
    } else if !parts[0].contains(".") {
      add(
        .invalid(
          path, .string(parts[0]), "should be a domain with at least two segments separated by dots"))
    }
    if let problem = Names.subdomainProblem(parts[1]) {
      add(.invalid(path, .string(name), "validating label \"\(parts[1])\": \(problem)"))
    }
  }

  private mutating func certificateStatus(_ request: JSON, _ old: JSON) {
    let path: FieldPath = "status.conditions"
    var seen: Set<String> = []
    for (position, condition) in (request.at("status", "conditions")?.elements ?? []).enumerated() {
      let place = path.index(position)
      let type = condition["type"]?.string ?? ""
      if type.isEmpty { add(.required(place.child("type"))) }
      let status = condition["status"]?.string ?? ""
      let isFinal = ["Approved", "Denied", "Failed"].contains(type)
      if status.isEmpty {
        add(.required(place.child("status")))
      } else if !(isFinal ? ["True"] : ["False", "True", "Unknown"]).contains(status) {
        add(
          .notSupported(
            place.child("status"), .string(status), isFinal ? ["True"] : ["False", "True", "Unknown"]))
      }
      if !seen.insert(type).inserted { add(.duplicate(place.child("type"), .string(type))) }
      let other = type == "Approved" ? "Denied" : type == "Denied" ? "Approved" : nil
      if let other, seen.contains(other) {
        add(
          .invalid(path, .string(type), "Approved and Denied conditions are mutually exclusive"))
      }
    }
    guard let certificate = request.at("status", "certificate"),
      certificate != old.at("status", "certificate")
    else { return }
    let place: FieldPath = "status.certificate"
    if old.at("status", "certificate")?.string?.isEmpty == false {
      add(.forbidden(place, "updates may not modify existing certificate content"))
    }
    let types = PEMText.blockTypes(certificate.string.flatMap { Base64.decode($0) } ?? [])
    if types.isEmpty {
      add(
        .invalid(place, "<certificate data>", "must contain at least one CERTIFICATE PEM block"))
    } else if let wrong = types.first(where: { $0 != "CERTIFICATE" }) {
      add(
        .invalid(
          place, "<certificate data>", "only CERTIFICATE PEM blocks are allowed, found \"\(wrong)\""))
    }
  }

  private mutating func certificateConditions(_ new: JSON, _ old: JSON, allowsApproval: Bool) {
    let path: FieldPath = "status.conditions"
    func conditions(_ object: JSON, _ type: String) -> [JSON] {
      (object.at("status", "conditions")?.elements ?? []).filter { $0["type"]?.string == type }
    }
    for type in ["Approved", "Denied", "Failed"] {
      let (before, after) = (conditions(old, type), conditions(new, type))
      if after.count < before.count {
        add(.forbidden(path, "updates may not remove a condition of type \"\(type)\""))
      } else if type != "Failed", !allowsApproval {
        if after.count > before.count {
          add(.forbidden(path, "updates may not add a condition of type \"\(type)\""))
        } else if after != before {
          add(.forbidden(path, "updates may not modify a condition of type \"\(type)\""))
        }
      }
    }
  }

  // MARK: - Bundles of roots, requests of pods

  static let trustBundle = Rules(
    create: { validator, bundle in
      let signer = bundle.spec["signerName"]?.string ?? ""
      validator.signerName(signer, "spec.signerName")
      let prefix = signer.split(separator: "/").joined(separator: ":") + ":"
      if signer.isEmpty, bundle.name.contains(":") {
        validator.add(
          .invalid(
            "metadata.name", .string(bundle.name),
            "ClusterTrustBundle without signer name must not have \":\" in its name"))
      } else if !signer.isEmpty, !bundle.name.hasPrefix(prefix) {
        validator.add(
          .invalid(
            "metadata.name", .string(bundle.name),
            "ClusterTrustBundle for signerName \(signer) must be named with prefix \(prefix)"))
      }
      validator.roots(bundle.spec["trustBundle"]?.string ?? "", "spec.trustBundle")
    },
    update: { $0.immutable($1.spec["signerName"], $2.spec["signerName"], "spec.signerName") })

  private mutating func roots(_ text: String, _ path: FieldPath) {
    guard text.utf8.count <= Self.trustBundleBytesMax else {
      return add(.tooLong(path, Self.trustBundleBytesMax))
    }
    let types = PEMText.blockTypes(Array(text.utf8))
    for (position, type) in types.enumerated() where type != "CERTIFICATE" {
      add(.invalid(path, "<value omitted>", "entry \(position) has bad block type: \(type)"))
    }
    if types.isEmpty {
      add(.invalid(path, "<value omitted>", "at least one trust anchor must be provided"))
    }
  }

  static let podCertificateRequest = Rules(
    create: { validator, request in
      let spec = request.spec
      let path: FieldPath = "spec"
      validator.signerName(spec["signerName"]?.string ?? "", path.child("signerName"))
      for field in ["podName", "serviceAccountName", "nodeName"] {
        if let name = spec[field]?.string, !name.isEmpty {
          validator.check(name, at: path.child(field), Names.subdomainProblem)
        }
      }
      let isKubernetes = (spec["signerName"]?.string ?? "").hasPrefix("kubernetes.io/")
      // Kubernetes' own signers give a day at most, others 91.
      let most: Int64 = isKubernetes ? 86_400 : 7_862_400
      if let seconds = spec["maxExpirationSeconds"]?.integer, !(3600...most).contains(seconds) {
        validator.add(
          .invalid(
            path.child("maxExpirationSeconds"), .integer(seconds), "must be in the range [3600, \(most)]"))
      }
    },
    update: { $0.immutable($1["spec"], $2["spec"], "spec") })

  /// Each value once.
  mutating func duplicates(_ values: [JSON], _ path: FieldPath) {
    var seen: Set<JSON> = []
    for (position, value) in values.enumerated() where !seen.insert(value).inserted {
      add(.duplicate(path.index(position), value))
    }
  }
}

/// Blocks of PEM (RFC 7468), as far as their frames go.
enum PEMText {
  /// The types of the well-framed blocks, in their order: `CERTIFICATE REQUEST`. Anything between is passed over.
  static func blockTypes(_ bytes: [UInt8]) -> [String] {
    var types: [String] = []
    var open: String?
    for line in bytes.split(whereSeparator: { $0 == 10 || $0 == 13 }) {
      let text = String(decoding: line, as: UTF8.self)
      if let type = frame(text, "-----BEGIN ") {
        open = type
      } else if let type = frame(text, "-----END ") {
        if type == open { types.append(type) }
        open = nil
      } else if open != nil, !line.allSatisfy(isBase64) {
        open = nil
      }
    }
    return types
  }

  private static func frame(_ line: String, _ start: String) -> String? {
    guard line.hasPrefix(start), line.hasSuffix("-----"), line.utf8.count > start.utf8.count + 5 else {
      return nil
    }
    return String(line.dropFirst(start.count).dropLast(5))
  }

  private static func isBase64(_ byte: UInt8) -> Bool {
    switch byte {
    case 48...57, 65...90, 97...122, 43, 47, 61, 32, 9: true
    default: false
    }
  }
}
