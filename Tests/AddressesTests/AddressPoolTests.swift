// Pools of addresses as operators write them.

import Addresses
import Testing

@Test func `a pool is read from blocks, ranges and addresses, or not at all`() throws {
  let pool = try #require(AddressPool("192.0.2.0/29, 198.51.100.10-198.51.100.11\n2001:db8::5"))
  #expect(pool.description == "192.0.2.1-192.0.2.6,198.51.100.10-198.51.100.11,2001:db8::5-2001:db8::5")
  #expect(pool.contains(IPAddress("192.0.2.6")!) && !pool.contains(IPAddress("192.0.2.7")!))
  #expect(!pool.contains(IPAddress("2001:db8::6")!) && pool.has(.v6))
  for text in [
    "192.0.2.0/33", "192.0.2.9-192.0.2.1", "192.0.2.1-2001:db8::1", "one", "1.2.3.4-", "-",
    "1.2.3.4-1.2.3.5-1.2.3.6",
  ] {
    #expect(AddressPool(text) == nil, "\(text)")
  }
  #expect(AddressPool("") == AddressPool())
  #expect(AddressPool(Array(repeating: "192.0.2.1", count: 65).joined(separator: ",")) == nil, "a bound")
}

@Test func `the first free address is found in the order of the ranges, at the ends of the families too`()
  throws
{
  var taken: Set<IPAddress> = []
  func next(_ pool: AddressPool, _ family: IPFamily) -> String? {
    guard let address = pool.first(family, where: { !taken.contains($0) }) else { return nil }
    taken.insert(address)
    return address.description
  }
  let pool = try #require(AddressPool("198.51.100.10-198.51.100.11 192.0.2.0/30"))
  #expect(
    (0..<5).map { _ in next(pool, .v4) } == ["198.51.100.10", "198.51.100.11", "192.0.2.1", "192.0.2.2", nil])
  #expect(next(pool, .v6) == nil)
  let edge = try #require(
    AddressPool(
      "255.255.255.255 ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"))
  #expect((0..<3).compactMap { _ in next(edge, .v6) }.count == 2)
  #expect((0..<2).compactMap { _ in next(edge, .v4) } == ["255.255.255.255"])
  #expect(try #require(AddressPool("::/0")).contains(IPAddress("2001:db8::1")!))
}
