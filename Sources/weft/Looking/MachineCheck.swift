// What `weft check` asks of a machine: rights, programs, the kernel's parts, ports, room on the disk, and other people's rules.

import Addresses
import ClusterObjects
import DataPlane
import Diagnostics
import Glibc
import KernelNftables
import KernelSockets
import Observe
import Reactor
import Ruleset

enum MachineCheck {
  typealias Item = CheckReport.Item

  /// - Parameter folder: where the data will be, or is.
  static func machine(_ folder: String) -> CheckReport.Category {
    CheckReport.Category("machine", [rights()] + programs() + kernel() + [disk(folder)])
  }

  private static func rights() -> Item {
    geteuid() == 0
      ? .ok("rights", "root")
      : .failed("rights", "CLI0126", "a node needs root, and this is user \(geteuid())", next: "run as root")
  }

  private static func programs() -> [Item] {
    [
      ("containerd", "NOD0001", "/usr/bin/containerd", "apt-get install containerd"),
      ("runc", "NOD0002", "/usr/sbin/runc", "apt-get install runc"),
      ("weft-cni", "CNI0001", Programs.plugin, "build it: make build"),
    ].map { name, code, path, next in
      access(path, X_OK) == 0
        ? .ok(name, path)
        : .failed(name, code, "\(path) is missing, and pods cannot run without it", next: next)
    }
  }

  private static func kernel() -> [Item] {
    var items: [Item] = []
    do {
      var flows = 0
      let socket = try NftablesSocket()
      _ = try socket.observe([])
      items.append(.ok("nf_tables", "rules can be read"))
      try socket.forEachFlow(.v4) { _ in flows += 1 }
      items.append(.ok("conntrack", "\(flows) IPv4 connections"))
    } catch {
      items.append(
        .failed(
          "nf_tables", "CLI0137", "rules and connections cannot be read (\(error))",
          next: "run as root, and: modprobe -a nf_tables nf_conntrack_netlink"))
    }
    let bridged = access("/proc/sys/net/bridge/bridge-nf-call-iptables", F_OK) == 0
    items.append(
      bridged
        ? .ok("br_netfilter", "is there")
        : .warning(
          "br_netfilter", "CLI0138", "is not loaded: packets between pods of a node would miss the rules",
          next: "modprobe br_netfilter (weft up does so)"))
    do {
      _ = try PacketRing(link: Int32(clamping: if_nametoindex("lo")), filter: .all())
      items.append(.ok("packet sockets", "`weft capture` can work"))
    } catch {
      items.append(
        .warning(
          "packet sockets", "CLI0139", "cannot be had (\(error)): `weft capture` will not work",
          next: "run as root, and: modprobe af_packet"))
    }
    return items
  }

  /// Below this a cluster's first images do not fit.
  private static let roomMin: UInt64 = 1 << 30

  private static func disk(_ folder: String) -> Item {
    var space = statvfs()
    guard statvfs(folder, &space) == 0 else {
      return .warning(
        "disk", "CLI0140", "\(folder): \(String(cString: strerror(errno)))",
        next: "choose another: --data-dir")
    }
    let room = UInt64(space.f_bavail) * UInt64(space.f_frsize)
    let words = "\(room >> 20) MiB free at \(folder)"
    return room >= roomMin
      ? .ok("disk", words)
      : .failed("disk", "CLI0140", words + ", at least 1024 are needed", next: "df -h \(folder)")
  }

  /// The ports that `weft up` opens unless it is told otherwise.
  static func ports() -> CheckReport.Category {
    let wanted: [(UInt16, String)] = [
      (6443, "API server"), (80, "ingress"), (443, "ingress"),
      (10249, "metrics"), (10250, "node agent"), (10256, "health"),
    ]
    return CheckReport.Category(
      "ports",
      wanted.map { port, what in
        let endpoint = SocketEndpoint(.v4(IPv4Address(bits: 0)), port)
        do {
          _ = try Sockets.listenTCP(endpoint, reusePort: false)
          return .ok("\(port)", "free for \(what)")
        } catch {
          return .failed(
            "\(port)", "NET0012", "cannot be had for \(what) (\(error))", next: "ss -ltnp 'sport = :\(port)'")
        }
      })
  }

  /// Rules of other people that refuse what is forwarded, as iptables-nft and firewalls make them: warnings, for they may be meant so.
  /// Nothing where there is no `nft` to ask.
  static func foreignRules() async -> [Item] {
    guard case .success(let text) = await ask("chains"), let tree = try? JSON(parsing: Array(text.utf8))
    else { return [] }
    let known = Set(NodeNetwork.tables.map { "\($0.family.rawValue) \($0.name)" })
    var tables: Set<String> = []
    for entry in tree["nftables"]?.array ?? [] {
      guard let chain = entry["chain"], let family = chain["family"]?.string,
        let table = chain["table"]?.string, hooks.contains(chain["hook"]?.string ?? ""),
        !known.contains("\(family) \(table)"), !table.hasPrefix("weft")
      else { continue }
      tables.insert("\(family) \(table)")
    }
    var items: [Item] = []
    for table in tables.sorted().prefix(tablesMax) {
      guard case .success(let text) = await ask("table \(table)") else { continue }
      items += refusals(text).prefix(4).map { chain, rule in
        .warning(
          "table \(table)", "CLI0141", "is not ours, and its chain \(chain) refuses: \(rule)",
          next: "nft -a list chain \(table) \(chain)")
      }
    }
    return items.isEmpty ? [.ok("foreign rules", "none refuses what pods send")] : items
  }

  private static let hooks: Set<String> = ["prerouting", "forward", "postrouting", "ingress"]
  private static let tablesMax = 16

  private static func ask(_ what: String) async -> Result<String, ProgramOutput.Failure> {
    let words = what.split(separator: " ").map(String.init)
    return await ProgramOutput.read(
      ["nft"] + (what == "chains" ? ["-j"] : []) + ["list"] + words, seconds: 10, bytesMax: 4 << 20)
  }

  /// Rules with a refusing verdict, and policies, of what `nft list table` prints.
  static func refusals(_ text: String) -> [(chain: String, rule: String)] {
    var found: [(String, String)] = []
    var chain = ""
    for line in text.split(separator: "\n") {
      let words = line.split(whereSeparator: \.isWhitespace)
      if words.first == "chain", words.count > 1 { chain = String(words[1]) }
      let isHead = words.first == "type"
      let refuses =
        isHead
        ? line.contains("policy drop") && !line.contains("hook input") && !line.contains("hook output")
        : words.contains("drop") || words.contains("reject")
      if refuses, !chain.isEmpty { found.append((chain, words.joined(separator: " "))) }
    }
    return found
  }
}
