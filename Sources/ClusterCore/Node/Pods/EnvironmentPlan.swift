// The environment a container starts with: variables of Services, of whole ConfigMaps and Secrets, and its own, with
// `$(NAME)` replaced. Pure.

import ClusterObjects

/// Replaces `$(NAME)` by its value; an unknown name stays as written, and `$$` is a dollar sign.
func expandVariables(_ text: String, _ values: [String: String]) -> String {
  guard text.contains("$") else { return text }
  var out = ""
  var rest = text[...]
  while let dollar = rest.firstIndex(of: "$") {
    out += rest[..<dollar]
    let after = rest.index(after: dollar)
    guard after < rest.endIndex else {
      out += "$"
      return out
    }
    if rest[after] == "$" {
      out += "$"
      rest = rest[rest.index(after: after)...]
    } else if rest[after] == "(", let end = rest[after...].firstIndex(of: ")") {
      let name = String(rest[rest.index(after: after)..<end])
      out += values[name] ?? String(rest[dollar...end])
      rest = rest[rest.index(after: end)...]
    } else {
      out += "$"
      rest = rest[after...]
    }
  }
  return out + rest
}

/// Variables of the Services a pod sees: those of its namespace and the API server's, in the form of `HOST`, `PORT` and
/// Docker's links.
func planServiceEnvironment(_ services: [JSON], namespace: String, allServices: Bool) -> [(String, String)] {
  var out: [(String, String)] = []
  for service in services.sorted(by: { $0.key < $1.key }) {
    let isAPI = service.namespace == "default" && service.name == "kubernetes"
    guard isAPI || (allServices && service.namespace == namespace),
      let address = service.at("spec", "clusterIP")?.string, !address.isEmpty, address != "None"
    else { continue }
    let name = service.name.uppercased().replacing("-", with: "_")
    let ports = service.at("spec", "ports")?.elements ?? []
    guard let first = ports.first?["port"]?.int else { continue }
    out.append(("\(name)_SERVICE_HOST", address))
    out.append(("\(name)_SERVICE_PORT", "\(first)"))
    for port in ports {
      guard let portName = port["name"]?.string, !portName.isEmpty, let number = port["port"]?.int else {
        continue
      }
      out.append(("\(name)_SERVICE_PORT_\(portName.uppercased().replacing("-", with: "_"))", "\(number)"))
    }
    let host = address.contains(":") ? "[\(address)]" : address
    for (index, port) in ports.enumerated() {
      guard let number = port["port"]?.int else { continue }
      let proto = (port["protocol"]?.string ?? "TCP").lowercased()
      let url = "\(proto)://\(host):\(number)"
      if index == 0 { out.append(("\(name)_PORT", url)) }
      let prefix = "\(name)_PORT_\(number)_\(proto.uppercased())"
      out.append((prefix, url))
      out.append((prefix + "_PROTO", proto))
      out.append((prefix + "_PORT", "\(number)"))
      out.append((prefix + "_ADDR", address))
    }
  }
  return out
}

/// What a field reference of the downward API reads: `metadata.name`, `status.podIP`, `metadata.labels['app']`.
func readField(_ pod: JSON, _ path: String) -> String? {
  for (prefix, map) in [("metadata.labels", pod.labels), ("metadata.annotations", pod.annotations)] {
    if path == prefix {
      return map.sorted { $0.key < $1.key }.map { "\($0.key)=\(JSON($0.value).text)" }.joined(separator: "\n")
    }
    if path.hasPrefix(prefix + "['"), path.hasSuffix("']") {
      return map[String(path.dropFirst(prefix.count + 2).dropLast(2))] ?? ""
    }
  }
  switch path {
  case "status.podIPs":
    return pod.at("status", "podIPs")?.elements.compactMap { $0["ip"]?.string }.joined(separator: ",")
  case "status.hostIPs":
    return pod.at("status", "hostIPs")?.elements.compactMap { $0["ip"]?.string }.joined(separator: ",")
  case "spec.serviceAccountName": return pod.at("spec", "serviceAccountName")?.string ?? "default"
  case "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "status.podIP",
    "status.hostIP":
    return pod.at(path.split(separator: ".").map(String.init))?.string ?? ""
  default: return nil
  }
}

