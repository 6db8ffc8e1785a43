// Defaults of kinds that serve the cluster itself, as far as they depend on other fields.

extension Defaults {
  static let services: [String: Rule] = [
    "io.k8s.api.rbac.v1.RoleRef": roleReference,
    "io.k8s.api.rbac.v1.Subject": subject,
    "io.k8s.api.flowcontrol.v1.FlowSchemaSpec": { zeroes(&$0, ["matchingPrecedence": 1000]) },
    "io.k8s.api.flowcontrol.v1.QueuingConfiguration": {
      zeroes(&$0, ["queues": 64, "handSize": 8, "queueLengthLimit": 50])
    },
  ]

  private static func roleReference(_ reference: inout JSONObject) {
    if (reference["apiGroup"] ?? "") == "" { reference["apiGroup"] = "rbac.authorization.k8s.io" }
  }

  private static func subject(_ subject: inout JSONObject) {
    // A service account is of the core group, whose name is empty.
    guard (subject["apiGroup"] ?? "") == "", ["User", "Group"].contains(subject["kind"]?.string ?? "") else {
      return
    }
    subject["apiGroup"] = "rbac.authorization.k8s.io"
  }

  /// Numbers of which zero means that nothing was said.
  private static func zeroes(_ object: inout JSONObject, _ values: [String: Int64]) {
    for (name, value) in values where (object[name]?.integer ?? 0) == 0 { object[name] = .integer(value) }
  }
}
