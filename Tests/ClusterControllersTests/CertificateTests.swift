// Requests for certificates: who may have what, who needs no person, and when a request is forgotten.

import ClusterClient
import ClusterObjects
import Diagnostics
import Testing

@testable import ClusterControllers

private let node = RequestedCertificate(commonName: "system:node:n1", organizations: ["system:nodes"])
private let clientUsages = ["key encipherment", "digital signature", "client auth"]
private let servingUsages = ["digital signature", "server auth"]

private func request(_ signer: String, usages: [String], user: String = "system:node:n1") -> JSON {
  [
    "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
    "metadata": ["name": "csr", "creationTimestamp": JSON(Timestamp.text(seconds: workloadEpoch))],
    "spec": [
      "signerName": JSON(signer), "usages": JSON(usages), "username": JSON(user),
      "request": JSON(Base64.encode(Array("request".utf8))),
    ],
  ]
}

@Suite struct CertificateRequestTests {
  static let cases: [(signer: String, asked: RequestedCertificate, usages: [String], isSigned: Bool)] = {
    var serving = node
    serving.dnsNames = ["n1"]
    var addressed = node
    addressed.addresses = 1
    var odd = serving
    odd.hasOtherNames = true
    let person = RequestedCertificate(commonName: "jane", organizations: ["dev"])
    return [
      (SignerNames.client, person, ["client auth"], true),
      (SignerNames.client, person, clientUsages, true),
      (SignerNames.client, person, ["client auth", "server auth"], false),
      (SignerNames.client, person, ["digital signature"], false),
      (SignerNames.node, node, clientUsages, true),
      (SignerNames.node, node, ["digital signature", "client auth"], true),
      (SignerNames.node, node, ["client auth"], false),
      (SignerNames.node, person, clientUsages, false),
      (SignerNames.node, serving, clientUsages, false),
      (SignerNames.node, addressed, clientUsages, false),
      (SignerNames.serving, serving, servingUsages, true),
      (SignerNames.serving, addressed, servingUsages, true),
      (SignerNames.serving, node, servingUsages, false),
      (SignerNames.serving, odd, servingUsages, false),
      (SignerNames.serving, serving, clientUsages, false),
      (SignerNames.serving, person, servingUsages, false),
      ("example.com/other", person, ["client auth"], false),
    ]
  }()

  @Test(arguments: cases)
  func `a signer signs only what it is for`(
    signer: String, asked: RequestedCertificate, usages: [String], isSigned: Bool
  ) {
    #expect((signerObjection(signer, asked, usages: usages) == nil) == isSigned)
  }

  @Test func `a node's own request and a new node's need different permissions`() {
    let own = request(SignerNames.node, usages: clientUsages)
    #expect(autoApproval(own.spec, node).map(\.subresource) == ["selfnodeclient", "nodeclient"])
    let bootstrap = request(SignerNames.node, usages: clientUsages, user: "system:bootstrap:abcdef")
    #expect(autoApproval(bootstrap.spec, node).map(\.subresource) == ["nodeclient"])
    #expect(autoApproval(request(SignerNames.serving, usages: servingUsages).spec, node).isEmpty)
    #expect(autoApproval(request(SignerNames.node, usages: servingUsages).spec, node).isEmpty)
  }

  @Test func `a request is forgotten an hour after its end, or a day after its beginning`() {
    var asked = request(SignerNames.client, usages: clientUsages)
    #expect(requestLifetime(asked, now: workloadEpoch + 3600) == 23 * 3600)
    asked.setCondition(
      "Approved", "True", reason: "", message: "", updateTime: true,
      now: Timestamp.text(seconds: workloadEpoch + 100))
    #expect(requestLifetime(asked, now: workloadEpoch + 3600 * 30) > 0)
    asked.set("x", at: "status", "certificate")
    #expect(requestLifetime(asked, now: workloadEpoch + 100) == 3600)
    var denied = request(SignerNames.client, usages: clientUsages)
    denied.setCondition(
      "Denied", "True", reason: "", message: "", updateTime: true,
      now: Timestamp.text(seconds: workloadEpoch))
    #expect(requestLifetime(denied, now: workloadEpoch + 3601) == 0)
  }
}

@Suite(.serialized, .timeLimit(.minutes(10))) struct CertificateClusterTests {
  @Test func `a node's request is approved and signed, a person's waits, a wrong one fails`() async throws {
    var settings = ControllerSettings()
    settings.clock = ControllerClock { .init(steady: workloadEpoch + 60, wall: workloadEpoch + 60) }
    settings.certificateSigner = CertificateSigner(
      inspect: { _ in node }, sign: { _, usages, seconds in "\(usages.count) \(seconds)" },
      isPermitted: { spec, subresource in subresource == "selfnodeclient" })
    let cluster = TestCluster(settings: settings)
    func create(_ name: String, _ object: JSON) async throws {
      var object = object
      object.set(JSON(name), at: "metadata", "name")
      object.set(JSON("uid-" + name), at: "metadata", "uid")
      cluster.api.put(.certificateRequests, object)
    }
    try await create("node", request(SignerNames.node, usages: clientUsages))
    try await create("other", request(SignerNames.node, usages: clientUsages, user: "somebody"))
    var wrong = request(SignerNames.serving, usages: servingUsages)
    wrong.setCondition(
      "Approved", "True", reason: "", message: "", now: Timestamp.text(seconds: workloadEpoch))
    try await create("wrong", wrong)
    #expect(
      await eventually {
        let signed = cluster.get(.certificateRequests, "node", "")?.at("status", "certificate")?.string
        return signed == Base64.encode(Array("3 31536000".utf8))
      })
    #expect(
      cluster.get(.certificateRequests, "node", "")?.condition("Approved")?["reason"] == "AutoApproved")
    #expect(
      await eventually {
        cluster.get(.certificateRequests, "wrong", "")?.condition("Failed")?["reason"]
          == "SignerValidationFailure"
      })
    #expect(cluster.get(.certificateRequests, "other", "")?.condition("Approved") == nil)
    await cluster.stop()
  }
}
