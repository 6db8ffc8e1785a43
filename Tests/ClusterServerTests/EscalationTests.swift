// Nobody gives away what they do not have, patches what they may not create, or approves what they may not sign.

import ClusterClient
import ClusterObjects
import ClusterServer
import Testing

@Suite(.serialized, .timeLimit(.minutes(10))) struct EscalationTests {
  @Test func `a tenant's admin grants what they hold and no more`() async throws {
    try await withServer { server, folder in
      let admin = Kubectl(server: server, cache: folder)
      try await admin("create namespace shop")
      try await admin("create rolebinding owner --clusterrole=admin --user=olga -n shop")
      let olga = try Person(server, folder, "olga")
      let role = try await olga("create role reader --verb=get,list --resource=pods -n shop")
      #expect(role.status == 0, "\(role.errors)")
      let given = try await olga("create rolebinding r --role=reader --user=petra -n shop")
      #expect(given.status == 0, "\(given.errors)")
      let viewer = try await olga("create rolebinding v --clusterrole=view --user=petra -n shop")
      #expect(viewer.status == 0, "\(viewer.errors)")

      let more = try await olga("create role nodes --verb=get,list --resource=nodes -n shop")
      #expect(
        more.errors.contains(
          #"roles.rbac.authorization.k8s.io "nodes" is forbidden: user "olga" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held:"#
        ), "\(more.errors)")
      #expect(
        more.errors.contains(#"{APIGroups:[""], Resources:["nodes"], Verbs:["get" "list"]}"#),
        "\(more.errors)")
      let root = try await olga("create rolebinding root --clusterrole=cluster-admin --user=olga -n shop")
      #expect(
        root.errors.contains("is attempting to grant RBAC permissions not currently held"), "\(root.errors)")
      #expect(
        root.errors.contains(#"{APIGroups:["*"], Resources:["*"], Verbs:["*"]}"#), "\(root.errors)")
      // Not by way of a patch either.
      let patched = try await Person(server, folder, "olga").patch(
        "role reader -n shop", #"{"rules":[{"verbs":["*"],"apiGroups":["*"],"resources":["*"]}]}"#)
      #expect(patched.errors.contains("is attempting to grant RBAC permissions"), "\(patched.errors)")
      // A role that is not there cannot be judged.
      let ghost = try await olga("create rolebinding g --role=ghost --user=petra -n shop")
      #expect(ghost.errors.contains(#"roles.rbac.authorization.k8s.io "ghost" not found"#), "\(ghost.errors)")
    }
  }

  @Test func `bind and escalate lift the check`() async throws {
    try await withServer { server, folder in
      let admin = Kubectl(server: server, cache: folder)
      let manifest = """
        apiVersion: rbac.authorization.k8s.io/v1
        kind: ClusterRole
        metadata: {name: hr}
        rules:
        - {apiGroups: [rbac.authorization.k8s.io], resources: [rolebindings, clusterroles], verbs: [create, get, patch]}
        - {apiGroups: [rbac.authorization.k8s.io], resources: [clusterroles], verbs: [bind], resourceNames: [edit]}
        """
      try await admin("apply -f -", input: manifest)
      try await admin("create clusterrolebinding hr --clusterrole=hr --user=hanna")
      let hanna = try Person(server, folder, "hanna")
      let edit = try await hanna("create rolebinding e --clusterrole=edit --user=petra -n default")
      #expect(edit.status == 0, "\(edit.errors)")
      let other = try await hanna("create rolebinding a --clusterrole=admin --user=petra -n default")
      #expect(other.status == 1)
      let role = try await hanna("create clusterrole c --verb=get --resource=secrets")
      #expect(role.errors.contains("is attempting to grant"), "\(role.errors)")
      try await admin(
        "apply -f -", input: manifest.replacing("[bind], resourceNames: [edit]", with: "[bind, escalate]"))
      let now = try await hanna("create clusterrole c --verb=get --resource=secrets")
      #expect(now.status == 0, "\(now.errors)")
    }
  }

  @Test func `gathering rules takes everything`() async throws {
    try await withServer { server, folder in
      let admin = Kubectl(server: server, cache: folder)
      try await admin("create clusterrole roles --verb=* --resource=clusterroles.rbac.authorization.k8s.io")
      // `*` on clusterroles holds `escalate`, and lifts the check; without it the gathering is refused.
      try await admin("create clusterrole writers --verb=create,get,update --resource=clusterroles")
      try await admin("create clusterrolebinding writers --clusterrole=writers --user=wim")
      let run = try await Person(server, folder, "wim")(
        "create -f -",
        input: """
          apiVersion: rbac.authorization.k8s.io/v1
          kind: ClusterRole
          metadata: {name: all}
          aggregationRule: {clusterRoleSelectors: [{matchLabels: {x: "y"}}]}
          rules: []
          """)
      #expect(
        run.errors.contains("must have cluster-admin privileges to use the aggregationRule"), "\(run.errors)")
    }
  }

  @Test func `who may patch does not thereby create`() async throws {
    try await withServer { server, folder in
      let admin = Kubectl(server: server, cache: folder)
      try await admin("create role patcher --verb=get,patch --resource=configmaps -n default")
      try await admin("create rolebinding patcher --role=patcher --user=pia -n default")
      let manifest = """
        apiVersion: v1
        kind: ConfigMap
        metadata: {name: c, namespace: default}
        data: {a: b}
        """
      let pia = try Person(server, folder, "pia")
      let run = try await pia("apply --server-side -f -", input: manifest)
      #expect(
        run.errors.contains(
          #"configmaps "c" is forbidden: User "pia" cannot create resource "configmaps" in API group "" in the namespace "default""#
        ), "\(run.errors)")
      try await admin("create configmap c -n default")
      let then = try await pia("apply --server-side -f -", input: manifest)
      #expect(then.status == 0, "\(then.errors)")
    }
  }

  // MARK: Certificates

  /// PKCS #10, P-256: O=dev, CN=jane.
  private static let request = """
    LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlIV01IOENBUUF3SFRFTU1Bb0dBMVVFQ2d3RFpHVjJNUTB3Q3dZRFZRUUREQVJx\
    WVc1bE1Ga3dFd1lIS29aSQp6ajBDQVFZSUtvWkl6ajBEQVFjRFFnQUU5TzFuNVZJUjNJV25kK2l1Q0IyeGVXSTMzQzBES3MwZ0tncWdtSFN6CjZt\
    cVRrK1FkdERXWThiZjRyNVB6U2hoWHV1Y0tGbWxiTWViSmFDeFlVWTk0OHFBQU1Bb0dDQ3FHU000OUJBTUMKQTBjQU1FUUNJQnVlMVh1Slp1UDU0\
    VXArV05zNUd6VkR6SVczM1QyUW9jRnpYWnBDV3kra0FpQmlmVk9lUXVNTwpjVEY5VEx6NnB1RDhWRDNwYVd3ZlMwOElTdzlxMXZPb1Z3PT0KLS0t\
    LS1FTkQgQ0VSVElGSUNBVEUgUkVRVUVTVC0tLS0tCg==
    """
  /// The same with O=system:masters, CN=x.
  private static let masters = """
    LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlIZk1JR0hBZ0VBTUNVeEZ6QVZCZ05WQkFvTURuTjVjM1JsYlRwdFlYTjBaWEp6\
    TVFvd0NBWURWUVFEREFGNApNRmt3RXdZSEtvWkl6ajBDQVFZSUtvWkl6ajBEQVFjRFFnQUVrN29DTTB4MUlSMWJNZUdJMnFLRG1KV20yenZqCnVj\
    MDhJMlZ3NFQ2TEV6b2x0a3A5R3FoOUxiSGRBSjBTa0R1WWgrenZJc3B2SUVWNnZ5RGNGaTR6VWFBQU1Bb0cKQ0NxR1NNNDlCQU1DQTBjQU1FUUNJ\
    RGV4SXhvYXlpRVp3WHB6c0hMVUdQNlVIY2laakdOLzRsMGx5UmRaWHc1MwpBaUJNclYyaERITmRpcTk2aHliMGx4UVBIOUFWNW5vcUR2L0UyOTJO\
    eHZ3b0d3PT0KLS0tLS1FTkQgQ0VSVElGSUNBVEUgUkVRVUVTVC0tLS0tCg==
    """

  private func manifest(_ request: String, name: String = "jane") -> String {
    """
    apiVersion: certificates.k8s.io/v1
    kind: CertificateSigningRequest
    metadata: {name: \(name)}
    spec:
      request: \(request)
      signerName: kubernetes.io/kube-apiserver-client
      usages: [client auth]
      username: root
    """
  }

  @Test func `a certificate is asked for, approved and signed by three people`() async throws {
    try await withServer { server, folder in
      let admin = Kubectl(server: server, cache: folder)
      try await admin("create clusterrole askers --verb=create,get --resource=certificatesigningrequests")
      try await admin("create clusterrolebinding askers --clusterrole=askers --user=jane")
      try await admin(
        "create clusterrole writers --verb=get,update,patch --resource=certificatesigningrequests,certificatesigningrequests/approval,certificatesigningrequests/status"
      )
      try await admin("create clusterrolebinding writers --clusterrole=writers --user=anna --user=sven")
      try await admin(
        "create clusterrolebinding approvers --clusterrole=system:certificates.k8s.io:kube-apiserver-client-approver --user=anna"
      )
      let jane = try Person(server, folder, "jane")
      let asked = try await jane("create -f -", input: manifest(Self.request))
      #expect(asked.status == 0, "\(asked.errors)")
      // The asker is who asked, not who they say they are.
      #expect(try await admin("get csr jane -o jsonpath={.spec.username}").output == "jane")
      let masters = try await jane("create -f -", input: manifest(Self.masters, name: "x"))
      #expect(
        masters.errors.contains(
          "use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"),
        "\(masters.errors)")

      let sven = try await Person(server, folder, "sven")("certificate approve jane")
      #expect(
        sven.errors.contains(
          #"user not permitted to approve requests with signerName "kubernetes.io/kube-apiserver-client""#),
        "\(sven.errors)")
      let anna = try Person(server, folder, "anna")
      let approved = try await anna("certificate approve jane")
      #expect(approved.status == 0, "\(approved.errors)")
      let condition = try await admin("get csr jane -o jsonpath={.status.conditions[0].type}")
      #expect(condition.output == "Approved")
      // What is decided stays so, and the approver does not sign.
      let object = try await anna("get csr jane -o json").output
      let path = "/apis/certificates.k8s.io/v1/certificatesigningrequests/jane/approval"
      let both = object.replacing(
        #""conditions": ["#, with: #""conditions": [{"type": "Denied", "status": "True"},"#)
      let denied = try await anna("replace --raw \(path) -f -", input: both)
      #expect(
        (denied.output + denied.errors).contains("Approved and Denied conditions are mutually exclusive"),
        "\(denied.errors)")
      let signed = try await anna.patch(
        "csr jane --subresource=status", #"{"status":{"conditions":[{"type":"Failed","status":"True"}]}}"#)
      #expect(
        signed.errors.contains(
          #"user not permitted to sign requests with signerName "kubernetes.io/kube-apiserver-client""#),
        "\(signed.errors)")
      let signer = try await Person(server, folder, "root", groups: ["system:masters"]).patch(
        "csr jane --subresource=status", #"{"status":{"conditions":[{"type":"Failed","status":"True"}]}}"#)
      #expect(signer.status == 0, "\(signer.errors)")
      let after = try await admin("get csr jane -o jsonpath={.status.conditions[*].type}")
      #expect(after.output == "Approved Failed")
    }
  }
}

extension Person {
  /// A merge patch, whose text may hold blanks.
  func patch(_ what: String, _ body: String) async throws -> Program {
    let words = what.split(separator: " ").map(String.init)
    return try await Program.run(
      kubectl,
      ["--kubeconfig", kubeconfig, "--cache-dir", folder + "/cache", "patch"] + words
        + ["--type=merge", "-p", body])
  }
}
