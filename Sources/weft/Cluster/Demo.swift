// The demo's objects, from the manifest that travels in the binary. What is there already stays as the user left it.

import ClusterClient
import ClusterObjects
import Diagnostics

enum Demo {
  static func apply(_ api: any ClusterAPI) async throws {
    for object in try YAML.parseAll(String(decoding: PackageResources.demo_yaml, as: UTF8.self)).map(\.value)
    {
      guard let kind = KindRegistry.builtin.kind(apiVersion: object.apiVersion, kind: object.kind) else {
        continue
      }
      do {
        _ = try await api.get(kind.gvr, namespace: object.namespace, name: object.name)
      } catch let refusal as APIStatusError where refusal.isNotFound {
        _ = try await api.create(kind.gvr, object, options: WriteOptions(fieldManager: "weft-demo"))
      }
    }
  }
}
