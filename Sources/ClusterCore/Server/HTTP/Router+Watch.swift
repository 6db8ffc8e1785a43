// Watches over HTTP: no task waits on them; the watch cache fills their writer.

import ClusterClient
import ClusterObjects
import ClusterStore
import Diagnostics
import NIOCore

extension Router {
  private static let cutOff = Metrics.shared.counter(
    "apiserver_terminated_watchers_total", "Watches ended because their reader was too slow.",
    labels: ["group", "resource"])

  func watch(
    _ kind: ResourceKind, _ namespace: String, _ options: ListOptions, _ form: Form, _ request: HTTPRequest
  ) async throws -> HTTPResponse {
    // Events of a stream have no end that YAML knows.
    if form.contentType == Form.yaml.contentType { throw Failure.notAcceptable }
    let asked = options.resourceVersion ?? ""
    if request.parameter("sendInitialEvents") != nil {
      guard options.resourceVersionMatch == "NotOlderThan" else {
        throw Failure.invalidOptions([
          FieldError.forbidden(
            "resourceVersionMatch", "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
        ])
      }
      guard !options.sendInitialEvents || options.allowBookmarks else {
        throw Failure.invalidOptions([
          FieldError.forbidden("allowWatchBookmarks", "sendInitialEvents needs bookmarks to tell its end")
        ])
      }
    } else if !(options.resourceVersionMatch ?? "").isEmpty {
      throw Failure.invalidOptions([
        FieldError.forbidden(
          "resourceVersionMatch",
          "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided")
      ])
    }
    let filter = try core.filter(kind, namespace: namespace, options)
    let start = try await core.watchStart(kind, namespace: namespace, filter, options)
    let seconds = options.timeoutSeconds ?? Int.random(in: 1800...3600)
    let resource = kind.storageName
    let caches = core.caches
    let core = core
    return HTTPResponse(
      200, contentType: form.contentType, headers: [],
      .stream { writer in
        let view = WatchView(
          filter: filter, representation: form.representation, wantsBookmarks: options.allowBookmarks)
        let watcher = StreamWatcher(writer: writer, view: caches[resource].shared(view))
        let subscriber: any WatchSubscriber =
          kind.custom?.conversionWebhook == nil ? watcher : ConvertingWatcher(watcher, kind, core)
        writer.limit(to: .seconds(Int64(seconds))) {
          // The last revision first, so that the client resumes from here and not from its last event.
          caches.bookmark(subscriber)
          subscriber.finish()
        }
        writer.onClose {
          let kind = watcher.view.kind
          if writer.isCutOff { Self.cutOff.child(kind.group, kind.plural).increment() }
          caches[resource].unsubscribe(subscriber)
          if subscriber !== watcher { subscriber.finish() }
        }
        if let oldest = caches.subscribe(subscriber, to: resource, from: start) {
          watcher.fail(Failure.tooOld(Revision(asked) ?? 0, oldest: oldest).status)
        }
      })
  }
}

extension RESTCore {
  /// Where a watch begins, after the caches are new enough for it.
  func watchStart(
    _ kind: ResourceKind, namespace: String, _ filter: WatchFilter, _ options: ListOptions
  ) async throws -> ObjectCache.Start {
    let asked = options.resourceVersion ?? ""
    let prefix = Self.prefix(kind, namespace: namespace)
    if options.sendInitialEvents {
      if asked.isEmpty { try await caches.requireCaughtUp() } else { try await wait(forVersion: asked) }
      return .state(prefix: prefix, filter: filter, marksEnd: true)
    }
    if asked.isEmpty || asked == "0" {
      if asked.isEmpty { try await caches.requireCaughtUp() }
      return .state(prefix: prefix, filter: filter, marksEnd: false)
    }
    try await wait(forVersion: asked)
    return .after(Revision(asked) ?? 0)
  }
}
