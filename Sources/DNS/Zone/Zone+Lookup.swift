// What the zone would answer, as values with a reason: for `weft explain`, for people and for tests.

import Addresses

/// The answer to a question and why it is so.
public struct LookupResult: Sendable, Hashable {
  public enum Outcome: String, Sendable, Hashable {
    case records
    /// The name exists, without records of this type.
    case noData
    /// The name does not exist.
    case nameError
    /// Not our name: an upstream server is asked.
    case elsewhere
    /// The records end in a name of someone else, which is asked of an upstream server.
    case alias
    /// The cluster has not been read yet.
    case serverFailure
  }

  public var outcome: Outcome
  public var records: [ResourceRecord]
  public var additional: [ResourceRecord]
  public var authority: [ResourceRecord]
  /// One line for a person.
  public var reason: String

  /// The addresses among the records.
  public var addresses: [IPAddress] {
    records.compactMap {
      switch $0.data {
      case .a(let four): .v4(four)
      case .aaaa(let six): .v6(six)
      default: nil
      }
    }
  }
}

extension Zone {
  /// Answers as the server would, through the same code and octets. Pure; allocates.
  public func lookup(_ name: DomainName, _ type: RecordType) -> LookupResult {
    let packet = Message(query: name, type, id: 0).encoded
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: DNSLimits.messageBytesMax, alignment: 8)
    defer { buffer.deallocate() }
    var reply = Reply(buffer)
    var head = QueryHead()
    var outcome = Outcome.elsewhere
    var found = Found.elsewhere
    packet.withUnsafeBytes { bytes in
      guard head.read(bytes.bytes) == .query else { return }
      reply.begin(bytes.bytes, head, bytesMax: DNSLimits.messageBytesMax)
      outcome = answer(bytes.bytes, head, &reply, rotation: 0)
      if let index = authority(bytes.bytes, head), isReady {
        found = find(bytes.bytes, head, authority: index)
      }
    }
    let count = reply.finish(head, udpBytesMax: 0)
    let message = try? Message(UnsafeRawBufferPointer(start: buffer.baseAddress, count: count).bytes)
    var result = LookupResult(
      outcome: .noData, records: message?.answer ?? [], additional: message?.additional ?? [],
      authority: message?.authority ?? [], reason: reason(name, type, found))
    switch outcome {
    case .elsewhere: result.outcome = .elsewhere
    case .alias: result.outcome = .alias
    case .answered:
      switch reply.code {
      case .nameError: result.outcome = .nameError
      case .serverFailure:
        result.outcome = .serverFailure
        result.reason = "the cluster has not been read yet"
      default: result.outcome = result.records.isEmpty ? .noData : .records
      }
    }
    return result
  }

  private func reason(_ name: DomainName, _ type: RecordType, _ found: Found) -> String {
    let below = name.labels.count - settings.zone.labels.count
    let labels = name.labels.map { String(decoding: $0, as: UTF8.self).lowercased() }
    var object = "name \(name)"
    if name.isWithin(settings.zone), below >= 3, labels[below - 1] == "svc" {
      object = "service \(labels[below - 2])/\(labels[below - 3])"
    }
    switch found {
    case .elsewhere: return "\(name) is not in \(settings.zone): it is asked of the upstream servers"
    case .nameError:
      if object.hasPrefix("service") {
        return "\(object) has no such name: it does not exist, or it is headless and no endpoint is ready"
      }
      return "\(object) does not exist in \(settings.zone)"
    case .emptyName: return "\(object) exists for the names below it and has no records"
    case .node(let group, let node), .respelled(let group, let node):
      guard let answer = group.answer(node, type) else { return "\(object) has no \(type) records" }
      if answer.type == .cname { return "\(object) is an alias (ExternalName)" }
      return "\(object) has \(answer.records) \(type) record\(answer.records == 1 ? "" : "s")"
    case .pod(let address): return "the name spells the pod address \(address), and its namespace exists"
    case .reverse(let entries):
      return "the address belongs to \(entries.count) name\(entries.count == 1 ? "" : "s")"
    }
  }
}
