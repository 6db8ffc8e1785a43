// `loadbalance weighted` and `prefer`: which address of an answer comes first.

import Addresses

/// Orders addresses of answers.
public struct Balance: Sendable, Hashable {
  /// By name and address; an address without a weight has 1. Nil: addresses are turned round.
  public var weights: [DomainName: [IPAddress: UInt8]]?
  /// Addresses of these networks come before others, which keep their order.
  public var preferred: [IPPrefix] = []

  public init() {}

  /// Whether the answer to a question of this name may come out otherwise than turned round.
  func concerns(_ name: DomainName) -> Bool { !preferred.isEmpty || weights?[name] != nil }

  func ordered(_ records: [ResourceRecord], _ rotation: UInt32) -> [ResourceRecord] {
    var random = SystemRandomNumberGenerator()
    return ordered(records, rotation, &random)
  }

  func ordered(_ records: [ResourceRecord], _ rotation: UInt32, _ random: inout some RandomNumberGenerator)
    -> [ResourceRecord]
  {
    var result = weights == nil ? BlockChain.rotated(records, rotation) : records
    let places = result.indices.filter { Self.address(result[$0]) != nil }
    guard places.count > 1 else { return result }
    if let weights {
      let drawn = Self.drawn(places.map { Self.weight(result[$0], weights) }, &random)
      result.swapAt(places[0], places[drawn])
    }
    guard !preferred.isEmpty else { return result }
    func isPreferred(_ record: ResourceRecord) -> Bool {
      guard let address = Self.address(record) else { return false }
      return preferred.contains { $0.contains(address) }
    }
    let addresses = places.map { result[$0] }
    let sorted = addresses.filter(isPreferred) + addresses.filter { !isPreferred($0) }
    for (place, record) in zip(places, sorted) { result[place] = record }
    return result
  }

  private static func address(_ record: ResourceRecord) -> IPAddress? {
    switch record.data {
    case .a(let four): .v4(four)
    case .aaaa(let six): .v6(six)
    default: nil
    }
  }

  private static func weight(_ record: ResourceRecord, _ weights: [DomainName: [IPAddress: UInt8]]) -> Int {
    guard let address = address(record), let weight = weights[record.owner]?[address] else { return 1 }
    return Int(weight)
  }

  /// An index, each as likely as its weight says.
  static func drawn(_ weights: [Int], _ random: inout some RandomNumberGenerator) -> Int {
    var left = Int.random(in: 0..<max(1, weights.reduce(0, +)), using: &random)
    for (index, weight) in weights.enumerated() {
      if left < weight { return index }
      left -= weight
    }
    return 0
  }

  // MARK: - The file

  /// Lines of a weight file; a longer one is refused.
  static let linesMax = 100_000

  /// Reads names, each on a line, followed by lines of an address and its weight from 1 to 255.
  static func weights(_ text: String) throws(ZoneTextError) -> [DomainName: [IPAddress: UInt8]] {
    var result: [DomainName: [IPAddress: UInt8]] = [:]
    var name: DomainName?
    for (index, line) in text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline)
      .enumerated()
    {
      func error(_ cause: String) -> ZoneTextError { ZoneTextError(line: index + 1, description: cause) }
      guard index < linesMax else { throw error("more than \(linesMax) lines") }
      let words = line.split(whereSeparator: { $0 == " " || $0 == "\t" })
      guard let first = words.first, !first.hasPrefix("#") else { continue }
      switch words.count {
      case 1:
        guard IPAddress(first) == nil else { throw error("\(first) has no weight") }
        guard let read = DomainName(first) else { throw error("\(first) is not a name") }
        name = read.lowercased
        result[read.lowercased] = result[read.lowercased] ?? [:]
      case 2:
        guard let address = IPAddress(first) else { throw error("\(first) is not an address") }
        guard let weight = UInt8(words[1]), weight > 0 else {
          throw error("\(words[1]) is not a weight from 1 to 255")
        }
        guard let name else { throw error("a name is needed before \(first)") }
        result[name]?[address] = weight
      default: throw error("a name, or an address and its weight, are needed")
      }
    }
    return result
  }
}
