// Header blocks: the examples of RFC 7541 appendix C, the bounds, and blocks that are broken.

import FuzzLab
import Testing

@testable import Ingress

/// One connection's reading.
private final class Reading {
  var decoder: HPACKDecoder
  private let scratch = UnsafeMutableRawBufferPointer.allocate(
    byteCount: HPACKDecoder.scratchBytes, alignment: 1)
  init(_ tables: HPACKTables) { decoder = HPACKDecoder(tables) }
  deinit { scratch.deallocate() }

  func fields(_ block: [UInt8]) -> [(name: [UInt8], value: [UInt8])]? {
    let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: block.count, alignment: 1)
    defer { copy.deallocate() }
    copy.copyBytes(from: block)
    var fields: [(name: [UInt8], value: [UInt8])] = []
    do throws(HPACKError) {
      try decoder.decode(UnsafeRawBufferPointer(copy), scratch: scratch) {
        fields.append((Array($0), Array($1)))
      }
    } catch {
      return nil
    }
    return fields
  }
}

@Suite struct HPACKTests {
  private let tables = HPACKTables()

  /// Decodes blocks in turn with one table; nil for one that cannot be read.
  private func decode(_ blocks: [[UInt8]]) -> [[String]?] {
    let reading = Reading(tables)
    return blocks.map { block in
      reading.fields(block)?.map {
        String(decoding: $0.name, as: UTF8.self) + ": " + String(decoding: $0.value, as: UTF8.self)
      }
    }
  }

  private func bytes(_ hexadecimal: String) -> [UInt8] {
    let digits = Array(hexadecimal.filter { $0 != " " }.utf8)
    return stride(from: 0, to: digits.count, by: 2).compactMap {
      UInt8(String(decoding: digits[$0...$0 + 1], as: UTF8.self), radix: 16)
    }
  }

  @Test func `the requests of RFC 7541 C point 3 and C point 4 are read with and without Huffman code`() {
    let expected = [
      [":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com"],
      [
        ":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com", "cache-control: no-cache",
      ],
      [
        ":method: GET", ":scheme: https", ":path: /index.html", ":authority: www.example.com",
        "custom-key: custom-value",
      ],
    ]
    let plain = [
      "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d", "8286 84be 5808 6e6f 2d63 6163 6865",
      "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ]
    let coded = [
      "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", "8286 84be 5886 a8eb 1064 9cbf",
      "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ]
    #expect(decode(plain.map(bytes)) == expected)
    #expect(decode(coded.map(bytes)) == expected)
  }

  /// C.6 has a table of 256 bytes; with ours, a change of size makes it so.
  @Test func `entries leave the table as RFC 7541 C point 6 says`() {
    let blocks = [
      "3fe1 01 4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d "
        + "29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3", "4883 640e ffc1 c0bf",
      "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 "
        + "b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
    ]
    let date = "date: Mon, 21 Oct 2013 20:13:2"
    #expect(
      decode(blocks.map(bytes)) == [
        [":status: 302", "cache-control: private", date + "1 GMT", "location: https://www.example.com"],
        [":status: 307", "cache-control: private", date + "1 GMT", "location: https://www.example.com"],
        [
          ":status: 200", "cache-control: private", date + "2 GMT", "location: https://www.example.com",
          "content-encoding: gzip", "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
        ],
      ])
  }

  @Test(arguments: [
    ("80", "index 0"), ("be", "an index behind the table"), ("ff ff ff ff ff ff 0f", "an endless integer"),
    ("40 0a 61", "a string cut short"), ("3f e2 1f", "a table above what was announced"),
    ("82 20", "a change of size behind a field"), ("00 81 ff 00", "eight bits of padding"),
    ("00 84 ff ff ff ff 00", "the string's end"), ("00 81 1e 00", "padding of zeros"),
  ])
  func `a block that is broken is refused`(block: String, what: String) {
    #expect(decode([bytes(block)]) == [nil], "\(what)")
  }

  @Test func `every byte survives the code, alone and among others`() {
    // Encoded with the tables alone: lengths make the code.
    func code(_ text: [UInt8]) -> [UInt8] {
      var bits: [Bool] = []
      for byte in text {
        for length in 1...HPACKTables.longestCode {
          let start = tables.starts[length]
          guard
            let at = tables.symbols[start..<start + Int(tables.counts[length])].firstIndex(of: UInt16(byte))
          else { continue }
          let value = tables.first[length] + UInt32(at - start)
          for bit in stride(from: length - 1, through: 0, by: -1) {
            bits.append(value >> UInt32(bit) & 1 == 1)
          }
        }
      }
      while bits.count % 8 != 0 { bits.append(true) }
      let bytes = stride(from: 0, to: bits.count, by: 8).map { at in
        bits[at..<at + 8].reduce(UInt8(0)) { $0 << 1 | ($1 ? 1 : 0) }
      }
      return bytes
    }
    var random = Random(3)
    var texts = (0...255).map { [UInt8($0)] }
    for _ in 0..<200 { texts.append((0..<random.next(60)).map { _ in UInt8(random.next(256)) }) }
    for text in texts {
      let coded = code(text)
      guard coded.count < 127 else { continue }
      let seen = Reading(tables).fields([0x10, 1, 120, UInt8(0x80 | coded.count)] + coded)
      #expect(seen?.map(\.value) == [text])
    }
  }

  @Test func `the table never holds more than was announced, whatever is put into it`() {
    let reading = Reading(tables)
    var random = Random(9)
    for index in 0..<5000 {
      let (name, value) = (1 + random.next(40), random.next(index % 50 == 0 ? 6000 : 90))
      var block: [UInt8] = [0x40, UInt8(name)] + [UInt8](repeating: 97, count: name)
      var rest = value
      if rest < 127 {
        block.append(UInt8(rest))
      } else {
        block.append(127)
        rest -= 127
        while rest >= 128 {
          block.append(UInt8(rest & 127) | 128)
          rest >>= 7
        }
        block.append(UInt8(rest))
      }
      block += (0..<value).map { UInt8(truncatingIfNeeded: $0 &+ index) }
      // What was put in last is what the first dynamic index reads, if it fits.
      let fits = name + value + 32 <= HPACKDecoder.tableBytesMax
      if fits { block.append(0xbe) }
      let seen = reading.fields(block)?.map { $0.name + $0.value }
      #expect(seen?.count == (fits ? 2 : 1) && seen?.first == seen?.last)
      #expect(reading.decoder.tableBytes <= HPACKDecoder.tableBytesMax && reading.decoder.count <= 128)
    }
  }

  @Test(arguments: [1, 2, 3] as [UInt64]) func `damaged blocks are refused or read, never trapped on`(
    seed: UInt64
  ) {
    let corpus = [
      "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
      "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
      "3fe1 01 4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e",
    ].map(bytes)
    let reading = Reading(tables)
    var refused = 0
    for block in mutants(of: corpus, count: 20_000, seed: seed) {
      if reading.fields(block) == nil { refused += 1 }
    }
    #expect(refused > 1000 && refused < 19_000)
  }
}
