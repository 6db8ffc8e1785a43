// Who has which address: one small file for each attachment, written whole or not at all.
//
//   DATADIR/NETWORK/leases/CONTAINERID:IFNAME   the truth
//   DATADIR/NETWORK/kept/NAMESPACE_POD:IFNAME   addresses kept for a pod that asked for the same ones when it comes back
//   DATADIR/NETWORK/index.N                     what is free in range set N, rebuilt whenever in doubt
//   DATADIR/NETWORK/lock                        held for the part of a call that gives or takes addresses
//
// A process killed at any point leaves either no lease, or a lease that DEL finds by its name. No pod
// survives a reboot, so leases of another boot (kernel's boot_id) are dropped with the first rebuild: they
// cannot leak.
import Addresses
import Glibc
import KernelNetlink

/// An attachment and the addresses it has.
public struct Lease: Sendable, Hashable {
  public var network: String
  public var containerID: String
  public var interfaceName: String
  public var bootID: String
  public var addresses: [InterfaceAddress]
  public var gateways: [IPAddress]
  public var hostInterface: String
  public var bridge: String
  public var podNamespace: String
  public var podName: String
  /// What besides the link was wanted, written before it is made: DEL undoes it from here alone.
  var extras: Set<Extra> = []

  /// Whether the pod is to have the same addresses when it comes back; not for a pod without a name.
  var isKept = false

  enum Extra: String { case masquerade, hostPorts, bandwidth, sourceGuard }

  var key: String { "\(containerID):\(interfaceName)" }

  var json: JSONValue {
    .object([
      "network": .string(network), "containerID": .string(containerID), "ifname": .string(interfaceName),
      "bootID": .string(bootID), "addresses": .array(addresses.map { .string("\($0)") }),
      "gateways": .array(gateways.map { .string("\($0)") }), "hostInterface": .string(hostInterface),
      "bridge": .string(bridge), "podNamespace": .string(podNamespace), "podName": .string(podName),
      "kept": isKept ? .bool(true) : nil,
      "extras": extras.isEmpty ? nil : .array(extras.map(\.rawValue).sorted().map { .string($0) }),
    ])
  }

  /// Nil for a file that is not a lease: torn by a power cut, or somebody else's.
  init?(_ json: JSONValue) {
    guard let containerID = json["containerID"]?.string, let ifname = json["ifname"]?.string,
      let bootID = json["bootID"]?.string, let addresses = json["addresses"]?.array
    else { return nil }
    network = json["network"]?.string ?? ""
    self.containerID = containerID
    interfaceName = ifname
    self.bootID = bootID
    self.addresses = addresses.compactMap { $0.string.flatMap { InterfaceAddress($0) } }
    gateways = json["gateways"]?.array?.compactMap { $0.string.flatMap { IPAddress($0) } } ?? []
    hostInterface = json["hostInterface"]?.string ?? ""
    bridge = json["bridge"]?.string ?? ""
    podNamespace = json["podNamespace"]?.string ?? ""
    podName = json["podName"]?.string ?? ""
    isKept = json["kept"]?.bool ?? false
    extras = Set(json["extras"]?.array?.compactMap { $0.string.flatMap { Extra(rawValue: $0) } } ?? [])
  }

  init(network: String, containerID: String, interfaceName: String) {
    self.network = network
    self.containerID = containerID
    self.interfaceName = interfaceName
    bootID = LeaseStore.bootID
    addresses = []
    gateways = []
    hostInterface = ""
    bridge = ""
    podNamespace = ""
    podName = ""
  }
}

/// The leases of one network.
public struct LeaseStore: Sendable {
  let folder: String
  let spaces: [AddressSpace]

  /// The kernel's name for the time since it started.
  static let bootID: String =
    (try? Sysctl.read("kernel/random/boot_id")) ?? "00000000-0000-0000-0000-000000000000"

  public init(_ configuration: NetworkConfiguration) {
    folder = "\(configuration.dataDirectory)/\(configuration.name)"
    spaces = configuration.rangeSets.map { AddressSpace($0) }
  }

  /// Gives `lease` an address of each range set and writes it down.
  /// - Throws: error 100 when the attachment has a lease, 11 when a range is exhausted or a requested
  /// address is taken.
  func acquire(_ wanted: Lease, requested: [IPAddress] = []) throws(CNIError) -> Lease {
    try Files.makeFolder("\(folder)/leases")
    let (lease, file) = try take(wanted, requested)
    defer { close(file) }
    // Not under the lock: calls that run at once share one flush of the disk. The sync comes after the rename, so that a
    // journal (ext4, XFS, Btrfs) writes file and name with one flush.
    guard fsync(file) == 0 else {
      let failure = Files.failure("sync", "\(folder)/leases/\(lease.key)")
      try release(lease.key)
      throw failure
    }
    return lease
  }

