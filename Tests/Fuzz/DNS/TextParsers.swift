// Files that people write: zone files and Corefiles.

import FuzzDriver

@testable import DNS

struct ZoneFileParser: InputTaker {
  private let origin = DomainName("acme.test") ?? .root

  func take(_ bytes: UnsafeRawBufferPointer) {
    _ = try? ZoneText.records(String(decoding: bytes, as: UTF8.self), origin: origin)
  }
}

struct CorefileParser: InputTaker {
  func take(_ bytes: UnsafeRawBufferPointer) {
    // A file that a Corefile names has the Corefile's own text: no other is at hand.
    let text = String(decoding: bytes, as: UTF8.self)
    _ = try? Corefile.read(text, environment: ["X": "y"], files: { _ in text }) { _ in nil }
  }
}
