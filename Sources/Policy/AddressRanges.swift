// Address blocks minus exceptions, as ranges that do not overlap: what an interval set can hold.

import Addresses

/// `blocks` without `except`, merged and in order. All must be of one family.
///
///     10.0.0.0/8 without 10.1.0.0/16  =  10.0.0.0-10.0.255.255, 10.2.0.0-10.255.255.255
func addressRanges(_ blocks: [IPPrefix], except: [IPPrefix]) -> [ClosedRange<IPAddress>] {
  var ranges = merged(blocks.map { number($0.address)...number($0.last) })
  for hole in merged(except.map { number($0.address)...number($0.last) }) {
    ranges = ranges.flatMap { range -> [ClosedRange<UInt128>] in
      guard range.overlaps(hole) else { return [range] }
      var parts: [ClosedRange<UInt128>] = []
      if range.lowerBound < hole.lowerBound { parts.append(range.lowerBound...hole.lowerBound - 1) }
      if range.upperBound > hole.upperBound { parts.append(hole.upperBound + 1...range.upperBound) }
      return parts
    }
  }
  guard let family = blocks.first?.family else { return [] }
  return ranges.map { address($0.lowerBound, family)...address($0.upperBound, family) }
}

private func merged(_ ranges: [ClosedRange<UInt128>]) -> [ClosedRange<UInt128>] {
  var result: [ClosedRange<UInt128>] = []
  for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) {
    if let last = result.last, last.upperBound == .max || range.lowerBound <= last.upperBound + 1 {
      result[result.count - 1] = last.lowerBound...max(last.upperBound, range.upperBound)
    } else {
      result.append(range)
    }
  }
  return result
}

private func number(_ address: IPAddress) -> UInt128 {
  switch address {
  case .v4(let four): UInt128(four.bits)
  case .v6(let six): six.bits
  }
}

private func address(_ number: UInt128, _ family: IPFamily) -> IPAddress {
  family == .v4 ? .v4(IPv4Address(bits: UInt32(truncatingIfNeeded: number))) : .v6(IPv6Address(bits: number))
}
