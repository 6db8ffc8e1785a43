// Which namespace the other end of a link is in: the kernel numbers them, for each namespace in its own way.
import Addresses
import Glibc

extension RouteSession {
  /// The number that this session's namespace has for another, which is open as `descriptor`; nil when nothing leads there.
  /// `RTM_GETNSID`, linux/net_namespace.h.
  public mutating func namespaceID(of descriptor: Int32) throws(NetlinkError) -> Int32? {
    var message = NetlinkMessage(type: Wire.getNamespaceID, flags: 0)
    message.append(UInt32(0))
    message.attribute(3, descriptor)
    let answers = try ask(message, command: "ip netns list-id")
    guard let answer = answers.first(where: { $0.type == Wire.newNamespaceID }),
      let number: Int32 = answer.body.dropping(4).attributes()[1]?.integer(), number >= 0
    else { return nil }
    return number
  }

  /// The path of the named namespace that holds an address and is linked with this session's; nil when none is. Costs a visit to each
  /// named namespace until it is found.
  public mutating func linkedNamespace(holding address: IPAddress) throws -> String? {
    var found: String?
    try forEachLinkedNamespace { _, path in
      if let held = try? Self.addresses(in: path), held.contains(address) { found = path }
      return found == nil
    }
    return found
  }

  /// The named namespaces that links of this session's lead to, by the number that `Link.peerNamespace` has for them. Costs a look at
  /// each named namespace.
  public mutating func linkedNamespaces() throws -> [Int32: String] {
    var found: [Int32: String] = [:]
    try forEachLinkedNamespace { number, path in
      found[number] = path
      return true
    }
    return found
  }

  /// Until `body` returns false.
  private mutating func forEachLinkedNamespace(_ body: (Int32, String) throws -> Bool) throws {
    let near = Set(try links().compactMap(\.peerNamespace))
    guard let folder = opendir(NetworkNamespace.directory) else { return }
    defer { closedir(folder) }
    while let entry = readdir(folder) {
      let name = withUnsafeBytes(of: entry.pointee.d_name) {
        String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
      }
      guard !name.hasPrefix(".") else { continue }
      let path = "\(NetworkNamespace.directory)/\(name)"
      // One that is just being removed is none.
      guard let namespace = try? NetworkNamespace(path: path),
        let number = try? namespaceID(of: namespace.descriptor), near.contains(number)
      else { continue }
      if try !body(number, path) { return }
    }
  }

  private static func addresses(in path: String) throws -> [IPAddress] {
    var inside = try RouteSession(inNamespace: path)
    return try inside.addresses().map(\.value.address)
  }
}
