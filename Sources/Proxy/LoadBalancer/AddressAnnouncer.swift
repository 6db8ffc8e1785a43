// Answers neighbours for the load balancer addresses that this node holds, and tells them when it takes one over. The kernel
// would answer only for addresses of its links; these are nobody's, the ruleset translates what is sent to them.

import Addresses
import CLinux
import Diagnostics
import Glibc
import KernelNetlink
import Logging
import Reactor

/// Announces addresses by ARP and NDP on the node's links, from a thread of its own. `update` may be called from any thread.
public final class AddressAnnouncer: Sendable {
  private let thread: ReactorThread
  private let worker: AnnouncerWorker

  /// Opens its sockets in the network namespace of the calling thread. Throws without CAP_NET_RAW.
  /// - Parameters:
  ///   - besides: names of links that lead to pods, not to neighbours.
  ///   - heard: called on the announcer's thread with each held address that another machine announces; must be quick.
  public init(
    besides: Set<String>, metrics: Metrics = .shared,
    heard: @escaping @Sendable (IPAddress, MACAddress) -> Void = { _, _ in }
  ) throws(SocketError) {
    thread = try ReactorThread(name: "announcer")
    do throws(SocketError) {
      worker = try AnnouncerWorker(
        reactor: thread.reactor, besides: besides, metrics: metrics, heard: heard)
    } catch {
      thread.stop()
      throw error
    }
    let worker = worker
    thread.reactor.submit { _ in worker.begin() }
  }

  /// Holds these addresses and no others from now on.
  public func update(_ addresses: Set<IPAddress>) {
    let worker = worker
    thread.reactor.submit { _ in worker.update(addresses) }
  }

  /// Tells neighbours once more of these, as far as they are held.
  public func announceAgain(_ addresses: Set<IPAddress>) {
    let worker = worker
    thread.reactor.submit { _ in worker.announceAgain(addresses) }
  }

  public func stop() { thread.stop() }
}

/// Belongs to its reactor's thread once made.
private final class AnnouncerWorker: TimerHandler, @unchecked Sendable {
  /// Times that a new address is announced, a second apart: frames get lost, and some stacks heed the second alone.
  static let repeats = 4
  static let tickNanoseconds: UInt64 = 1_000_000_000
  /// Ticks between two looks at the links.
  static let linkTicks = 5
  /// Ticks between two announcements of an address that is held: another holder hears of it, though frames were lost.
  static let refreshTicks = 30
  /// Questions answered in one go before others get their turn.
  static let framesPerTurnMax = 64

  private struct Way: Hashable {
    var mac: MACAddress
    var prefixes: [IPPrefix]
  }
  private struct Membership: Hashable {
    var link: Int32
    var group: [UInt8]
  }

  private let reactor: Reactor
  private let besides: Set<String>
  private let heard: @Sendable (IPAddress, MACAddress) -> Void
  private let logger = Logger(label: "load-balancer")
  private var session: RouteSession
  private let requests: QuestionSocket
  private let solicitations: QuestionSocket
  /// Its memberships are the node's.
  private let groups: Descriptor
  private var joined: Set<Membership> = []
  private var links: [Int32: Way] = [:]
  /// Of every link that this machine has: what it sends out of one comes back by another.
  private var ownMACs: Set<MACAddress> = []
  /// Each address with how often it is still to be announced.
  private var held: [IPAddress: Int] = [:]
  private var ticks = 0
  private let gauge: Gauge
  private let answers: Counter
  private let announcements: Counter

