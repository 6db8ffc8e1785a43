// Names that stand whatever Services there are: apexes, `dns-version`, `svc`, `pod`, and one of each a namespace.

import Addresses

/// The apex of each zone we deny names of. Its SOA carries the serial, so it is planned with every zone.
func planApexes(_ settings: ZoneSettings, _ servers: NameServers, serial: UInt32) -> [ZoneGroupBuilder] {
  var groups: [ZoneGroupBuilder] = []
  let external = settings.external?.zones ?? []
  let sets = settings.multiclusterZones
  for zone in [settings.zone] + sets + external + settings.reverseZones {
    // An external zone is delegated to us from outside, where the cluster's own names mean nothing.
    let home = external.contains(zone) || sets.contains(zone) ? zone : settings.zone
    guard let server = home.child("dns")?.child("ns") else { continue }
    guard zone == home || !settings.fallthroughZones.contains(where: { zone.isWithin($0) }) else {
      continue
    }
    var apex = ZoneGroupBuilder(key: zone, ttl: settings.ttl)
    let mailbox = home.child("hostmaster") ?? home
    apex.add(
      [],
      .soa(StartOfAuthority(primary: server, mailbox: mailbox, serial: serial, minimum: settings.negativeTTL))
    )
    for each in servers.servers(server, isCluster: home == settings.zone) {
      apex.add([], .ns(each.name), additional: each.addresses.map { (each.name, addressRecord($0)) })
    }
    groups.append(apex)
  }
  return groups
}

/// Names that never change: the version of the schema, the name server, and those between it and Services.
func planFixedNames(_ settings: ZoneSettings, _ servers: NameServers) -> [ZoneGroupBuilder] {
  var groups: [ZoneGroupBuilder] = []
  if var version = group(["dns-version"], settings) {
    version.add([], .txt([Array("1.1.0".utf8)]))
    groups.append(version)
  }
  if var names = group(["ns", "dns"], settings) {
    for address in servers.addresses { names.add([], addressRecord(address)) }
    groups.append(names)
  }
  for zone in settings.multiclusterZones {
    if let name = zone.child("dns-version") {
      var version = ZoneGroupBuilder(key: name, ttl: settings.ttl)
      // Of the multicluster specification, KEP-1645.
      version.add([], .txt([Array("1.0.0".utf8)]))
      groups.append(version)
    }
    if let services = zone.child("svc") {
      groups.append(ZoneGroupBuilder(key: services, ttl: settings.ttl))
    }
  }
  for zone in (settings.external?.zones ?? []) + settings.multiclusterZones {
    guard let dns = zone.child("dns"), let server = dns.child("ns") else { continue }
    var names = ZoneGroupBuilder(key: server, ttl: settings.ttl)
    for address in servers.addresses { names.add([], addressRecord(address)) }
    groups += [names, ZoneGroupBuilder(key: dns, ttl: settings.ttl)]
  }
  return groups + (["dns"] + kinds(settings)).compactMap { group([$0], settings) }
}

/// A namespace's names: they exist and have no records.
func planNamespace(_ name: String, _ settings: ZoneSettings) -> [ZoneGroupBuilder] {
  kinds(settings).compactMap { group([name, $0], settings) }
    + (settings.external?.zones ?? []).compactMap { zone in
      zone.child(name).map { ZoneGroupBuilder(key: $0, ttl: settings.ttl) }
    }
    + settings.multiclusterZones.compactMap { zone in
      zone.child("svc")?.child(name).map { ZoneGroupBuilder(key: $0, ttl: settings.ttl) }
    }
}

private func kinds(_ settings: ZoneSettings) -> [String] {
  settings.pods == .disabled ? ["svc"] : ["svc", "pod"]
}

private func group(_ labels: [String], _ settings: ZoneSettings) -> ZoneGroupBuilder? {
  settings.zone.child(of: labels).map { ZoneGroupBuilder(key: $0, ttl: settings.ttl) }
}

func addressRecord(_ address: IPAddress) -> RecordData {
  switch address {
  case .v4(let four): .a(four)
  case .v6(let six): .aaaa(six)
  }
}
