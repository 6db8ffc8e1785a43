// The one line of resolv.conf that matters to a forwarder: `nameserver`.

import Addresses

/// The servers a resolv.conf names, in order, each once. Zones of link-local addresses (`%eth0`) are cut off; lines
/// that cannot be read are passed over, as resolvers do.
public func nameServers(resolvConf text: String) -> [SocketEndpoint] {
  var servers: [SocketEndpoint] = []
  for line in text.split(whereSeparator: \.isNewline) {
    let words = line.split(whereSeparator: { $0 == " " || $0 == "\t" })
    guard words.count >= 2, words[0] == "nameserver",
      let address = IPAddress(words[1].prefix { $0 != "%" })
    else { continue }
    let server = SocketEndpoint(address, 53)
    if !servers.contains(server) { servers.append(server) }
  }
  return servers
}

/// The search path of a resolv.conf; the last line that says one counts.
func searchPath(resolvConf text: String) -> [DomainName] {
  var names: [DomainName] = []
  for line in text.split(whereSeparator: \.isNewline) {
    let words = line.split(whereSeparator: { $0 == " " || $0 == "\t" })
    guard let first = words.first, first == "search" || first == "domain" else { continue }
    names = words.dropFirst().compactMap { DomainName($0)?.lowercased }
  }
  return names
}
