// Which files a volume made of objects holds: configMap, secret, downwardAPI and projected. Pure.

import ClusterObjects

/// A file to be, by its path inside the volume.
struct VolumeFile: Sendable, Hashable {
  var path: String
  var bytes: [UInt8]
  var mode: UInt32
}

/// Looks objects up for volumes and environments.
struct PodData: Sendable {
  /// Data of a `configMap` or `secret` by `kind/name`; missing ones are absent.
  var objects: [String: [String: [UInt8]]] = [:]
  /// Tokens for projected service account tokens.
  var tokens: [TokenWish: String] = [:]
  /// Certificates for sources that ask for bundles; those that are not there are absent.
  var trust: [TrustWish: String] = [:]
  /// The resourceVersion of each object asked for; empty for one that is not there.
  var versions: [String: String] = [:]
  /// What stands behind volumes that name a claim, by the volume's name in the pod.
  var claimed: [String: ClaimedVolume] = [:]

  func data(_ kind: String, _ name: String) -> [String: [UInt8]]? { objects[kind + "/" + name] }
}

/// What a `serviceAccountToken` source asks for.
func tokenWish(_ source: JSON) -> TokenWish {
  TokenWish(
    audience: source["audience"]?.string ?? "", seconds: source["expirationSeconds"]?.int ?? 3600)
}

/// The objects a pod refers to, as `kind/name`, and the tokens it asks for. With `inVolumes` those alone that are in files,
/// which change while the pod runs.
func planReferences(_ pod: JSON, inVolumes: Bool = false) -> (objects: Set<String>, tokens: Set<TokenWish>) {
  var objects: Set<String> = []
  var tokens: Set<TokenWish> = []
  func add(_ kind: String, _ name: JSON?) {
    if let name = name?.string, !name.isEmpty { objects.insert(kind + "/" + name) }
  }
  let spec = PodSpec(pod)
  for container in inVolumes ? [] : spec.all + spec.ephemeralContainers {
    for source in container.tree["envFrom"]?.elements ?? [] {
      add("configMap", source.at("configMapRef", "name"))
      add("secret", source.at("secretRef", "name"))
    }
    for variable in container.tree["env"]?.elements ?? [] {
      add("configMap", variable.at("valueFrom", "configMapKeyRef", "name"))
      add("secret", variable.at("valueFrom", "secretKeyRef", "name"))
    }
  }
  for volume in pod.at("spec", "volumes")?.elements ?? [] {
    add("configMap", volume.at("configMap", "name"))
    add("secret", volume.at("secret", "secretName"))
    for source in volume.at("projected", "sources")?.elements ?? [] {
      add("configMap", source.at("configMap", "name"))
      add("secret", source.at("secret", "name"))
      if let token = source["serviceAccountToken"] { tokens.insert(tokenWish(token)) }
    }
  }
  return (objects, tokens)
}

/// The files of an object volume; nil when the volume is of another kind. Throws `MissingReference`.
func planVolumeFiles(_ volume: JSON, pod: JSON, data: PodData, capacity: [String: Int64])
  throws(MissingReference)
  -> [VolumeFile]?
{
  func mode(_ value: JSON?, _ standard: JSON?) -> UInt32 {
    UInt32(clamping: value?.int ?? standard?.int ?? 0o644) & 0o777
  }
  func objectFiles(_ kind: String, _ source: JSON, _ nameKey: String, _ standard: JSON?)
    throws(MissingReference) -> [VolumeFile]
  {
    let name = source[nameKey]?.string ?? ""
    let isOptional = source["optional"]?.bool == true
    guard let content = data.data(kind, name) else {
      if isOptional { return [] }
      throw MissingReference(message: "\(kind.lowercased()) \"\(name)\" not found")
    }
    guard let items = source["items"]?.array else {
      return content.sorted { $0.key < $1.key }.map {
        VolumeFile(path: $0.key, bytes: $0.value, mode: mode(nil, standard))
      }
    }
    var files: [VolumeFile] = []
    for item in items {
      guard let key = item["key"]?.string, let path = item["path"]?.string, isSafeRelativePath(path) else {
        continue
      }
      guard let bytes = content[key] else {
        if isOptional { continue }
        throw MissingReference(message: "\(kind.lowercased()) \"\(name)\" has no key \(key)")
      }
      files.append(VolumeFile(path: path, bytes: bytes, mode: mode(item["mode"], standard)))
    }
    return files
  }
  func downwardFiles(_ items: [JSON], _ standard: JSON?) throws(MissingReference) -> [VolumeFile] {
    var files: [VolumeFile] = []
    for item in items {
      guard let path = item["path"]?.string, isSafeRelativePath(path) else { continue }
      var text: String?
      if let field = item.at("fieldRef", "fieldPath")?.string { text = readField(pod, field) }
      if let reference = item["resourceFieldRef"] {
        let owner = PodSpec(pod).all.first { $0.name == reference["containerName"]?.string }
        text = owner.flatMap { readResource($0.tree, reference, capacity: capacity) }
      }
      guard let text else { throw MissingReference(message: "downward API item \(path) cannot be read") }
      files.append(VolumeFile(path: path, bytes: Array(text.utf8), mode: mode(item["mode"], standard)))
    }
    return files
  }
  if let source = volume["configMap"] {
    return try objectFiles("configMap", source, "name", source["defaultMode"])
  }
  if let source = volume["secret"] {
    return try objectFiles("secret", source, "secretName", source["defaultMode"])
  }
  if let source = volume["downwardAPI"] {
    return try downwardFiles(source["items"]?.elements ?? [], source["defaultMode"])
  }
  guard let projected = volume["projected"] else { return nil }
  let standard = projected["defaultMode"]
  var files: [VolumeFile] = []
  for source in projected["sources"]?.elements ?? [] {
    if let map = source["configMap"] { files += try objectFiles("configMap", map, "name", standard) }
    if let secret = source["secret"] { files += try objectFiles("secret", secret, "name", standard) }
    if let downward = source["downwardAPI"] {
      files += try downwardFiles(downward["items"]?.elements ?? [], standard)
    }
    if let token = source["serviceAccountToken"], let path = token["path"]?.string, isSafeRelativePath(path) {
      guard let text = data.tokens[tokenWish(token)] else {
        throw MissingReference(message: "no token could be had for the service account")
      }
      files.append(VolumeFile(path: path, bytes: Array(text.utf8), mode: mode(nil, standard)))
    }
    if let bundle = source["clusterTrustBundle"], let path = bundle["path"]?.string, isSafeRelativePath(path)
    {
      let wish = TrustWish(bundle)
      let text = data.trust[wish]
      if text == nil, bundle["optional"]?.bool != true { throw MissingReference(message: wish.words) }
      files.append(VolumeFile(path: path, bytes: Array((text ?? "").utf8), mode: mode(nil, standard)))
    }
  }
  return files
}

/// Whether a path stays inside the folder it is joined to.
func isSafeRelativePath(_ path: String) -> Bool {
  !path.isEmpty && !path.hasPrefix("/") && !path.split(separator: "/").contains("..")
}
