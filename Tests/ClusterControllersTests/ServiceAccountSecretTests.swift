// Secrets that ask for a ServiceAccount's token.

import ClusterClient
import ClusterObjects
import Testing

@testable import ClusterControllers

private func secret(
  uid: String? = nil, data: JSON = [:], type: String = "kubernetes.io/service-account-token"
)
  -> JSON
{
  var annotations: JSON = ["kubernetes.io/service-account.name": "robot"]
  if let uid { annotations["kubernetes.io/service-account.uid"] = JSON(uid) }
  return [
    "apiVersion": "v1", "kind": "Secret", "type": JSON(type),
    "metadata": ["namespace": "demo", "name": "s", "annotations": annotations], "data": data,
  ]
}
private let account: JSON = ["metadata": ["namespace": "demo", "name": "robot", "uid": "u1"]]
private let whole: JSON = ["token": "dA==", "ca.crt": "Y2E=", "namespace": "ZGVtbw=="]

@Suite(.timeLimit(.minutes(10))) struct ServiceAccountSecretTests {
  @Test(
    arguments: [
      (secret(), account, .fill(accountUID: "u1", needsToken: true)),
      (secret(uid: "u1"), account, .fill(accountUID: "u1", needsToken: true)),
      (secret(uid: "u1", data: whole), account, .nothing),
      (secret(uid: "u1", data: ["token": "dA=="]), account, .fill(accountUID: "u1", needsToken: false)),
      (secret(uid: "u0", data: whole), account, .delete), (secret(uid: "u1", data: whole), nil, .delete),
      (secret(type: "Opaque"), nil, .nothing),
    ] as [(JSON, JSON?, SecretTokenPlan)])
  func `a Secret is filled for a living account and deleted without one`(
    secret: JSON, account: JSON?, plan: SecretTokenPlan
  ) {
    #expect(planServiceAccountSecret(secret, account: account, certificate: "ca") == plan)
  }

  @Test func `a Secret gets token, CA and namespace, and goes with its account`() async throws {
    var settings = ControllerSettings()
    settings.rootCertificate = { "ca" }
    settings.secretToken = { namespace, account, uid, secret in "\(namespace)/\(account)/\(secret)" }
    let cluster = TestCluster(settings: settings)
    try await cluster.create(
      .serviceAccounts, ["metadata": ["namespace": "demo", "name": "robot"]])
    try await cluster.create(.secrets, secret())
    #expect(
      await eventually {
        cluster.get(.secrets, "s")?["data"] == [
          "namespace": "ZGVtbw==", "ca.crt": "Y2E=", "token": "ZGVtby9yb2JvdC9z",
        ]
      })
    try await cluster.api.delete(
      .serviceAccounts, namespace: "demo", name: "robot", options: DeleteOptions())
    #expect(await eventually { cluster.get(.secrets, "s") == nil })
    await cluster.stop()
  }
}
