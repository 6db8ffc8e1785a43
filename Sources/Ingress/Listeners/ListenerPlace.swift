// Where connections come to, and which listeners of a table are for it: those of its port and address, else those of its port that name no
// address.
//
//   127.0.0.2:80, 127.0.0.3:80, :80     a connection to 127.0.0.2:80 meets the first, one to 127.0.0.9:80 the last, and no other

import Addresses

/// Where a connection or a datagram came to.
public struct ListenerPlace: Sendable, Hashable {
  /// Of the listening socket.
  public var port: UInt16
  /// This machine's, as the client wrote it; nil while no table tells addresses of a port apart.
  public var address: IPAddress?

  public init(_ port: UInt16, _ address: IPAddress? = nil) {
    self.port = port
    self.address = address
  }
}

/// Places that an entry of a table is for: a port, at some addresses of this machine or at all that no other entry of the port names. In
/// order of ports, of one port those with addresses first.
public struct ListenerReach: Sendable, Hashable, Comparable {
  public var port: UInt16
  /// Sorted, distinct; empty: all that are left.
  public var addresses: [IPAddress]

  public init(_ port: UInt16, _ addresses: [IPAddress] = []) {
    self.port = port
    self.addresses = addresses
  }

  public static func < (a: Self, b: Self) -> Bool {
    if a.port != b.port { return a.port < b.port }
    if a.addresses.isEmpty || b.addresses.isEmpty { return b.addresses.isEmpty && !a.addresses.isEmpty }
    return a.addresses.lexicographicallyPrecedes(b.addresses)
  }
}

/// An entry of a table. Of two entries of a port the addresses are the same, or have nothing in common.
protocol PlacedListener {
  var port: UInt16 { get }
  /// As `ListenerReach` has them.
  var addresses: [IPAddress] { get }
}

extension PlacedListener {
  var reach: ListenerReach { ListenerReach(port, addresses) }

  /// Whether an entry of the place's port is for its address too. To be asked of those with addresses first.
  func covers(_ place: ListenerPlace) -> Bool {
    addresses.isEmpty || place.address.map(addresses.contains) ?? false
  }

  /// The same for entries of any port.
  func isFor(_ place: ListenerPlace) -> Bool { port == place.port && covers(place) }
}

extension Sequence where Element: PlacedListener {
  /// Those with addresses before those for the rest; otherwise in their order.
  var addressedFirst: [Element] { filter { !$0.addresses.isEmpty } + filter(\.addresses.isEmpty) }

  var nameAddresses: Bool { contains { !$0.addresses.isEmpty } }
}

/// Sees to it that entries of a port have the same addresses or none in common.
struct PlaceLedger {
  private var owners: [ListenerPlace: [IPAddress]] = [:]

  /// What is wrong with one more entry; nil: nothing.
  /// - Parameter isAlone: no other may be for the same place.
  mutating func problem(of listener: some PlacedListener, isAlone: Bool) -> String? {
    let addresses = listener.addresses
    guard zip(addresses, addresses.dropFirst()).allSatisfy({ $0 < $1 }) else {
      return "addresses of port \(listener.port) in no order"
    }
    for address in addresses.isEmpty ? [nil] : addresses.map(Optional.some) {
      let place = ListenerPlace(listener.port, address)
      if let owner = owners[place], isAlone || owner != addresses {
        return address.map { "\($0) of port \(listener.port) twice" } ?? "port \(listener.port) twice"
      }
      owners[place] = addresses
    }
    return nil
  }
}

extension FrameWriter {
  /// With its length in front.
  mutating func address(_ address: IPAddress) {
    let bytes = address.bytes
    integer(UInt8(bytes.count))
    raw(bytes)
  }

  mutating func addresses(_ addresses: [IPAddress]) { list(addresses) { $1.address($0) } }
}

extension FrameReader {
  mutating func address() throws(RouteTableUnreadable) -> IPAddress {
    guard let address = IPAddress(bytes: try bytes(Int(try integer(UInt8.self)))) else {
      throw failure("address of a wrong length")
    }
    return address
  }

  mutating func addresses() throws(RouteTableUnreadable) -> [IPAddress] {
    try list(each: 5) { (reader) throws(RouteTableUnreadable) in try reader.address() }
  }
}
