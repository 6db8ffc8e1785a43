// Requests for certificates: who asked is told by the server and by nobody else, and each path of a request may
// change its own part only.

public enum CertificateStrategy {
  /// Writes down who asks. `extra` is what the authenticator knows beyond name and groups.
  public static func prepareForCreate(
    _ request: inout JSON, user: String, uid: String, groups: [String], extra: [String: [String]]
  ) {
    var spec = request.spec.object == nil ? [:] : request.spec
    spec["username"] = .string(user)
    spec["uid"] = uid.isEmpty ? nil : .string(uid)
    spec["groups"] = groups.isEmpty ? nil : JSON(groups)
    let more = extra.sorted { $0.key < $1.key }.map { ($0.key, JSON($0.value)) }
    spec["extra"] = more.isEmpty ? nil : .object(JSONObject(more))
    request["spec"] = spec
  }

  /// What is left of a change: of the request itself its metadata, of `approval` the conditions, of `status`
  /// everything but the verdict. Conditions that came or changed get their times.
  public static func prepareForUpdate(_ request: inout JSON, old: JSON, part: String, now: KubeTime) {
    request["spec"] = old["spec"]
    var status = old["status"] ?? [:]
    let new = request.at("status", "conditions")?.elements ?? []
    switch part {
    case "approval": status["conditions"] = timed(new, old, now)
    case "status":
      status = request["status"] ?? [:]
      // Who signs does not judge: the verdict stays as it was.
      let verdict = conditions(old).filter { isVerdict($0) }
      status["conditions"] = timed(verdict + new.filter { !isVerdict($0) }, old, now)
    default: break
    }
    if status["conditions"] == [] { status["conditions"] = nil }
    request["status"] = status
  }

  private static func conditions(_ request: JSON) -> [JSON] {
    request.at("status", "conditions")?.elements ?? []
  }

  private static func isVerdict(_ condition: JSON) -> Bool {
    ["Approved", "Denied"].contains(condition["type"]?.string ?? "")
  }

  private static func timed(_ conditions: [JSON], _ old: JSON, _ now: KubeTime) -> JSON {
    let before = Self.conditions(old)
    return .array(
      conditions.map { condition in
        var condition = condition
        let same = before.first { $0["type"] == condition["type"] }
        if condition["lastUpdateTime"] == nil { condition["lastUpdateTime"] = .string(now.text) }
        if condition["lastTransitionTime"] == nil {
          let isSame = same != nil && same?["status"] == condition["status"]
          condition["lastTransitionTime"] = isSame ? same?["lastTransitionTime"] : .string(now.text)
        }
        return condition
      })
  }
}
