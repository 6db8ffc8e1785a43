// Who owns an object, and status conditions: small edits that every controller makes.

import ClusterObjects
import Diagnostics

extension JSON {
  /// The reference that a controlled object carries to this owner (`metav1.OwnerReference`).
  public var controllerReferenceToThis: JSON {
    [
      "apiVersion": JSON(apiVersion), "kind": JSON(kind), "name": JSON(name), "uid": JSON(uid),
      "controller": true, "blockOwnerDeletion": true,
    ]
  }

  public func isControlled(by owner: JSON) -> Bool { controllerReference?["uid"]?.string == owner.uid }

  /// `status.conditions` of a type.
  public func condition(_ type: String) -> JSON? {
    at("status", "conditions")?.elements.first { $0["type"]?.string == type }
  }

  public func isConditionTrue(_ type: String) -> Bool { condition(type)?["status"]?.string == "True" }

  /// Sets a condition. `lastTransitionTime` moves only when the status does; an equal condition stays as it
  /// is. With `updateTime` the `lastUpdateTime` of apps/v1 is kept too. True when something changed.
  @discardableResult public mutating func setCondition(
    _ type: String, _ status: String, reason: String, message: String, updateTime: Bool = false,
    now: String = Timestamp.nowText()
  ) -> Bool {
    var conditions = at("status", "conditions")?.elements ?? []
    let position = conditions.firstIndex { $0["type"]?.string == type }
    let old = position.map { conditions[$0] }
    if let old, old["status"]?.string == status, old["reason"]?.string == reason,
      old["message"]?.string == message
    {
      return false
    }
    let transition = old?["status"]?.string == status ? old?["lastTransitionTime"]?.string : nil
    var condition: JSON = ["type": JSON(type), "status": JSON(status)]
    if updateTime { condition["lastUpdateTime"] = JSON(now) }
    condition["lastTransitionTime"] = JSON(transition ?? now)
    condition["reason"] = JSON(reason)
    condition["message"] = JSON(message)
    if let position { conditions[position] = condition } else { conditions.append(condition) }
    set(.array(conditions), at: "status", "conditions")
    return true
  }

  public mutating func removeCondition(_ type: String) {
    guard condition(type) != nil else { return }
    set(
      .array((at("status", "conditions")?.elements ?? []).filter { $0["type"]?.string != type }),
      at: "status", "conditions")
  }
}

extension ClusterAPI {
  /// Reads, changes and writes an object, again from the start when someone else was faster, at most
  /// `attempts` times. `change` returns nil when nothing is to do. Returns the object as written or as
  /// found.
  @discardableResult public func modify(
    _ resource: GroupVersionResource, _ key: ObjectKey, subresource: String? = nil,
    fieldManager: String? = nil,
    attempts: Int = 8, _ change: (JSON) throws -> JSON?
  ) async throws -> JSON {
    var attempt = 1
    while true {
      let current = try await get(resource, namespace: key.namespace, name: key.name)
      guard let changed = try change(current) else { return current }
      do {
        return try await update(
          resource, changed, subresource: subresource, options: WriteOptions(fieldManager: fieldManager))
      } catch let error as APIStatusError where error.isConflict && attempt < attempts {
        attempt += 1
        try await Task.sleep(for: .milliseconds(Int.random(in: 1...5) * attempt))
      }
    }
  }

  /// Deletes, and is content when the object is gone already.
  public func deleteIfPresent(
    _ resource: GroupVersionResource, _ key: ObjectKey, options: DeleteOptions = DeleteOptions()
  ) async throws {
    do {
      try await delete(resource, namespace: key.namespace, name: key.name, options: options)
    } catch let error as APIStatusError where error.isNotFound {}
  }
}
