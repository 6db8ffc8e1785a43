// From the store's keys to etcd's and back, and to etcd's requests.
//
//   store   /registry/pods/demo/web            etcd   PREFIX/pods/demo/web
//   claim   serviceips/10.43.0.7               etcd   PREFIX.claims/serviceips/10.43.0.7     value: the key that holds it
//   term    leases/kube-system/x               etcd   PREFIX.claims/terms/leases/kube-system/x   value: whose it is
//   revision 1000042                           etcd   42, when a restore began at 1000000 (see EtcdRestore.swift)

import ClusterStore
import FoundationEssentials

struct EtcdKeys: Sendable {
  let root: String
  let prefix: String
  /// How far our revisions lie above etcd's.
  var offset: Revision = 0

  func revision(_ theirs: Int64) -> Revision { theirs + offset }
  func theirs(_ revision: Revision) -> Int64 { revision - offset }

  /// Keys outside `root` are none of ours; they keep their name under the prefix.
  func bytes(_ key: String) -> Data {
    let rest = key.hasPrefix(root) ? key.dropFirst(root.count) : Substring(key)
    return Data((prefix + rest).utf8)
  }

  func claim(_ name: String) -> Data { Data((prefix + ".claims/" + name).utf8) }
  func term(_ name: String) -> Data { claim("terms/" + name) }

  func key(_ bytes: Data) -> String {
    root + String(decoding: bytes.dropFirst(prefix.utf8.count), as: UTF8.self)
  }

  func value(_ found: Etcdserverpb_KeyValue) -> StoredValue {
    StoredValue(
      key: key(found.key), value: Array(found.value), createRevision: revision(found.createRevision),
      revision: revision(found.modRevision))
  }

  func event(_ event: Etcdserverpb_Event) -> StoreEvent {
    let found = event.kv
    if event.type == .delete {
      return StoreEvent(
        kind: .delete, key: key(found.key), revision: revision(found.modRevision),
        createRevision: 0, value: [])
    }
    return StoreEvent(
      kind: found.createRevision == found.modRevision ? .create : .update, key: key(found.key),
      revision: revision(found.modRevision), createRevision: revision(found.createRevision),
      value: Array(found.value))
  }

  /// What a restore left: see EtcdRestore.swift.
  var restored: Data { Data((prefix + ".restored").utf8) }

  /// The first key after all that begin with `start`.
  static func end(of start: Data) -> Data {
    var bytes = Array(start)
    while let last = bytes.popLast() {
      if last < 0xff { return Data(bytes + [last + 1]) }
    }
    return Data([0])
  }
}
