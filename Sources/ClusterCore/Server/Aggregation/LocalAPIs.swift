// The APIServices of what this server answers itself, kept in step with what it serves, and what other API servers
// read to know this one.

import ClusterClient
import ClusterObjects
import ClusterStore
import Diagnostics
import Logging

extension RemoteAPIs {
  private static let label = "kube-aggregator.kubernetes.io/automanaged"
  private static let localFinding = Finding(
    isAvailable: true, reason: "Local", message: "Local APIServices are always available")

  /// Before requests are answered: what a server without APIServices yet must have, written together.
  func prepare(clientAuthority: String) async {
    guard let kind = core.registry[RemoteAPI.resource] else { return }
    await withTaskGroup(of: Void.self) { group in
      group.addTask { await self.publish(clientAuthority: clientAuthority) }
      for groupVersion in core.registry.groupVersions {
        guard var object = Self.local(groupVersion, kind),
          core.cache(kind)[RESTCore.key(kind, "", object.name)] == nil
        else { continue }
        object.set(JSON(RESTCore.uid()), at: "metadata", "uid")
        object.set(JSON(Timestamp.nowText()), at: "metadata", "creationTimestamp")
        object["status"] = [
          "conditions": [
            [
              "type": "Available", "status": "True", "lastTransitionTime": JSON(Timestamp.nowText()),
              "reason": JSON(Self.localFinding.reason), "message": JSON(Self.localFinding.message),
            ]
          ]
        ]
        let (key, bytes) = (RESTCore.key(kind, "", object.name), object.bytes)
        group.addTask {
          // Whoever was quicker, another server of the store, made the same.
          _ = try? await self.core.store.create(key, bytes)
        }
      }
    }
    await core.caches.catchUp()
  }

  private static func local(_ groupVersion: String, _ kind: ResourceKind) -> JSON? {
    let gvk = GroupVersionKind(apiVersion: groupVersion, kind: "")
    let isBuiltin = !KindRegistry.builtin.kinds(groupVersion: groupVersion).isEmpty
    return [
      "apiVersion": JSON(kind.apiVersion), "kind": JSON(kind.kind),
      "metadata": [
        "name": JSON("\(gvk.version).\(gvk.group)"), "labels": [label: isBuiltin ? "onstart" : "true"],
      ],
      "spec": [
        "group": JSON(gvk.group), "version": JSON(gvk.version),
        "groupPriorityMinimum": JSON(groupPriority(gvk.group, isBuiltin)),
        "versionPriority": JSON(
          gvk.group == ResourceUsage.group ? 100 : priority(gvk.version, isBuiltin)),
      ],
    ]
  }

  /// An APIService for each group version that is served here; those of group versions that went are removed.
  func keepLocal(_ kind: ResourceKind, _ objects: [JSON]) async {
    let registry = core.registry
    let known = Set(objects.map(\.name))
    var served: Set<String> = []
    for groupVersion in registry.groupVersions where !isStopping {
      let gvk = GroupVersionKind(apiVersion: groupVersion, kind: "")
      let name = "\(gvk.version).\(gvk.group)"
      served.insert(name)
      guard !known.contains(name), let object = Self.local(groupVersion, kind) else { continue }
      do {
        _ = try await core.create(
          kind, namespace: "", try kind.schema.decode(tree: object, as: kind.gvk).object,
          options: WriteOptions(fieldManager: "weft-apiserver"), identity: .system)
        _ = await core.caches.catchUp()
      } catch let error as APIStatusError where error.isAlreadyExists {
      } catch {
        if isStopping || Failure.isClosing(error) { return }
        log.warning("an APIService was not made", metadata: ["name": "\(name)", "error": "\(error)"])
        continue
      }
      await setCondition(kind, name, Self.localFinding)
    }
    for object in objects where object.spec["service"] == nil && !isStopping {
      if object.labels[Self.label] == "true", !served.contains(object.name) {
        _ = try? await core.delete(
          kind, namespace: "", name: object.name, options: DeleteOptions(), identity: .system)
      } else {
        await setCondition(kind, object.name, Self.localFinding)
      }
    }
  }

  /// metrics.k8s.io stands where metrics-server puts itself, behind the pods and nodes of the core.
  private static func groupPriority(_ group: String, _ isBuiltin: Bool) -> Int64 {
    if group == ResourceUsage.group { return 100 }
    return group.isEmpty ? 18_000 : isBuiltin ? 17_000 : 1_000
  }

  private static func priority(_ version: String, _ isBuiltin: Bool) -> Int64 {
    if !isBuiltin { return 100 }
    return version.contains("alpha") ? 1 : version.contains("beta") ? 9 : 15
  }

  /// ConfigMap `kube-system/extension-apiserver-authentication`: whom another API server believes.
  func publish(clientAuthority: String) async {
    let data: JSON = [
      "client-ca-file": JSON(clientAuthority),
      "requestheader-allowed-names": JSON("[\"\(FrontProxyClient.commonName)\"]"),
      "requestheader-client-ca-file": JSON(client.authorityPEM),
      "requestheader-extra-headers-prefix": "[\"X-Remote-Extra-\"]",
      "requestheader-group-headers": "[\"X-Remote-Group\"]",
      "requestheader-uid-headers": "[\"X-Remote-Uid\"]",
      "requestheader-username-headers": "[\"X-Remote-User\"]",
    ]
    let api = InProcessClient(core: core, identity: .system)
    let name = "extension-apiserver-authentication"
    do {
      let present = try? await api.get(.configMaps, namespace: "kube-system", name: name)
      if present?["data"] == data { return }
      do {
        _ = try await api.create(
          .configMaps, ["metadata": ["name": JSON(name), "namespace": "kube-system"], "data": data],
          options: WriteOptions(fieldManager: "weft-apiserver"))
      } catch let error as APIStatusError where error.isAlreadyExists {
        _ = try await api.patch(
          .configMaps, namespace: "kube-system", name: name, patch: .merge(["data": data]), subresource: nil,
          options: WriteOptions(fieldManager: "weft-apiserver"))
      }
    } catch {
      if isStopping || Failure.isClosing(error) { return }
      log.warning("authentication of other API servers was not published", metadata: ["error": "\(error)"])
    }
  }
}
