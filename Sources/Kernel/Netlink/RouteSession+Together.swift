// Several changes in one datagram: one way to the kernel and back instead of one for each.
import Glibc

/// A change that waits for others to go with it.
struct RouteChange {
  var message: NetlinkMessage
  /// Refusals that are no error.
  var codes: [Int32]
  /// The `ip` command that equals it, for the error.
  var command: () -> String
}

extension RouteSession {
  /// As many changes go in one datagram: the refusals of all fit the socket's buffer.
  static var togetherMax: Int { 64 }

  /// What `body` changes goes to the kernel together when it ends. The kernel takes every change in turn, whether or not one before
  /// it was refused; the first refusal is thrown. Nothing may be asked in `body`, and whether something was there to be deleted is
  /// not known yet.
  public mutating func together(_ body: (inout RouteSession) throws(NetlinkError) -> Void)
    throws(NetlinkError)
  {
    collected = []
    let changes: [RouteChange]
    do throws(NetlinkError) {
      try body(&self)
      changes = collected ?? []
      collected = nil
    } catch {
      collected = nil
      throw error
    }
    var refusal: NetlinkError?
    for start in stride(from: 0, to: changes.count, by: Self.togetherMax) {
      let found = try send(changes[start..<min(start + Self.togetherMax, changes.count)])
      if refusal == nil { refusal = found }
    }
    if let refusal { throw refusal }
  }

  /// - Returns: the first refusal.
  private mutating func send(_ changes: ArraySlice<RouteChange>) throws(NetlinkError) -> NetlinkError? {
    let first = sequence &+ 1
    var datagram: [UInt8] = []
    datagram.reserveCapacity(1024)
    for change in changes {
      sequence &+= 1
      // Refusals are told in any case; that it was accepted is asked of the last.
      let flags = datagram.count + 6
      datagram += change.message.finished(sequence: sequence)
      if sequence &- first == UInt32(changes.count - 1) { datagram[flags] |= UInt8(Wire.acknowledge) }
    }
    var refusal: NetlinkError?
    do throws(NetlinkError) {
      try transport.send(datagram)
      while true {
        let answers = NetlinkAnswer.parse(try transport.receive())
        guard !answers.isEmpty else { throw NetlinkError(errno: EBADMSG, command: "") }
        // Answers to an earlier request that timed out may still arrive.
        for answer in answers
        where answer.type == Wire.error && answer.sequence &- first < UInt32(changes.count) {
          let change = changes[changes.startIndex + Int(answer.sequence &- first)]
          do throws(NetlinkError) { try Self.check(answer) } catch {
            if refusal == nil, !change.codes.contains(error.errno) {
              refusal = NetlinkError(
                errno: error.errno, command: change.command(), explanation: error.explanation)
            }
          }
          if answer.sequence == sequence { return refusal }
        }
      }
    } catch {
      throw NetlinkError(
        errno: error.errno, command: changes.first?.command() ?? "", explanation: error.explanation)
    }
  }
}
