// What this node's DNS answers for the cluster's Services, held against the zone as it would be planned now.

import Addresses
import CLinux
import ClusterObjects
import ClusterView
import DNS
import Glibc
import KernelSockets

/// Asks over UDP, as a pod does. Changes nothing.
enum ServedZone {
  /// Names that are asked for; of more the first.
  static let namesMax = 20_000
  /// Questions on their way at once, and how often one is asked.
  private static let windowMax = 64
  private static let attemptsMax = 3
  private static let patienceMilliseconds: Int32 = 500
  /// Asked for first: without it the zone is served under another name, and nothing is compared.
  private static let first = "kubernetes.default.svc.cluster.local"

  /// A line for each name that is answered otherwise than planned: `change name web.demo.svc.cluster.local from … to …`. A difference
  /// counts when it is still there a moment later.
  static func differences(_ view: ClusterView, resolver: IPAddress?, isHere: Bool) async -> [String] {
    guard isHere, let resolver else { return [] }
    let zone = planZone(view: view, settings: ZoneSettings())
    guard let root = DomainName(first), let known = ask([root], resolver)?[root], !known.isEmpty else {
      return []
    }
    var names = view.services.keys.sorted().prefix(namesMax).compactMap {
      DomainName("\($0.name).\($0.namespace).svc.cluster.local")
    }
    var lines: [String] = []
    for look in 1...NodeRules.Source.looksMax where !names.isEmpty {
      if look > 1 { try? await Task.sleep(for: NodeRules.Source.lookPause) }
      guard let answers = ask(names, resolver) else { break }
      lines = []
      names = names.filter { name in
        let planned = Set(zone.lookup(name, .a).addresses)
        guard let served = answers[name] else {
          lines.append("change name \(name): it is not answered")
          return true
        }
        if served == planned { return false }
        lines.append("change name \(name) from \(text(served)) to \(text(planned))")
        return true
      }
    }
    return names.isEmpty ? [] : lines
  }

  private static func text(_ addresses: Set<IPAddress>) -> String {
    addresses.isEmpty ? "nothing" : addresses.sorted().map(\.description).joined(separator: ", ")
  }

  /// IPv4 addresses by name; names that nobody answered are missing. Nil when nothing can be asked.
  private static func ask(_ names: [DomainName], _ resolver: IPAddress) -> [DomainName: Set<IPAddress>]? {
    let family = resolver.family == .v4 ? AF_INET : AF_INET6
    let descriptor = socket(family, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    guard withSocketAddress(resolver, 53, { connect(descriptor, $0, $1) }) == 0 else { return nil }
    var found: [DomainName: Set<IPAddress>] = [:]
    for start in stride(from: 0, to: names.count, by: windowMax) {
      let window = names[start..<min(start + windowMax, names.count)]
      for _ in 0..<attemptsMax {
        let missing = window.filter { found[$0] == nil }
        if missing.isEmpty { break }
        for (index, name) in missing.enumerated() {
          let question = Message(query: name, .a, id: UInt16(truncatingIfNeeded: start + index)).encoded
          _ = send(descriptor, question, question.count, 0)
        }
        take(missing.count, descriptor) { name, addresses in
          if missing.contains(name) { found[name] = addresses }
        }
      }
    }
    return found
  }

  private static func take(_ count: Int, _ descriptor: Int32, _ body: (DomainName, Set<IPAddress>) -> Void) {
    for _ in 0..<count {
      var watched = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
      guard poll(&watched, 1, patienceMilliseconds) > 0,
        let datagram = receiveDatagram(descriptor, bytesMax: 4096)
      else { return }
      guard let answer = try? datagram.bytes.withUnsafeBytes({ try Message($0.bytes) }), answer.isResponse,
        let question = answer.question
      else { continue }
      let addresses = answer.answer.compactMap { record -> IPAddress? in
        if case .a(let four) = record.data { return .v4(four) }
        return nil
      }
      body(question.name, Set(addresses))
    }
  }
}