  /// The part of `acquire` under the lock. Returns the lease and its file, open and not yet synced.
  private func take(_ wanted: Lease, _ requested: [IPAddress]) throws(CNIError) -> (Lease, Int32) {
    let lock = try FileLock("\(folder)/lock")
    defer { lock.release() }
    if let existing = try find(wanted.key), existing.bootID == Self.bootID {
      let held = existing.addresses.map(\.description).joined(separator: ", ")
      throw CNIError(
        .alreadyAttached,
        "container \(wanted.containerID) already has \(wanted.interfaceName) on \(wanted.network)",
        details: "it holds \(held); DEL comes before a second ADD")
    }
    if let stranger = requested.first(where: { address in !spaces.contains { $0.offset(of: address) != nil } }
    ) {
      throw CNIError(
        .invalidConfiguration,
        "the requested address \(stranger) is in no range of network \(wanted.network)",
        details: spaces.map(\.description).joined(separator: ", "))
    }
    let pools = try openPools()
    let kept = try keptAddresses(wanted)
    for pool in pools { try pool.begin() }
    var lease = wanted
    var taken: [(pool: AddressPool, offset: Int)] = []
    let file: Int32
    do throws(CNIError) {
      for pool in pools {
        let offset: Int
        if requested.isEmpty, let own = kept.lazy.compactMap({ pool.space.offset(of: $0) }).first {
          offset = own
        } else {
          var found = try choose(from: pool, requested: requested)
          // Kept addresses are the last that are given to somebody else.
          if found == nil, requested.isEmpty, try forgetKept(pools) { found = try pool.take() }
          guard let found else { throw exhausted(pool, network: wanted.network, requested: requested) }
          offset = found
          taken.append((pool, offset))
        }
        guard let found = pool.space.address(at: offset),
          let address = InterfaceAddress(found.address, prefixLength: found.range.subnet.length)
        else { throw CNIError(.inputOutput, "an address outside of its range was chosen") }
        lease.addresses.append(address)
        lease.gateways.append(found.range.gateway)
      }
      try keep(lease)
      // Killed before the rename: no lease. Killed after it: a lease, and an index that says it is dirty.
      file = try Files.place(
        "\(folder)/leases/\(lease.key)", temporary: "\(folder)/lease.tmp",
        with: Array((lease.json.text + "\n").utf8))
    } catch {
      if kept.isEmpty { try forget(lease) }
      for (pool, offset) in taken { try pool.give(offset) }
      for pool in pools { try pool.commit() }
      throw error
    }
    // What the pod had besides, before it asked for other addresses by name.
    for address in kept where !lease.addresses.contains(where: { $0.address == address }) {
      for pool in pools {
        if let offset = pool.space.offset(of: address) { try pool.give(offset) }
      }
    }
    for pool in pools { try pool.commit() }
    return (lease, file)
  }

  /// Opens the index of each range set; the first of them that cannot be trusted makes the leases be read.
  private func openPools() throws(CNIError) -> [AddressPool] {
    var name = [UInt8](repeating: 0, count: 16)
    var place = 0
    for byte in Self.bootID.utf8 where byte != UInt8(ascii: "-") && place < 32 {
      let digit = byte <= UInt8(ascii: "9") ? byte &- 0x30 : (byte | 0x20) &- 0x57
      name[place / 2] = name[place / 2] << 4 | digit & 0xf
      place += 1
    }
    var pools: [AddressPool] = []
    for (index, space) in spaces.enumerated() {
      pools.append(
        try AddressPool(
          "\(folder)/index.\(index)", space: space, bootID: name, leaseFolder: "\(folder)/leases"
        ) { () throws(CNIError) in
          try sweep().flatMap { $0.addresses.map(\.address) } + allKept().flatMap(\.addresses)
        })
    }
    return pools
  }

  /// The leases of this boot; those of another, and files that are no lease, are removed.
  private func sweep() throws(CNIError) -> [Lease] {
    var leases: [Lease] = []
    for name in try Files.names(in: "\(folder)/leases") {
      if let lease = try find(name), lease.bootID == Self.bootID {
        leases.append(lease)
      } else {
        unlink("\(folder)/leases/\(name)")
      }
    }
    return leases
  }

  private func choose(from pool: AddressPool, requested: [IPAddress]) throws(CNIError) -> Int? {
    for address in requested {
      if let offset = pool.space.offset(of: address) { return try pool.take(offset) ? offset : nil }
    }
    return try pool.take()
  }

