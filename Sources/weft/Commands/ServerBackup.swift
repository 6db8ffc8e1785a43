// `weft server backup` and `weft server restore`: a copy of the store, made while servers run, and put back, into the same
// kind of store or another.

import ArgumentParser
import ClusterServer
import ClusterStore
import ClusterStoreEtcd
import Diagnostics

struct ServerBackup: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "backup", abstract: "Write a checked copy of the store to a file; servers may run.",
    discussion: """
      The copy shows the store in --data-dir, or with --store etcd:… what lies under --etcd-prefix, at one revision, which is \
      printed. It is a SQLite file whatever it was made from, and goes back into either: this moves a cluster from one \
      store to the other. It does not carry certificates and keys (keep DATA/certificates too), history, nor other keys \
      of the same etcd. `etcdctl snapshot save` copies a whole etcd.
      """)

  @ParentCommand var server: ServerCommand
  @Argument(help: "The file to write; must not exist.") var file: String

  func run() async throws {
    server.logging.apply()
    let copy: StoreCopy
    switch try server.etcd.store(server.store) {
    case .sqlite: copy = try SQLiteBackup.write(from: server.dataDir, to: file)
    case .shared(let open):
      let store = try await open()
      do throws(WeftError) { copy = try await ServerCopy.write(store, to: file) } catch {
        await store.shutdown()
        throw error
      }
      await store.shutdown()
    }
    Terminal.say("\(file): revision \(copy.revision), \(copy.bytes) bytes")
  }
}

struct ServerRestore: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "restore", abstract: "Put a copy of the store where none is.",
    discussion: """
      Into --data-dir, or with --store etcd:… under an --etcd-prefix that has no keys yet. No server may run on it. Revisions \
      go on a million above those of the copy, and watches of before must list again: no client takes a new change for an \
      old one. Events live another hour. A restore into etcd that was cut off is refused to servers until it is run again. \
      Certificates and keys are not part of a copy: keep DATA/certificates too.
      """)

  @ParentCommand var server: ServerCommand
  @Argument(help: "A file that `weft server backup` wrote.") var file: String

  func run() async throws {
    server.logging.apply()
    guard let settings = try server.etcd.settings(server.store) else {
      let copy = try SQLiteBackup.restore(file, into: server.dataDir)
      Terminal.say("\(server.dataDir): revision \(copy.revision), \(copy.bytes) bytes")
      return
    }
    let copy = try StoreCopyReader(file)
    let store = try await EtcdStore.beginRestore(
      settings: settings, above: copy.revision + SQLiteBackup.revisionGap)
    do throws(WeftError) {
      try await ServerCopy.fill(store, from: copy)
      Terminal.say("\(server.store): revision \(try await store.endRestore())")
    } catch {
      await store.shutdown()
      throw error
    }
    await store.shutdown()
  }
}
