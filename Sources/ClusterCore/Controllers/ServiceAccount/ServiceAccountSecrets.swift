// Secrets that ask for a ServiceAccount's token (`type: kubernetes.io/service-account-token`) get it, with the
// cluster's CA and the namespace; they go when the account goes.

import ClusterClient
import ClusterObjects
import Diagnostics

/// Makes a token without end: for an account, named by namespace, name and uid, in the Secret of this name.
public typealias SecretTokenMaker =
  @Sendable (
    _ namespace: String, _ account: String, _ uid: String, _ secret: String
  ) async throws -> String

/// What to do about one Secret.
enum SecretTokenPlan: Sendable, Equatable {
  case nothing
  /// Its account is not there, or is a namesake of the one it was made for.
  case delete
  /// Data to set; the token only when none is there.
  case fill(accountUID: String, needsToken: Bool)
}

private let nameAnnotation = "kubernetes.io/service-account.name"
private let uidAnnotation = "kubernetes.io/service-account.uid"

func planServiceAccountSecret(_ secret: JSON, account: JSON?, certificate: String) -> SecretTokenPlan {
  guard secret["type"]?.string == "kubernetes.io/service-account-token", !secret.isTerminating else {
    return .nothing
  }
  let uid = secret.annotations[uidAnnotation] ?? ""
  guard let account, uid.isEmpty || uid == account.uid else { return .delete }
  // A dying account's Secret is left to its end.
  if account.isTerminating { return .nothing }
  func data(_ key: String) -> String { secret.at("data", key)?.string ?? "" }
  let isWhole =
    !uid.isEmpty && !data("token").isEmpty
    && (certificate.isEmpty || data("ca.crt") == Base64.encode(Array(certificate.utf8)))
    && data("namespace") == Base64.encode(Array(secret.namespace.utf8))
  return isWhole ? .nothing : .fill(accountUID: account.uid, needsToken: data("token").isEmpty)
}

func serviceAccountSecretController(_ context: ControllerContext, token: @escaping SecretTokenMaker)
  -> Controller
{
  let queue: WorkQueue<ObjectKey> = context.queue("serviceaccount_tokens_secret")
  let secrets = context.informers.informer(.secrets)
  let accounts = context.informers.informer(.serviceAccounts)
  let certificate = context.settings.rootCertificate
  /// Secrets of one account; Secrets that hold tokens are few.
  @Sendable func secretsOf(_ account: ObjectKey) -> [ObjectKey] {
    secrets.snapshot.values.filter {
      $0.namespace == account.namespace && $0.annotations[nameAnnotation] == account.name
    }.map(\.key)
  }
  @Sendable func addAll() {
    for secret in secrets.snapshot.values
    where secret["type"]?.string == "kubernetes.io/service-account-token" {
      queue.add(secret.key)
    }
  }
  let registrations = [
    secrets.onChange { changes in
      for change in changes where change.new?["type"]?.string == "kubernetes.io/service-account-token" {
        queue.add(change.key)
      }
    },
    context.informers.informer(.configMaps).onChange { changes in
      // Other authorities are trusted.
      if changes.contains(where: { $0.key == authenticationMap && $0.old != nil }) { addAll() }
    },
    accounts.onChange { changes in
      for change in changes where change.new == nil || change.old == nil {
        for key in secretsOf(change.key) { queue.add(key) }
      }
    },
  ]
  return Controller(
    "serviceaccount_tokens_secret", context, queue: queue, registrations: registrations, workers: 1,
    resync: addAll
  ) { key in
    guard let secret = secrets[key.namespace, key.name] else { return nil }
    let name = secret.annotations[nameAnnotation] ?? ""
    guard !name.isEmpty else { return nil }
    var account = accounts[key.namespace, name]
    do {
      // Only what the server itself says is a reason to delete.
      if account == nil || account?.uid != secret.annotations[uidAnnotation] {
        do {
          account = try await context.api.get(.serviceAccounts, namespace: key.namespace, name: name)
        } catch let error as APIStatusError where error.isNotFound {
          account = nil
        }
      }
      let certificate = certificate()
      switch planServiceAccountSecret(secret, account: account, certificate: certificate) {
      case .nothing: break
      case .delete:
        try await context.api.delete(
          .secrets, namespace: key.namespace, name: key.name, options: DeleteOptions(uid: secret.uid))
      case .fill(let uid, let needsToken):
        var wanted = secret
        wanted.set(JSON(uid), at: "metadata", "annotations", uidAnnotation)
        wanted.set(
          JSON(Base64.encode(Array(key.namespace.utf8))), at: "data", "namespace")
        if !certificate.isEmpty {
          wanted.set(JSON(Base64.encode(Array(certificate.utf8))), at: "data", "ca.crt")
        }
        if needsToken {
          let text = try await token(key.namespace, name, uid, key.name)
          wanted.set(JSON(Base64.encode(Array(text.utf8))), at: "data", "token")
        }
        _ = try await context.api.update(.secrets, wanted, subresource: nil, options: context.options)
      }
    } catch let error as APIStatusError where error.isNotFound || error.isConflict {
      // Changed or gone meanwhile: its own event brings it back.
    }
    return nil
  }
}
