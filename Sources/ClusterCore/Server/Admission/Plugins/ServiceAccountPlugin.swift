// Every pod runs as a ServiceAccount: the one it names, else `default`; it gets that account's token, the
// cluster's CA and its namespace in a volume, and the account's secrets for pulling images.

import ClusterClient
import ClusterObjects

struct ServiceAccountPlugin: AdmissionPlugin {
  let name = "ServiceAccount"
  let interest = AdmissionInterest.both(
    [GroupResource("", "pods")], [.create, .update], subresources: ["", "ephemeralcontainers"])
  let state: AdmissionState
  let automountsTokens: Bool

  static let mountPath = "/var/run/secrets/kubernetes.io/serviceaccount"
  static let volumePrefix = "kube-api-access-"
  private static let mirror = "kubernetes.io/config.mirror"
  /// A little more than an hour, so that a token asked for by hand is told apart.
  private static let tokenSeconds: Int64 = 3607

  func admit(_ request: inout AdmissionRequest) async throws {
    guard request.operation == .create, request.subresource.isEmpty, var pod = request.object else { return }
    if pod.annotations[Self.mirror] != nil {
      try checkMirror(pod, request)
      return
    }
    var name = pod.at("spec", "serviceAccountName")?.string ?? ""
    if name.isEmpty { name = pod.at("spec", "serviceAccount")?.string ?? "" }
    if name.isEmpty { name = "default" }
    pod.set(JSON(name), at: "spec", "serviceAccountName")
    pod.set(JSON(name), at: "spec", "serviceAccount")
    let account = try await account(name, request)
    if automountsTokens, Self.wantsToken(pod, account) { Self.mountToken(&pod) }
    if pod.at("spec", "imagePullSecrets")?.elements.isEmpty ?? true,
      let secrets = account["imagePullSecrets"], !secrets.elements.isEmpty
    {
      pod.set(secrets, at: "spec", "imagePullSecrets")
    }
    request.object = pod
  }

  func validate(_ request: inout AdmissionRequest) async throws {
    guard let pod = request.object, pod.annotations[Self.mirror] == nil,
      request.operation == .create || request.subresource == "ephemeralcontainers"
    else { return }
    let name = pod.at("spec", "serviceAccountName")?.string ?? ""
    // A webhook may have taken it away or named another.
    if name.isEmpty {
      throw request.forbidden("no service account specified for pod \(pod.namespace)/\(pod.name)")
    }
    let account = try await account(name, request)
    if account.annotations["kubernetes.io/enforce-mountable-secrets"] == "true" {
      try checkSecrets(pod, account, request)
    }
  }

  /// The account. `default` is made when it is missing: its controller would do so a moment later, and a pod
  /// in a new namespace need not wait for that.
  private func account(_ name: String, _ request: AdmissionRequest) async throws -> JSON {
    let namespace = request.namespace
    if let found = await state.lookUp(.serviceAccounts, namespace: namespace, name: name) {
      return found.tree
    }
    if name == "default", !request.isDryRun, let core = state.core {
      let kind = try core.kind(.serviceAccounts)
      do {
        return try await core.create(
          kind, namespace: namespace,
          [
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": ["name": "default", "namespace": JSON(namespace)],
          ], options: WriteOptions(fieldManager: "kube-controller-manager"), identity: .system
        ).object.tree
      } catch let error as APIStatusError where error.isAlreadyExists {
        if let found = await state.lookUp(.serviceAccounts, namespace: namespace, name: name) {
          return found.tree
        }
      }
    }
    if name == "default", request.isDryRun { return [:] }
    throw request.forbidden(
      "error looking up service account \(namespace)/\(name): serviceaccount \"\(name)\" not found")
  }

  private func checkMirror(_ pod: JSON, _ request: AdmissionRequest) throws {
    if !(pod.at("spec", "serviceAccountName")?.string ?? "").isEmpty {
      throw request.forbidden("a mirror pod may not reference service accounts")
    }
    for volume in pod.at("spec", "volumes")?.elements ?? [] {
      if volume["secret"] != nil { throw request.forbidden("a mirror pod may not reference secrets") }
      for source in volume.at("projected", "sources")?.elements ?? []
      where source["serviceAccountToken"] != nil {
        throw request.forbidden("a mirror pod may not use ServiceAccountToken volume projections")
      }
    }
  }

