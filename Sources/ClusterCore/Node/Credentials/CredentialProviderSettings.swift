// Which programs know logins of which registries: kubelet's `CredentialProviderConfig` (kubelet.config.k8s.io/v1, KEP-2133).
// Pure, but for the look at the programs.

import ClusterClient
import ClusterObjects
import Diagnostics

/// One program.
public struct CredentialProvider: Sendable, Hashable {
  /// Also the program's file name.
  public var name: String
  /// Registries, with `*` for parts of a name, then the beginning of a path.
  public var matchImages: [String]
  /// For answers that say nothing of their own.
  public var defaultCacheSeconds: Double
  public var arguments: [String] = []
  public var environment: [String: String] = [:]

  /// Whether it is asked for an image; `path` is the image's name with its registry, without tag and digest.
  func isFor(_ path: String) -> Bool { matchImages.contains { matchesRegistry($0, path) } }
}

/// The providers of a node.
public struct CredentialProviderSettings: Sendable, Hashable {
  public static let apiVersion = "kubelet.config.k8s.io/v1"
  public static let kind = "CredentialProviderConfig"
  static let protocolVersion = "credentialprovider.kubelet.k8s.io/v1"
  static let bytesMax = 1 << 20

  public var providers: [CredentialProvider]
  /// Where the programs are.
  public var folder: String

  /// Reads a file, or each `.json`, `.yaml` and `.yml` file of a folder in the order of their names, and looks for the programs.
  /// Errors: `NOD0040` with everything that is wrong, `NOD0041` for a program that is not there.
  public init(path: String, folder: String) throws(WeftError) {
    var paths = [path]
    if Files.info(path, followingLinks: true)?.isDirectory == true {
      paths = Files.list(path).filter { name in
        [".json", ".yaml", ".yml"].contains { name.hasSuffix($0) }
      }.map { "\(path)/\($0)" }
    }
    providers = []
    self.folder = folder
    for path in paths {
      guard let text = Files.readText(path, bytesMax: Self.bytesMax) else {
        throw Self.refusal(path, ["it cannot be read"])
      }
      providers += try Self.providers(text, path: path)
    }
    if providers.isEmpty { throw Self.refusal(path, ["providers: at least one is needed"]) }
    let names = providers.map(\.name)
    if let twice = names.first(where: { name in names.count { $0 == name } > 1 }) {
      throw Self.refusal(path, ["provider \(twice): the name is there twice"])
    }
    for name in names where !Files.isExecutable("\(folder)/\(name)") {
      throw WeftError(
        "NOD0041", object: "\(folder)/\(name)",
        cause: "credential provider \(name) has no program that can be run there",
        next: "put it there, or take the provider out of \(path)")
    }
  }

  /// The providers of one document. Throws `NOD0040`.
  static func providers(_ text: String, path: String) throws(WeftError) -> [CredentialProvider] {
    let tree: JSON
    do throws(YAMLError) {
      tree = try YAML.parse(text)
    } catch {
      throw refusal(error.line > 0 ? "\(path):\(error.line)" : path, [error.reason])
    }
    guard tree.kind == kind, tree.apiVersion == apiVersion else {
      throw refusal(path, ["it must begin with apiVersion: \(apiVersion) and kind: \(kind)"])
    }
    var reader = CredentialProviderReader()
    reader.known(["apiVersion", "kind", "providers"], of: tree, at: "")
    guard let entries = tree["providers"]?.array, !entries.isEmpty else {
      throw refusal(path, ["providers: at least one is needed"])
    }
    let providers = entries.enumerated().compactMap { reader.provider($1, at: "providers[\($0)]") }
    guard reader.problems.isEmpty else { throw refusal(path, reader.problems) }
    return providers
  }

  private static func refusal(_ path: String, _ problems: [String]) -> WeftError {
    WeftError(
      "NOD0040", object: path, cause: problems.joined(separator: "; "),
      next: "correct it; a field's meaning is told at kubernetes.io/docs/tasks/administer-cluster/"
        + "kubelet-credential-provider")
  }
}

/// Collects what is wrong, so that all of it is said at once.
private struct CredentialProviderReader {
  var problems: [String] = []

  mutating func known(_ fields: Set<String>, of tree: JSON, at place: String) {
    for key in tree.object?.keys ?? [] where !fields.contains(key) {
      problems.append("\(place.isEmpty ? "" : place + ".")\(key): no such field")
    }
  }

  mutating func provider(_ tree: JSON, at place: String) -> CredentialProvider? {
    known(
      ["name", "matchImages", "defaultCacheDuration", "apiVersion", "args", "env", "tokenAttributes"],
      of: tree, at: place)
    if tree["tokenAttributes"] != nil {
      problems.append("\(place).tokenAttributes: this node gives providers no tokens of service accounts")
    }
    let name = tree["name"]?.string ?? ""
    if name.isEmpty || [".", ".."].contains(name) || name.contains(where: { $0 == "/" || $0.isWhitespace }) {
      problems.append("\(place).name: must be the name of a program, without a path")
    }
    let version = tree["apiVersion"]?.string ?? ""
    if version != CredentialProviderSettings.protocolVersion {
      problems.append("\(place).apiVersion: must be \(CredentialProviderSettings.protocolVersion)")
    }
    let images = texts(tree["matchImages"], "\(place).matchImages") ?? []
    if images.isEmpty { problems.append("\(place).matchImages: at least one is needed") }
    for image in images where image.isEmpty || image.contains("://") || image.hasPrefix("/") {
      problems.append("\(place).matchImages: \"\(image)\" is no registry; write it without https://")
    }
    let seconds = tree["defaultCacheDuration"]?.string.flatMap { GoDuration.seconds($0) }
    if seconds == nil { problems.append("\(place).defaultCacheDuration: must be a duration, as 12h or 0s") }
    var environment: [String: String] = [:]
    for (index, entry) in (tree["env"]?.elements ?? []).enumerated() {
      guard let name = entry["name"]?.string, !name.isEmpty, !name.contains("="),
        let value = entry["value"]?.string
      else {
        problems.append("\(place).env[\(index)]: must have a name and a value")
        continue
      }
      environment[name] = value
    }
    return CredentialProvider(
      name: name, matchImages: images, defaultCacheSeconds: seconds ?? 0,
      arguments: texts(tree["args"], "\(place).args") ?? [], environment: environment)
  }

  private mutating func texts(_ value: JSON?, _ place: String) -> [String]? {
    guard let value, !value.isNull else { return nil }
    guard let elements = value.array, elements.allSatisfy({ $0.string != nil }) else {
      problems.append("\(place): must be a list of strings")
      return nil
    }
    return elements.compactMap(\.string)
  }
}
