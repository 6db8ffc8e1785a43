// What is read of a connection before anybody decides about it. The first octet of an input says by which reader.

import FuzzDriver

@testable import Ingress

final class HeadParsers: InputTaker {
  private let reader = HeadReader()
  private let tables = HPACKTables()
  private let scratch = UnsafeMutableRawBufferPointer.allocate(
    byteCount: HPACKDecoder.scratchBytes, alignment: 1)
  private let space = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 16, alignment: 1)

  func take(_ bytes: UnsafeRawBufferPointer) {
    guard let kind = bytes.first else { return }
    let rest = UnsafeRawBufferPointer(rebasing: bytes[1...])
    switch kind & 7 {
    case 0: head(rest) { bytes throws(HTTPRefusal) in try self.reader.readRequest(bytes) }
    case 1:
      head(rest) { bytes throws(HTTPRefusal) in try self.reader.readResponse(bytes, toHead: kind > 127) }
    case 2: body(rest, step: 1 + Int(kind >> 3))
    case 3: block(rest)
    case 4:
      if case .header(let length, _) = ProxyHeader(rest) {
        check(length <= rest.count && length <= ProxyHeader.bytesMax, "a header of \(length) octets")
      }
    default:
      guard rest.count <= space.count else { return }
      space.copyMemory(from: rest)
      if case .hello(let name) = ClientHello(
        joining: UnsafeMutableRawBufferPointer(rebasing: space[..<rest.count]))
      {
        check(name.upperBound <= rest.count, "a name behind the end")
      }
    }
  }

  private func head(
    _ bytes: UnsafeRawBufferPointer, _ read: (UnsafeRawBufferPointer) throws(HTTPRefusal) -> Void
  ) {
    do throws(HTTPRefusal) {
      guard let end = try HeadReader.end(of: bytes) else { return }
      try read(UnsafeRawBufferPointer(rebasing: bytes[..<end]))
    } catch { check((400...599).contains(error.status), "a refusal with \(error.status)") }
  }

  /// A chunked body in pieces, and at once: both see the same content.
  private func body(_ bytes: UnsafeRawBufferPointer, step: Int) {
    func scan(_ step: Int) -> Int? {
      var scanner = BodyScanner(.chunked)
      var (content, at) = (0, 0)
      while at < bytes.count, !scanner.isDone {
        let piece = UnsafeRawBufferPointer(rebasing: bytes[at..<min(at + step, bytes.count)])
        do throws(HTTPRefusal) { at += try scanner.take(piece) { content += $0.count } } catch { return nil }
      }
      return content
    }
    check(scan(step) == scan(max(1, bytes.count)), "a body in pieces of \(step) is another")
  }

  private func block(_ bytes: UnsafeRawBufferPointer) {
    var decoder = HPACKDecoder(tables)
    do throws(HPACKError) { try decoder.decode(bytes, scratch: scratch) { _, _ in } } catch { return }
    check(decoder.tableBytes <= HPACKDecoder.tableBytesMax, "a table of \(decoder.tableBytes) octets")
  }
}
