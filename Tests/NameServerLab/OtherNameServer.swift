// Other people's name servers: Knot, NSD, BIND and Unbound, of zones that lie in a folder or that they take from us. What they say of them
// is plain DNS.

/// A program and how it is told what to serve on the loopback address. `scripts/setup-tests.sh` installs them.
public enum OtherNameServer: String, CaseIterable, Sendable {
  case knot, nsd, bind, unbound

  /// Where a zone is from.
  public enum Source: Sendable {
    /// A file in the folder.
    case file(String)
    /// A transfer from a port of the loopback address.
    case transfer(UInt16)
  }

  public struct Zone: Sendable {
    var name: String
    var source: Source
    public init(_ name: String, _ source: Source) {
      self.name = name
      self.source = source
    }
  }

  /// The command with everything but the path of its settings. It stays in the foreground.
  public var command: [String] {
    switch self {
    case .knot: ["/usr/sbin/knotd", "-c"]
    case .nsd: ["/usr/sbin/nsd", "-d", "-c"]
    case .bind: ["/usr/sbin/named", "-g", "-n", "1", "-c"]
    case .unbound: ["/usr/sbin/unbound", "-d", "-c"]
    }
  }

  /// Unbound leaves the end of an alias to those who ask.
  public var endsAliases: Bool { self != .unbound }

  /// - Parameters:
  ///   - folder: of zones, and where the program may write.
  ///   - port: of 127.0.0.1, UDP and TCP.
  public func settings(folder: String, port: UInt16, zones: [Zone]) -> String {
    let text =
      switch self {
      case .knot: Self.knot(folder, port)
      case .nsd: Self.nsd(folder, port)
      case .bind: Self.bind(folder, port)
      case .unbound: Self.unbound(folder, port)
      }
    let each = zones.map { zone($0, folder) }.joined(separator: "\n")
    return "\(text)\n\(self == .knot ? Self.remotes(zones) : "")\(each)\n"
  }

  /// Whom zones are taken from, and the word before all zones.
  private static func remotes(_ zones: [Zone]) -> String {
    let ports = zones.compactMap { zone -> UInt16? in
      if case .transfer(let port) = zone.source { port } else { nil }
    }
    let all = Set(ports).sorted().map { "  - id: r\($0)\n    address: 127.0.0.1@\($0)\n" }.joined()
    return all.isEmpty ? "zone:\n" : "remote:\n\(all)zone:\n"
  }

  private static func knot(_ folder: String, _ port: UInt16) -> String {
    """
    server:
        listen: 127.0.0.1@\(port)
        rundir: \(folder)
        udp-workers: 1
        tcp-workers: 1
        background-workers: 1
    database:
        storage: \(folder)
    template:
      - id: default
        storage: \(folder)
        zonefile-sync: -1
        journal-content: none
        semantic-checks: off
    """
  }

  private static func nsd(_ folder: String, _ port: UInt16) -> String {
    """
    server:
        ip-address: 127.0.0.1@\(port)
        server-count: 1
        username: ""
        chroot: ""
        zonesdir: "\(folder)"
        database: ""
        pidfile: "\(folder)/nsd.pid"
        xfrdfile: "\(folder)/xfrd"
        xfrdir: "\(folder)"
        zonelistfile: "\(folder)/zonelist"
    remote-control:
        control-enable: no
    """
  }

  private static func bind(_ folder: String, _ port: UInt16) -> String {
    """
    options {
      directory "\(folder)";
      listen-on port \(port) { 127.0.0.1; };
      listen-on-v6 { none; };
      pid-file "\(folder)/named.pid";
      session-keyfile "\(folder)/session.key";
      recursion no;
      allow-query { any; };
      dnssec-validation no;
      zero-no-soa-ttl no;
      notify no;
    };
    controls {};
    """
  }

  /// Zones that it answers for itself.
  private static func unbound(_ folder: String, _ port: UInt16) -> String {
    """
    server:
        directory: "\(folder)"
        chroot: ""
        username: ""
        pidfile: ""
        use-syslog: no
        interface: 127.0.0.1@\(port)
        access-control: 127.0.0.0/8 allow
        do-not-query-localhost: no
        do-daemonize: no
        num-threads: 1
        module-config: "iterator"
    remote-control:
        control-enable: no
    """
  }

  private func zone(_ zone: Zone, _ folder: String) -> String {
    switch (self, zone.source) {
    case (.knot, .file(let file)):
      "  - domain: \(zone.name)\n    file: \(file)"
    case (.knot, .transfer(let port)):
      "  - domain: \(zone.name)\n    master: r\(port)"
    case (.nsd, .file(let file)):
      "zone:\n    name: \"\(zone.name)\"\n    zonefile: \"\(file)\""
    case (.nsd, .transfer(let port)):
      "zone:\n    name: \"\(zone.name)\"\n    zonefile: \"taken.zone\"\n    request-xfr: AXFR 127.0.0.1@\(port) NOKEY"
    case (.bind, .file(let file)):
      "zone \"\(zone.name)\" { type primary; file \"\(file)\"; check-names ignore; };"
    case (.bind, .transfer(let port)):
      "zone \"\(zone.name)\" { type secondary; primaries port \(port) { 127.0.0.1; }; check-names ignore; };"
    case (.unbound, let source):
      """
      auth-zone:
          name: "\(zone.name)"
          \(Self.origin(source, folder))
          for-downstream: yes
          for-upstream: no
          fallback-enabled: no
      """
    }
  }

  private static func origin(_ source: Source, _ folder: String) -> String {
    switch source {
    case .file(let file): "zonefile: \"\(folder)/\(file)\""
    case .transfer(let port): "primary: 127.0.0.1@\(port)"
    }
  }
}
