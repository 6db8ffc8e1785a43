// The `tuning` plugin: kernel settings of the pod's namespace and properties of its interface, put back by DEL.
import Addresses
import Glibc
import KernelNetlink

struct TuningPlugin {
  let chained: ChainedCall
  private var sysctls: [(name: String, value: String)] = []
  private var mac: MACAddress?
  private var mtu: UInt32?
  private var promiscuous: Bool?
  private var allMulticast: Bool?
  private var queueLength: UInt32?

  /// Where what was there before is kept until DEL, unless `dataDir` says otherwise.
  static let defaultDataDirectory = "/run/cni/tuning"
  /// One pattern a line; when the file is there, a setting must match one of them.
  static let allowListPath = "/etc/cni/tuning/allowlist.conf"
  private let dataDirectory: String

  init(_ chained: ChainedCall) throws(CNIError) {
    self.chained = chained
    let json = chained.configuration.json
    dataDirectory = json["dataDir"]?.string ?? Self.defaultDataDirectory
    guard chained.call.verb == .add || chained.call.verb == .check else { return }
    let allowed = try Self.allowList(Self.allowListPath)
    for member in json["sysctl"]?.members ?? [] {
      guard let value = member.value.string else {
        throw CNIError(.invalidConfiguration, "`sysctl` \(member.name) is not text: \(member.value.text)")
      }
      let name = try Self.path(of: member.name, interface: chained.call.interfaceName)
      guard allowed?.contains(where: { Self.matches(member.name, $0) }) ?? true else {
        throw CNIError(
          .invalidConfiguration, "sysctl \(member.name) is not allowed on this node",
          details: "\(Self.allowListPath) lists what is")
      }
      sysctls.append((name, value))
    }
    mac = chained.configuration.requestedMAC
    if mac == nil, let text = json["mac"]?.string, !text.isEmpty {
      guard let given = MACAddress(text: text) else {
        throw CNIError(.invalidConfiguration, "`mac` is malformed: \(text)")
      }
      mac = given
    }
    if let given = json["mtu"]?.integer, given != 0 {
      guard let value = UInt32(exactly: given), (68...65535).contains(value) else {
        throw CNIError(.invalidConfiguration, "`mtu` is not between 68 and 65535: \(given)")
      }
      mtu = value
    }
    if json["promisc"]?.bool == true { promiscuous = true }
    allMulticast = json["allmulti"]?.bool
    queueLength = json["txQLen"]?.integer.flatMap { UInt32(exactly: $0) }
  }

  // MARK: - Names of settings

  /// `net.ipv4.conf.IFNAME.arp_filter` as a path under /proc/sys. Dots and slashes part names; where a name itself has
  /// a dot (`eth0.5`), slashes are the separators. Error 7 for what lies outside of `net/`: it is not the pod's.
  static func path(of name: String, interface: String) throws(CNIError) -> String {
    let usesSlashes = name.firstIndex(of: "/").map { slash in
      name.firstIndex(of: ".").map { slash < $0 } ?? true
    }
    let separator: Character = usesSlashes == true ? "/" : "."
    let parts = name.split(separator: separator, omittingEmptySubsequences: false).map { part in
      part == "IFNAME"
        ? interface : separator == "." ? String(part.map { $0 == "/" ? "." : $0 }) : String(part)
    }
    guard parts.first == "net", parts.count > 1,
      parts.allSatisfy({ !$0.isEmpty && $0 != "." && $0 != ".." && !$0.contains("/") && !$0.contains("\0") })
    else {
      throw CNIError(
        .invalidConfiguration, "sysctl \(name) is not one of the pod's network",
        details: "names begin with `net.`; the rest of the kernel belongs to the node")
    }
    return parts.joined(separator: "/")
  }

