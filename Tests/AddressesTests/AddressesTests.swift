// Text to address and back, and what must be refused.
import Addresses
import FuzzLab
import Testing

@Test(arguments: ["0.0.0.0", "10.42.0.1", "255.255.255.255"])
func `an IPv4 address reads and writes the same text`(text: String) throws {
  #expect(try #require(IPv4Address(text)).description == text)
}

@Test(arguments: [
  "", "1.2.3", "1.2.3.4.5", "256.1.1.1", "01.2.3.4", "1..2.3", "1.2.3.4 ", "0x1.2.3.4", "1.2.3.-4",
])
func `malformed IPv4 text is refused`(text: String) {
  #expect(IPv4Address(text) == nil)
}

@Test(arguments: [
  ("::", "::"), ("::1", "::1"), ("1::", "1::"), ("FD00:0:0:0:0:0:0:1", "fd00::1"),
  ("2001:db8::1:0:0:1", "2001:db8::1:0:0:1"),
  ("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"), ("::ffff:10.0.0.1", "::ffff:a00:1"),
  ("1:0:0:2:0:0:0:3", "1:0:0:2::3"),
])
func `an IPv6 address is written as RFC 5952 says`(text: String, canonical: String) throws {
  #expect(try #require(IPv6Address(text)).description == canonical)
}

@Test(arguments: [
  "", ":", ":::", "1:2", "1:2:3:4:5:6:7:8:9", "::1::", "12345::", "g::", ":1::", "1.2.3.4",
  "1:2:3:4:5:6:7::8:9", "+1::",
])
func `malformed IPv6 text is refused`(text: String) {
  #expect(IPv6Address(text) == nil)
}

@Test func `a prefix clears host bits and knows its members`() throws {
  let prefix = try #require(IPPrefix("10.43.7.9/16"))
  #expect(prefix.description == "10.43.0.0/16")
  #expect(prefix.contains(try #require(IPAddress("10.43.255.255"))))
  #expect(!prefix.contains(try #require(IPAddress("10.44.0.0"))))
  #expect(prefix.address(at: 10)?.description == "10.43.0.10")
  #expect(prefix.address(at: 65536) == nil)
  #expect(prefix.last.description == "10.43.255.255")
  #expect(IPPrefix("::/0")?.last.description == "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")
  #expect(IPPrefix("0.0.0.0/0")?.last.description == "255.255.255.255")
  #expect(IPPrefix("10.0.0.0/33") == nil && IPPrefix("10.0.0.0/") == nil && IPPrefix("10.0.0.0/-1") == nil)
}

@Test func `bytes and text of random addresses agree`() throws {
  var random = SeededNumbers(1)
  for _ in 0..<1000 {
    let six = IPv6Address(
      bits: UInt128(random.next()) << 64 | UInt128(random.next() & random.next() & random.next()))
    #expect(IPv6Address(six.description) == six)
    #expect(IPv6Address(bytes: six.bytes) == six)
  }
}

@Test func `an endpoint reads both families`() {
  #expect(SocketEndpoint("10.0.0.1:80")?.description == "10.0.0.1:80")
  #expect(SocketEndpoint("[fd00::1]:53")?.description == "[fd00::1]:53")
  #expect(SocketEndpoint("fd00::1:53") == nil)
  #expect(SocketEndpoint("10.0.0.1:70000") == nil)
}
