// Planned statuses as the objects carry them. Pure: what an object has and what is planned give what it is to have.

import ClusterObjects
import ClusterView

extension GatewayPlan {
  /// An object whose status this plan decides.
  public enum Subject: Hashable, Sendable {
    case gatewayClass(String)
    case gateway(ObjectKey)
    case listenerSet(ObjectKey)
    case route(GatewayRoute.Name)
    case policy(ObjectKey)

    public var resource: GroupVersionResource {
      switch self {
      case .gatewayClass: .gatewayClasses
      case .gateway: .gateways
      case .listenerSet: .listenerSets
      case .route(let name): name.kind.resource
      case .policy: .backendTLSPolicies
      }
    }

    public var key: ObjectKey {
      switch self {
      case .gatewayClass(let name): ObjectKey("", name)
      case .gateway(let key), .listenerSet(let key), .policy(let key): key
      case .route(let name): name.key
      }
    }
  }

  /// Classes and Gateways first: routes refer to them.
  public var subjects: [Subject] {
    classes.keys.sorted().map { .gatewayClass($0) } + gateways.keys.sorted().map { .gateway($0) }
      + listenerSets.keys.sorted().map { .listenerSet($0) } + routes.keys.sorted().map { .route($0) }
      + policies.keys.sorted().map { .policy($0) }
  }

  /// The object with the status that it is to have; nil when it has it. What other controllers wrote stays, and
  /// `lastTransitionTime` moves only with a condition's status.
  /// - Parameter now: RFC 3339.
  public func updated(_ object: JSON, of subject: Subject, now: String) -> JSON? {
    var status = object["status"] ?? [:]
    switch subject {
    case .gatewayClass(let name):
      guard let planned = classes[name] else { return nil }
      status["conditions"] = Self.merged(planned, into: status["conditions"], now)
    case .gateway(let key):
      guard let planned = gateways[key] else { return nil }
      status["conditions"] = Self.merged(planned.conditions, into: status["conditions"], now)
      status["addresses"] = .array(
        planned.addresses.map { ["type": JSON($0.type), "value": JSON($0.value)] })
      // Definitions before 1.5 do not have it.
      if planned.attachedListenerSets > 0 || status["attachedListenerSets"] != nil {
        status["attachedListenerSets"] = JSON(planned.attachedListenerSets)
      }
      status["listeners"] = Self.listeners(planned.listeners, status["listeners"], now)
    case .listenerSet(let key):
      guard let planned = listenerSets[key] else { return nil }
      status["conditions"] = Self.merged(planned.conditions, into: status["conditions"], now)
      let listeners = Self.listeners(planned.listeners, status["listeners"], now)
      status["listeners"] = planned.listeners.isEmpty && status["listeners"] == nil ? nil : listeners
    case .route(let name):
      guard let planned = routes[name] else { return nil }
      let entries = planned.map { (reference: $0.parent, conditions: $0.conditions) }
      guard let list = self.entries(entries, "parentRef", status["parents"], now) else { return nil }
      status["parents"] = list
    case .policy(let key):
      guard let planned = policies[key] else { return nil }
      let entries = planned.map { ancestor -> (reference: JSON, conditions: [Condition]) in
        let reference: JSON = [
          "group": JSON(GatewayObjects.group), "kind": "Gateway",
          "namespace": JSON(ancestor.gateway.namespace),
          "name": JSON(ancestor.gateway.name),
        ]
        return (reference, ancestor.conditions)
      }
      guard let list = self.entries(entries, "ancestorRef", status["ancestors"], now) else { return nil }
      status["ancestors"] = list
    }
    if status == object["status"] ?? [:] { return nil }
    var object = object
    object["status"] = status
    return object
  }

  /// Types of conditions that come and go.
  private static let passing: Set<String> = ["PartiallyInvalid", "InsecureFrontendValidationMode"]

  private static func merged(_ planned: [Condition], into existing: JSON?, _ now: String) -> JSON {
    var rest = planned
    var conditions: [JSON] = []
    for old in existing?.elements ?? [] {
      let type = old["type"]?.string ?? ""
      if let index = rest.firstIndex(where: { $0.type == type }) {
        conditions.append(tree(rest.remove(at: index), old, now))
      } else if !passing.contains(type) {
        conditions.append(old)
      }
    }
    return .array(conditions + rest.map { tree($0, nil, now) })
  }

  private static func tree(_ condition: Condition, _ old: JSON?, _ now: String) -> JSON {
    let status = condition.isTrue ? "True" : "False"
    let since = old?["status"]?.string == status ? old?["lastTransitionTime"]?.string : nil
    return [
      "type": JSON(condition.type), "status": JSON(status),
      "observedGeneration": JSON(condition.generation), "lastTransitionTime": JSON(since ?? now),
      "reason": JSON(condition.reason), "message": JSON(condition.message),
    ]
  }

  private static func listeners(_ planned: [ListenerStatus], _ existing: JSON?, _ now: String) -> JSON {
    .array(
      planned.map { listener in
        let old = existing?.elements.first { $0["name"]?.string == listener.name }
        return [
          "name": JSON(listener.name),
          "supportedKinds": .array(
            listener.supportedKinds.map { ["group": JSON($0.group), "kind": JSON($0.kind)] }),
          "attachedRoutes": JSON(listener.attachedRoutes),
          "conditions": merged(listener.conditions, into: old?["conditions"], now),
        ]
      })
  }

  /// The entries of other controllers and ours; nil: there is nothing to say, and nothing was said.
  private func entries(
    _ planned: [(reference: JSON, conditions: [Condition])], _ field: String, _ existing: JSON?, _ now: String
  ) -> JSON? {
    let old = existing?.elements ?? []
    let others = old.filter { $0["controllerName"]?.string != controllerName }
    if planned.isEmpty, others.count == old.count { return nil }
    return .array(
      others
        + planned.map { entry in
          let before = old.first {
            $0["controllerName"]?.string == controllerName && $0[field] == entry.reference
          }
          return [
            field: entry.reference, "controllerName": JSON(controllerName),
            "conditions": Self.merged(entry.conditions, into: before?["conditions"], now),
          ]
        })
  }
}
