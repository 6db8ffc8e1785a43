// What was known of a cluster last, as text: read when the server starts while the API server is away.
//
//   weft-names 1
//   {"cluster":"https://10.0.0.1:6443","written":"2026-11-22T20:00:00Z","wants":0,"imports":false}
//   {"kind":"Service",...}            one object a line, with what names are made of and nothing else
//   end 31 9ae0daaf                   lines before this one, and the CRC-32 of them

import CZlib
import ClusterObjects
import ClusterView
import Diagnostics

/// A book of names and where it is from.
public struct NameSnapshot: Sendable {
  /// Octets of one object's line.
  public static let lineBytesMax = 4 << 20
  /// Objects of all kinds.
  public static let objectsMax = 1_000_000
  fileprivate static let magic = "weft-names 1"

  /// Which API server it was read from.
  public var cluster: String
  /// Seconds since 1970 when it was written.
  public var written: Int64
  public var book: NameBook

  public init(cluster: String, written: Int64, book: NameBook) {
    self.cluster = cluster
    self.written = written
    self.book = book
  }

  /// Hands its text on in pieces of about 64 KiB. Pods and their addresses are there when the book follows pods, ServiceImports and
  /// their slices when it follows those. Cost: a tree and a line for each object.
  public func write(_ body: ([UInt8]) throws(WeftError) -> Void) throws(WeftError) {
    var lines = SnapshotLines()
    lines.add(Array(Self.magic.utf8))
    let head: JSON = [
      "cluster": JSON(cluster), "written": JSON(Timestamp.text(seconds: written)),
      "wants": .integer(Int64(book.wants.rawValue)), "imports": .bool(book.areImportsRead),
    ]
    lines.add(head.bytes)
    var problem: WeftError?
    var imported: Set<ObjectKey> = []
    book.everything { changes in
      guard problem == nil else { return }
      do throws(WeftError) {
        for object in changes.snapshotObjects(&imported) {
          lines.add(object.bytes)
          if lines.buffer.count > 64 << 10 { try body(lines.take()) }
        }
      } catch { problem = error }
    }
    if let problem { throw problem }
    lines.end()
    try body(lines.take())
  }
}

/// Lines with their sum.
private struct SnapshotLines {
  private(set) var buffer: [UInt8] = []
  private var sum = SnapshotSum()

  mutating func add(_ line: [UInt8]) {
    sum.add(line)
    buffer += line
    buffer.append(UInt8(ascii: "\n"))
  }

  mutating func end() { buffer += sum.trailer.utf8 }

  mutating func take() -> [UInt8] {
    defer { buffer.removeAll(keepingCapacity: true) }
    return buffer
  }
}

struct SnapshotSum {
  private var crc: UInt = 0
  private(set) var lines = 0

  mutating func add(_ line: some Collection<UInt8>) {
    crc = Self.crc([UInt8(ascii: "\n")], after: Self.crc(line, after: crc))
    lines += 1
  }

  static func crc(_ bytes: some Collection<UInt8>, after crc: UInt = 0) -> UInt {
    // Without octets zlib begins anew.
    let sum = bytes.withContiguousStorageIfAvailable { bytes in
      bytes.isEmpty ? crc : crc32(crc, bytes.baseAddress, UInt32(truncatingIfNeeded: bytes.count))
    }
    return sum ?? crc
  }

  var trailer: String { "end \(lines) \(String(crc, radix: 16))\n" }
}

/// Why a snapshot cannot be used.
public struct SnapshotError: Error, Hashable, Sendable, CustomStringConvertible {
  public var description: String
}

/// Reads a snapshot as its bytes come. What it has read counts when `end` has returned: not before is it known to be whole.
public struct NameSnapshotReader: ~Copyable {
  private let wants: NameBook.Wants
  /// Whether ServiceImports had been read when it was written: else there is no saying which there are.
  private var hasImports = false
  private var sum = SnapshotSum()
  private var line: [UInt8] = []
  private var isAtEnd = false
  private var snapshot: NameSnapshot
  private var tape = JSONTape()