  init(
    reactor: Reactor, besides: Set<String>, metrics: Metrics,
    heard: @escaping @Sendable (IPAddress, MACAddress) -> Void
  ) throws(SocketError) {
    self.reactor = reactor
    self.heard = heard
    self.besides = besides
    do { session = try RouteSession() } catch { throw SocketError("netlink", error.errno) }
    requests = try QuestionSocket(isV6: false)
    solicitations = try QuestionSocket(isV6: true)
    let raw = socket(AF_INET6, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    groups = raw >= 0 ? Descriptor(owning: raw) : Descriptor()
    gauge =
      metrics.gauge("weft_load_balancer_announced_addresses", "Addresses that this node answers for.").child()
    answers =
      metrics.counter("weft_load_balancer_answers_total", "Questions of neighbours that were answered.")
      .child()
    announcements =
      metrics.counter("weft_load_balancer_announcements_total", "Unasked announcements sent.").child()
  }

  func begin() {
    for socket in [requests, solicitations] {
      do throws(SocketError) { try socket.register(reactor, self) } catch {
        logger.error("neighbours are not answered", metadata: ["error": "\(error)"])
      }
    }
    lookAtLinks()
    _ = reactor.setTimer(after: Self.tickNanoseconds, handler: self)
  }

  func update(_ addresses: Set<IPAddress>) {
    let new = addresses.subtracting(held.keys)
    let gone = Set(held.keys).subtracting(addresses)
    guard !new.isEmpty || !gone.isEmpty else { return }
    for address in gone {
      held[address] = nil
      logger.info("address given up", metadata: ["address": "\(address)"])
    }
    for address in new {
      held[address] = Self.repeats
      logger.info("address announced", metadata: ["address": "\(address)"])
    }
    gauge.set(Double(held.count))
    if !new.isEmpty { lookAtLinks() }
    joinGroups()
    announce()
  }

  func timerEnded(tag: Int) {
    ticks += 1
    if ticks % Self.linkTicks == 0 {
      lookAtLinks()
      joinGroups()
    }
    // Spread over the ticks, so that many addresses make no burst.
    for (address, left) in held where left == 0 && Self.isTurn(of: address, ticks) { held[address] = 1 }
    announce()
    _ = reactor.setTimer(after: Self.tickNanoseconds, handler: self)
  }

  func announceAgain(_ addresses: Set<IPAddress>) {
    for address in addresses where held[address] == 0 { held[address] = 1 }
    announce()
  }

  private static func isTurn(of address: IPAddress, _ ticks: Int) -> Bool {
    Int(address.bytes.last ?? 0) % refreshTicks == ticks % refreshTicks
  }

  /// Up, with a hardware address and an address that neighbours know, and not a way to pods.
  private func lookAtLinks() {
    do throws(NetlinkError) {
      let addresses = try session.addresses()
      var found: [Int32: Way] = [:]
      let all = try session.links()
      ownMACs = Set(all.compactMap(\.mac))
      for link in all where link.isUp && !link.isLoopback && !besides.contains(link.name) {
        let own = addresses.filter { $0.index == link.index && $0.scope == 0 }.compactMap(\.value.prefix)
        guard let mac = link.mac, !own.isEmpty else { continue }
        found[link.index] = Way(mac: mac, prefixes: own)
      }
      // A link that came up, or changed its hardware address, has neighbours who know nothing.
      if found != links { for address in held.keys { held[address] = Self.repeats } }
      links = found
    } catch {
      logger.warning("links cannot be read", metadata: ["error": "\(error)"])
    }
  }

  /// Links whose network has the address; all, when none has: a router may send it here.
  private func ways(to address: IPAddress) -> [Int32: Way] {
    let direct = links.filter { $0.value.prefixes.contains { $0.contains(address) } }
    return direct.isEmpty ? links : direct
  }

  private func announce() {
    for (address, left) in held where left > 0 {
      held[address] = left - 1
      for (index, way) in ways(to: address) {
        for frame in Announcement.frames(address, mac: way.mac) {
          requests.send(frame, link: index)
          announcements.increment()
        }
      }
    }
  }

  private func joinGroups() {
    guard groups.isOpen else { return }
    var wanted: Set<Membership> = []
    for address in held.keys {
      guard let six = address.v6 else { continue }
      for index in ways(to: address).keys {
        wanted.insert(Membership(link: index, group: NeighbourAnswer.solicitedNode(six)))
      }
    }
    for membership in joined.subtracting(wanted) {
      _ = weft_multicast_group(groups.raw, membership.link, membership.group, 0)
      joined.remove(membership)
    }
    for membership in wanted.subtracting(joined) {
      let code = weft_multicast_group(groups.raw, membership.link, membership.group, 1)
      if code == 0 || code == -EADDRINUSE {
        joined.insert(membership)
      } else {
        logger.warning("group not joined", metadata: ["link": "\(membership.link)", "errno": "\(-code)"])
      }
    }
  }

  func received(_ frame: UnsafeRawBufferPointer, link: Int32, on socket: QuestionSocket) {
    guard let way = links[link] else { return }
    if let claim = NeighbourClaim(frame) {
      guard held[claim.address] != nil, !ownMACs.contains(claim.mac), ways(to: claim.address)[link] != nil
      else { return }
      return heard(claim.address, claim.mac)
    }
    guard
      let answer = NeighbourAnswer.frame(to: frame, mac: way.mac, holds: { held[$0] != nil })
    else { return }
    socket.send(answer, link: link)
    answers.increment()
  }
}

/// A packet socket that hears questions.
private final class QuestionSocket: ReadinessHandler {
  private var waiting: Descriptor?
  private var channel = Channel()
  private weak var worker: AnnouncerWorker?

  init(isV6: Bool) throws(SocketError) {
    let raw = weft_neighbour_socket(isV6 ? 1 : 0)
    guard raw >= 0 else { throw SocketError("packet socket", -raw) }
    waiting = Descriptor(owning: raw)
  }

  func register(_ reactor: Reactor, _ worker: AnnouncerWorker) throws(SocketError) {
    guard let descriptor = waiting.take() else { return }
    self.worker = worker
    channel = try reactor.register(descriptor, handler: self)
  }

  func send(_ frame: [UInt8], link: Int32) { _ = weft_send_frame(channel.raw, link, frame, frame.count) }

  func ready(_ readiness: Readiness) {
    guard let worker else { return }
    withUnsafeTemporaryAllocation(byteCount: 256, alignment: 8) { space in
      for _ in 0..<AnnouncerWorker.framesPerTurnMax {
        guard channel.isOpen else { return }
        var link: Int32 = 0
        let length = weft_receive_frame(channel.raw, space.baseAddress, space.count, &link)
        // The link went down: reported once.
        if length == -Int(ENETDOWN) { continue }
        guard length >= 0 else { return }
        worker.received(
          UnsafeRawBufferPointer(rebasing: space[..<min(length, space.count)]), link: link, on: self)
      }
      channel.callAgain(.readable)
    }
  }

  func drain() {}
  func cancel() { channel.close() }
}
