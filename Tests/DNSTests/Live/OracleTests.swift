// Knot, BIND and Unbound as oracles: they get the cluster's zone by a transfer from us, and must answer every query as we do (T-D14).

import Addresses
import ClusterObjects
import ClusterView
import Diagnostics
import NameServerLab
import SoakLab
import Testing

@testable import DNS

/// A cluster of Services of every kind, from a seed.
private func objects(_ random: inout SeededGenerator) -> [JSON] {
  var objects: [JSON] = (0..<8).map { ["kind": "Namespace", "metadata": ["name": JSON("n\($0)")]] }
  for number in 0..<200 {
    let namespace = JSON("n\(Int.random(in: 0..<6, using: &random))")
    let name = "s\(number)"
    let ports: JSON =
      Bool.random(using: &random)
      ? Fixture.http
      : [["name": "http", "port": 80], ["name": "dns", "port": 53, "protocol": "UDP"]]
    var service = Fixture.service(name, ["clusterIP": "None", "ports": ports])
    var isHeadless = true
    switch Int.random(in: 0..<4, using: &random) {
    case 0:
      let four = JSON("10.43.1.\(number)")
      let six = JSON("fd00:43::\(number)")
      service = Fixture.service(name, ["clusterIP": four, "clusterIPs": [four, six], "ports": ports])
      isHeadless = false
    case 1:
      let targets = [
        "s\(Int.random(in: 0..<200, using: &random)).n\(Int.random(in: 0..<6, using: &random)).svc.cluster.local",
        "_http._tcp.s\(Int.random(in: 0..<200, using: &random)).n1.svc.cluster.local", "n2.svc.cluster.local",
        "svc.cluster.local", "cluster.local", "dns-version.cluster.local",
      ]
      let target = targets[min(targets.count - 1, Int.random(in: 0..<12, using: &random) / 2)]
      service = Fixture.service(name, ["type": "ExternalName", "externalName": JSON(target)])
      isHeadless = false
    default: break
    }
    service["metadata"]?["namespace"] = namespace
    objects.append(service)
    guard isHeadless else { continue }
    for family in ["IPv4", "IPv6"] where Bool.random(using: &random) {
      let endpoints = (0..<Int.random(in: 0..<6, using: &random)).map { index in
        Fixture.endpoint(
          family == "IPv4" ? "10.42.\(number).\(index + 1)" : "fd00:42:\(number)::\(index + 1)",
          hostname: index % 2 == 0 ? "h\(index)" : nil, ready: index != 3)
      }
      var slice = Fixture.slice(name, family, endpoints)
      slice["metadata"]?["namespace"] = namespace
      objects.append(slice)
    }
  }
  return objects
}

/// A query for a name of the zone, near one, or below one.
private func query(_ names: [DomainName], _ zone: DomainName, _ random: inout SeededGenerator) -> Message {
  var labels = (names.randomElement(using: &random) ?? zone).labels.map(Array.init)
  let own = labels.count - zone.labels.count
  if own > 0 {
    switch Int.random(in: 0..<8, using: &random) {
    case 0: labels.insert(Array("x".utf8), at: 0)
    case 1: labels.removeFirst()
    case 2: labels[Int.random(in: 0..<own, using: &random)] = Array("absent".utf8)
    case 3: labels[0] = labels[0].map { (97...122).contains($0) ? $0 - 32 : $0 }
    case 4: labels.insert(Array("_http".utf8), at: 0)
    case 5:
      labels[Int.random(in: 0..<own, using: &random)] = Array(
        "s\(Int.random(in: 0..<200, using: &random))".utf8)
    default: break
    }
  }
  let types: [RecordType] = [.a, .a, .aaaa, .srv, .srv, .txt, .cname, .mx, .ns, .soa, .ptr, .https, .caa]
  return Message(
    query: DomainName(labels: labels) ?? zone, types.randomElement(using: &random) ?? .a,
    id: .random(in: 1...UInt16.max, using: &random))
}

@Suite(.serialized, .timeLimit(.minutes(20))) struct OracleTests {
  @Test(arguments: [OtherNameServer.knot, .bind, .unbound])
  fileprivate func `others answer the zone we hand them as we do, whatever is asked`(_ kind: OtherNameServer)
    throws
  {
    var random = SeededGenerator(seed: Soak.seed)
    var settings = Fixture.settings
    // Names that are made up from their own text are in no transfer.
    settings.pods = .disabled
    let apex = settings.zone
    let zone = planZone(view: ClusterView(objects: objects(&random)), settings: settings)
    var names: [DomainName] = []
    var text = ""
    var pieces = TransferPieces(zone: zone, of: apex)
    var soas = 0
    while let records = pieces.next() {
      for record in records {
        if record.data.type == .soa { soas += 1 }
        if record.data.type == .soa, soas > 1 { continue }
        text += "\(record)\n"
        names.append(record.owner)
      }
    }
    #expect(soas == 2)
    let other = try OtherServer(kind, [(apex, text)])
    let count = Soak.rounds(4000, long: 1_000_000)
    var differences: [String] = []
    try withServer(zone: zone) { _, port in
      let ours = try QueryClient(port)
      let theirs = try QueryClient(other.port)
      for _ in 0..<count where differences.count < 20 {
        let query = query(names, apex, &random)
        let (mine, their) = (ours.ask(query), theirs.ask(query))
        // What an alias leads to Unbound leaves to those who ask.
        let isAlias = mine?.answer.contains { $0.data.type == .cname } ?? false
        if kind == .unbound, isAlias, query.question?.type != .cname { continue }
        let question = query.question.map { "\($0.name) \($0.type)" } ?? ""
        if mine?.essence != their?.essence || mine == nil {
          differences.append(
            "\(question)\n  ours \(mine?.essence ?? "nothing")\n  \(kind) \(their?.essence ?? "nothing")")
        }
      }
    }
    #expect(
      differences.isEmpty, "seed \(Soak.seed), \(differences.count): \(differences.joined(separator: "\n"))")
    Soak.report(
      "\(kind) and we: \(count) random queries of the cluster's zone, \(differences.count) differences")
  }
}
