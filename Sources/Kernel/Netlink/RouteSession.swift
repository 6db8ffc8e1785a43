// A synchronous conversation with rtnetlink: one request, its answers, then the next. What can be asked
// stands in the siblings: +Links, +Addresses, +Routes, +Neighbours.
import Glibc

/// A synchronous rtnetlink session over a socket that it owns. Calls block for as long as the kernel works
/// (usually 10–100 µs; deleting a veth 16 ms). Use it from one thread at a time; it never suspends.
public struct RouteSession: ~Copyable {
  var transport: any NetlinkTransport & ~Copyable
  var sequence: UInt32 = 0
  /// The changes of a `together` that runs.
  var collected: [RouteChange]?

  /// A dump that keeps being interrupted by changes is asked again this often.
  static let dumpAttemptsMax = 8

  /// Opens a session in the calling thread's network namespace.
  public init() throws(NetlinkError) { transport = try NetlinkSocket() }

  /// Opens a session in the network namespace at `path`; the caller's thread stays where it is.
  public init(inNamespace path: String) throws {
    let opened = Handover<NetlinkSocket>()
    try runInNamespace(path) { opened.put(try NetlinkSocket()) }
    transport = try opened.take()
  }

  /// The same in an open namespace. `there` runs inside as well, before: one way there and back for both.
  /// - Parameter path: what the namespace is called in an error.
  public init(in namespace: borrowing NetworkNamespace, path: String, there: () throws -> Void) throws {
    let opened = Handover<NetlinkSocket>()
    try runInNamespace(descriptor: namespace.descriptor, path) {
      try there()
      opened.put(try NetlinkSocket())
    }
    transport = try opened.take()
  }

  /// A session over any transport: how tests see exact bytes.
  public init(transport: consuming any NetlinkTransport & ~Copyable) { self.transport = transport }

  /// Sends a change and waits for its acknowledgement; in the body of `together` it is kept until that ends.
  /// - Parameters:
  ///   - codes: refusals that are no error.
  ///   - command: the `ip` command that equals it, for the error.
  /// - Returns: false when it was refused with one of `codes`.
  @discardableResult
  public mutating func perform(
    _ message: NetlinkMessage, unless codes: [Int32] = [], command: @autoclosure @escaping () -> String
  ) throws(NetlinkError) -> Bool {
    guard collected == nil else {
      collected?.append(RouteChange(message: message, codes: codes, command: command))
      return true
    }
    do throws(NetlinkError) {
      _ = try exchange(message, flags: Wire.acknowledge, isDump: false, command: command)
      return true
    } catch  where codes.contains(error.errno) {
      return false
    }
  }

  /// Sends a question with one answer.
  mutating func ask(_ message: NetlinkMessage, command: @autoclosure () -> String) throws(NetlinkError)
    -> [NetlinkAnswer]
  {
    try exchange(message, flags: 0, isDump: false, command: command)
  }

  /// Asks for a whole table. A dump during which the table changed is asked again.
  mutating func dump(_ message: NetlinkMessage, command: @autoclosure () -> String) throws(NetlinkError)
    -> [NetlinkAnswer]
  {
    for _ in 0..<Self.dumpAttemptsMax {
      let answers = try exchange(message, flags: Wire.dump, isDump: true, command: command)
      if !answers.contains(where: { $0.flags & Wire.dumpInterrupted != 0 }) { return answers }
    }
    throw NetlinkError(
      errno: EAGAIN, command: command(), explanation: "the table kept changing during the dump")
  }

  private mutating func exchange(
    _ message: NetlinkMessage, flags: UInt16, isDump: Bool, command: () -> String
  ) throws(NetlinkError) -> [NetlinkAnswer] {
    sequence &+= 1
    var bytes = message.finished(sequence: sequence)
    bytes[6] |= UInt8(truncatingIfNeeded: flags)
    bytes[7] |= UInt8(truncatingIfNeeded: flags >> 8)
    do throws(NetlinkError) {
      try transport.send(bytes)
      var answers: [NetlinkAnswer] = []
      while true {
        let parts = NetlinkAnswer.parse(try transport.receive())
        guard !parts.isEmpty else { throw NetlinkError(errno: EBADMSG, command: "") }
        // Answers to an earlier request that timed out may still arrive.
        for answer in parts where answer.sequence == sequence {
          switch answer.type {
          case Wire.error:
            try Self.check(answer)
            return answers
          case Wire.done:
            try Self.check(answer)
            return answers
          case Wire.overrun: throw NetlinkError(errno: ENOBUFS, command: "")
          default:
            answers.append(answer)
            if !isDump, flags & Wire.acknowledge == 0 { return answers }
          }
        }
      }
    } catch {
      throw NetlinkError(errno: error.errno, command: command(), explanation: error.explanation)
    }
  }

  /// Throws what an acknowledgement or the end of a dump reports; a zero is success.
  static func check(_ answer: NetlinkAnswer) throws(NetlinkError) {
    guard let code = answer.body.integer(as: Int32.self) else {
      if answer.type == Wire.done { return }
      throw NetlinkError(errno: EBADMSG, command: "")
    }
    guard code < 0 else { return }
    // The refused request's header follows (the whole request unless the ack is capped), then attributes;
    // number 1 is text.
    var explanation: String? = nil
    if answer.flags & Wire.extendedAck != 0 {
      var skipped = 4
      if answer.type == Wire.error {
        let echoed = answer.body.integer(at: 4, as: UInt32.self).map { Int($0) } ?? 16
        skipped += answer.flags & Wire.cappedAck != 0 ? 16 : (echoed + 3) & ~3
      }
      explanation = answer.body.dropping(skipped).attributes()[1]?.text
    }
    throw NetlinkError(errno: code == .min ? EPROTO : -code, command: "", explanation: explanation)
  }
}
