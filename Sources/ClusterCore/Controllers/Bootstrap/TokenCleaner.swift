// Removes bootstrap tokens that are over: nobody is let in by them any more, and they sign nothing.

import ClusterClient
import ClusterObjects
import Diagnostics
import Logging

/// A token is looked at this often until it ends: a clock may be set while it waits.
private let lookSecondsMax: Int64 = 60

func tokenCleaner(_ context: ControllerContext) -> Controller {
  let queue: WorkQueue<ObjectKey> = context.queue("token_cleaner")
  let secrets = context.informers.informer(.secrets)
  let registration = secrets.onChange { changes in
    for change in changes where change.new?.isBootstrapToken == true { queue.add(change.key) }
  }
  return Controller(
    "token_cleaner", context, queue: queue, registrations: [registration], workers: 1,
    resync: { for secret in secrets.snapshot.values where secret.isBootstrapToken { queue.add(secret.key) } }
  ) { key in
    guard let secret = secrets[key], secret.isBootstrapToken, !secret.isTerminating,
      let left = BootstrapTokenEnd(secret).left(now: context.now)
    else { return nil }
    guard left <= 0 else { return .seconds(min(left, lookSecondsMax)) }
    do {
      try await context.api.delete(
        .secrets, namespace: key.namespace, name: key.name, options: DeleteOptions(uid: secret.uid))
      context.logger.info("bootstrap token is over", metadata: ["secret": "\(key)"])
    } catch let error as APIStatusError where error.isNotFound || error.isConflict {
      // Gone, or another of its name: the informer will show which.
    }
    return nil
  }
}