/// What a resource field reference reads, in units of its divisor; for a limit not set, the node's own amount.
func readResource(_ container: JSON, _ reference: JSON, capacity: [String: Int64]) -> String? {
  guard let resource = reference["resource"]?.string else { return nil }
  let parts = resource.split(separator: ".", maxSplits: 1).map(String.init)
  guard parts.count == 2 else { return nil }
  let given = PodSpec.amount(container.at("resources", parts[0], parts[1]))
  let milli = given ?? (parts[0] == "limits" ? capacity[parts[1]] : nil) ?? 0
  // Without one the API says "0", which stands for 1.
  let asked = PodSpec.amount(reference["divisor"]) ?? 0
  let divisor = asked > 0 ? asked : 1000
  return "\((milli + divisor - 1) / divisor)"
}

/// A reference that has nothing behind it: the container waits, and says for what.
struct MissingReference: Error {
  var message: String
  /// The volume that cannot be made without it.
  var volume: String?

  init(message: String) { self.message = message }

  /// As kubelet's event has it.
  var mountWords: String {
    if message.hasPrefix("MountVolume.") { return message }
    return "MountVolume.SetUp failed\(volume.map { " for volume \"\($0)\" " } ?? ""): \(message)"
  }
}

/// The variables of a container, in order, later ones winning. `data` gives what a `configMap` or a
/// `secret` of this name holds.
func planEnvironment(
  _ container: JSON, pod: JSON, services: [(String, String)], capacity: [String: Int64],
  data: (_ kind: String, _ name: String) -> [String: [UInt8]]?
) throws(MissingReference) -> [(String, String)] {
  var values: [String: String] = [:]
  var order: [String] = []
  func set(_ name: String, _ value: String) {
    if values.updateValue(value, forKey: name) == nil { order.append(name) }
  }
  for (name, value) in services { set(name, value) }
  for source in container["envFrom"]?.elements ?? [] {
    let prefix = source["prefix"]?.string ?? ""
    for kind in ["configMap", "secret"] {
      guard let reference = source[kind + "Ref"], let name = reference["name"]?.string else { continue }
      guard let found = data(kind, name) else {
        if reference["optional"]?.bool == true { continue }
        throw MissingReference(message: "\(kind.lowercased()) \"\(name)\" not found")
      }
      for (key, value) in found.sorted(by: { $0.key < $1.key }) {
        set(prefix + key, String(decoding: value, as: UTF8.self))
      }
    }
  }
  for variable in container["env"]?.elements ?? [] {
    guard let name = variable["name"]?.string else { continue }
    guard let from = variable["valueFrom"] else {
      set(name, expandVariables(variable["value"]?.string ?? "", values))
      continue
    }
    if let path = from.at("fieldRef", "fieldPath")?.string {
      guard let value = readField(pod, path) else { throw MissingReference(message: "no field \(path)") }
      set(name, value)
    } else if let reference = from["resourceFieldRef"] {
      var owner = container
      if let other = reference["containerName"]?.string, !other.isEmpty {
        owner = PodSpec(pod).all.first { $0.name == other }?.tree ?? container
      }
      guard let value = readResource(owner, reference, capacity: capacity) else {
        throw MissingReference(message: "no resource \(reference["resource"]?.string ?? "")")
      }
      set(name, value)
    }
    for kind in ["configMap", "secret"] {
      guard let reference = from[kind + "KeyRef"], let object = reference["name"]?.string,
        let key = reference["key"]?.string
      else { continue }
      let isOptional = reference["optional"]?.bool == true
      guard let found = data(kind, object) else {
        if isOptional { continue }
        throw MissingReference(message: "\(kind.lowercased()) \"\(object)\" not found")
      }
      guard let value = found[key] else {
        if isOptional { continue }
        throw MissingReference(message: "couldn't find key \(key) in \(kind) \(pod.namespace)/\(object)")
      }
      set(name, String(decoding: value, as: UTF8.self))
    }
  }
  return order.map { ($0, values[$0] ?? "") }
}
