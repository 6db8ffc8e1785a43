// Keeps one copy of a resource current: the whole list first, then every event after it, again and again for ever.
//
//   start --watch(sendInitialEvents)--> events .. bookmark "initial events end" -> events ..   (WatchList)
//     | refused (400, 422), or no such bookmark in time
//     +--list pages--> revision r --watch(after r)--> events ..                               (as of old)
//   stream ends -> watch again after the last revision;  410 Expired -> from the start

import ClusterObjects
import Diagnostics
import Logging

struct Reflector: Sendable {
  let api: any ClusterAPI
  let target: any ReflectorTarget
  let settings: InformerSettings
  let metrics: Metrics
  private let logger = Logger(label: "informer")

  init(api: any ClusterAPI, target: any ReflectorTarget, settings: InformerSettings, metrics: Metrics) {
    self.api = api
    self.target = target
    self.settings = settings
    self.metrics = metrics
  }

  private var scope: InformerScope { target.scope }

  /// Runs until cancelled.
  func run() async {
    var backoff = Backoff(settings.retry)
    var usesWatchList = settings.usesWatchList
    var revision: String?
    while !Task.isCancelled {
      do {
        if revision == nil {
          if usesWatchList {
            do {
              revision = try await watchList(&backoff)
            } catch let error as APIStatusError where error.code == 400 || error.code == 422 {
              usesWatchList = false
              logger.debug("server has no WatchList, using list", metadata: ["resource": "\(scope.resource)"])
              continue
            } catch is InitialEventsMissing {
              usesWatchList = false
              continue
            }
          } else {
            revision = try await list()
            count("list")
          }
        }
        if let from = revision {
          backoff.reset()
          revision = try await follow(after: from)
        }
      } catch let error as APIStatusError where error.isExpired {
        logger.debug("revision is gone, listing again", metadata: ["resource": "\(scope.resource)"])
        revision = nil
        count("expired")
        await backoff.wait()
      } catch {
        if Task.isCancelled { return }
        target.report(failure: "\(error)")
        // The last revision that was taken is where a broken watch goes on.
        if revision != nil { revision = target.resourceVersion }
        count("failure")
        let wait = backoff.next()
        logger.log(
          level: backoff.failures > 2 ? .warning : .debug, "watch failed, trying again",
          metadata: [
            "resource": "\(scope.resource)", "error": "\(error)", "after": "\(wait)",
          ])
        try? await Task.sleep(for: wait)
      }
    }
  }

  private var baseOptions: ListOptions {
    ListOptions(labelSelector: scope.labelSelector, fieldSelector: scope.fieldSelector)
  }

  private func count(_ what: String) {
    metrics.counter(
      "weft_informer_operations_total", "Lists, watches, expiries and failures of informers.",
      labels: ["resource", "operation"]
    ).child(scope.resource.description, what).increment()
  }

  // MARK: WatchList

  private struct InitialEventsMissing: Error {}

  /// Lists by a watch and stays on that same watch until it ends; the revision to go on from.
  private func watchList(_ backoff: inout Backoff) async throws -> String? {
    var options = baseOptions
    options.sendInitialEvents = true
    options.resourceVersionMatch = "NotOlderThan"
    options.allowBookmarks = true
    options.timeoutSeconds = settings.watchSeconds()
    let isComplete = Latch()
    let asked = options
    count("watchlist")
    let outcome = await withTaskGroup(of: Result<String?, any Error>?.self) { group in
      group.addTask {
        do { return .success(try await streamInitialEvents(asked, isComplete)) } catch {
          return .failure(error)
        }
      }
      group.addTask {
        // A server that ignores the parameter never sends the bookmark: give up on it and list.
        try? await Task.sleep(for: settings.initialEventsTimeout)
        return nil
      }
      var result: Result<String?, any Error> = .failure(CancellationError())
      while let finished = await group.next() {
        if let finished {
          result = finished
          break
        }
        if isComplete.isOpen { continue }
        if !Task.isCancelled { result = .failure(InitialEventsMissing()) }
        break
      }
      group.cancelAll()
      return result
    }
    if isComplete.isOpen { backoff.reset() }
    // Once the list is complete an interruption only means to watch again.
    if isComplete.isOpen, case .failure(let error) = outcome, (error as? APIStatusError)?.isExpired != true {
      if Task.isCancelled { throw error }
      logger.debug(
        "watch ended", metadata: ["resource": "\(scope.resource)", "error": "\(error)"])
      return target.resourceVersion
    }
    return try outcome.get()
  }

