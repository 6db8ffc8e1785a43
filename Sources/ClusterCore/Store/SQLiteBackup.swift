// Copies of a store: made while a server runs on it, and put back where none runs.

import CSQLite
import Diagnostics
import Glibc

/// What a copy holds.
public struct StoreCopy: Sendable {
  public var revision: Revision
  public var bytes: Int64
}

public enum SQLiteBackup {
  /// After a restore revisions go on this far above those of the copy: clients that saw newer ones than the copy holds are
  /// told to list again instead of being shown other changes under the same number.
  public static let revisionGap: Revision = 1_000_000

  /// Writes a checked copy of the store in `folder` to `file`, which must not exist. The store may be in use: the copy shows it
  /// at one revision. Errors: `STO0003` damaged, `STO0005` disk full, `STO0020` the file is there already, `STO0021` no store.
  public static func write(from folder: String, to file: String) throws(WeftError) -> StoreCopy {
    let source = folder + "/store.db"
    guard access(file, F_OK) != 0 else { throw isThere(file) }
    guard access(source, F_OK) == 0 else {
      throw WeftError(
        "STO0021", object: source, cause: "there is no store",
        next: "name the folder of the server with --data-dir")
    }
    let part = file + ".part"
    unlink(part)
    do throws(SQLiteFailure) {
      let connection = try SQLiteConnection(path: source, readOnly: false, creates: false)
      let copy = try connection.prepare("VACUUM INTO ?")
      copy.bind(1, part)
      try copy.run()
    } catch {
      unlink(part)
      throw error.explained(file: error.code & 0xff == SQLITE_CORRUPT ? source : part)
    }
    do {
      let found = try inspect(part)
      try finish(part, file)
      return found
    } catch {
      unlink(part)
      throw error
    }
  }

  /// Puts a copy into `folder`, where no server may run and no store may be. Errors: `STO0002` in use, `STO0003` the copy is
  /// damaged, `STO0022` a store is there.
  public static func restore(_ file: String, into folder: String) throws(WeftError) -> StoreCopy {
    guard access(file, R_OK) == 0 else { throw isMissing(file) }
    let lock = try DataFolderLock(folder: folder)
    defer { lock.release() }
    let target = folder + "/store.db"
    guard access(target, F_OK) != 0 else {
      throw WeftError(
        "STO0022", object: target, cause: "there is a store already",
        next: "move it away first: mkdir \(folder)/before && mv \(target)* \(folder)/before/")
    }
    let part = target + ".part"
    unlink(part)
    do throws(SQLiteFailure) {
      let source = try SQLiteConnection(path: file, readOnly: true)
      let copy = try source.prepare("VACUUM INTO ?")
      copy.bind(1, part)
      try copy.run()
    } catch {
      unlink(part)
      throw error.explained(file: file)
    }
    do {
      _ = try inspect(part)
      try moveOn(part)
      let found = try inspect(part)
      try finish(part, target)
      return found
    } catch {
      unlink(part)
      throw error
    }
  }

  static func isThere(_ file: String) -> WeftError {
    WeftError("STO0020", object: file, cause: "is there already", next: "choose another name, or remove it")
  }

  static func isMissing(_ file: String) -> WeftError {
    WeftError(
      "STO0021", object: file, cause: "cannot be read: \(String(cString: strerror(errno)))",
      next: "name a file that `weft server backup` wrote")
  }

  /// History ends here: what is live stays, numbered as it was, and the next change is far above.
  private static func moveOn(_ file: String) throws(WeftError) {
    do throws(SQLiteFailure) {
      let connection = try SQLiteConnection(path: file, readOnly: false, creates: false)
      try connection.run("BEGIN IMMEDIATE")
      try connection.run("DELETE FROM log WHERE rev NOT IN (SELECT rev FROM cur)")
      try connection.run("UPDATE meta SET number = number + \(revisionGap) WHERE name = 'revision'")
      try connection.run(
        """
        UPDATE meta SET number = (SELECT number FROM meta WHERE name = 'revision')
        WHERE name IN ('compacted', 'compact_cursor')
        """)
      try SQLiteCheck.writeSums(connection)
      try connection.run("COMMIT")
    } catch {
      throw error.explained(file: file)
    }
  }

  /// Checks a copy and reads its revision.
  static func inspect(_ file: String) throws(WeftError) -> StoreCopy {
    do throws(SQLiteFailure) {
      let connection = try SQLiteConnection(path: file, readOnly: true)
      try SQLiteCheck.run(connection)
      var status = stat()
      stat(file, &status)
      return StoreCopy(
        revision: try SQLiteCheck.number(connection, "revision"), bytes: Int64(status.st_size))
    } catch {
      throw error.explained(file: file)
    }
  }

  /// On the disk first, then under its name.
  static func finish(_ part: String, _ file: String) throws(WeftError) {
    let folder = file.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(
      separator: "/")
    for path in [part, folder.isEmpty ? "." : folder] {
      let descriptor = open(path, O_RDONLY | O_CLOEXEC)
      let isSynced = descriptor >= 0 && fsync(descriptor) == 0
      if descriptor >= 0 { close(descriptor) }
      guard isSynced else { throw unwritable(file) }
      if path == part {
        chmod(part, 0o600)
        guard rename(part, file) == 0 else { throw unwritable(file) }
      }
    }
  }

  private static func unwritable(_ file: String) -> WeftError {
    WeftError(
      "STO0006", object: file, cause: "cannot be written: \(String(cString: strerror(errno)))",
      next: "check owner and mode of the folder, and free space (df -h)")
  }
}
