// The agent's view of a real API server: its pods by a watch, their status by patches, objects by name.

import ClusterClient
import ClusterObjects
import Diagnostics
import Logging

/// Pods of one node through `ClusterAPI`.
public struct APIPods: PodSource, PodStatusSink, PodObjects {
  private let api: any ClusterAPI
  private let nodeName: String
  private let log = Logger(label: "node")

  public init(_ api: any ClusterAPI, nodeName: String) {
    self.api = api
    self.nodeName = nodeName
  }

  // MARK: - Source

  public func podChanges() -> AsyncStream<PodChange> {
    // Unbounded by necessity: a change of desired state must not be lost. Its size is bounded by the pods of one node.
    let (stream, output) = AsyncStream.makeStream(of: PodChange.self)
    let task = Task.detached { await self.follow(output) }
    output.onTermination = { _ in task.cancel() }
    return stream
  }

  private func follow(_ output: AsyncStream<PodChange>.Continuation) async {
    var known: [String: String] = [:]
    var failures = 0
    while !Task.isCancelled {
      do {
        var options = ListOptions(fieldSelector: "spec.nodeName=\(nodeName)")
        let list = try await api.list(.pods, namespace: "", options: options)
        let now = Dictionary(list.items.map { ($0.uid, $0.resourceVersion) }, uniquingKeysWith: { $1 })
        for uid in known.keys where now[uid] == nil { output.yield(.gone(uid: uid)) }
        for pod in list.items where known[pod.uid] != pod.resourceVersion { output.yield(.desired(pod)) }
        known = now
        output.yield(.synced)
        failures = 0
        options.resourceVersion = list.resourceVersion
        options.allowBookmarks = true
        watch: while !Task.isCancelled {
          for try await event in try await api.watch(.pods, namespace: "", options: options) {
            switch event {
            case .added(let pod), .modified(let pod):
              options.resourceVersion = pod.resourceVersion
              known[pod.uid] = pod.resourceVersion
              output.yield(.desired(pod))
            case .deleted(let pod):
              options.resourceVersion = pod.resourceVersion
              known[pod.uid] = nil
              output.yield(.gone(uid: pod.uid))
            case .bookmark(let revision, _): options.resourceVersion = revision
            }
          }
          // The server ended the watch as it does now and then: go on where it stopped.
          try await Task.sleep(for: .milliseconds(20))
        }
      } catch {
        if Task.isCancelled { break }
        failures += 1
        if (error as? APIStatusError)?.isExpired != true {
          log.warning("pods cannot be followed, trying again", metadata: ["error": "\(error)"])
        }
        try? await Task.sleep(for: .milliseconds(min(50 << min(failures, 9), 10_000)))
      }
    }
    output.finish()
  }

  // MARK: - Sink

  public func report(_ pod: JSON, status: JSON) async throws {
    var options = WriteOptions()
    options.fieldManager = "weft-node"
    // A merge patch: what others wrote into the status (nominations, resizes) stays. The uid guards against a namesake.
    let patch: JSON = ["metadata": ["uid": JSON(pod.uid)], "status": status]
    do {
      _ = try await api.patch(
        .pods, namespace: pod.namespace, name: pod.name, patch: .merge(patch), subresource: "status",
        options: options)
    } catch let error as APIStatusError where error.isNotFound {
      return
    } catch let error as APIStatusError where error.isConflict || error.code == 422 {
      // A namesake took the place, or a writer was faster: only the latter is worth another try.
      let current = try? await api.get(.pods, namespace: pod.namespace, name: pod.name)
      if current?.uid == pod.uid { throw error }
    }
  }

  public func finishDeletion(_ pod: JSON) async throws {
    do {
      try await api.delete(
        .pods, namespace: pod.namespace, name: pod.name,
        options: DeleteOptions(gracePeriodSeconds: 0, uid: pod.uid))
    } catch let error as APIStatusError where error.isNotFound || error.isConflict {
      return
    }
  }

