// What is remembered of devices over restarts of the agent: who has which, and what they got for it. Beside the sockets,
// as kubelet keeps its own; the form is ours.

import ClusterObjects
import Diagnostics
import Logging

/// The file, read and written whole.
struct DeviceCheckpoint: Sendable, Hashable {
  static let fileName = "weft_device_checkpoint"
  private static let bytesMax = 16 << 20

  var allocations: [DeviceAllocation] = []
  /// Resources that were once served.
  var resources: Set<String> = []

  var tree: JSON {
    [
      "version": 1, "registeredResources": JSON(resources.sorted()),
      "podDeviceEntries": .array(
        allocations.map { entry in
          [
            "podUID": JSON(entry.pod), "containerName": JSON(entry.container),
            "resourceName": JSON(entry.resource), "deviceIDs": JSON(entry.ids.sorted()),
            "allocResp": JSON(Base64.encode(entry.grant.wire)),
          ]
        }),
    ]
  }

  init(allocations: [DeviceAllocation] = [], resources: Set<String> = []) {
    self.allocations = allocations
    self.resources = resources
  }

  /// Nil when it is none of ours, or damaged anywhere: half of it would give a device to two containers.
  init?(_ tree: JSON) {
    guard tree["version"]?.int == 1, let entries = tree["podDeviceEntries"]?.array else { return nil }
    resources = Set(tree["registeredResources"]?.elements.compactMap(\.string) ?? [])
    for entry in entries {
      guard let pod = entry["podUID"]?.string, let container = entry["containerName"]?.string,
        let resource = entry["resourceName"]?.string, let ids = entry["deviceIDs"]?.array,
        let bytes = entry["allocResp"]?.string.flatMap({ Base64.decode($0) }),
        let grant = try? DeviceGrant(wire: bytes[...])
      else { return nil }
      allocations.append(
        DeviceAllocation(
          pod: pod, container: container, resource: resource, ids: Set(ids.compactMap(\.string)), grant: grant
        ))
    }
  }

  static func read(_ folder: String) -> DeviceCheckpoint {
    let path = "\(folder)/\(fileName)"
    guard let bytes = Files.read(path, bytesMax: bytesMax) else { return DeviceCheckpoint() }
    if let tree = try? JSON(parsing: bytes), let found = DeviceCheckpoint(tree) { return found }
    Logger(label: "node").warning(
      "what was remembered of devices cannot be read; pods that run keep what they have, unknown to the node",
      metadata: ["path": "\(path)"])
    return DeviceCheckpoint()
  }

  func write(_ folder: String) throws {
    try Files.write("\(folder)/\(Self.fileName)", tree.bytes, mode: 0o600, atomically: true)
  }
}