  /// - Parameter wants: what the book must have been kept with. Without ServiceImports, where they are wanted, their names are
  ///   SERVFAIL until they have been read.
  public init(wants: NameBook.Wants) {
    self.wants = wants
    snapshot = NameSnapshot(cluster: "", written: 0, book: NameBook(wants: wants))
  }

  /// Takes the next bytes, cut anywhere.
  public mutating func feed(_ bytes: UnsafeBufferPointer<UInt8>) throws(SnapshotError) {
    var at = bytes.startIndex
    while at < bytes.endIndex {
      guard let end = bytes[at...].firstIndex(of: UInt8(ascii: "\n")) else {
        guard line.count + (bytes.endIndex - at) <= NameSnapshot.lineBytesMax else {
          throw SnapshotError(description: "a line is longer than \(NameSnapshot.lineBytesMax) octets")
        }
        line += bytes[at...]
        return
      }
      if line.isEmpty {
        try take(UnsafeBufferPointer(rebasing: bytes[at..<end]))
      } else {
        var whole: [UInt8] = []
        swap(&whole, &line)
        whole += bytes[at..<end]
        var failure: SnapshotError?
        whole.withUnsafeBufferPointer { bytes in
          do throws(SnapshotError) { try take(bytes) } catch { failure = error }
        }
        if let failure { throw failure }
      }
      at = end + 1
    }
  }

  /// What was read. Throws when the text ended too early.
  public func end() throws(SnapshotError) -> NameSnapshot {
    guard isAtEnd, line.isEmpty else { throw SnapshotError(description: "it ends before its last line") }
    var snapshot = snapshot
    if hasImports, wants.contains(.imports) { snapshot.book.markImportsRead() }
    return snapshot
  }

  private mutating func take(_ bytes: UnsafeBufferPointer<UInt8>) throws(SnapshotError) {
    if isAtEnd { throw SnapshotError(description: "something follows its last line") }
    if bytes.starts(with: "end ".utf8) {
      guard (Array(bytes) + [UInt8(ascii: "\n")]).elementsEqual(sum.trailer.utf8) else {
        throw SnapshotError(description: "its sum is another: it is damaged")
      }
      guard sum.lines >= 2 else { throw SnapshotError(description: "it has no head") }
      isAtEnd = true
      return
    }
    guard sum.lines < NameSnapshot.objectsMax else {
      throw SnapshotError(description: "more than \(NameSnapshot.objectsMax) objects")
    }
    switch sum.lines {
    case 0:
      guard bytes.elementsEqual(NameSnapshot.magic.utf8) else {
        throw SnapshotError(description: "it does not begin with \(NameSnapshot.magic)")
      }
    case 1: try take(head: bytes)
    default: try take(object: bytes)
    }
    sum.add(bytes)
  }

  private mutating func take(head bytes: UnsafeBufferPointer<UInt8>) throws(SnapshotError) {
    guard let head = try? JSON(parsing: Array(bytes)), let cluster = head["cluster"]?.string,
      let written = head["written"]?.string.flatMap({ Timestamp.parse($0) }), let kept = head["wants"]?.int
    else { throw SnapshotError(description: "its head cannot be read") }
    guard wants.subtracting(.imports).isSubset(of: NameBook.Wants(rawValue: kept)) else {
      throw SnapshotError(description: "it was written for a configuration that needs to know less")
    }
    snapshot.cluster = cluster
    snapshot.written = written.seconds
    hasImports = head["imports"]?.bool ?? false
  }

  private mutating func take(object bytes: UnsafeBufferPointer<UInt8>) throws(SnapshotError) {
    var book = NameBook(wants: wants)
    swap(&book, &snapshot.book)
    defer { swap(&book, &snapshot.book) }
    let isTaken = tape.read(bytes) { object, count in
      guard count == bytes.count, let kind = object["kind"]?.string, let key = object.key else {
        return false
      }
      return book.apply(kind, key, plain: object)
    }
    if isTaken == true { return }
    guard let object = try? JSON(parsing: Array(bytes)), !object.kind.isEmpty, !object.name.isEmpty else {
      throw SnapshotError(description: "line \(sum.lines + 1) is no object")
    }
    // Kept for a configuration that needs to know more.
    if object.kind == "ServiceImport", !wants.contains(.imports) { return }
    book.apply(object.kind, object.key, object)
  }
}
