// The check at start: every row's checksum, and that no row is missing or doubled.

import CSQLite

enum SQLiteCheck {
  /// Reads everything once. Throws `SQLITE_CORRUPT` with what was found. Cost: about a millisecond a MiB.
  static func run(_ connection: SQLiteConnection) throws(SQLiteFailure) {
    let digest = try sum(
      connection,
      """
      SELECT key, kind, rev, create_rev, value, sum FROM log
      UNION ALL SELECT key, -1, rev, create_rev, value, sum FROM ephemeral
      """)
    guard try digest == number(connection, "digest") else { throw damaged("changes are missing or doubled") }
    let rows = try connection.prepare("SELECT key, rev, create_rev FROM cur")
    var current: Int64 = 0
    while try rows.step() {
      current &+= RowSum.current(rows.text(0), revision: rows.int(1), created: rows.int(2))
    }
    guard try current == number(connection, "cur_digest") else {
      throw damaged("keys are missing or doubled")
    }
  }

  /// The sum of all rows' sums, each found right.
  private static func sum(_ connection: SQLiteConnection, _ sql: String) throws(SQLiteFailure) -> Int64 {
    let rows = try connection.prepare(sql)
    var total: Int64 = 0
    while try rows.step() {
      let sum = rows.int(5)
      guard sum == rows.sum(key: 0, kind: rows.int(1), revision: 2, created: 3, value: 4) else {
        throw damaged("revision \(rows.int(2)) does not fit its checksum")
      }
      total &+= sum
    }
    return total
  }

  static func number(_ connection: SQLiteConnection, _ name: String) throws(SQLiteFailure) -> Int64 {
    let meta = try connection.prepare("SELECT number FROM meta WHERE name = ?")
    meta.bind(1, name)
    return try meta.step() ? meta.int(0) : 0
  }

  static func damaged(_ what: String) -> SQLiteFailure {
    SQLiteFailure(code: SQLITE_CORRUPT, text: what, doing: "checking")
  }

  /// Computes all sums anew, in the transaction that is open: for a store written before there were any, and after a restore.
  static func writeSums(_ connection: SQLiteConnection) throws(SQLiteFailure) {
    var total: Int64 = 0
    for (table, kind) in [("log", "kind"), ("ephemeral", "-1")] {
      let rows = try connection.prepare("SELECT key, \(kind), rev, create_rev, value, rowid FROM \(table)")
      let set = try connection.prepare("UPDATE \(table) SET sum = ? WHERE rowid = ?")
      while try rows.step() {
        let sum = rows.sum(key: 0, kind: rows.int(1), revision: 2, created: 3, value: 4)
        total &+= sum
        set.bind(1, sum)
        set.bind(2, rows.int(5))
        try set.run()
      }
    }
    let rows = try connection.prepare("SELECT key, rev, create_rev FROM cur")
    var current: Int64 = 0
    while try rows.step() {
      current &+= RowSum.current(rows.text(0), revision: rows.int(1), created: rows.int(2))
    }
    let meta = try connection.prepare("INSERT OR REPLACE INTO meta VALUES (?, ?)")
    for (name, number) in [("digest", total), ("cur_digest", current)] {
      meta.bind(1, name)
      meta.bind(2, number)
      try meta.run()
    }
  }
}

extension SQLiteStatement {
  /// The checksum of the row under the cursor.
  func sum(key: Int32, kind: Int64, revision: Int32, created: Int32, value: Int32) -> Int64 {
    withBytes(value) {
      RowSum.row(text(key), kind: kind, revision: int(revision), created: int(created), value: $0)
    }
  }
}
