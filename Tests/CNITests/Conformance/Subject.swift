// Whose plugins are asked: ours under the reference's names, or the reference plugins themselves.
import CNI
import Glibc
import KernelNetlink
import Testing

/// What a requirement says when it is not met.
struct Unmet: Error, CustomStringConvertible {
  var description: String
  init(_ description: String) { self.description = description }
}

func meet(_ condition: Bool, _ otherwise: @autoclosure () throws -> String) throws {
  if !condition { throw Unmet(try otherwise()) }
}

/// A set of plugins in a folder.
struct Subject: Sendable {
  var name: String
  /// Nil for the built plugin, called by each name.
  var folder: String?

  static let ours = Subject(name: "weft-cni", folder: nil)
  /// Debian's containernetworking-plugins; nil when they are not installed.
  static let reference: Subject? = {
    let folder = "/usr/lib/cni"
    let needed = ["bridge", "host-local", "portmap", "loopback"]
    return needed.allSatisfy { access("\(folder)/\($0)", X_OK) == 0 }
      ? Subject(name: "containernetworking-plugins (Debian)", folder: folder) : nil
  }()
}

/// One laboratory for one requirement.
final class Stand {
  let subject: Subject
  let lab: Laboratory

  init(_ subject: Subject, _ label: String, subnet: String = "10.99.0.0/24") throws {
    self.subject = subject
    lab = try Laboratory("\(subject.folder == nil ? "o" : "r")\(label)", subnet: subnet)
  }

  func configuration(
    version: String = "1.0.0", type: String = "bridge", subnet: String = "10.99.0.0/24", more: String = ""
  ) -> String {
    """
    {"cniVersion":"\(version)","name":"t","type":"\(type)","bridge":"cni0","isGateway":true,
     "ipam":{"type":"host-local","dataDir":"\(lab.scratch.path)","ranges":[[{"subnet":"\(subnet)"}]]}\(more)}
    """
  }

  /// One call with exactly these variables; `without` leaves some of the usual out.
  func call(
    _ verb: String, _ id: String, _ namespace: String = "", input: String, program: String = "bridge",
    variables: [String: String] = [:], without: [String] = []
  ) throws -> Reply {
    try start(
      verb, id, namespace, input: input, program: program, variables: variables, without: without
    ).reply()
  }

  /// The same without waiting for its end.
  func start(
    _ verb: String, _ id: String, _ namespace: String = "", input: String, program: String = "bridge",
    variables: [String: String] = [:], without: [String] = []
  ) throws -> Running {
    var environment: [String: String] = [
      "CNI_COMMAND": verb, "CNI_CONTAINERID": id, "CNI_NETNS": namespace, "CNI_IFNAME": "eth0",
      "CNI_PATH": subject.folder ?? "/opt/cni/bin", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    ]
    for (name, value) in variables { environment[name] = value }
    for name in without { environment[name] = nil }
    let executable = try subject.folder.map { "\($0)/\(program)" } ?? Laboratory.plugin()
    return try Running.start(
      [program], executable: executable, environment: environment.map { "\($0)=\($1)" }, input: input,
      in: lab.node)
  }

  /// An ADD that must work for what comes after it.
  func add(_ id: String, _ namespace: String, input: String) throws -> JSONValue {
    let reply = try call("ADD", id, namespace, input: input)
    try meet(reply.code == 0, "ADD failed: \(reply.text)")
    return reply.json
  }

  func links(_ namespace: String) throws -> [Link] {
    var session = try RouteSession(inNamespace: namespace)
    return try session.links()
  }
}

/// What a plugin printed and ended with.
struct Reply {
  var code: Int32
  var text: String
  var json: JSONValue { (try? JSONValue(parsing: Array(text.utf8))) ?? .null }
  var error: Int64? { json["code"]?.integer }

  /// The specification's error: a code other than 0, and JSON that says which of the specification's.
  func isError(_ wanted: Int64) throws {
    try meet(code != 0, "succeeded: \(text)")
    try meet(error == wanted, "answered code \(error.map { "\($0)" } ?? "none") instead of \(wanted)")
  }
}
