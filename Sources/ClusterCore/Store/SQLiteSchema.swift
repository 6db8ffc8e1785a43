// The tables of the SQLite engine.
//
//   log        rev | key | kind | create_rev | prev_rev | value | sum   every change of a durable key, until compacted
//   cur        key | rev | create_rev                                   where each durable key's value stands in the log
//   ephemeral  key | rev | create_rev | value | written | sum           heartbeats and events: overwritten in place
//   meta       revision, compacted, compact_cursor, digest, cur_digest  one row each; a digest is the sum of all rows' sums
//
// The old value is never stored twice, and no query asks for the newest row of each key: those two made
// stores of this shape elsewhere grow without bound.

/// Keys whose history is not kept on disk: they change often and nobody needs their past. At most
/// `entriesMax` of a prefix are kept, the oldest go first; entries not written for `lifetimeSeconds` go too
/// (0: they stay).
public struct EphemeralRule: Sendable, Equatable {
  public var prefix: String
  public var entriesMax: Int
  public var lifetimeSeconds: Int64

  public init(prefix: String, entriesMax: Int, lifetimeSeconds: Int64) {
    self.prefix = prefix
    self.entriesMax = entriesMax
    self.lifetimeSeconds = lifetimeSeconds
  }
}

enum SQLiteSchema {
  static let version: Int64 = 2

  static let setup = """
    PRAGMA auto_vacuum = INCREMENTAL;
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA journal_size_limit = 4194304;
    PRAGMA cache_size = -8192;
    """

  static let tables = """
    BEGIN IMMEDIATE;
    CREATE TABLE IF NOT EXISTS log (
      rev INTEGER PRIMARY KEY, key TEXT NOT NULL, kind INTEGER NOT NULL,
      create_rev INTEGER NOT NULL, prev_rev INTEGER NOT NULL, value BLOB NOT NULL,
      sum INTEGER NOT NULL DEFAULT 0);
    CREATE INDEX IF NOT EXISTS log_key ON log (key, rev);
    CREATE TABLE IF NOT EXISTS cur (
      key TEXT PRIMARY KEY, rev INTEGER NOT NULL, create_rev INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS ephemeral (
      key TEXT PRIMARY KEY, rev INTEGER NOT NULL, create_rev INTEGER NOT NULL,
      value BLOB NOT NULL, written INTEGER NOT NULL, sum INTEGER NOT NULL DEFAULT 0);
    CREATE INDEX IF NOT EXISTS ephemeral_rev ON ephemeral (rev);
    CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
    INSERT OR IGNORE INTO meta VALUES ('version', 2), ('revision', 0), ('compacted', 0), ('compact_cursor', 0),
      ('digest', 0), ('cur_digest', 0);
    COMMIT;
    """

  /// Version 1 had no checksums.
  static let fromVersion1 = """
    ALTER TABLE log ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE ephemeral ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
    """

  /// The first key that no longer begins with `prefix`.
  static func end(of prefix: String) -> String {
    var bytes = Array(prefix.utf8)
    while let last = bytes.popLast() {
      if last < 0x7f {
        bytes.append(last + 1)
        return String(decoding: bytes, as: UTF8.self)
      }
    }
    return "\u{10FFFF}"
  }
}
