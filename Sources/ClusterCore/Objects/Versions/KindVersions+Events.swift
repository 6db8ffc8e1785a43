// Events of the core group and of events.k8s.io are one resource: the same objects under other field names.

extension KindVersions {
  static let events = KindVersions(storage: GroupVersionKind("", "v1", "Event")) { object, to in
    guard object.apiVersion != to.apiVersion else { return object }
    return renamed(object, to, to.group.isEmpty ? toCore : fromCore)
  }

  /// Core name, then the newer one.
  private static let names = [
    ("involvedObject", "regarding"), ("message", "note"), ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"), ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"), ("count", "deprecatedCount"),
  ]
  private static let fromCore = Dictionary(uniqueKeysWithValues: names)
  private static let toCore = Dictionary(uniqueKeysWithValues: names.map { ($1, $0) })

  private static func renamed(
    _ event: JSON, _ to: GroupVersionKind, _ names: [String: String]
  ) -> JSON {
    var out = JSONObject()
    for (name, value) in event.object ?? [:] { out[names[name] ?? name] = value }
    out["apiVersion"] = .string(to.apiVersion)
    // What each form always writes.
    let always: [(String, JSON)] =
      to.group.isEmpty
      ? [("involvedObject", [:]), ("source", [:]), ("reportingComponent", ""), ("reportingInstance", "")]
      : [("regarding", [:]), ("deprecatedSource", [:])]
    for (name, value) in always where !out.contains(name) { out[name] = value }
    if !to.group.isEmpty {
      for name in ["reportingController", "reportingInstance"] where out[name] == "" {
        out.removeValue(forKey: name)
      }
    }
    return .object(out)
  }
}
