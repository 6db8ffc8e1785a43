// What the kernel said no to: errno and extended acknowledgement, and the operation they belong to.

import Glibc
import Ruleset

/// A refused transaction or a failed read. Nothing of a refused transaction is in force.
public struct NftablesError: Error, Sendable, CustomStringConvertible {
  /// What was being done: `add element ip KUBE-PROXY svc-id { … }`, `read sets`.
  public var operation: String
  /// The kernel's errno.
  public var errno: Int32
  /// The kernel's own words (extended acknowledgement); often empty.
  public var message: String
  /// Index into the operations of the transaction, when one of them was refused.
  public var operationIndex: Int?
  /// The table of that operation.
  public var table: Table.ID?
  /// Index of the refused element within that operation, when the kernel pointed at it.
  public var elementIndex: Int?

  public init(
    operation: String, errno: Int32, message: String = "", operationIndex: Int? = nil,
    table: Table.ID? = nil, elementIndex: Int? = nil
  ) {
    self.operation = operation
    self.errno = errno
    self.message = message
    self.operationIndex = operationIndex
    self.table = table
    self.elementIndex = elementIndex
  }

  /// Another writer was in between, a buffer was short, memory was tight: the same call may succeed.
  public var isRetryable: Bool { [EINTR, EAGAIN, ENOBUFS, ENOMEM, EBUSY].contains(errno) }

  /// The kernel was busy and nothing has happened: trying again at once, a few times, is right. Not so ENOBUFS, which may
  /// mean that the answer was lost and the change is in force.
  var isForNow: Bool { [EINTR, EAGAIN, ENOMEM, EBUSY].contains(errno) }

  /// What was to be changed is not known any more: hand it in whole.
  public var isStale: Bool { errno == ESTALE }

  public var description: String {
    let reason = String(cString: strerror(errno))
    return "\(operation): \(reason)\(message.isEmpty ? "" : " (\(message))")"
  }
}
