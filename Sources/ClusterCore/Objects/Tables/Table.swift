// Tables as the server prints them (meta.k8s.io/v1 Table): what `kubectl get` shows comes from here, not from kubectl.

/// One column. `priority` above zero shows only with `-o wide`.
public struct TableColumn: Sendable, Hashable {
  public var name: String
  /// `string`, `integer` or `date`.
  public var type: String
  /// `name` marks the object's name.
  public var format: String
  public var priority: Int
  public var doc: String
  public init(
    _ name: String, type: String = "string", format: String = "", priority: Int = 0, _ doc: String = ""
  ) {
    self.name = name
    self.type = type
    self.format = format
    self.priority = priority
    self.doc = doc
  }

  public var json: JSON {
    [
      "name": JSON(name), "type": JSON(type), "format": JSON(format), "description": JSON(doc),
      "priority": JSON(priority),
    ]
  }
}

/// What a row carries of its object (`includeObject`).
public enum TableObject: String, Sendable {
  case none = "None"
  case metadata = "Metadata"
  case object = "Object"
}

/// The columns of one kind, and the cells of one object under them.
public struct TablePrinter: Sendable {
  public var columns: [TableColumn]
  public var cells: @Sendable (_ object: JSON, _ now: KubeTime) -> [JSON]

  public init(columns: [TableColumn], cells: @escaping @Sendable (JSON, KubeTime) -> [JSON]) {
    self.columns = columns
    self.cells = cells
  }

  /// The printer of a kind; kinds without columns of their own show name and age.
  public static func printer(for gvk: GroupVersionKind) -> TablePrinter {
    switch (gvk.group, gvk.kind) {
    case ("", "Pod"): pods
    case ("", "Service"): services
    case ("", "Node"): nodes
    case ("", "Namespace"): namespaces
    case ("", "ConfigMap"): configMaps
    case ("", "Secret"): secrets
    case ("", "ServiceAccount"): serviceAccounts
    case ("", "Event"), ("events.k8s.io", "Event"): events
    case ("apps", "Deployment"): deployments
    case ("apps", "ReplicaSet"): replicaSets
    case ("apps", "StatefulSet"): statefulSets
    case ("apps", "DaemonSet"): daemonSets
    case ("apps", "ControllerRevision"): controllerRevisions
    case ("", "ReplicationController"): replicationControllers
    case ("batch", "Job"): jobs
    case ("batch", "CronJob"): cronJobs
    case ("autoscaling", "HorizontalPodAutoscaler"): autoscalers
    case ("autoscaling", "Scale"): scales
    case ("policy", "PodDisruptionBudget"): disruptionBudgets
    case ("", "PersistentVolume"): persistentVolumes
    case ("", "PersistentVolumeClaim"): persistentVolumeClaims
    case ("", "ResourceQuota"): resourceQuotas
    case ("", "LimitRange"): limitRanges
    case ("", "PodTemplate"): podTemplates
    case ("", "ComponentStatus"): componentStatuses
    case ("", "Endpoints"): endpoints
    case ("discovery.k8s.io", "EndpointSlice"): endpointSlices
    case ("coordination.k8s.io", "Lease"): leases
    case ("networking.k8s.io", "Ingress"): ingresses
    case ("networking.k8s.io", "IngressClass"): ingressClasses
    case ("networking.k8s.io", "NetworkPolicy"): networkPolicies
    case ("metrics.k8s.io", "NodeMetrics"), ("metrics.k8s.io", "PodMetrics"): usage
    default: ofServices(gvk) ?? plain
    }
  }

  /// A whole table. `listMetadata` is the list's own (resourceVersion, continue). Later parts of a watch leave the
  /// columns out, as upstream does.
  public func table(
    _ objects: [JSON], now: KubeTime, include: TableObject, listMetadata: JSON = [:], withColumns: Bool = true
  ) -> JSON {
    [
      "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": listMetadata,
      "columnDefinitions": withColumns ? .array(columns.map(\.json)) : .array([]),
      "rows": .array(objects.map { row($0, now: now, include: include) }),
    ]
  }

  public func row(_ object: JSON, now: KubeTime, include: TableObject) -> JSON {
    var row: JSON = ["cells": .array(cells(object, now))]
    switch include {
    case .none: row["object"] = .null
    case .metadata: row["object"] = partialMetadata(of: object)
    case .object: row["object"] = object
    }
    return row
  }

  public static let plain = TablePrinter(columns: [name, age]) { object, now in
    [JSON(object.name), JSON(KubeTime.age(of: object.creationTimestamp, now: now))]
  }

  static let name = TableColumn("Name", format: "name", "The object's name, unique in its namespace.")
  static let age = TableColumn("Age", "Time since the object was made.")
}

extension ResourceKind {
  /// The columns of the kind: its definition's for a custom one.
  public var printer: TablePrinter { custom?.printer ?? TablePrinter.printer(for: gvk) }
}

/// The object's metadata alone (meta.k8s.io/v1 PartialObjectMetadata).
public func partialMetadata(of object: JSON) -> JSON {
  ["kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object.metadata]
}

/// Shared by the kinds' printers.
enum Cell {
  static func age(_ object: JSON, _ now: KubeTime) -> JSON {
    JSON(KubeTime.age(of: object.creationTimestamp, now: now))
  }
  static func text(_ value: String?, or absent: String = "<none>") -> JSON {
    JSON(value.map { $0.isEmpty ? absent : $0 } ?? absent)
  }
  static func list(_ values: [String], or absent: String = "<none>") -> JSON {
    JSON(values.isEmpty ? absent : values.joined(separator: ","))
  }
  /// At most `limit` values, then how many more there are.
  static func few(_ values: [String], _ limit: Int = 3) -> JSON {
    if values.isEmpty { return "<unset>" }
    let shown = values.prefix(limit).joined(separator: ",")
    return JSON(values.count > limit ? "\(shown) + \(values.count - limit) more..." : shown)
  }
  static func selector(_ tree: JSON?) -> JSON {
    guard let tree else { return "<none>" }
    var parts = (tree["matchLabels"]?.stringMap ?? [:]).sorted { $0.key < $1.key }.map {
      "\($0.key)=\($0.value)"
    }
    for expression in tree["matchExpressions"]?.elements ?? [] {
      let key = expression["key"]?.string ?? ""
      let values = (expression["values"]?.elements ?? []).compactMap(\.string).sorted().joined(separator: ",")
      switch expression["operator"]?.string {
      case "In": parts.append("\(key) in (\(values))")
      case "NotIn": parts.append("\(key) notin (\(values))")
      case "Exists": parts.append(key)
      case "DoesNotExist": parts.append("!\(key)")
      default: break
      }
    }
    return list(parts)
  }
  static func labels(_ map: [String: String]) -> JSON {
    list(map.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" })
  }
}
