// A whole message as a value: what tests and explanations look at, and what forwarding re-encodes.

/// A decoded message. Records of classes other than IN are dropped; `OPT` is taken apart.
public struct Message: Hashable, Sendable {
  public var id: UInt16 = 0
  public var flags: UInt16 = 0
  public var question: Question?
  public var answer: [ResourceRecord] = []
  public var authority: [ResourceRecord] = []
  public var additional: [ResourceRecord] = []
  public var edns: EDNS?
  /// Why it is no better answer; told to clients with EDNS. Not read from the wire.
  public var extendedError: ExtendedErrorNote?

  public struct Question: Hashable, Sendable {
    public var name: DomainName
    public var type: RecordType
    public var rrClass: UInt16
    public init(name: DomainName, type: RecordType, rrClass: UInt16 = 1) {
      self.name = name
      self.type = type
      self.rrClass = rrClass
    }
  }

  /// The pseudo-record of RFC 6891.
  public struct EDNS: Hashable, Sendable {
    public var udpBytesMax: UInt16 = UInt16(DNSLimits.defaultUDPBytesMax)
    public var extendedCode: UInt8 = 0
    public var version: UInt8 = 0
    public var isDNSSECWanted = false
    public init() {}
  }

  public init() {}

  /// A recursive query for one name.
  public init(query name: DomainName, _ type: RecordType, id: UInt16) {
    self.id = id
    flags = Header.recursionDesired
    question = Question(name: name, type: type)
  }

  public var isResponse: Bool { flags & Header.response != 0 }
  public var isAuthoritative: Bool { flags & Header.authoritative != 0 }
  public var isTruncated: Bool { flags & Header.truncated != 0 }
  public var code: ResponseCode {
    ResponseCode(rawValue: flags & Header.codeMask | UInt16(edns?.extendedCode ?? 0) << 4)
  }

  /// Reads a message. Cost is linear in its length: record counts are only believed while octets last.
  public init(_ message: RawSpan) throws(WireError) {
    var reader = WireReader(message)
    id = try reader.uint16()
    flags = try reader.uint16()
    let counts = (try reader.uint16(), try reader.uint16(), try reader.uint16(), try reader.uint16())
    for _ in 0..<counts.0 {
      let name = try reader.name()
      question = Question(
        name: name, type: RecordType(rawValue: try reader.uint16()), rrClass: try reader.uint16())
    }
    answer = try Self.section(&reader, counts.1)
    authority = try Self.section(&reader, counts.2)
    additional = []
    for _ in 0..<counts.3 {
      let (record, rrClass) = try reader.record()
      if record.data.type == .opt {
        var edns = EDNS()
        edns.udpBytesMax = rrClass
        edns.extendedCode = UInt8(truncatingIfNeeded: record.ttl >> 24)
        edns.version = UInt8(truncatingIfNeeded: record.ttl >> 16)
        edns.isDNSSECWanted = record.ttl & 0x8000 != 0
        self.edns = edns
      } else if rrClass == Header.internet {
        additional.append(record)
      }
    }
  }

  private static func section(_ reader: inout WireReader, _ count: UInt16) throws(WireError)
    -> [ResourceRecord]
  {
    var records: [ResourceRecord] = []
    for _ in 0..<count {
      let (record, rrClass) = try reader.record()
      if rrClass == Header.internet { records.append(record) }
    }
    return records
  }

  /// The wire form, names compressed.
  public var encoded: [UInt8] {
    var writer = WireWriter()
    writer.uint16(id)
    writer.uint16(flags)
    let additionalCount = additional.count + (edns == nil ? 0 : 1)
    for count in [question == nil ? 0 : 1, answer.count, authority.count, additionalCount] {
      writer.uint16(UInt16(truncatingIfNeeded: count))
    }
    if let question {
      writer.name(question.name)
      writer.uint16(question.type.rawValue)
      writer.uint16(question.rrClass)
    }
    for record in answer + authority + additional { writer.record(record) }
    if let edns {
      writer.append([0, 0, 41])
      writer.uint16(edns.udpBytesMax)
      writer.append([edns.extendedCode, edns.version, edns.isDNSSECWanted ? 0x80 : 0, 0, 0, 0])
    }
    return writer.bytes
  }
}
