// What every storage engine offers: a key-value map in which each change has a revision, and a feed of the
// changes.
//
//   revision   1        2        3        4          one counter for all keys, never going back
//   change     /a = x   /b = y   /a = z   /b gone
//   watch(prefix: "/b", after: 1) gives 2 and 4; watch(after: r) refuses r when it was compacted away.

import Diagnostics

/// The number of a change. Changes of all keys share one sequence; 0 is before the first.
public typealias Revision = Int64

/// A key's value and the changes that made it.
public struct StoredValue: Sendable, Equatable {
  public var key: String
  public var value: [UInt8]
  /// The change that created the key (after its last deletion).
  public var createRevision: Revision
  /// The change that wrote this value. Compare-and-swap compares this.
  public var revision: Revision

  public init(key: String, value: [UInt8], createRevision: Revision, revision: Revision) {
    self.key = key
    self.value = value
    self.createRevision = createRevision
    self.revision = revision
  }
}

/// One change, as a watch delivers it. A deletion has an empty value and no `createRevision` (0): who needs the last
/// state keeps it.
public struct StoreEvent: Sendable, Equatable {
  public enum Kind: Int64, Sendable {
    case create = 0
    case update = 1
    case delete = 2
  }
  public var kind: Kind
  public var key: String
  public var revision: Revision
  public var createRevision: Revision
  public var value: [UInt8]

  public init(kind: Kind, key: String, revision: Revision, createRevision: Revision, value: [UInt8]) {
    self.kind = kind
    self.key = key
    self.revision = revision
    self.createRevision = createRevision
    self.value = value
  }
}

/// One page of keys in byte order, as of `revision`.
public struct StorePage: Sendable {
  public var values: [StoredValue]
  public var revision: Revision
  /// Whether keys follow after the last one given.
  public var hasMore: Bool

  public init(values: [StoredValue], revision: Revision, hasMore: Bool) {
    self.values = values
    self.revision = revision
    self.hasMore = hasMore
  }
}

/// Why a store did not do what it was asked.
public enum StoreError: Error, Sendable {
  /// `create`: the key is there already.
  case exists(current: StoredValue)
  /// `update`, `delete`: the key changed since the revision expected.
  case conflict(current: StoredValue)
  case notFound
  /// A claim is held already, by the value of the key `holder` (see `SharedStore`).
  case claimed(name: String, holder: String)
  /// History before `oldest` is gone. A watcher lists again; a pager starts over.
  case compacted(oldest: Revision)
  /// The write belongs to a term that is over, or that never began (see `SharedStore`).
  case ended(StoreTerm)
  /// A revision that does not exist yet.
  case future(current: Revision)
  /// The watcher did not take its events in time and was cut off. It may watch again from where it was.
  case slowWatcher
  /// More writes wait than `pendingMax`.
  case overloaded
  case closed
  /// The engine failed: disk full, damaged file, no connection.
  case failed(WeftError)
}

/// A storage engine. Writes are durable when they return, and visible to every later read; watches see them
/// in order of revision. All functions may be called from any task.
public protocol Store: Sendable {
  /// The newest change this process knows of: at least every write of its own that returned, and every change its
  /// watches delivered. Costs a lock, no I/O.
  var currentRevision: Revision { get }
  /// A revision that covers every write that returned before the call, whichever process made it, and that a watch of
  /// everything will reach. Costs nothing when this process is the only writer.
  func latestRevision() async throws(StoreError) -> Revision
  func get(_ key: String) async throws(StoreError) -> StoredValue?
  /// Keys beginning with `prefix`, after `after`, at most `limit` (0: all), as of `revision` (nil: now).
  func list(
    prefix: String, limit: Int, after: String?, at revision: Revision?
  ) async throws(StoreError) -> StorePage
  func create(_ key: String, _ value: [UInt8]) async throws(StoreError) -> Revision
  /// Replaces the value written by revision `expecting`.
  func update(
    _ key: String, _ value: [UInt8], expecting: Revision
  ) async throws(StoreError) -> Revision
  /// Removes the value written by revision `expecting`.
  func delete(_ key: String, expecting: Revision) async throws(StoreError) -> Revision
  /// Changes of keys beginning with `prefix`, later than `after`. At most `queueMax` wait undelivered.
  func watch(prefix: String, after: Revision, queueMax: Int) async throws(StoreError) -> StoreWatch
  /// Forgets what was superseded at or before `revision`. Returns when the promise is durable; space is
  /// freed in the background, between writes.
  func compact(to revision: Revision) async throws(StoreError)
  /// Drops entries that outlived their `EphemeralRule`. Called once a minute by the server; engines whose entries go by
  /// themselves do nothing.
  func expire()
  /// Finishes what was accepted, ends watches, closes files. Later calls throw `closed`.
  func shutdown() async
}

extension Store {
  public func latestRevision() async throws(StoreError) -> Revision { currentRevision }
  public func expire() {}
}

/// Whose turn it is under a name, such as who leads: one value at a time, which the write of an object sets, and which other
/// writes may stand on.
public struct StoreTerm: Sendable, Equatable {
  public var name: String
  public var value: String

  public init(name: String, value: String) {
    self.name = name
    self.value = value
  }
}

/// What a write takes, sets and stands on besides its own key, all in one transaction.
public struct StoreClaims: Sendable, Equatable {
  /// Names that nobody may hold; the key holds them from then on. Those it holds already are not claimed again.
  public var claiming: [String]
  /// Names that are free from then on.
  public var releasing: [String]
  /// The term from then on, whichever it was.
  public var beginning: StoreTerm?
  /// The name of a term that is none any more.
  public var ending: String?
  /// What must be the term when the write is carried out.
  public var during: StoreTerm?

  public init(
    claiming: [String] = [], releasing: [String] = [], beginning: StoreTerm? = nil, ending: String? = nil,
    during: StoreTerm? = nil
  ) {
    self.claiming = claiming
    self.releasing = releasing
    self.beginning = beginning
    self.ending = ending
    self.during = during
  }
}

/// A store that several processes write at once. What one of them takes for an object (an address, a port) must be taken
/// for all: such a claim is a name that at most one object holds, taken and given back in the same transaction as the
/// object's write. And what one of them may write only while it leads is refused once another does: a term is set by the
/// write of a lease, and compared in the transaction of each write that stands on it.
public protocol SharedStore: Store {
  /// Carries out the write with its claims, or nothing. Throws `claimed` when a name is held, `ended` when another term runs.
  func create(_ key: String, _ value: [UInt8], claims: StoreClaims) async throws(StoreError) -> Revision
  func update(
    _ key: String, _ value: [UInt8], expecting: Revision, claims: StoreClaims
  ) async throws(StoreError) -> Revision
  func delete(_ key: String, expecting: Revision, claims: StoreClaims) async throws(StoreError) -> Revision
}
