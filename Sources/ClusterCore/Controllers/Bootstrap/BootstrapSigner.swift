// Signs ConfigMap `kube-public/cluster-info`, which anybody may read, with each bootstrap token that may sign: who holds the
// token knows by the signature that address and authority in it are the cluster's (`kubeadm join`'s discovery).

import ClusterClient
import ClusterObjects
import Diagnostics

/// A detached JSON Web Signature (RFC 7515, appendix F) of `content` by HS256, with the token's id as `kid`.
public typealias BootstrapSignature =
  @Sendable (_ content: String, _ tokenID: String, _ tokenSecret: String) -> String

/// Where the cluster says how it is reached.
let clusterInfoMap = ObjectKey("kube-public", "cluster-info")
private let signaturePrefix = "jws-kubeconfig-"

/// The ConfigMap with the signatures of these tokens and no others; nil when it has them, or has nothing to sign.
func planClusterInfoSignatures(
  _ map: JSON, _ tokens: [BootstrapToken], now: Int64, signature: BootstrapSignature
) -> JSON? {
  guard let data = map["data"]?.object, let content = map.at("data", "kubeconfig")?.string else { return nil }
  var wanted = map
  for (key, _) in data where key.hasPrefix(signaturePrefix) { wanted.set(nil, at: "data", key) }
  for token in tokens where token.maySign && token.end.left(now: now) ?? 1 > 0 {
    wanted.set(
      JSON(signature(content, token.id, token.secret)), at: "data", signaturePrefix + token.id)
  }
  return wanted["data"] == map["data"] ? nil : wanted
}

func bootstrapSigner(_ context: ControllerContext, signature: @escaping BootstrapSignature) -> Controller {
  let queue: WorkQueue<ObjectKey> = context.queue("bootstrap_signer_queue")
  let secrets = context.informers.informer(.secrets)
  let maps = context.informers.informer(.configMaps)
  let registrations = [
    secrets.onChange { changes in
      for change in changes where (change.new ?? change.old)?.isBootstrapToken == true {
        queue.add(clusterInfoMap)
      }
    },
    maps.onChange { changes in
      for change in changes where change.key == clusterInfoMap { queue.add(clusterInfoMap) }
    },
  ]
  return Controller(
    "bootstrap_signer", context, queue: queue, registrations: registrations, workers: 1,
    resync: { queue.add(clusterInfoMap) }
  ) { key in
    guard let map = maps[key] else { return nil }
    let tokens = secrets.snapshot.values.compactMap { BootstrapToken($0) }
    let now = context.now
    if let wanted = planClusterInfoSignatures(map, tokens, now: now, signature: signature) {
      _ = try await context.api.update(.configMaps, wanted, subresource: nil, options: context.options)
    }
    // A signature goes with its token's end, also before the token does.
    return tokens.compactMap { $0.end.left(now: now) }.filter { $0 > 0 }.min().map { .seconds($0) }
  }
}
