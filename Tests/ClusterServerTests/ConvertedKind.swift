// A custom kind of several versions that a webhook converts: its definition, and the webhook's answers by one function.

import ClusterObjects
import ClusterServer

/// The kind.
struct ConvertedKind {
  struct Version {
    var name: String
    /// Of the root's schema.
    var properties: JSON
    var selectableFields: [String] = []
  }
  var group: String
  var plural: String
  var kind: String
  var versions: [Version]
  var stored: String
  var path = "/convert"
  var reviewVersions = ["v1"]

  /// Objects of which only `spec` has fields.
  static func spec(_ fields: JSON) -> JSON { ["spec": ["type": "object", "properties": fields]] }

  /// The CustomResourceDefinition, converted by `hook`.
  func definition(_ hook: WebhookServer) -> JSON {
    let versions = versions.map { version -> JSON in
      var entry: JSON = [
        "name": JSON(version.name), "served": true, "storage": JSON(version.name == stored),
        "schema": ["openAPIV3Schema": ["type": "object", "properties": version.properties]],
      ]
      if !version.selectableFields.isEmpty {
        entry["selectableFields"] = .array(version.selectableFields.map { ["jsonPath": JSON($0)] })
      }
      return entry
    }
    return [
      "metadata": ["name": JSON("\(plural).\(group)")],
      "spec": [
        "group": JSON(group), "scope": "Namespaced", "names": ["plural": JSON(plural), "kind": JSON(kind)],
        "versions": .array(versions),
        "conversion": [
          "strategy": "Webhook",
          "webhook": [
            "conversionReviewVersions": JSON(reviewVersions),
            "clientConfig": ["url": JSON(hook.url(path)), "caBundle": JSON(hook.caBundle)],
          ],
        ],
      ],
    ]
  }

  /// A webhook that converts each object: `convert` gets the object, its `apiVersion` set already, and the version by its name.
  static func converting(_ convert: @escaping @Sendable (JSON, String) -> JSON) -> WebhookServer.Decide {
    { _, request in
      let wanted = request["desiredAPIVersion"]?.string ?? ""
      let objects = (request["objects"]?.elements ?? []).map { converted($0, to: wanted, convert) }
      return .response(["result": ["status": "Success"], "convertedObjects": .array(objects)])
    }
  }

  static func converted(
    _ object: JSON, to apiVersion: String, _ convert: @Sendable (JSON, String) -> JSON
  ) -> JSON {
    var result = object
    result["apiVersion"] = JSON(apiVersion)
    return convert(result, apiVersion.split(separator: "/").last.map(String.init) ?? "")
  }
}
