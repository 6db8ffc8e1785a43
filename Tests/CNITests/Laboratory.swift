// A node and its pods as network namespaces of one test, and the built plugin called in them as a runtime
// would.
import Addresses
import CNI
import Glibc
import KernelNetlink
import Testing

/// One node namespace and any number of pod namespaces, removed when the test ends.
final class Laboratory {
  let scratch: Scratch
  let node: String
  private(set) var names: [String]
  private let label: String
  var configuration: String

  init(_ label: String, subnet: String = "10.99.0.0/24", keys: String = "") throws {
    self.label = "weft-cni-\(getpid())-\(label)"
    scratch = try Scratch()
    names = ["\(self.label)-node"]
    _ = try NetworkNamespace.delete(named: names[0])
    node = try NetworkNamespace.create(named: names[0])
    configuration = """
      {"cniVersion":"1.0.0","name":"t","type":"weft-cni","bridge":"cni0"\(keys),
       "ipam":{"type":"host-local","dataDir":"\(scratch.path)","ranges":[[{"subnet":"\(subnet)"}]]}}
      """
  }

  deinit { for name in names { _ = try? NetworkNamespace.delete(named: name) } }

  /// Makes a pod's namespace. Returns its path.
  func pod(_ name: String) throws -> String {
    let full = "\(label)-\(name)"
    _ = try NetworkNamespace.delete(named: full)
    names.append(full)
    return try NetworkNamespace.create(named: full)
  }

