// Who a registry is told we are: the pull secrets of a pod, matched with an image's name. Pure.

import ClusterObjects

/// One login. Never logged.
struct RegistryLogin: Sendable, Hashable {
  var username = ""
  var password = ""
  var identityToken = ""
  var registryToken = ""
}

/// The logins that a pod's pull secrets have for an image, the most specific first; each of `secrets` is a Secret's data.
func planLogins(image: String, secrets: [[String: [UInt8]]]) -> [RegistryLogin] {
  planLogins(
    image: image,
    entries: secrets.compactMap { data in
      if let bytes = data[".dockerconfigjson"], let tree = try? JSON(parsing: bytes) { return tree["auths"] }
      return data[".dockercfg"].flatMap { try? JSON(parsing: $0) }
    })
}

/// The same of maps from registries to logins.
func planLogins(image: String, entries: [JSON]) -> [RegistryLogin] {
  var found: [(length: Int, login: RegistryLogin)] = []
  let name = registryPath(image)
  for entries in entries {
    for key in entries.object?.keys ?? [] {
      guard let entry = entries[key], let login = registryLogin(entry), matchesRegistry(key, name) else {
        continue
      }
      found.append((key.utf8.count, login))
    }
  }
  // A stable order, so that what is tried first does not change from start to start.
  return found.enumerated().sorted { ($1.element.length, $0.offset) < ($0.element.length, $1.offset) }
    .map(\.element.login)
}

private func registryLogin(_ entry: JSON) -> RegistryLogin? {
  var login = RegistryLogin(
    username: entry["username"]?.string ?? "", password: entry["password"]?.string ?? "",
    identityToken: entry["identitytoken"]?.string ?? "", registryToken: entry["registrytoken"]?.string ?? "")
  if login.username.isEmpty, let coded = entry["auth"]?.string {
    let text = String(decoding: Base64.decode(coded) ?? [], as: UTF8.self)
    guard let colon = text.firstIndex(of: ":") else { return nil }
    login.username = String(text[..<colon])
    login.password = String(text[text.index(after: colon)...].filter { $0 != "\0" })
  }
  return login == RegistryLogin() ? nil : login
}

/// An image's name with its registry, without tag and digest: `nginx:1` is `docker.io/library/nginx`.
func registryPath(_ image: String) -> String {
  var name = image.split(separator: "@", maxSplits: 1, omittingEmptySubsequences: false)[0]
  if let colon = name.lastIndex(of: ":"), !name[colon...].contains("/") { name = name[..<colon] }
  let parts = name.split(separator: "/", omittingEmptySubsequences: false)
  let hasRegistry =
    parts.count > 1 && (parts[0].contains(".") || parts[0].contains(":") || parts[0] == "localhost")
  if hasRegistry { return String(name) }
  return parts.count > 1 ? "docker.io/\(name)" : "docker.io/library/\(name)"
}

/// Whether an entry of a pull secret or of a credential provider is for an image: the registry with `*` for parts of its name,
/// then the beginning of the path.
func matchesRegistry(_ entry: String, _ name: String) -> Bool {
  var key = entry[...]
  for scheme in ["https://", "http://"] where key.hasPrefix(scheme) { key = key.dropFirst(scheme.count) }
  while key.hasSuffix("/") { key = key.dropLast() }
  // Docker's own registry is known under its first address.
  for ending in ["/v1", "/v2"] where key.hasSuffix(ending) { key = key.dropLast(ending.count) }
  if ["index.docker.io", "registry-1.docker.io"].contains(String(key)) { key = "docker.io" }
  let wanted = key.split(separator: "/", omittingEmptySubsequences: false)
  let have = name.split(separator: "/", omittingEmptySubsequences: false)
  guard let host = wanted.first, let actual = have.first, wanted.count <= have.count else { return false }
  let hostParts = host.split(separator: ".", omittingEmptySubsequences: false)
  let actualParts = actual.split(separator: ".", omittingEmptySubsequences: false)
  guard hostParts.count == actualParts.count,
    zip(hostParts, actualParts).allSatisfy({ matchesPart($0, $1) })
  else { return false }
  return zip(wanted.dropFirst(), have.dropFirst()).allSatisfy { $0 == $1 }
}

