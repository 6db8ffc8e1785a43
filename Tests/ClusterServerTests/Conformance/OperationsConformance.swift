// Upstream's cases of kinds that configure the server itself, by their names: every verb of their API.

import ClusterObjects
import Testing

@Suite(.serialized, .timeLimit(.minutes(2)), .cluster) struct OperationsConformance {
  @Test func `should support FlowSchema API operations`() async throws {
    try await OperationsCase(
      resource: GroupVersionResource("flowcontrol.apiserver.k8s.io", "v1", "flowschemas")
    ) { number in
      [
        "matchingPrecedence": JSON(10_000 - number),
        "priorityLevelConfiguration": ["name": "global-default"],
        "rules": [
          [
            "subjects": [["kind": "User", "user": ["name": "example-e2e-non-existent-user"]]],
            "nonResourceRules": [["verbs": ["*"], "nonResourceURLs": ["*"]]],
          ]
        ],
      ]
    }.run()
  }

  @Test func `should support PriorityLevelConfiguration API operations`() async throws {
    try await OperationsCase(
      resource: GroupVersionResource("flowcontrol.apiserver.k8s.io", "v1", "prioritylevelconfigurations")
    ) { number in
      [
        "type": "Limited",
        "limited": [
          "nominalConcurrencyShares": JSON(2 + number), "limitResponse": ["type": "Reject"],
        ],
      ]
    }.run()
  }

  @Test func `should support ValidatingAdmissionPolicy API operations`() async throws {
    try await OperationsCase(
      resource: GroupVersionResource("admissionregistration.k8s.io", "v1", "validatingadmissionpolicies")
    ) { number in
      [
        "failurePolicy": number == 1 ? "Ignore" : "Fail",
        "matchConstraints": [
          "namespaceSelector": ["matchLabels": ["validating": "nobody"]],
          "resourceRules": [
            [
              "operations": ["CREATE"], "apiGroups": ["apps"], "apiVersions": ["v1"],
              "resources": ["deployments"],
            ]
          ],
        ],
        "validations": [["expression": "object.spec.replicas <= 100"]],
      ]
    }.run()
  }

  @Test func `should support ValidatingAdmissionPolicyBinding API operations`() async throws {
    try await OperationsCase(
      resource: GroupVersionResource(
        "admissionregistration.k8s.io", "v1", "validatingadmissionpolicybindings"), hasStatus: false
    ) { number in
      ["policyName": JSON("replicalimit-policy.example.com-\(number)"), "validationActions": ["Deny"]]
    }.run()
  }
}
