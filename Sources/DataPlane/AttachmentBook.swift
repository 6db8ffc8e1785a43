// Which pod of this node has which address and interface, as the CNI plugin reported it. Kept on disk: after a restart the
// plan must be the same as before, or rules in force would be rewritten and running pods quarantined.

import Addresses
import ClusterObjects
import Diagnostics
import Glibc
import Policy

/// One report of the CNI plugin.
public struct ContainerAttachment: Sendable, Hashable {
  public var containerID: String
  public var interface: String
  public var attachment: PodAttachment
  public init(containerID: String, interface: String, attachment: PodAttachment) {
    self.containerID = containerID
    self.interface = interface
    self.attachment = attachment
  }
}

/// The attachments of this node by container. Writes go to a new file that then takes the old one's name.
public struct AttachmentBook: Sendable {
  /// As many pods as a node can hold addresses for in a /22.
  public static let entriesMax = 1024

  private let path: String
  public private(set) var entries: [String: ContainerAttachment] = [:]

  /// Reads the book. A book that cannot be read is an error: going on without it would quarantine running pods.
  public init(path: String) throws(WeftError) {
    self.path = path
    guard let bytes = Self.read(path) else { return }
    do {
      let tree = try JSON(parsing: bytes)
      for entry in tree["attachments"]?.elements ?? [] {
        if let attachment = ContainerAttachment(entry) { entries[attachment.containerID] = attachment }
      }
    } catch {
      throw WeftError(
        "NET0020", object: path, cause: "the list of pod attachments is damaged (\(error))",
        next: "remove the file and restart the pods of this node", underlying: error)
    }
  }

  public var attachments: [PodAttachment] {
    entries.values.sorted { $0.containerID < $1.containerID }.map(\.attachment)
  }

  public mutating func add(_ attachment: ContainerAttachment) throws(WeftError) {
    guard entries.count < Self.entriesMax || entries[attachment.containerID] != nil else {
      throw WeftError(
        "NET0021", object: "pod \(attachment.attachment.pod)",
        cause: "this node already has \(Self.entriesMax) pods",
        next: "delete pods of this node, or add a node", isRetryable: true)
    }
    entries[attachment.containerID] = attachment
    try save()
  }

  /// False when the container is not in the book.
  @discardableResult public mutating func remove(containerID: String) throws(WeftError) -> Bool {
    guard entries.removeValue(forKey: containerID) != nil else { return false }
    try save()
    return true
  }

  private func save() throws(WeftError) {
    let tree: JSON = [
      "attachments": .array(entries.values.sorted { $0.containerID < $1.containerID }.map(\.json))
    ]
    let bytes = tree.bytes
    let new = path + ".new"
    let descriptor = open(new, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw failure("cannot be written") }
    defer { close(descriptor) }
    var offset = 0
    while offset < bytes.count {
      let count = bytes[offset...].withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
      guard count > 0 else { throw failure("cannot be written") }
      offset += count
    }
    guard fsync(descriptor) == 0, rename(new, path) == 0 else { throw failure("cannot be replaced") }
  }

  private func failure(_ what: String) -> WeftError {
    WeftError(
      "NET0022", object: path, cause: "\(what): \(String(cString: strerror(errno)))",
      next: "look at the disk's free space and the folder's owner", isRetryable: true)
  }

  private static func read(_ path: String) -> [UInt8]? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 65536)
    while bytes.count < 4 << 20 {
      let count = Glibc.read(descriptor, &chunk, chunk.count)
      guard count > 0 else { break }
      bytes += chunk[..<count]
    }
    return bytes
  }
}

extension ContainerAttachment {
  init?(_ tree: JSON) {
    guard let id = tree["containerID"]?.string, let interface = tree["interface"]?.string,
      let host = tree["hostInterface"]?.string, let name = tree["pod"]?.string
    else { return nil }
    self.init(
      containerID: id, interface: interface,
      attachment: PodAttachment(
        pod: ObjectKey(tree["namespace"]?.string ?? "", name),
        addresses: (tree["addresses"]?.elements ?? []).compactMap { $0.string.flatMap { IPAddress($0) } },
        hardwareAddress: tree["hardwareAddress"]?.string.flatMap { MACAddress(text: $0) }, hostInterface: host
      ))
  }

  var json: JSON {
    var tree: JSON = [
      "containerID": JSON(containerID), "interface": JSON(interface),
      "namespace": JSON(attachment.pod.namespace),
      "pod": JSON(attachment.pod.name), "addresses": JSON(attachment.addresses.map(\.description)),
      "hostInterface": JSON(attachment.hostInterface),
    ]
    if let hardware = attachment.hardwareAddress { tree["hardwareAddress"] = JSON(hardware.description) }
    return tree
  }
}