  private func streamInitialEvents(_ options: ListOptions, _ isComplete: Latch) async throws -> String? {
    target.beginList()
    try await forEachEvent(options) {
    } plain: {
      target.take(plain: $0, isListed: !isComplete.isOpen)
    } handler: { event in
      guard !isComplete.isOpen else { return target.apply(event) }
      switch event {
      case .added(let object), .modified(let object): target.take(listed: object)
      case .deleted(let object): target.drop(listed: object.key)
      case .bookmark(let revision, let isEnd):
        guard isEnd else { return }
        target.endList(resourceVersion: revision)
        target.report(failure: nil)
        isComplete.open()
      }
    }
    guard isComplete.isOpen else { throw InitialEventsMissing() }
    return target.resourceVersion
  }

  // MARK: List, then watch

  private func list() async throws -> String {
    target.beginList()
    var options = baseOptions
    options.limit = settings.pageSize
    while true {
      let page = try await api.list(scope.resource, namespace: scope.namespace, options: options)
      for item in page.items { target.take(listed: item) }
      guard let token = page.continueToken, !token.isEmpty else {
        target.endList(resourceVersion: page.resourceVersion)
        target.report(failure: nil)
        return page.resourceVersion
      }
      options.continueToken = token
    }
  }

  /// Follows events until the server ends the stream; the revision to go on from.
  private func follow(after revision: String) async throws -> String {
    var options = baseOptions
    options.resourceVersion = revision
    options.allowBookmarks = true
    options.timeoutSeconds = settings.watchSeconds()
    count("watch")
    let began = ContinuousClock.now
    try await forEachEvent(options) {
      target.report(failure: nil)
    } plain: {
      target.take(plain: $0, isListed: false)
    } handler: {
      target.apply($0)
    }
    try Task.checkCancellation()
    // A server that ends watches at once would otherwise be asked in a tight loop.
    if ContinuousClock.now - began < .seconds(1) { try await Task.sleep(for: settings.retry.initial) }
    let last = target.resourceVersion
    return last.isEmpty ? revision : last
  }

  // MARK: Events

  /// A watch from its beginning to its end: objects as text to who takes them so, and as trees when not.
  private func forEachEvent(
    _ options: ListOptions, began: () -> Void, plain: (TapeValue) -> Bool, handler: (WatchEvent) -> Void
  ) async throws {
    guard target.readsPlain,
      let lines = try await api.watchLines(scope.resource, namespace: scope.namespace, options: options)
    else {
      let events = try await api.watch(scope.resource, namespace: scope.namespace, options: options)
      began()
      for try await event in events { handler(event) }
      return
    }
    began()
    var tape = JSONTape()
    while let chunk = try await lines.next() {
      try chunk.withUnsafeBufferPointer { bytes in
        var start = 0
        while start < bytes.count {
          let end = lineEnd(bytes, from: start)
          let line = UnsafeBufferPointer(rebasing: bytes[start..<end])
          start = end + 1
          if line.isEmpty { continue }
          let isTaken = tape.read(line) { event, count in
            guard count == line.count, let object = event["object"],
              event["type"].map({ $0.isString("ADDED") || $0.isString("MODIFIED") }) ?? false
            else { return false }
            return plain(object)
          }
          if isTaken != true, let event = try WatchEvent(line: Array(line)) { handler(event) }
        }
      }
      lines.giveBack(chunk)
    }
  }
}
