// One version of a CustomResourceDefinition as a kind that is served: schema, columns, subresources, where its
// scale lies, what it is stored as.

/// What a definition says of one version beyond names and schema. Immutable.
public final class CustomKind: Sendable {
  /// Paths of the numbers that `scale` reads and writes.
  public struct Scale: Sendable {
    public var specReplicas: [String]
    public var statusReplicas: [String]
    public var selector: [String]?
  }

  /// The definition's name, `PLURAL.GROUP`.
  public let definition: String
  /// The version that objects are stored in.
  public let storageVersion: String
  public let printer: TablePrinter
  public let scale: Scale?
  /// Fields that lists can be selected by, such as `spec.colour`.
  public let selectableFields: [String]
  /// Told to whoever uses this version.
  public let deprecation: String?
  /// The `spec.conversion` of the definition when it is a webhook.
  public let conversionWebhook: JSON?
  /// The definition is being deleted: nothing new may be created.
  public let isTerminating: Bool
  public let form: CustomForm
  private let storageForm: CustomForm

  init(
    _ definition: CustomResourceDefinition, _ version: JSON, _ form: CustomForm, storedAs storage: CustomForm
  ) {
    self.definition = definition.name
    self.form = form
    storageForm = storage
    storageVersion = definition.storageVersion
    isTerminating = definition.tree.isTerminating
    printer = CustomColumns.printer(version)
    selectableFields = (version["selectableFields"]?.elements ?? []).compactMap {
      guard let path = $0["jsonPath"]?.string, let names = (try? JSONPath(path))?.names else { return nil }
      return names.joined(separator: ".")
    }
    let conversion = definition.spec["conversion"]
    conversionWebhook = conversion?["strategy"]?.string == "Webhook" ? conversion?["webhook"] : nil
    deprecation = definition.deprecation(version)
    if let scale = version.at("subresources", "scale") {
      func names(_ field: String) -> [String]? {
        scale[field]?.string.flatMap { (try? JSONPath($0))?.names }
      }
      self.scale = Scale(
        specReplicas: names("specReplicasPath") ?? ["spec", "replicas"],
        statusReplicas: names("statusReplicasPath") ?? ["status", "replicas"],
        selector: names("labelSelectorPath"))
    } else {
      scale = nil
    }
  }

  /// An object that was converted to the storage version, as it is stored.
  public func stored(_ tree: JSON) -> JSON { storageForm.read(tree) }
}

extension CustomKind.Scale {
  /// `autoscaling/v1 Scale` of a custom object.
  public func scale(of tree: JSON, revision: Int64) -> JSON {
    var metadata: JSON = ["name": JSON(tree.name)]
    if !tree.namespace.isEmpty { metadata["namespace"] = JSON(tree.namespace) }
    metadata["uid"] = JSON(tree.uid)
    metadata["resourceVersion"] = JSON(String(revision))
    metadata["creationTimestamp"] = JSON(tree.creationTimestamp)
    var status: JSON = ["replicas": JSON(tree.at(statusReplicas)?.integer ?? 0)]
    if let text = selector.flatMap({ tree.at($0)?.string }), !text.isEmpty { status["selector"] = JSON(text) }
    return [
      "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata,
      "spec": ["replicas": JSON(tree.at(specReplicas)?.integer ?? 0)], "status": status,
    ]
  }
}

/// Printer columns of a definition.
enum CustomColumns {
  static func printer(_ version: JSON) -> TablePrinter {
    let declared = version["additionalPrinterColumns"]?.elements ?? []
    if declared.isEmpty {
      return TablePrinter(columns: [TablePrinter.name, age]) { object, now in
        [JSON(object.name), cell(object["metadata"]?["creationTimestamp"], "date", now)]
      }
    }
    var columns = [TablePrinter.name]
    var paths: [(path: JSONPath?, type: String)] = []
    for column in declared {
      let type = column["type"]?.string ?? "string"
      columns.append(
        TableColumn(
          column["name"]?.string ?? "", type: type, format: column["format"]?.string ?? "",
          priority: column["priority"]?.int ?? 0, column["description"]?.string ?? ""))
      paths.append((column["jsonPath"]?.string.flatMap { try? JSONPath($0) }, type))
    }
    let cells = paths
    return TablePrinter(columns: columns) { object, now in
      [JSON(object.name)]
        + cells.map { path, type in cell(path?.values(in: object).first, type, now) }
    }
  }

  private static let age = TableColumn("Age", type: "date", "Time since the object was made.")

  /// A value as its column shows it; null where it has another type.
  static func cell(_ value: JSON?, _ type: String, _ now: KubeTime) -> JSON {
    guard let value, !value.isNull else { return .null }
    switch type {
    case "integer":
      if let number = value.double, let whole = Int64(exactly: number.rounded(.towardZero)) {
        return JSON(whole)
      }
    case "number": if value.double != nil { return value }
    case "boolean": if value.bool != nil { return value }
    case "date":
      guard let text = value.string else { return .null }
      return KubeTime(text) == nil ? "<invalid>" : JSON(KubeTime.age(of: text, now: now))
    default: return JSON(value.string ?? value.text)
    }
    return .null
  }
}
