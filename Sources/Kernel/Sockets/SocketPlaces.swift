// Addresses in the form that socket calls take and give, of either family.
import Addresses
import Glibc

/// Calls `body` with the kernel's form of an address and a port.
public func withSocketAddress<Result>(
  _ address: IPAddress, _ port: UInt16, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Result
) -> Result {
  func handed<Place>(_ place: Place) -> Result {
    withUnsafePointer(to: place) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        body($0, socklen_t(MemoryLayout<Place>.size))
      }
    }
  }
  switch address {
  case .v4(let four):
    var place = sockaddr_in()
    place.sin_family = sa_family_t(AF_INET)
    place.sin_port = port.bigEndian
    place.sin_addr.s_addr = four.bits.bigEndian
    return handed(place)
  case .v6:
    var place = sockaddr_in6()
    place.sin6_family = sa_family_t(AF_INET6)
    place.sin6_port = port.bigEndian
    withUnsafeMutableBytes(of: &place.sin6_addr) { $0.copyBytes(from: address.bytes) }
    return handed(place)
  }
}

/// Takes one datagram of up to `bytesMax` bytes and where it came from; nil when the call fails, for example because none waits.
public func receiveDatagram(_ descriptor: Int32, bytesMax: Int = 256, waiting: Bool = false) -> (
  from: IPAddress, bytes: [UInt8]
)? {
  var buffer = [UInt8](repeating: 0, count: bytesMax)
  var place = sockaddr_storage()
  var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
  let count = withUnsafeMutablePointer(to: &place) {
    $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      recvfrom(descriptor, &buffer, buffer.count, waiting ? 0 : Int32(MSG_DONTWAIT), $0, &length)
    }
  }
  guard count >= 0 else { return nil }
  let raw = withUnsafeBytes(of: &place) { Array($0) }
  let isFour = place.ss_family == sa_family_t(AF_INET)
  guard let from = IPAddress(bytes: isFour ? Array(raw[4..<8]) : Array(raw[8..<24])) else { return nil }
  return (from, Array(buffer[..<count]))
}
