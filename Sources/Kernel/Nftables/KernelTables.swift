// What a syncer needs of the kernel. The socket is the kernel; tests put faults in between.

import Ruleset

/// Reads and changes tables. For one thread at a time.
public protocol KernelTables: AnyObject {
  /// All operations or none.
  func apply(_ operations: [Operation]) throws(NftablesError) -> CommitReport
  /// The named tables as they are in force.
  func observe(_ wanted: [Table.ID]) throws(NftablesError) -> InForce
  /// The number of the kernel's last change of any table.
  func generation() throws(NftablesError) -> UInt32
}

extension NftablesSocket: KernelTables {}