/// Each `*` stands for any characters of a part, each `?` for one. Linear but for the stars: the last one alone is tried again.
private func matchesPart(_ pattern: Substring, _ text: Substring) -> Bool {
  let (pattern, text) = (Array(pattern.utf8), Array(text.utf8))
  var (at, position) = (0, 0)
  var star: (at: Int, position: Int)?
  while position < text.count {
    if at < pattern.count, pattern[at] == UInt8(ascii: "*") {
      star = (at, position)
      at += 1
    } else if at < pattern.count, pattern[at] == text[position] || pattern[at] == UInt8(ascii: "?") {
      at += 1
      position += 1
    } else if let last = star {
      star = (last.at, last.position + 1)
      (at, position) = (last.at + 1, last.position + 1)
    } else {
      return false
    }
  }
  return pattern[at...].allSatisfy { $0 == UInt8(ascii: "*") }
}

/// Why a container that may not be root would be; nil when it is not, or may. Pure.
func planNonRootRefusal(_ container: ContainerSpec, _ spec: PodSpec, _ image: CRI.Image?) -> String? {
  let own = container.tree["securityContext"]
  let pod = spec.pod.at("spec", "securityContext")
  guard (own?["runAsNonRoot"] ?? pod?["runAsNonRoot"])?.bool == true else { return nil }
  let words =
    "(pod: \"\(spec.pod.name)_\(spec.pod.namespace)(\(spec.pod.uid))\", container: \(container.name))"
  if let user = (own?["runAsUser"] ?? pod?["runAsUser"])?.integer {
    return user == 0 ? "container's runAsUser breaks non-root policy \(words)" : nil
  }
  guard let image else { return nil }
  if !image.username.isEmpty {
    return
      "container has runAsNonRoot and image has non-numeric user (\(image.username)), cannot verify user is non-root "
      + words
  }
  return !image.hasUid || image.uid.value == 0
    ? "container has runAsNonRoot and image will run as root \(words)" : nil
}

/// Whether an image's name can be one: `[REGISTRY/]PATH[:TAG][@DIGEST]`, the path in small letters.
func isImageReference(_ text: String) -> Bool {
  guard text.utf8.count <= 4096 else { return false }
  let halves = text.split(separator: "@", maxSplits: 1, omittingEmptySubsequences: false)
  if halves.count == 2 {
    let digest = halves[1].split(separator: ":", omittingEmptySubsequences: false)
    guard digest.count == 2, !digest[0].isEmpty, digest[1].utf8.count >= 32,
      digest[1].utf8.allSatisfy({ isLetterOrDigit($0, capitals: true) })
    else { return false }
  }
  var name = halves[0]
  if let colon = name.lastIndex(of: ":"), !name[colon...].contains("/") {
    let tag = name[name.index(after: colon)...].utf8
    guard (1...128).contains(tag.count), tag.first != 0x2e, tag.first != 0x2d,
      tag.allSatisfy({ isLetterOrDigit($0, capitals: true) || [0x2e, 0x2d, 0x5f].contains($0) })
    else { return false }
    name = name[..<colon]
  }
  var parts = name.split(separator: "/", omittingEmptySubsequences: false)
  if parts.count > 1,
    parts[0].contains(".") || parts[0].contains(":") || parts[0] == "localhost"
      || parts[0].contains(where: \.isUppercase)
  {
    let registry = parts.removeFirst().utf8
    guard !registry.isEmpty,
      registry.allSatisfy({
        isLetterOrDigit($0, capitals: true) || [0x2e, 0x2d, 0x3a, 0x5b, 0x5d].contains($0)
      })
    else { return false }
  }
  return !parts.isEmpty
    && parts.allSatisfy { part in
      guard let first = part.utf8.first, let last = part.utf8.last else { return false }
      return isLetterOrDigit(first, capitals: false) && isLetterOrDigit(last, capitals: false)
        && part.utf8.allSatisfy { isLetterOrDigit($0, capitals: false) || [0x2e, 0x2d, 0x5f].contains($0) }
    }
}

private func isLetterOrDigit(_ byte: UInt8, capitals: Bool) -> Bool {
  (0x61...0x7a).contains(byte) || (0x30...0x39).contains(byte) || capitals && (0x41...0x5a).contains(byte)
}
