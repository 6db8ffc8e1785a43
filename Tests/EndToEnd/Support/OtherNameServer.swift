// Other people's name servers, each of one zone that lies in a folder: what they say of it is plain DNS.

/// Serves `cluster.local` from `zone` on 127.0.0.1:5301. `scripts/setup-tests.sh` installs them.
enum OtherNameServer: String, CaseIterable {
  case knot, nsd, bind, unbound

  /// The program with everything but the path of its settings.
  var command: [String] {
    switch self {
    case .knot: ["/usr/sbin/knotd", "-c"]
    case .nsd: ["/usr/sbin/nsd", "-d", "-c"]
    case .bind: ["/usr/sbin/named", "-g", "-n", "1", "-c"]
    case .unbound: ["/usr/sbin/unbound", "-d", "-c"]
    }
  }

  /// Unbound leaves the end of an alias to those who ask.
  func hasReason(for name: String) -> Bool {
    guard self == .unbound else { return true }
    return !["inside.", "port.", "astray."].contains { name.hasPrefix($0) }
  }

  func settings(_ folder: String) -> String {
    switch self {
    case .knot:
      """
      server:
          listen: 127.0.0.1@5301
          rundir: \(folder)
      database:
          storage: \(folder)
      zone:
        - domain: cluster.local
          file: \(folder)/zone
          zonefile-sync: -1
          journal-content: none

      """
    case .nsd:
      """
      server:
          ip-address: 127.0.0.1@5301
          server-count: 1
          username: ""
          chroot: ""
          zonesdir: "\(folder)"
          database: ""
          pidfile: "\(folder)/nsd.pid"
          xfrdfile: "\(folder)/xfrd"
          zonelistfile: "\(folder)/zonelist"
      remote-control:
          control-enable: no
      zone:
          name: cluster.local
          zonefile: zone

      """
    case .bind:
      """
      options {
        directory "\(folder)";
        listen-on port 5301 { 127.0.0.1; };
        listen-on-v6 { none; };
        pid-file "\(folder)/named.pid";
        session-keyfile "\(folder)/session.key";
        recursion no;
        allow-query { any; };
        dnssec-validation no;
        notify no;
      };
      controls {};
      zone "cluster.local" { type primary; file "zone"; check-names ignore; };

      """
    case .unbound:
      """
      server:
          directory: "\(folder)"
          chroot: ""
          username: ""
          pidfile: ""
          use-syslog: no
          interface: 127.0.0.1@5301
          access-control: 127.0.0.0/8 allow
          do-daemonize: no
          num-threads: 1
          module-config: "iterator"
      remote-control:
          control-enable: no
      auth-zone:
          name: cluster.local
          zonefile: "\(folder)/zone"
          for-downstream: yes
          for-upstream: no
          fallback-enabled: no

      """
    }
  }
}
