// A CNI configuration list as a runtime reads it: which plugins, in which version, with what on standard input.

import ClusterObjects

/// The parts of a configuration list that GC and STATUS need. Pure.
struct PluginList: Sendable, Hashable {
  var name: String
  /// The newest version that the list names and that we speak.
  var version: String
  var plugins: [JSON]
  var disablesGC: Bool

  /// Those that the plugins of a list may be asked in, oldest first. GC and STATUS came with the last.
  static let versions = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]
  var knowsUpkeep: Bool { version == Self.versions.last }

  /// Nil for what is no list: then there is nobody to ask.
  init?(_ tree: JSON) {
    guard let name = tree["name"]?.string, !name.isEmpty, let plugins = tree["plugins"]?.elements,
      plugins.allSatisfy({ Self.isProgram($0["type"]?.string ?? "") }), !plugins.isEmpty
    else { return nil }
    self.name = name
    self.plugins = plugins
    disablesGC = tree["disableGC"]?.bool ?? false
    let named =
      [tree["cniVersion"]?.string ?? "0.1.0"] + (tree["cniVersions"]?.elements ?? []).compactMap(\.string)
    guard let best = named.compactMap({ Self.versions.firstIndex(of: $0) }).max() else { return nil }
    version = Self.versions[best]
  }

  /// A program's name and not a path: it is looked for in one folder.
  private static func isProgram(_ type: String) -> Bool {
    !type.isEmpty && !type.contains("/") && type != ".."
  }

  /// What a plugin of the list reads: its own part, with the name and the version, without what is the runtime's.
  func input(_ plugin: JSON, adding extra: [(String, JSON)] = []) -> JSON {
    var tree = plugin
    tree.set(nil, at: "capabilities")
    tree["cniVersion"] = JSON(version)
    tree["name"] = JSON(name)
    for (key, value) in extra { tree[key] = value }
    return tree
  }

  /// `cni.dev/valid-attachments`: every other attachment of the network is garbage.
  static func validAttachments(_ sandboxes: [String]) -> JSON {
    .array(sandboxes.sorted().map { ["containerID": JSON($0), "ifname": "eth0"] })
  }
}
