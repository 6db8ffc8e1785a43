// `weft server backup` and `weft server restore`: a copy of the store, made while the server runs, and put back.

import ArgumentParser
import ClusterStore
import Diagnostics

struct ServerBackup: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "backup", abstract: "Write a checked copy of the store to a file; the server may run.",
    discussion:
      "The copy shows the store in --data-dir at one revision, which is printed. For etcd: etcdctl snapshot save."
  )

  @ParentCommand var server: ServerCommand
  @Argument(help: "The file to write; must not exist.") var file: String

  func run() throws {
    server.logging.apply()
    let copy = try SQLiteBackup.write(from: server.dataDir, to: file)
    Terminal.say("\(file): revision \(copy.revision), \(copy.bytes) bytes")
  }
}

struct ServerRestore: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "restore", abstract: "Put a copy of the store into a data directory that has none.",
    discussion: """
      No server may run on --data-dir. Revisions go on a million above those of the copy, and watches of before must \
      list again: no client takes a new change for an old one. Certificates and keys are not part of a copy: keep \
      DATA/certificates too.
      """)

  @ParentCommand var server: ServerCommand
  @Argument(help: "A file that `weft server backup` wrote.") var file: String

  func run() throws {
    server.logging.apply()
    let copy = try SQLiteBackup.restore(file, into: server.dataDir)
    Terminal.say("\(server.dataDir): revision \(copy.revision), \(copy.bytes) bytes")
  }
}