  // MARK: - Objects

  public func object(_ kind: String, namespace: String, name: String) async throws -> JSON? {
    try await find(Self.resource(kind), namespace, name)
  }

  private static func resource(_ kind: String) -> GroupVersionResource {
    kind == "secret" ? .secrets : .configMaps
  }

  public func follow(
    _ kind: String, namespace: String, name: String, change: @Sendable (JSON?) async -> Void
  ) async throws {
    // A node may list and watch a single name, and nothing wider.
    var options = ListOptions(fieldSelector: "metadata.name=\(name)")
    let list = try await api.list(Self.resource(kind), namespace: namespace, options: options)
    await change(list.items.first)
    options.resourceVersion = list.resourceVersion
    options.allowBookmarks = true
    while !Task.isCancelled {
      let events = try await api.watch(Self.resource(kind), namespace: namespace, options: options)
      for try await event in events {
        switch event {
        case .added(let object), .modified(let object):
          options.resourceVersion = object.resourceVersion
          await change(object)
        case .deleted(let object):
          options.resourceVersion = object.resourceVersion
          await change(nil)
        case .bookmark(let revision, _): options.resourceVersion = revision
        }
      }
      // The server ended the watch as it does now and then: go on where it stopped.
      try await Task.sleep(for: .milliseconds(20))
    }
  }

  public func claim(namespace: String, name: String) async throws -> JSON? {
    try await find(.persistentVolumeClaims, namespace, name)
  }

  public func persistentVolume(_ name: String) async throws -> JSON? {
    try await find(.persistentVolumes, "", name)
  }

  private func find(_ resource: GroupVersionResource, _ namespace: String, _ name: String) async throws
    -> JSON?
  {
    do {
      return try await api.get(resource, namespace: namespace, name: name)
    } catch let error as APIStatusError where error.isNotFound {
      return nil
    }
  }

  private static let runtimeClasses = GroupVersionResource("node.k8s.io", "v1", "runtimeclasses")

  public func runtimeHandler(_ name: String) async throws -> String? {
    do {
      return try await api.get(Self.runtimeClasses, namespace: "", name: name)["handler"]?.string
    } catch let error as APIStatusError where error.isNotFound {
      return nil
    }
  }

  private static let trustBundles = GroupVersionResource("certificates.k8s.io", "v1", "clustertrustbundles")

  public func trustBundles() async throws -> [JSON] {
    try await api.list(Self.trustBundles, namespace: "", options: ListOptions()).items
  }

  public func node() async throws -> JSON? {
    try await api.get(.nodes, namespace: "", name: nodeName)
  }

  public func services(namespace: String) async throws -> [JSON] {
    try await api.list(.services, namespace: namespace, options: ListOptions()).items
  }

  public func token(_ pod: JSON, audience: String, seconds: Int) async throws -> PodToken {
    var request: JSON = [
      "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
      "spec": [
        "expirationSeconds": JSON(seconds),
        "boundObjectRef": [
          "kind": "Pod", "apiVersion": "v1", "name": JSON(pod.name), "uid": JSON(pod.uid),
        ],
      ],
    ]
    if !audience.isEmpty { request.set([JSON(audience)], at: "spec", "audiences") }
    let given = pod.at("spec", "serviceAccountName")?.string ?? ""
    let name = given.isEmpty ? "default" : given
    let answer = try await api.createSubresource(
      .serviceAccounts, namespace: pod.namespace, name: name, subresource: "token", request)
    guard let token = answer.at("status", "token")?.string else {
      throw WeftError(
        "NOD0011", object: "serviceaccount \(pod.namespace)/\(name)", cause: "the server gave no token",
        next: "kubectl get serviceaccount \(name) -n \(pod.namespace)")
    }
    let end = answer.at("status", "expirationTimestamp")?.string.flatMap { Timestamp.parse($0)?.seconds }
    return PodToken(text: token, end: end)
  }
}
