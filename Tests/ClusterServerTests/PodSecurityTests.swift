// Pod Security levels, in upstream's words.

import ClusterClient
import ClusterObjects
import Testing

@testable import ClusterServer

private let safe: JSON = [
  "securityContext": ["runAsNonRoot": true, "seccompProfile": ["type": "RuntimeDefault"]],
  "containers": [
    [
      "name": "a", "image": "x",
      "securityContext": ["allowPrivilegeEscalation": false, "capabilities": ["drop": ["ALL"]]],
    ]
  ],
]

private func text(
  _ spec: JSON, _ level: PodSecurityLevel, _ version: String = "latest", _ metadata: JSON = [:]
)
  -> String
{
  PodSecurityChecks.findings(
    metadata: metadata, spec: spec,
    PodSecurityPolicy(level: level, version: PodSecurityVersion(version) ?? .latest)
  ).map(\.description).joined(separator: ", ")
}

private func containers(_ fields: JSON, _ names: String...) -> JSON {
  .array(
    names.map { name in
      var container: JSON = ["name": JSON(name)]
      for (key, value) in fields.object ?? [:] { container[key] = value }
      return container
    })
}

@Suite(.serialized, .timeLimit(.minutes(10))) struct PodSecurityTests {
  static let baseline: [(JSON, String)] = [
    (["hostNetwork": true, "hostPID": true], "host namespaces (hostNetwork=true, hostPID=true)"),
    (
      ["containers": containers(["securityContext": ["privileged": true]], "a")],
      "privileged (container \"a\" must not set securityContext.privileged=true)"
    ),
    (
      [
        "containers": containers(
          ["securityContext": ["capabilities": ["add": ["NET_RAW", "CHOWN"]]]], "a", "b")
      ],
      "non-default capabilities (containers \"a\", \"b\" must not include \"NET_RAW\" in securityContext.capabilities.add)"
    ),
    (
      ["volumes": [["name": "v", "hostPath": ["path": "/"]], ["name": "w", "emptyDir": [:]]]],
      "hostPath volumes (volume \"v\")"
    ),
    (
      ["containers": containers(["ports": [["hostPort": 80], ["hostPort": 0]]], "a")],
      "hostPort (container \"a\" uses hostPort 80)"
    ),
    (
      ["initContainers": containers(["securityContext": ["procMount": "Unmasked"]], "i")],
      "procMount (container \"i\" must not set securityContext.procMount to \"Unmasked\")"
    ),
    (
      ["securityContext": ["seLinuxOptions": ["type": "spc_t", "user": "u"]]],
      "seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type \"spc_t\"; user may not be set)"
    ),
    (
      ["securityContext": ["seccompProfile": ["type": "Unconfined"]]],
      "seccompProfile (pod must not set securityContext.seccompProfile.type to \"Unconfined\")"
    ),
    (["securityContext": ["sysctls": [["name": "kernel.msgmax"]]]], "forbidden sysctls (kernel.msgmax)"),
    (
      ["containers": containers(["livenessProbe": ["httpGet": ["host": "10.0.0.1"]]], "a")],
      "probe or lifecycle host (container \"a\" uses probe or lifecycle host \"10.0.0.1\")"
    ),
    (
      ["securityContext": ["appArmorProfile": ["type": "Unconfined"]]],
      "forbidden AppArmor profile (pod must not set AppArmor profile type to \"Unconfined\")"
    ),
  ]

  @Test(arguments: baseline)
  func `baseline names what is wrong and restricted does not pass it either`(spec: JSON, told: String) {
    #expect(text(spec, .baseline) == told)
    #expect(text(spec, .privileged) == "")
    #expect(text(spec, .restricted) != "")
  }

  @Test func `restricted asks for what is not said`() {
    #expect(text(safe, .restricted) == "")
    #expect(
      text(["containers": [["name": "nginx", "image": "x"]]], .restricted)
        == "allowPrivilegeEscalation != false (container \"nginx\" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container \"nginx\" must set securityContext.capabilities.drop=[\"ALL\"]), runAsNonRoot != true (pod or container \"nginx\" must set securityContext.runAsNonRoot=true), seccompProfile (pod or container \"nginx\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")"
    )
    var volumes = safe
    volumes["volumes"] = [
      ["name": "v", "nfs": ["server": "s", "path": "/"]], ["name": "c", "configMap": [:]],
    ]
    #expect(
      text(volumes, .restricted)
        == "restricted volume types (volume \"v\" uses restricted volume type \"nfs\")")
    var root = safe
    root.set(0, at: "securityContext", "runAsUser")
    #expect(text(root, .restricted) == "runAsUser=0 (pod must not set runAsUser=0)")
    #expect(text(root, .restricted, "v1.22") == "", "a check holds from its version on")
  }

  @Test func `a namespace's labels enforce, warn, and are checked themselves`() async throws {
    try await withServer { server, folder in
      let kubectl = Kubectl(server: server, cache: folder + "/cache")
      let api = server.client(user: "test")
      _ = try await api.create(
        .namespaces,
        [
          "metadata": [
            "name": "strict",
            "labels": [
              "pod-security.kubernetes.io/enforce": "baseline",
              "pod-security.kubernetes.io/enforce-version": "v1.30",
              "pod-security.kubernetes.io/warn": "restricted",
            ],
          ]
        ], options: WriteOptions())
      let plain = try await kubectl("run plain --image=x -n strict")
      #expect(plain.status == 0, "\(plain.errors)")
      #expect(
        plain.errors.contains(
          "Warning: would violate PodSecurity \"restricted:latest\": allowPrivilegeEscalation != false (container \"plain\" must set"
        ), "\(plain.errors)")
      let deployment = try await kubectl("create deployment web --image=x -n strict")
      #expect(deployment.status == 0)
      #expect(deployment.errors.contains("would violate PodSecurity \"restricted:latest\""))
      let error = await refusal {
        _ = try await api.create(
          .pods,
          [
            "metadata": ["name": "p", "namespace": "strict"],
            "spec": ["hostNetwork": true, "containers": [["name": "c", "image": "x"]]],
          ], options: WriteOptions())
      }
      #expect(
        error?.message
          == "pods \"p\" is forbidden: violates PodSecurity \"baseline:v1.30\": host namespaces (hostNetwork=true)"
      )
      let raised = try await kubectl(
        "label namespace strict pod-security.kubernetes.io/enforce=restricted --overwrite")
      #expect(
        raised.errors.contains(
          "existing pods in namespace \"strict\" violate the new PodSecurity enforce level \"restricted:v1.30\""
        ),
        "\(raised.errors)")
      let wrong = await refusal {
        _ = try await api.create(
          .namespaces,
          ["metadata": ["name": "x", "labels": ["pod-security.kubernetes.io/enforce": "strong"]]],
          options: WriteOptions())
      }
      #expect(wrong?.code == 422)
      #expect(
        wrong?.message.contains(
          "metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"strong\": must be one of privileged, baseline, restricted"
        ) == true)
    }
  }

  @Test func `what a namespace only audits is let through and stands in the audit log`() async throws {
    try await withServer { settings, folder in
      try writeText(
        folder + "/policy.yaml",
        "{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: Metadata, resources: [{group: '', resources: [pods]}]}]}"
      )
      settings.audit.policyFile = folder + "/policy.yaml"
      settings.audit.logPath = folder + "/audit.log"
    } _: { server, folder in
      _ = try await server.client(user: "test").create(
        .namespaces,
        ["metadata": ["name": "watched", "labels": ["pod-security.kubernetes.io/audit": "baseline"]]],
        options: WriteOptions())
      let made = try await ask(
        server, folder, "/api/v1/namespaces/watched/pods", "POST",
        body: [
          "metadata": ["name": "p"], "spec": ["hostPID": true, "containers": [["name": "c", "image": "x"]]],
        ])
      #expect(made.code == 201 && made.header("warning").isEmpty, "\(made)")
      let id = made.header("audit-id")
      func record() -> JSON? {
        Program.read(folder + "/audit.log").split(separator: "\n").compactMap {
          try? JSON(parsing: String($0))
        }
        .first { $0["auditID"]?.string == id && $0["stage"] == "ResponseComplete" }
      }
      try await eventually { record() != nil }
      let annotations = record()?["annotations"]
      #expect(
        annotations?["pod-security.kubernetes.io/audit-violations"]
          == "would violate PodSecurity \"baseline:latest\": host namespaces (hostPID=true)")
      #expect(annotations?["pod-security.kubernetes.io/enforce-policy"] == "privileged:latest")
    }
  }
}
