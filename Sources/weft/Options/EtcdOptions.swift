// Where objects are kept, as flags say it: upstream's names for etcd.

import ArgumentParser
import ClusterServer
import ClusterStoreEtcd
import Diagnostics
import Glibc

struct EtcdOptions: ParsableArguments {
  @Option(help: "Who signed etcd's certificate (PEM).") var etcdCafile: String?
  @Option(help: "Our certificate for etcd (PEM).") var etcdCertfile: String?
  @Option(help: "The key of that certificate (PEM).") var etcdKeyfile: String?
  @Option(help: "What our keys in etcd begin with.") var etcdPrefix = "/registry"

  /// Reads `--store`. Throws `CLI0032`, `STO0015`.
  func store(_ text: String) throws(WeftError) -> ServerStore {
    guard let etcd = try settings(text) else { return .sqlite }
    return .shared { () async throws(WeftError) in try await EtcdStore(settings: etcd) }
  }

  /// Nil for SQLite.
  func settings(_ text: String) throws(WeftError) -> EtcdStoreSettings? {
    if text == "sqlite" { return nil }
    guard text.hasPrefix("etcd:") else {
      throw WeftError(
        "CLI0032", object: "--store \(text)", cause: "is no store this build has",
        next: "use --store sqlite or --store etcd:https://host:2379")
    }
    var settings = try EtcdStoreSettings(store: text)
    for file in [etcdCafile, etcdCertfile, etcdKeyfile].compactMap({ $0 }) where access(file, R_OK) != 0 {
      throw WeftError(
        "STO0015", object: file, cause: "cannot be read: \(String(cString: strerror(errno)))",
        next: "check --etcd-cafile, --etcd-certfile and --etcd-keyfile")
    }
    guard (etcdCertfile == nil) == (etcdKeyfile == nil) else {
      throw WeftError(
        "STO0015", object: "--etcd-certfile", cause: "a certificate and its key belong together",
        next: "give both --etcd-certfile and --etcd-keyfile, or neither")
    }
    guard etcdPrefix.hasPrefix("/"), !etcdPrefix.hasSuffix("/") else {
      throw WeftError(
        "STO0015", object: "--etcd-prefix \(etcdPrefix)",
        cause: "must begin with a slash and end without one",
        next: "write it as /registry")
    }
    settings.authorityFile = etcdCafile
    settings.certificateFile = etcdCertfile
    settings.keyFile = etcdKeyfile
    settings.prefix = etcdPrefix
    return settings
  }
}