  private func exhausted(_ pool: AddressPool, network: String, requested: [IPAddress]) -> CNIError {
    if let address = requested.first(where: { pool.space.offset(of: $0) != nil }) {
      return CNIError(.tryAgainLater, "address \(address) of network \(network) is in use")
    }
    return CNIError(
      .tryAgainLater, "network \(network) has no free address",
      details: "\(pool.space.description): all \(pool.used) are leased; `ls \(folder)/leases` shows to whom")
  }

  /// Forgets the attachment's lease; its addresses go to the end of the queue.
  /// - Parameter known: what `read` said of it, which is not read again when the same file is still there.
  /// - Returns: what it held; nil when there was none.
  @discardableResult
  func release(_ key: String, known: (lease: Lease, identity: Files.Identity)? = nil) throws(CNIError)
    -> Lease?
  {
    let path = "\(folder)/leases/\(key)"
    guard try Files.Identity(path) != nil else { return nil }
    let lock = try FileLock("\(folder)/lock")
    defer { lock.release() }
    var held = known?.lease
    let present = try Files.Identity(path)
    if known == nil || known?.identity != present { held = try find(key) }
    guard let lease = held, !spaces.isEmpty else {
      // Not readable, or a configuration without ranges: the next ADD rebuilds the indexes.
      for name in try Files.names(in: folder) where name.hasPrefix("index.") { unlink("\(folder)/\(name)") }
      guard unlink(path) == 0 || errno == ENOENT else { throw Files.failure("remove", path) }
      return held
    }
    let pools = try openPools()
    for pool in pools { try pool.begin() }
    guard unlink(path) == 0 || errno == ENOENT else { throw Files.failure("remove", path) }
    let stays = try isHolding(lease)
    for address in lease.addresses where !stays {
      for pool in pools {
        if let offset = pool.space.offset(of: address.address) { try pool.give(offset) }
      }
    }
    for pool in pools { try pool.commit() }
    return lease
  }

  /// The same for many, a part of them at a time, so that an ADD beside it waits for a moment only.
  func release(_ keys: [String]) throws(CNIError) {
    for start in stride(from: 0, to: keys.count, by: Self.releasedTogetherMax) {
      try release(together: keys[start..<min(start + Self.releasedTogetherMax, keys.count)])
    }
  }

  static let releasedTogetherMax = 128

  private func release(together keys: ArraySlice<String>) throws(CNIError) {
    let lock = try FileLock("\(folder)/lock")
    defer { lock.release() }
    let pools = try openPools()
    for pool in pools { try pool.begin() }
    for key in keys {
      // Released by somebody else in the meantime: its addresses are not ours to give.
      guard let lease = try find(key) else { continue }
      let path = "\(folder)/leases/\(key)"
      guard unlink(path) == 0 || errno == ENOENT else { throw Files.failure("remove", path) }
      guard try !isHolding(lease) else { continue }
      for address in lease.addresses {
        for pool in pools {
          if let offset = pool.space.offset(of: address.address) { try pool.give(offset) }
        }
      }
    }
    for pool in pools { try pool.commit() }
    // A configuration without ranges: the next ADD rebuilds the indexes.
    guard pools.isEmpty else { return }
    for name in try Files.names(in: folder) where name.hasPrefix("index.") { unlink("\(folder)/\(name)") }
  }

  /// Leased and leasable addresses of each range set.
  func usage() throws(CNIError) -> [(space: AddressSpace, used: Int, total: Int)] {
    try Files.makeFolder("\(folder)/leases")
    let lock = try FileLock("\(folder)/lock")
    defer { lock.release() }
    return try openPools().map { ($0.space, $0.used, $0.total) }
  }

  /// The attachment's lease; nil when there is none.
  func find(_ key: String) throws(CNIError) -> Lease? { try read(key)?.lease }

  /// The same, with which file it stands in.
  func read(_ key: String) throws(CNIError) -> (lease: Lease, identity: Files.Identity)? {
    guard let file = try Files.readWritten("\(folder)/leases/\(key)"),
      let lease = (try? JSONValue(parsing: file.bytes)).flatMap({ Lease($0) })
    else { return nil }
    return (lease, file.identity)
  }

  /// Every lease. Linear: for GC, rebuilds and people.
  func all() throws(CNIError) -> [Lease] {
    var leases: [Lease] = []
    for name in try Files.names(in: "\(folder)/leases") {
      if let lease = try find(name) { leases.append(lease) }
    }
    return leases
  }
}