  /// Makes a machine outside of the node: 198.51.100.2 and 2001:db8::2, its node 198.51.100.1 and 2001:db8::1.
  /// - Parameter routesBack: whether it knows the way to the pods.
  func outside(routesBack: Bool = true) throws -> String {
    let path = try pod("outside")
    let namespace = try NetworkNamespace(path: path)
    var session = try RouteSession(inNamespace: node)
    try session.createVeth(
      VethEnd(name: "up0", isUp: false), peer: VethEnd(name: "eth0", namespace: namespace.descriptor))
    let link = try #require(try session.link(named: "up0"))
    for (name, place) in [("up0", node), ("eth0", path)] {
      // Both ends have a carrier before they have an address: without this their own addresses wait for a second.
      try Sysctl.write("net/ipv6/conf/\(name)/accept_dad", "0", inNamespace: place)
    }
    var far = try RouteSession(inNamespace: path)
    let end = try #require(try far.link(named: "eth0"))
    try session.setLink(link.index, isUp: true)
    try far.setLink(end.index, isUp: true)
    for (near, distant) in [("198.51.100.1/24", "198.51.100.2/24"), ("2001:db8::1/64", "2001:db8::2/64")] {
      try session.addAddress(try #require(InterfaceAddress(near)), to: link.index)
      try far.addAddress(try #require(InterfaceAddress(distant)), to: end.index)
    }
    if routesBack {
      for (block, gateway) in [("10.99.0.0/24", "198.51.100.1"), ("fd00:99::/64", "2001:db8::1")] {
        let way = try #require(IPAddress(gateway))
        try far.addRoute(Route(try #require(IPPrefix(block)), gateway: way, interface: end.index))
      }
    }
    return path
  }

  func route(_ block: String, via gateway: String, in namespace: String) throws {
    var session = try RouteSession(inNamespace: namespace)
    let way = try #require(IPAddress(gateway))
    try session.addRoute(Route(try #require(IPPrefix(block)), gateway: way))
  }

  /// Removes a pod's namespace, as a runtime does before its last DEL.
  func removePod(_ name: String) throws { try NetworkNamespace.delete(named: "\(label)-\(name)") }

  func invoke(
    _ verb: String, _ id: String, namespace: String = "", arguments: String = "", program: String = "weft-cni"
  ) throws -> Answer {
    try start(verb, id, namespace: namespace, arguments: arguments, program: program).wait()
  }

  /// Starts the plugin in the node's namespace without waiting.
  func start(
    _ verb: String, _ id: String, namespace: String = "", arguments: String = "", program: String = "weft-cni"
  ) throws -> Running {
    let environment = [
      "CNI_COMMAND=\(verb)", "CNI_CONTAINERID=\(id)", "CNI_NETNS=\(namespace)", "CNI_IFNAME=eth0",
      "CNI_ARGS=\(arguments)", "CNI_PATH=/opt/cni/bin",
    ]
    return try Running.start(
      [program], executable: try Laboratory.plugin(), environment: environment, input: configuration, in: node
    )
  }

  /// The plugin that was built with these tests: WEFT_BIN_DIR, else the folder of the test bundle.
  static func plugin() throws -> String {
    if let folder = getenv("WEFT_BIN_DIR") { return "\(String(cString: folder))/weft-cni" }
    var path = [CChar](repeating: 0, count: 4096)
    let length = readlink("/proc/self/exe", &path, path.count)
    let own = String(decoding: path[0..<max(length, 0)].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    let places = CommandLine.arguments.flatMap { [$0] } + [own, ".build/debug/x"]
    for place in places {
      guard let slash = place.lastIndex(of: "/") else { continue }
      let candidate = "\(place[..<slash])/weft-cni"
      if access(candidate, X_OK) == 0 { return candidate }
    }
    throw CNIError(
      .inputOutput, "weft-cni is not built", details: "swift build --product weft-cni, or WEFT_BIN_DIR")
  }

  /// Links of the node whose name starts with `vp`.
  func ports() throws -> [String] {
    var session = try RouteSession(inNamespace: node)
    return try session.links().map(\.name).filter { $0.hasPrefix("vp") }.sorted()
  }

  func leaseNames() -> [String] { Scratch.names(in: "\(scratch.path)/t/leases").sorted() }

  /// One echo request from the pod at `namespace`, never repeated: one that went to the wrong place is not answered however long it is
  /// waited for. True when it was answered within `seconds`.
  func ping(from namespace: String, to address: String, seconds: Int = 10) throws -> Bool {
    try Running.start(
      ["busybox", "ping", "-c", "1", "-W", "\(seconds)", address], executable: "/usr/bin/busybox",
      environment: [], input: "", in: namespace
    ).wait().code == 0
  }
}

struct Answer {
  var code: Int32
  var json: JSONValue
  /// What it printed to standard error.
  var notes = ""
  var address: String? { json["ips"]?.array?.first?["address"]?.string }
}

/// A child process whose input and output are files.
final class Running {
  let process: pid_t
  private let output: String
  private let folder: Scratch

  init(process: pid_t, output: String, folder: Scratch) {
    self.process = process
    self.output = output
    self.folder = folder
  }

  static func start(
    _ arguments: [String], executable: String, environment: [String], input: String, in namespace: String
  ) throws -> Running {
    let folder = try Scratch()
    let (source, output) = ("\(folder.path)/in", "\(folder.path)/out")
    try installConflist(input, at: source)
    return try runInNamespace(namespace) {
      var actions = posix_spawn_file_actions_t()
      posix_spawn_file_actions_init(&actions)
      defer { posix_spawn_file_actions_destroy(&actions) }
      posix_spawn_file_actions_addopen(&actions, 0, source, O_RDONLY, 0)
      posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
      posix_spawn_file_actions_addopen(&actions, 2, output + ".notes", O_WRONLY | O_CREAT | O_TRUNC, 0o600)
      var argv: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
      var envp: [UnsafeMutablePointer<CChar>?] = environment.map { strdup($0) } + [nil]
      defer { for pointer in argv + envp { free(pointer) } }
      var process: pid_t = 0
      // The threads of tests block signals, alarms among them, which `ping` waits by.
      var attributes = posix_spawnattr_t()
      posix_spawnattr_init(&attributes)
      defer { posix_spawnattr_destroy(&attributes) }
      var none = sigset_t()
      sigemptyset(&none)
      posix_spawnattr_setsigmask(&attributes, &none)
      posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
      let failure = posix_spawn(&process, executable, &actions, &attributes, &argv, &envp)
      try #require(failure == 0, "cannot start \(executable): \(failure)")
      return Running(process: process, output: output, folder: folder)
    }
  }

  /// Waits for the end; what it printed.
  func text() throws -> String {
    var status: Int32 = 0
    while waitpid(process, &status, 0) < 0 { try #require(errno == EINTR) }
    return String(decoding: Scratch.read(output), as: UTF8.self)
  }

  /// Waits for the end; what it printed and its exit code.
  func reply() throws -> Reply {
    let answer = try wait()
    return Reply(code: answer.code, text: String(decoding: Scratch.read(output), as: UTF8.self))
  }

  /// Waits for the end; what it printed is read as JSON where it is JSON.
  func wait() throws -> Answer {
    var status: Int32 = 0
    while waitpid(process, &status, 0) < 0 { try #require(errno == EINTR) }
    let bytes = Scratch.read(output)
    let code = status & 0x7f == 0 ? status >> 8 & 0xff : 128 + status & 0x7f
    let notes = String(decoding: Scratch.read(output + ".notes"), as: UTF8.self)
    return Answer(code: code, json: (try? JSONValue(parsing: bytes)) ?? .null, notes: notes)
  }
}
