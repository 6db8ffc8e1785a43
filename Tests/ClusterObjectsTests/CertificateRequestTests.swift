// Requests for certificates: who asks, who judges, who signs, and what none of them may do.

import ClusterObjects
import Testing

let certificateRequest = #"""
  {"apiVersion":"certificates.k8s.io/v1","kind":"CertificateSigningRequest","metadata":{"name":"a"},
   "spec":{"request":"\#(pem("CERTIFICATE REQUEST"))","signerName":"example.com/a","usages":["any"]}}
  """#

private func pem(_ type: String) -> String {
  Base64.encode("-----BEGIN \(type)-----\nAAAA\n-----END \(type)-----\n".utf8)
}

@Test func `a request says who asks, whatever its body claims`() throws {
  var object = try madeObject(certificateRequest).object
  object.set("forged", at: "spec", "username")
  object.set(["x": ["y"]], at: "spec", "extra")
  CertificateStrategy.prepareForCreate(&object, user: "jane", uid: "", groups: ["devs"], extra: [:])
  #expect(object.spec["username"] == "jane" && object.spec["groups"] == ["devs"])
  #expect(object.spec["extra"] == nil && object.spec["uid"] == nil)
  #expect(!object.spec.text.contains("null"), "\(object.spec.text)")
}

@Test func `each path of a request changes its own part only`() throws {
  let old = try madeObject(certificateRequest).object
  let kind = try servedKind("certificates.k8s.io/v1", "CertificateSigningRequest")
  let now = KubeTime(seconds: 0)
  var new = old
  new.set("other", at: "spec", "signerName")
  new["status"] = [
    "conditions": [["type": "Approved", "status": "True"]], "certificate": JSON(pem("CERTIFICATE")),
  ]

  var approved = new
  CertificateStrategy.prepareForUpdate(&approved, old: old, part: "approval", now: now)
  #expect(approved["spec"] == old["spec"] && approved.at("status", "certificate") == nil)
  let condition = try #require(approved.at("status", "conditions")?.elements.first)
  #expect(condition["lastUpdateTime"] == "1970-01-01T00:00:00Z")
  #expect(condition["lastTransitionTime"] == "1970-01-01T00:00:00Z")
  #expect(kind.validateUpdate(approved, old: old, subresource: "approval") == [])

  var signed = new
  CertificateStrategy.prepareForUpdate(&signed, old: approved, part: "status", now: now)
  #expect(signed.at("status", "certificate") == JSON(pem("CERTIFICATE")))
  #expect(signed.at("status", "conditions")?.elements.count == 1)
  #expect(kind.validateUpdate(signed, old: approved, subresource: "status") == [])

  var forged = new
  CertificateStrategy.prepareForUpdate(&forged, old: old, part: "status", now: now)
  #expect(forged.at("status", "conditions") == nil)
}

@Test func `a verdict is not taken back, and not given twice`() throws {
  let kind = try servedKind("certificates.k8s.io/v1", "CertificateSigningRequest")
  var approved = try madeObject(certificateRequest).object
  approved["status"] = ["conditions": [["type": "Approved", "status": "True"]]]
  var both = approved
  both["status"] = [
    "conditions": [["type": "Approved", "status": "True"], ["type": "Denied", "status": "False"]]
  ]
  let findings = kind.validateUpdate(both, old: approved, subresource: "approval").map(\.description)
  #expect(
    findings == [
      #"status.conditions[1].status: Unsupported value: "False": supported values: "True""#,
      #"status.conditions: Invalid value: "Denied": Approved and Denied conditions are mutually exclusive"#,
    ])
  var none = approved
  none["status"] = [:]
  #expect(
    kind.validateUpdate(none, old: approved, subresource: "approval").map(\.description) == [
      #"status.conditions: Forbidden: updates may not remove a condition of type "Approved""#
    ])
}