  private static func wantsToken(_ pod: JSON, _ account: JSON) -> Bool {
    pod.at("spec", "automountServiceAccountToken")?.bool ?? account["automountServiceAccountToken"]?.bool
      ?? true
  }

  private static func mountToken(_ pod: inout JSON) {
    var volumes = pod.at("spec", "volumes")?.elements ?? []
    let known = volumes.first { $0["name"]?.string?.hasPrefix(volumePrefix) ?? false }
    let name = known?["name"]?.string ?? Names.generate(from: volumePrefix)
    var isUsed = false
    for list in ["initContainers", "containers"] {
      guard var containers = pod.at("spec", list)?.array, !containers.isEmpty else { continue }
      for index in containers.indices {
        var mounts = containers[index]["volumeMounts"]?.elements ?? []
        if mounts.contains(where: { $0["mountPath"]?.string == mountPath }) { continue }
        mounts.append(["name": JSON(name), "readOnly": true, "mountPath": JSON(mountPath)])
        containers[index]["volumeMounts"] = .array(mounts)
        isUsed = true
      }
      pod.set(.array(containers), at: "spec", list)
    }
    guard isUsed, known == nil else { return }
    volumes.append([
      "name": JSON(name),
      "projected": [
        "sources": [
          ["serviceAccountToken": ["expirationSeconds": JSON(tokenSeconds), "path": "token"]],
          ["configMap": ["name": "kube-root-ca.crt", "items": [["key": "ca.crt", "path": "ca.crt"]]]],
          [
            "downwardAPI": [
              "items": [
                ["path": "namespace", "fieldRef": ["apiVersion": "v1", "fieldPath": "metadata.namespace"]]
              ]
            ]
          ],
        ],
        "defaultMode": 420,
      ],
    ])
    pod.set(.array(volumes), at: "spec", "volumes")
  }

  /// Only secrets that the account lists, when it says so.
  private func checkSecrets(_ pod: JSON, _ account: JSON, _ request: AdmissionRequest) throws {
    let allowed = Set((account["secrets"]?.elements ?? []).map(\.["name"]).compactMap { $0?.string })
    let name = account.name
    for volume in pod.at("spec", "volumes")?.elements ?? [] {
      guard let secret = volume.at("secret", "secretName")?.string, !allowed.contains(secret) else {
        continue
      }
      throw request.forbidden(
        "volume with secret.secretName=\"\(secret)\" is not allowed because service account \(name) does not "
          + "reference that secret")
    }
    for list in ["initContainers", "containers", "ephemeralContainers"] {
      for container in pod.at("spec", list)?.elements ?? [] {
        let prefix =
          list == "containers"
          ? "container" : list == "initContainers" ? "init container" : "ephemeral container"
        let owner = "\(prefix) \(container["name"]?.string ?? "")"
        for variable in container["env"]?.elements ?? [] {
          guard let secret = variable.at("valueFrom", "secretKeyRef", "name")?.string,
            !allowed.contains(secret)
          else { continue }
          throw request.forbidden(
            "\(owner) with envVar \(variable["name"]?.string ?? "") referencing secret.secretName=\"\(secret)\" "
              + "is not allowed because service account \(name) does not reference that secret")
        }
        for source in container["envFrom"]?.elements ?? [] {
          guard let secret = source.at("secretRef", "name")?.string, !allowed.contains(secret) else {
            continue
          }
          throw request.forbidden(
            "\(owner) with envFrom referencing secret.secretName=\"\(secret)\" is not allowed because service "
              + "account \(name) does not reference that secret")
        }
      }
    }
    let pulled = Set((account["imagePullSecrets"]?.elements ?? []).compactMap { $0["name"]?.string })
    for reference in pod.at("spec", "imagePullSecrets")?.elements ?? [] {
      guard let secret = reference["name"]?.string, !pulled.contains(secret) else { continue }
      throw request.forbidden(
        "imagePullSecrets[0].name=\"\(secret)\" is not allowed because service account \(name) does not "
          + "reference that imagePullSecret")
    }
  }
}
