// Three etcd members on the loopback, with TLS between clients and members: killed, paused and started again by tests.

import ClusterStore
import ClusterStoreEtcd
import Diagnostics
import Glibc
import SoakLab
import Synchronization

public final class EtcdCluster: Sendable {
  private struct Member: Sendable {
    var name: String
    var clientPort: UInt16
    var peerPort: UInt16
    var arguments: [String] = []
  }
  public let folder: String
  private let members: [Member]
  private let path: String
  private let programs = Mutex<[Program?]>([nil, nil, nil])
  private let paused = Mutex<Set<Int>>([])

  /// Starts three members; they elect a leader by themselves.
  public init(_ version: EtcdServer.Version = .newer) throws {
    path = try EtcdServer.binary(version)
    let folder = try ScratchFolder.make("etcd3")
    self.folder = folder
    try Certificates.make(in: folder)
    var members: [Member] = []
    for name in ["a", "b", "c"] {
      members.append(Member(name: name, clientPort: try freePort(), peerPort: try freePort()))
    }
    let all = members.map { "\($0.name)=http://127.0.0.1:\($0.peerPort)" }.joined(separator: ",")
    for index in members.indices {
      let member = members[index]
      members[index].arguments = [
        "--name", member.name, "--data-dir", "\(folder)/\(member.name)", "--log-level", "error", "--logger",
        "zap", "--listen-client-urls", "https://127.0.0.1:\(member.clientPort)",
        "--advertise-client-urls", "https://127.0.0.1:\(member.clientPort)",
        "--listen-peer-urls", "http://127.0.0.1:\(member.peerPort)",
        "--initial-advertise-peer-urls", "http://127.0.0.1:\(member.peerPort)",
        "--initial-cluster", all, "--cert-file", "\(folder)/server.crt", "--key-file", "\(folder)/server.key",
        "--trusted-ca-file", "\(folder)/ca.crt", "--client-cert-auth",
      ]
    }
    self.members = members
    for index in members.indices { try start(index) }
  }

  deinit { remove() }

  public func remove() {
    for index in members.indices { kill(index) }
    ScratchFolder.remove(folder)
  }

  // MARK: Members

  public func start(_ index: Int) throws {
    let member = members[index]
    let started = try Program(path, member.arguments, output: "\(folder)/\(member.name).log")
    programs.withLock { $0[index] = started }
  }

  /// SIGKILL.
  public func kill(_ index: Int) {
    let program = programs.withLock { programs in
      defer { programs[index] = nil }
      return programs[index]
    }
    paused.withLock { _ = $0.remove(index) }
    program?.stop()
  }

  /// SIGSTOP: its connections stay open and nothing is answered.
  public func pause(_ index: Int) {
    programs.withLock { $0[index]?.signal(SIGSTOP) }
    paused.withLock { _ = $0.insert(index) }
  }

  public func resume(_ index: Int) {
    paused.withLock { _ = $0.remove(index) }
    programs.withLock { $0[index]?.signal(SIGCONT) }
  }

  /// The member that leads; nil while there is none, or none of those that run says.
  public func leader() throws -> Int? {
    for index in members.indices {
      let isRunning = programs.withLock { $0[index] != nil } && !paused.withLock { $0.contains(index) }
      guard isRunning, let found = try status(index), found.leader != 0 else { continue }
      for (other, _) in members.enumerated() where try status(other)?.member == found.leader { return other }
    }
    return nil
  }

  private func status(_ index: Int) throws -> (member: UInt64, leader: UInt64)? {
    let isAsked = programs.withLock { $0[index] != nil } && !paused.withLock { $0.contains(index) }
    guard isAsked else { return nil }
    let control = path.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(
      separator: "/")
    let run = try Program.run(
      "\(control)/etcdctl",
      [
        "--endpoints", "https://127.0.0.1:\(members[index].clientPort)", "--cacert", "\(folder)/ca.crt",
        "--cert", "\(folder)/client.crt", "--key", "\(folder)/client.key", "--command-timeout", "2s",
        "endpoint", "status", "-w", "fields",
      ], environment: ["ETCDCTL_API=3"])
    func number(_ name: String) -> UInt64 {
      for line in run.output.split(separator: "\n") where line.hasPrefix("\"\(name)\" : ") {
        return UInt64(line.dropFirst(name.utf8.count + 5)) ?? 0
      }
      return 0
    }
    let member = number("MemberID")
    return member == 0 ? nil : (member, number("Leader"))
  }

  // MARK: Stores

  public var endpoints: String {
    members.map { "https://127.0.0.1:\($0.clientPort)" }.joined(separator: ",")
  }

  /// Settings of a store that knows all three members.
  public func settings(prefix: String, root: String = "") throws -> EtcdStoreSettings {
    var settings = try EtcdStoreSettings(store: "etcd:\(endpoints)")
    settings.authorityFile = "\(folder)/ca.crt"
    settings.certificateFile = "\(folder)/client.crt"
    settings.keyFile = "\(folder)/client.key"
    settings.root = root
    settings.prefix = prefix
    if root.isEmpty { settings.ephemeral = [] }
    return settings
  }
}

/// An authority, and certificates for a server on the loopback and its client.
public enum Certificates {
  /// Makes `ca`, `server` and `client`, each `.crt` and `.key`.
  public static func make(in folder: String) throws {
    let script = """
      set -e; cd \(folder)
      openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.crt -days 2 -subj /CN=ca
      for n in server client; do
        openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout $n.key -out $n.csr -subj /CN=$n
        printf 'subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth,clientAuth\n' >ext
        openssl x509 -req -in $n.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out $n.crt -days 2 -extfile ext
      done
      """
    let made = try Program.run("/bin/sh", ["-c", script])
    guard made.status == 0 else { throw Failed(text: "openssl: \(made.output)") }
  }
}
