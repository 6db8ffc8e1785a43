// An immutable snapshot of every name we are the authority for. Replaced as a whole; never changed.
//
//   name -> authority (longest zone it ends in) -> group (the last labels: web.demo.svc.<zone>) -> node (the rest) -> answer

import Addresses

/// The zone served at one moment. Looking up costs two hashes and no allocation; any number of threads may read it.
public final class Zone: @unchecked Sendable {
  public let settings: ZoneSettings
  public let serial: UInt32
  /// False until the cluster has been read: our names get SERVFAIL, so that nobody remembers a false denial.
  public let isReady: Bool

  /// One zone we answer for. Its wire form lies in memory the snapshot owns.
  struct Authority {
    var wire: UnsafeRawPointer
    var length: Int
    var labels: Int
    /// Nil for zones of names.
    var reverse: IPFamily?
    /// Labels above the zone that make up a group's name: web.demo.svc, or web.demo in an external zone.
    var keyLabels: Int
    var fallsThrough: Bool
    /// Type to rdata of its SOA with three pointers to the zone still to be set.
    var soa: UnsafeRawPointer
    var soaLength: Int
    /// False until what the zone is made of has been read.
    var isReady: Bool
  }

  let seed: UInt64
  private let index: NameIndex
  /// Readers go along addresses; `index` keeps them valid.
  let names: TrieView<NameEntry>
  let authorities: UnsafeMutableBufferPointer<Authority>
  private let texts: UnsafeMutableRawBufferPointer
  let reverse4: ReverseIndex
  let reverse6: ReverseIndex
  let verifiedPods: Trie<PodEntry>
  /// The last changes that led here, the oldest first.
  let journal: [ZoneChange]

  /// Costs the same however many names there are: the tries are shared with the zone before.
  init(
    settings: ZoneSettings, serial: UInt32, seed: UInt64, names: NameIndex, reverse4: ReverseIndex,
    reverse6: ReverseIndex, verifiedPods: Trie<PodEntry>, isReady: Bool, areImportsRead: Bool = false,
    journal: [ZoneChange] = []
  ) {
    self.journal = journal
    self.settings = settings
    self.serial = serial
    self.seed = seed
    index = names
    self.names = names.view
    self.reverse4 = reverse4
    self.reverse6 = reverse6
    self.verifiedPods = verifiedPods
    self.isReady = isReady
    let external = settings.external?.zones ?? []
    let sets = settings.multiclusterZones.count
    let names = [settings.zone] + settings.multiclusterZones + external + settings.reverseZones
    let soa = Self.soaTemplate(settings, serial)
    texts = .allocate(byteCount: names.reduce(soa.count) { $0 + $1.wire.count + 8 }, alignment: 8)
    authorities = .allocate(capacity: names.count)
    texts.copyBytes(from: soa)
    var at = soa.count
    for (index, name) in names.enumerated() {
      UnsafeMutableRawBufferPointer(rebasing: texts[at...]).copyBytes(from: name.wire)
      let labels = name.labels
      let isExternal = index > sets && index <= sets + external.count
      let reverse: IPFamily? =
        index <= sets + external.count
        ? nil : labels.dropLast().last.map { $0.elementsEqual("ip6".utf8) } == true ? .v6 : .v4
      authorities.initializeElement(
        at: index,
        to: Authority(
          wire: UnsafeRawPointer(texts.baseAddress!) + at, length: name.wire.count, labels: labels.count,
          reverse: reverse, keyLabels: isExternal ? 2 : 3,
          fallsThrough: settings.fallthroughZones.contains { name.isWithin($0) }
            || isExternal && settings.external?.fallsThrough == true,
          soa: UnsafeRawPointer(texts.baseAddress!), soaLength: soa.count,
          isReady: isReady && (index == 0 || index > sets || areImportsRead)))
      at += name.wire.count
    }
  }

  deinit {
    authorities.deallocate()
    texts.deallocate()
  }

  /// Every group, in no order that means anything. Costs all.
  var allGroups: [GroupView] { index.all.map { GroupView(base: $0.base) } }

  /// A zone that knows nothing yet and says so.
  public static func unready(_ settings: ZoneSettings) -> Zone {
    Zone(
      settings: settings, serial: 0, seed: 0, names: NameIndex(), reverse4: ReverseIndex(),
      reverse6: ReverseIndex(),
      verifiedPods: Trie(), isReady: false)
  }

  /// Octets of an SOA record after its owner, with two pointers at fixed places (`soaPointers`).
  private static func soaTemplate(_ settings: ZoneSettings, _ serial: UInt32) -> [UInt8] {
    var writer = WireWriter()
    writer.uint16(RecordType.soa.rawValue)
    writer.uint16(Header.internet)
    writer.uint32(settings.negativeTTL)
    writer.uint16(9 + 13 + 20)
    writer.append([2] + Array("ns".utf8) + [3] + Array("dns".utf8) + [0xc0, 0])
    writer.append([10] + Array("hostmaster".utf8) + [0xc0, 0])
    for number in [serial, 7200, 1800, 86400, settings.negativeTTL] { writer.uint32(number) }
    return writer.bytes
  }

  /// Offsets in the template, two octets each, that point to the zone's name in the question.
  static let soaPointers = (10 + 7, 10 + 9 + 11)

  /// The group whose key has this hash and these octets.
  @inline(__always)
  func group(_ packet: RawSpan, at offset: Int, count: Int, hash: UInt64) -> GroupView? {
    for entry in names.candidates(hash: hash) where entry.hash == hash {
      let view = GroupView(base: entry.base)
      if view.keyLength == count, packet.foldedEquals(at: offset, count: count, view.key) { return view }
    }
    return nil
  }
}
