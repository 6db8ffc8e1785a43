// Rules with the structure that kube-proxy's nftables mode writes: chains for each Service and endpoint, an anonymous map for
// each Service, one `add element` for each address. Written from that structure's description, for comparison only.

/// Text for `nft -f`.
struct PeerRules {
  let services: Int
  let endpoints: Int
  private let table = "ip kube-proxy"
  private(set) var text = ""

  init(services: Int, endpoints: Int) {
    self.services = services
    self.endpoints = endpoints
  }

  private mutating func line(_ words: String) { text += words + "\n" }

  /// The whole, as at a start.
  mutating func writeAll() {
    line("add table \(table)")
    let bases = [
      ("nat-prerouting", "nat hook prerouting priority -100"),
      ("nat-output", "nat hook output priority -100"),
      ("nat-postrouting", "nat hook postrouting priority 100"),
      ("filter-forward", "filter hook forward priority 0"),
      ("filter-output", "filter hook output priority 0"),
    ]
    for (name, hook) in bases {
      line("add chain \(table) \(name) { type \(hook) ; }")
      line("flush chain \(table) \(name)")
    }
    for name in ["services", "masquerading", "mark-for-masquerade", "cluster-ips-check", "reject-chain"] {
      line("add chain \(table) \(name)")
      line("flush chain \(table) \(name)")
    }
    line("add set \(table) cluster-ips { type ipv4_addr ; }")
    let verdict = "type ipv4_addr . inet_proto . inet_service : verdict"
    for name in ["service-ips", "firewall-ips", "no-endpoint-services"] {
      line("add map \(table) \(name) { \(verdict) ; }")
    }
    line("add map \(table) service-nodeports { type inet_proto . inet_service : verdict ; }")
    line("add rule \(table) mark-for-masquerade mark set mark or 0x4000")
    line("add rule \(table) masquerading mark and 0x4000 == 0 return")
    line("add rule \(table) masquerading mark set mark xor 0x4000")
    line("add rule \(table) masquerading masquerade fully-random")
    line("add rule \(table) reject-chain reject")
    line("add rule \(table) cluster-ips-check ip daddr @cluster-ips reject")
    line("add rule \(table) services ip daddr . meta l4proto . th dport vmap @service-ips")
    line("add rule \(table) services fib daddr type local meta l4proto . th dport vmap @service-nodeports")
    line("add rule \(table) nat-prerouting jump services")
    line("add rule \(table) nat-output jump services")
    line("add rule \(table) nat-postrouting jump masquerading")
    for chain in ["filter-forward", "filter-output"] {
      line(
        "add rule \(table) \(chain) ct state new ip daddr . meta l4proto . th dport vmap @no-endpoint-services"
      )
      line("add rule \(table) \(chain) ct state new jump cluster-ips-check")
    }
    for index in 0..<services {
      write(index, targets: Layout.endpoints(of: index, count: endpoints))
      line(
        "add element \(table) service-ips { \(Layout.service(index)) . tcp . 80 : goto \(chain(of: index)) }")
      line("add element \(table) cluster-ips { \(Layout.service(index)) }")
    }
  }

  /// What is written when one endpoint of a Service is another one: the Service's chains anew.
  mutating func writeChange(of index: Int, shifted: Int) {
    write(index, targets: Layout.endpoints(of: index, count: endpoints, shifted: shifted))
  }

  private func name(_ index: Int) -> String { "ns\(index % 100)/svc\(index)/tcp/p80" }

  private func chain(of index: Int) -> String { "service-\(hash(name(index)))-\(name(index))" }

  private func chain(of index: Int, _ target: String) -> String {
    "endpoint-\(hash(name(index) + target))-\(name(index))__\(target)/8080"
  }

  private mutating func write(_ index: Int, targets: [String]) {
    for target in targets {
      let own = chain(of: index, target)
      line("add chain \(table) \(own)")
      line("flush chain \(table) \(own)")
      line("add rule \(table) \(own) ip saddr \(target) jump mark-for-masquerade")
      line("add rule \(table) \(own) meta l4proto tcp dnat to \(target):8080")
    }
    let own = chain(of: index)
    line("add chain \(table) \(own)")
    line("flush chain \(table) \(own)")
    line(
      "add rule \(table) \(own) ip daddr \(Layout.service(index)) tcp dport 80 ip saddr != 10.0.0.0/8 "
        + "jump mark-for-masquerade")
    let choices = targets.enumerated().map { "\($0) : goto \(chain(of: index, $1))" }
    line(
      "add rule \(table) \(own) numgen random mod \(targets.count) vmap { \(choices.joined(separator: ", ")) }"
    )
  }

  /// Eight letters of a name, as chains begin.
  private func hash(_ name: String) -> String {
    var value: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in name.utf8 { value = (value ^ UInt64(byte)) &* 0x100_0000_01b3 }
    let letters = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")
    return String((0..<8).map { letters[Int(value >> UInt64($0 * 5) & 31)] })
  }
}
