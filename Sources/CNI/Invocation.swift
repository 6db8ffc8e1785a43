// How a runtime calls a plugin: environment variables and one JSON document on standard input.

/// One call, checked.
public struct Invocation: Sendable {
  public enum Verb: String, Sendable {
    case add = "ADD", del = "DEL", check = "CHECK", gc = "GC", status = "STATUS", version = "VERSION"

    /// By comparing: what the compiler makes for raw values builds a table first, which takes longer than the call has.
    init?(name: String) {
      if name == "ADD" {
        self = .add
      } else if name == "DEL" {
        self = .del
      } else if name == "CHECK" {
        self = .check
      } else if name == "GC" {
        self = .gc
      } else if name == "STATUS" {
        self = .status
      } else if name == "VERSION" {
        self = .version
      } else {
        return nil
      }
    }
  }

  public var verb: Verb
  public var containerID: String
  /// Path of the pod's network namespace; empty when the runtime no longer has it.
  public var namespacePath: String
  public var interfaceName: String
  /// `CNI_ARGS`, such as `K8S_POD_NAME`.
  public var arguments: [String: String]
  /// `CNI_NETNS_OVERRIDE`: act although the namespace is the plugin's own.
  public var allowsOwnNamespace: Bool
  /// The name the executable was called by, without folders.
  public var program: String

  /// Bytes of a container ID: it becomes part of a file name.
  static let containerIDBytesMax = 200

  /// Reads the environment. Throws error 4 that names every missing or malformed variable.
  public init(program: String, environment: (String) -> String?) throws(CNIError) {
    func value(_ name: String) -> String { environment(name) ?? "" }
    guard let verb = Verb(name: value("CNI_COMMAND")) else {
      let given = value("CNI_COMMAND")
      throw CNIError(
        .invalidEnvironment, given.isEmpty ? "CNI_COMMAND is not set" : "CNI_COMMAND is \(given)",
        details: "one of ADD, DEL, CHECK, GC, STATUS, VERSION is expected; a container runtime sets it")
    }
    self.verb = verb
    self.program = program.split(separator: "/").last.map(String.init) ?? program
    containerID = value("CNI_CONTAINERID")
    namespacePath = value("CNI_NETNS")
    interfaceName = value("CNI_IFNAME")
    allowsOwnNamespace = ["1", "true", "yes"].contains(value("CNI_NETNS_OVERRIDE").lowercased())
    arguments = [:]
    for pair in value("CNI_ARGS").split(separator: ";") {
      let halves = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      if halves.count == 2 { arguments[String(halves[0])] = String(halves[1]) }
    }
    try check()
  }

  private func check() throws(CNIError) {
    guard verb == .add || verb == .del || verb == .check else { return }
    var faults: [String] = []
    if !Self.isIdentifier(containerID) || containerID.utf8.count > Self.containerIDBytesMax {
      faults.append("CNI_CONTAINERID=\(containerID)")
    }
    if !Self.isInterfaceName(interfaceName) { faults.append("CNI_IFNAME=\(interfaceName)") }
    if verb != .del, namespacePath.isEmpty { faults.append("CNI_NETNS=") }
    guard faults.isEmpty else {
      throw CNIError(
        .invalidEnvironment, "missing or malformed: \(faults.joined(separator: ", "))",
        details:
          "container IDs and network names start with a letter or digit and go on with those, `_`, `.`, `-`; "
          + "interface names have 1 to 15 bytes without `/`, `:` and spaces")
    }
  }

  /// A letter or digit, then letters, digits, `_`, `.`, `-`: what the specification allows for IDs and
  /// network names.
  static func isIdentifier(_ text: String) -> Bool {
    func isAlphanumeric(_ byte: UInt8) -> Bool {
      switch byte {
      case 48...57, 65...90, 97...122: true
      default: false
      }
    }
    guard let first = text.utf8.first, isAlphanumeric(first) else { return false }
    return text.utf8.allSatisfy { isAlphanumeric($0) || [45, 46, 95].contains($0) }
  }

  static func isInterfaceName(_ text: String) -> Bool {
    (1...15).contains(text.utf8.count) && text != "." && text != ".."
      && text.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7f && $0 != 0x2f && $0 != 0x3a }
  }
}
