// A ResourceQuota's status, and whether more fits into it.

extension QuotaUsage {
  /// The status that a quota deserves: its limits, and for each of them the sum over `objects`. Names whose
  /// objects nobody can count keep what the quota said before.
  public static func status(
    of quota: JSON, objects: (_ group: String, _ resource: String) -> (GroupVersionResource, [JSON])?,
    now: Int64
  ) -> JSON {
    let hard = ResourceList(quota.at("spec", "hard"))
    let before = ResourceList(quota.at("status", "used"))
    var used = ResourceList()
    var unknown: Set<String> = []
    var names: [String: [String]] = [:]
    for name in hard.amounts.keys {
      used[name] = Quantity(0)
      guard let (group, resource) = counted(for: name) else { continue }
      names["\(resource).\(group)", default: []].append(name)
    }
    for wanted in names.values {
      guard let first = wanted.first, let (group, resource) = counted(for: first) else { continue }
      guard let (gvr, all) = objects(group, resource) else {
        unknown.formUnion(wanted)
        continue
      }
      let keys = Set(wanted)
      for object in all where matches(quota: quota, object, gvr) {
        for (name, amount) in usage(of: object, gvr, now: now).amounts where keys.contains(name) {
          used[name] += amount
        }
      }
    }
    for name in unknown { used[name] = before[name] }
    return ["hard": written(hard), "used": written(used)]
  }

  /// Amounts as a status has them, names in order.
  public static func written(_ list: ResourceList) -> JSON { list.json }

  /// What of `asked` does not fit: `requested: …, used: …, limited: …`; nil when all does.
  public static func excess(asked: ResourceList, used: ResourceList, hard: ResourceList) -> String? {
    let names = asked.amounts.filter { name, amount in
      guard let limit = hard.amounts[name], !amount.isZero, !amount.isNegative else { return false }
      return used[name] + amount > limit
    }.keys.sorted()
    if names.isEmpty { return nil }
    func text(_ list: ResourceList) -> String {
      names.map { "\($0)=\(list[$0])" }.joined(separator: ",")
    }
    return "requested: \(text(asked)), used: \(text(used)), limited: \(text(hard))"
  }
}