  /// The patterns of the file; nil when there is none.
  static func allowList(_ path: String) throws(CNIError) -> [String]? {
    guard let bytes = try Files.read(path) else { return nil }
    return String(decoding: bytes, as: UTF8.self).split(whereSeparator: \.isNewline).map { line in
      String(line.drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
    }.filter { !$0.isEmpty }
  }

  /// Whether an extended regular expression of POSIX occurs in `text`; a malformed one matches nothing.
  static func matches(_ text: String, _ pattern: String) -> Bool {
    var compiled = regex_t()
    guard regcomp(&compiled, pattern, REG_EXTENDED | REG_NOSUB) == 0 else { return false }
    defer { regfree(&compiled) }
    return regexec(&compiled, text, 0, nil, 0) == 0
  }

  // MARK: - Verbs

  func add(_ result: CNIResult) throws(CNIError) -> CNIResult {
    let name = chained.call.interfaceName
    do {
      var pod = try RouteSession(inNamespace: chained.call.namespacePath)
      if mac != nil || mtu != nil || promiscuous != nil || allMulticast != nil || queueLength != nil {
        guard let link = try pod.link(named: name) else {
          throw CNIError(.inputOutput, "\(name) is missing in \(chained.call.namespacePath)")
        }
        try remember(link, try pod.transmitQueueLength(of: link.index))
        try pod.setLink(link.index, mtu: mtu, mac: mac)
        try pod.setLinkFlags(
          link.index, isPromiscuous: promiscuous, receivesAllMulticast: allMulticast,
          transmitQueueLength: queueLength)
      }
      try runInNamespace(chained.call.namespacePath) {
        for (name, value) in sysctls { try Sysctl.write(name, value) }
      }
    } catch {
      let failure = CNIError.wrapping(error, "cannot tune \(name) of container \(chained.call.containerID)")
      try? del()
      throw failure
    }
    var result = result
    if let index = result.podInterface(name)?.index {
      if let mac { result.interfaces[index].mac = "\(mac)" }
      if let mtu { result.interfaces[index].mtu = mtu }
    }
    return result
  }

  private var memory: String {
    "\(dataDirectory)/\(chained.call.containerID)_\(chained.call.interfaceName).json"
  }

  private func remember(_ link: Link, _ queueLength: UInt32) throws(CNIError) {
    try Files.makeFolder(dataDirectory)
    let before = JSONValue.object([
      "mac": link.mac.map { .string("\($0)") }, "mtu": .integer(Int64(link.mtu)),
      "promisc": .bool(link.isPromiscuous), "allmulti": .bool(link.receivesAllMulticast),
      "txQLen": .integer(Int64(queueLength)),
    ])
    try Files.replace(memory, temporary: memory + ".new", with: Array(before.text.utf8))
  }

  /// Puts the interface back as it was, where it still is. Nothing to put back is success.
  func del() throws(CNIError) {
    guard let bytes = try Files.read(memory) else { return }
    if !chained.call.namespacePath.isEmpty, let before = try? JSONValue(parsing: bytes),
      var pod = try? RouteSession(inNamespace: chained.call.namespacePath),
      let link = try? pod.link(named: chained.call.interfaceName)
    {
      try? pod.setLink(
        link.index, mtu: before["mtu"]?.integer.flatMap { UInt32(exactly: $0) },
        mac: before["mac"]?.string.flatMap { MACAddress(text: $0) })
      try? pod.setLinkFlags(
        link.index, isPromiscuous: before["promisc"]?.bool, receivesAllMulticast: before["allmulti"]?.bool,
        transmitQueueLength: before["txQLen"]?.integer.flatMap { UInt32(exactly: $0) })
    }
    guard unlink(memory) == 0 || errno == ENOENT else { throw Files.failure("remove", memory) }
  }

  func check() throws(CNIError) {
    let name = chained.call.interfaceName
    do {
      var pod = try RouteSession(inNamespace: chained.call.namespacePath)
      guard let link = try pod.link(named: name) else {
        throw CNIError(.differs, "\(name) is missing in \(chained.call.namespacePath)")
      }
      if let mac, link.mac != mac { throw CNIError(.differs, "\(name) has lost its MAC address \(mac)") }
      if let mtu, link.mtu != mtu { throw CNIError(.differs, "\(name) has MTU \(link.mtu) and not \(mtu)") }
      if promiscuous == true, !link.isPromiscuous {
        throw CNIError(.differs, "\(name) is not promiscuous any more")
      }
      if let allMulticast, link.receivesAllMulticast != allMulticast {
        throw CNIError(.differs, "allmulti of \(name) is not \(allMulticast)")
      }
      try runInNamespace(chained.call.namespacePath) {
        for (name, value) in sysctls {
          let found = try Sysctl.read(name)
          guard Self.words(found) == Self.words(value) else {
            throw CNIError(.differs, "sysctl \(name) is \(found) and not \(value)")
          }
        }
      }
    } catch {
      throw CNIError.wrapping(error, "cannot check \(name) of container \(chained.call.containerID)")
    }
  }

  /// The kernel parts several values by tabs.
  private static func words(_ text: String) -> [Substring] { text.split { $0 == " " || $0 == "\t" } }
}
