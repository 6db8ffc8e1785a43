// What one thread serves on one socket: the server blocks of its port, made ready.

import Addresses
import Diagnostics
import NIOCore
import Reactor

/// A server block of one thread, with what it keeps between queries.
final class SiteBlock {
  let block: ServerBlock
  let chain: BlockChain
  let zone: DomainName
  let routes: [ForwardTarget]
  var cache: ForwardCache
  let forwardsMax: Int
  let dnstap: DnstapSender?
  /// Queries that wait for upstream servers.
  var waiting = 0
  /// By question: those who ask the same wait together.
  var inFlight: [[UInt8]: ForwardExchange] = [:]
  let isPlain: Bool
  let isRewritingOptions: Bool
  /// Who we are, as an option on the wire; nil when that is not told.
  let nsidOption: [UInt8]?

  init(
    _ block: ServerBlock, zone: DomainName, routes: [ForwardTarget], threads: Int, dnstap: DnstapSender?,
    namespaceOf: (@Sendable (IPAddress) -> String?)?, numbers: DNSMetrics
  ) {
    self.block = block
    self.zone = zone
    self.routes = routes
    self.dnstap = dnstap
    chain = BlockChain(block, namespaceOf: namespaceOf, counters: BlockCounters(block, numbers))
    cache = ForwardCache(block.cache ?? .off, threads: threads)
    forwardsMax = max(1, block.forwardsMax / max(1, threads))
    isPlain = block.isPlain
    isRewritingOptions = block.isRewritingOptions
    nsidOption = block.nsid.map { [EDNSValue(code: EDNSOption.nsid, octets: $0)].encoded }
  }
}

/// A block under one of its zones, as every thread makes it for itself.
struct SitePlan: Sendable {
  let block: ServerBlock
  let zone: DomainName
  let ports: [ServerBlock.Key]
  let namespaceOf: (@Sendable (IPAddress) -> String?)?
  /// The longest zone first.
  let routes: [ForwardRoute]
  let probes: [ForwardTarget.Probe]
  /// For each route its servers over TLS.
  let encrypted: [[TLSUpstream?]]
  let dnstap: DnstapSender?
  private let numbers: DNSMetrics

  init(
    block: ServerBlock, zone: DomainName, ports: [ServerBlock.Key], loop: (any EventLoop)?,
    dnstap: DnstapSender?,
    namespaceOf: (@Sendable (IPAddress) -> String?)?, numbers: DNSMetrics
  ) throws(WeftError) {
    self.numbers = numbers
    self.block = block
    self.zone = zone
    self.ports = ports.filter { $0.zone == zone }
    self.namespaceOf = namespaceOf
    routes = block.routes.sorted {
      ($0.zone.wire.count, -$0.order) > ($1.zone.wire.count, -$1.order)
    }
    probes = routes.map { ForwardTarget.Probe($0.zone) }
    var encrypted: [[TLSUpstream?]] = []
    for route in routes {
      encrypted.append(
        try loop.map { loop throws(WeftError) in try TLSUpstream.all(route, loop, numbers.forward) } ?? [])
    }
    self.encrypted = encrypted
    self.dnstap = dnstap
  }

  func block(threads: Int) -> SiteBlock {
    SiteBlock(
      block, zone: zone,
      routes: routes.indices.map {
        ForwardTarget(routes[$0], probe: probes[$0], encrypted: encrypted[$0])
      }, threads: threads, dnstap: dnstap, namespaceOf: namespaceOf, numbers: numbers)
  }

  /// The blocks for a socket: those of its port and address. A port that no block names was given by hand, and gets the
  /// blocks of the first.
  static func choose(
    _ plans: [SitePlan], _ blocks: [SiteBlock], _ endpoint: SocketEndpoint?,
    _ transport: ServerBlock.Transport = .dns
  ) -> [SiteBlock] {
    let ports = plans.flatMap(\.ports).filter { $0.transport == transport }.map(\.port)
    guard let port = endpoint?.port, let first = ports.first else { return blocks }
    let wanted = ports.contains(port) ? port : first
    return zip(plans, blocks).filter { plan, _ in
      plan.ports.contains { $0.port == wanted && $0.transport == transport }
        && (plan.block.bind.isEmpty || endpoint.map { plan.block.bind.contains($0.address) } ?? true)
    }.map(\.1)
  }
}

/// The blocks behind one socket, the longest zone first.
final class Site: DatagramHandler {
  private let worker: DNSWorker
  private let blocks: [SiteBlock]
  /// Nearly always: one block for every name.
  private let only: SiteBlock?
  let local: SocketEndpoint?

  init(_ worker: DNSWorker, _ blocks: [SiteBlock], local: SocketEndpoint?) {
    self.worker = worker
    self.blocks = blocks.enumerated().sorted {
      ($0.element.zone.wire.count, -$0.offset) > ($1.element.zone.wire.count, -$1.offset)
    }.map(\.element)
    self.local = local
    only = blocks.count == 1 && blocks[0].zone == .root && blocks[0].block.view == nil ? blocks[0] : nil
  }

  /// The block that takes a query: of the longest zone, and of those the first whose view takes it.
  @inline(__always)
  func block(_ packet: RawSpan, _ head: borrowing QueryHead, _ client: @autoclosure () -> Client?)
    -> SiteBlock?
  {
    if let only { return only }
    return choose(packet, head, client())
  }

  private func choose(_ packet: RawSpan, _ head: borrowing QueryHead, _ client: Client?) -> SiteBlock? {
    for candidate in blocks where head.isWithin(candidate.zone, packet) {
      guard let view = candidate.block.view else { return candidate }
      guard let client, let question = head.question(packet) else { continue }
      if view.takes(question, client, head) { return candidate }
    }
    return nil
  }

  func expects(_ batch: DatagramBatch) { worker.expects(batch) }
  func answered() { worker.askUpstream() }

  func received(_ datagram: Datagram, reply: UnsafeMutableRawBufferPointer, on socket: UDPSocket) -> Int {
    // Ports of services that answer whatever they are sent: a forged query would start a loop (T-D4).
    let port = datagram.peer.port
    guard !datagram.isTruncated, port != 0, !DNSWorker.portsRefused.contains(port) else {
      worker.tally.count(.dropped)
      return 0
    }
    let count = worker.serve(datagram.payload.bytes, reply, self, isTCP: false, peer: datagram.peer) {
      ClientPath(socket: socket, connection: nil, peer: datagram.peer, local: datagram.local)
    }
    return max(0, count)
  }
}

extension QueryHead {
  /// The question as a value.
  func question(_ packet: RawSpan) -> Message.Question? {
    guard questionEnd > 0, nameLength > 0 else { return nil }
    let wire = (0..<nameLength).map { packet.byte(at: Header.byteCount + $0) }
    return Message.Question(
      name: DomainName(uncheckedWire: wire), type: type, rrClass: packet.uint16(at: questionEnd &- 2))
  }
}
