// Counters of one serving thread. Only that thread writes, so counting is a load and a store, no locked instruction;
// whoever reads the metrics adds the threads up.

import Diagnostics
import Synchronization

/// Numbers of one thread, readable from any.
final class Tally: @unchecked Sendable {
  enum Part {
    static let types: [RecordType] = [
      .a, .aaaa, .srv, .ptr, .txt, .cname, .soa, .ns, .mx, .https, .hinfo, .any,
    ]
    /// 2 zones x 2 transports x 2 families x (types and "other").
    static let requests = 0
    static let requestCount = 8 * 13
    /// 2 zones x 8 codes.
    static let responses = requests + requestCount
    static let responseCount = 16
    /// 2 zones x 17 buckets.
    static let buckets = responses + responseCount
    static let bucketCount = 34
    /// 2 zones, nanoseconds.
    static let sums = buckets + bucketCount
    /// Of queries and of replies: 2 zones x 2 transports x 15 buckets, then octets of each of the four.
    static let querySizes = sums + 2
    static let replySizes = querySizes + sizeCount
    static let sizeCount = 4 * 15 + 4
    static let others = replySizes + sizeCount
    static let count = others + Other.allCases.count
  }

  enum Other: Int, CaseIterable {
    case dropped, cacheHit, cacheDenialHit, cacheMiss, cacheEntries, forwardReject, connectionReject,
      connections,
      timeout, cacheStale, cachePrefetch, limited, addressDenied, cacheEviction,
      dnssecWanted, dnssecWantedForwarded
  }

  static let bounds = (0..<16).map { 0.00025 * Double(1 << $0) }
  /// CoreDNS's, in octets.
  static let sizeBounds = [
    0, 100, 200, 300, 400, 511, 1023, 2047, 4095, 8291, 16_000, 32_000, 48_000, 64_000,
  ]
  private static let boundNanoseconds = bounds.map { UInt64($0 * 1e9) }
  private let cells: UnsafeMutablePointer<Atomic<UInt64>>

  init() {
    cells = .allocate(capacity: Part.count)
    for index in 0..<Part.count { (cells + index).initialize(to: Atomic(0)) }
  }

  deinit {
    cells.deinitialize(count: Part.count)
    cells.deallocate()
  }

  @inline(__always)
  private func add(_ index: Int, _ amount: UInt64 = 1) {
    cells[index].store(cells[index].load(ordering: .relaxed) &+ amount, ordering: .relaxed)
  }

  func value(_ index: Int) -> UInt64 { cells[index].load(ordering: .relaxed) }

  @inline(__always)
  func count(_ other: Other, _ amount: UInt64 = 1) { add(Part.others &+ other.rawValue, amount) }
  func set(_ other: Other, _ value: UInt64) {
    cells[Part.others + other.rawValue].store(value, ordering: .relaxed)
  }

  @inline(__always)
  func request(_ type: RecordType, isOurs: Bool, isTCP: Bool, isSix: Bool) {
    let kind: Int
    switch type {
    case .a: kind = 0
    case .aaaa: kind = 1
    default: kind = Part.types.firstIndex(of: type) ?? 12
    }
    add(Part.requests &+ ((isOurs ? 4 : 0) &+ (isTCP ? 2 : 0) &+ (isSix ? 1 : 0)) &* 13 &+ kind)
  }

  @inline(__always)
  func response(_ code: ResponseCode, isOurs: Bool, nanoseconds: UInt64) {
    let zone = isOurs ? 1 : 0
    add(Part.responses &+ zone &* 8 &+ Int(min(code.rawValue, 7)))
    var bucket = 0
    while bucket < 16, nanoseconds > Self.boundNanoseconds[bucket] { bucket &+= 1 }
    add(Part.buckets &+ zone &* 17 &+ bucket)
    add(Part.sums &+ zone, nanoseconds)
  }

  /// How long a query and its reply were.
  @inline(__always)
  func sizes(_ query: Int, _ reply: Int, isOurs: Bool, isTCP: Bool) {
    let place = (isOurs ? 2 : 0) &+ (isTCP ? 1 : 0)
    size(query, Part.querySizes, place)
    size(reply, Part.replySizes, place)
  }

  @inline(__always)
  private func size(_ octets: Int, _ start: Int, _ place: Int) {
    var bucket = 1
    while bucket < 14, octets > Self.sizeBounds[bucket] { bucket &+= 1 }
    add(start &+ place &* 15 &+ bucket)
    add(start &+ 60 &+ place, UInt64(truncatingIfNeeded: octets))
  }
}
