// Takes addresses of our own networks out of answers about other people's names (DNS rebinding).

import Addresses

enum AddressFilter {
  /// Networks that no name of the outside world has business in: unspecified, private, loopback, link-local (RFC 6890).
  static let privateAddresses: [IPPrefix] = [
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
    "192.168.0.0/16", "::/128", "::1/128", "fc00::/7", "fe80::/10",
  ].compactMap { IPPrefix($0) }

  /// The message without records that have a denied address; nil when nothing had to be taken out.
  static func filtered(_ packet: [UInt8], _ denied: [IPPrefix]) -> [UInt8]? {
    guard !denied.isEmpty, var message = try? Message(packet.span.bytes) else { return nil }
    func isDenied(_ record: ResourceRecord) -> Bool {
      let address: IPAddress
      switch record.data {
      case .a(let four): address = .v4(four)
      case .aaaa(let six):
        // An IPv4 address in IPv6's clothes.
        address =
          six.bits >> 32 == 0xffff ? .v4(IPv4Address(bits: UInt32(truncatingIfNeeded: six.bits))) : .v6(six)
      default: return false
      }
      return denied.contains { $0.contains(address) }
    }
    let count = message.answer.count + message.additional.count
    message.answer.removeAll(where: isDenied)
    message.additional.removeAll(where: isDenied)
    guard message.answer.count + message.additional.count < count else { return nil }
    return message.encoded
  }
}
