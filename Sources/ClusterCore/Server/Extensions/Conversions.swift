// Custom resources whose versions their author converts: a webhook is given objects and answers with the same
// objects in another version. Whoever reads asks for all conversions ahead; what was converted is kept with the
// object.

import ClusterClient
import ClusterObjects
import ClusterStore
import Logging
import Synchronization

/// Calls conversion webhooks. Without a caller every conversion fails with a text that says so.
struct Conversions: Sendable {
  /// Objects of one call; a larger list takes several.
  static let batchMax = 500
  static let timeout: Duration = .seconds(30)

  var caller: WebhookCaller?

  /// The objects as `apiVersion`, in their order.
  func convert(_ objects: [JSON], to apiVersion: String, _ kind: ResourceKind) async throws -> [JSON] {
    guard let webhook = kind.custom?.conversionWebhook else { return objects }
    var result: [JSON] = []
    var rest = objects[...]
    while !rest.isEmpty {
      let batch = Array(rest.prefix(Self.batchMax))
      rest = rest.dropFirst(batch.count)
      result += try await one(batch, to: apiVersion, kind, webhook)
    }
    return result
  }

  private func one(_ objects: [JSON], to apiVersion: String, _ kind: ResourceKind, _ webhook: JSON)
    async throws -> [JSON]
  {
    func failure(_ text: String) -> APIStatusError {
      let from = objects.first?.apiVersion ?? ""
      return APIStatusError(
        code: 500, reason: "InternalError",
        message: "conversion webhook for \(from), Kind=\(kind.kind) failed: \(text)")
    }
    guard let caller else { throw failure("no webhooks are called by this server") }
    // The first version that both sides speak; both look the same on the wire.
    let spoken = webhook["conversionReviewVersions"]?.elements.compactMap(\.string) ?? []
    let version = spoken.first { $0 == "v1" || $0 == "v1beta1" } ?? "v1"
    let uid = RESTCore.uid()
    let review: JSON = [
      "kind": "ConversionReview", "apiVersion": JSON("apiextensions.k8s.io/\(version)"),
      "request": [
        "uid": JSON(uid), "desiredAPIVersion": JSON(apiVersion), "objects": .array(objects),
      ],
    ]
    let answer: JSON
    do throws(WebhookError) {
      let target = try WebhookTarget(clientConfig: webhook["clientConfig"] ?? [:])
      answer = try await caller.post(review, to: target, timeout: Self.timeout)
    } catch { throw failure(error.description) }
    guard let response = answer["response"], response["uid"]?.string == uid else {
      throw failure("expected response.uid=\"\(uid)\", got \"\(answer.at("response", "uid")?.string ?? "")\"")
    }
    guard response.at("result", "status")?.string == "Success" else {
      throw failure(response.at("result", "message")?.string ?? "no message provided")
    }
    let converted = response["convertedObjects"]?.elements ?? []
    guard converted.count == objects.count else {
      throw failure("expected \(objects.count) converted objects, got \(converted.count)")
    }
    return try zip(objects, converted).enumerated().map { index, pair in
      var (before, after) = pair
      guard after.apiVersion == apiVersion, after.kind == before.kind else {
        throw failure(
          "invalid converted object at index \(index): invalid groupVersion (expected \(apiVersion), "
            + "received \(after.apiVersion))")
      }
      guard after.name == before.name, after.namespace == before.namespace, after.uid == before.uid else {
        throw failure("invalid metadata in object at index \(index): name, namespace and uid must stay")
      }
      // Of the metadata only labels and annotations are the webhook's to change.
      let (labels, annotations) = (after.metadata["labels"], after.metadata["annotations"])
      before.set(labels, at: "metadata", "labels")
      before.set(annotations, at: "metadata", "annotations")
      after["metadata"] = before["metadata"]
      return after
    }
  }
}

extension RESTCore {
  private var conversions: Conversions { Conversions(caller: webhooks) }

  /// The object as a kind serves it, by the author's webhook where there is one.
  func served(_ object: CachedObject, as kind: ResourceKind) async throws -> CachedObject {
    if kind.custom?.conversionWebhook != nil { try await convertAhead([object], kind) }
    return object.served(as: kind)
  }

  /// Converts what is not converted yet, so that `served(as:)` finds it.
  func convertAhead(_ objects: [CachedObject], _ kind: ResourceKind) async throws {
    guard let custom = kind.custom, custom.conversionWebhook != nil else { return }
    let pending = objects.filter {
      $0.tree.apiVersion != kind.apiVersion && $0.made(kind.apiVersion) == nil
    }
    // A webhook is told of one version at a time.
    for (_, group) in Dictionary(grouping: pending, by: { $0.tree.apiVersion }) {
      let converted = try await conversions.convert(group.map(\.tree), to: kind.apiVersion, kind)
      for (object, tree) in zip(group, converted) { _ = object.adopt(custom.form.read(tree)) }
    }
  }

  /// An object as it is stored: in the storage's version, without a revision.
  func storedForm(_ object: JSON, _ kind: ResourceKind) async throws -> WrittenForm {
    guard let custom = kind.custom, custom.conversionWebhook != nil, custom.storageVersion != kind.version,
      object.object?.isEmpty == false
    else { return WrittenForm(Self.stored(object, kind)) }
    let target = "\(kind.group)/\(custom.storageVersion)"
    var converted = try await conversions.convert([object], to: target, kind)
    converted[0] = custom.stored(converted[0])
    converted[0].set(nil, at: "metadata", "resourceVersion")
    return WrittenForm(Self.ordered(converted[0]))
  }
}

/// Lets a watcher see events only after their objects were converted, in order.
final class ConvertingWatcher: WatchSubscriber {
  private enum Delivery: Sendable {
    case begin([CachedObject], Revision?)
    case events([CacheEvent])
    case bookmark(Revision)
  }
  /// Deliveries that wait for the webhook; past it the watch ends and its client resumes.
  static let queueMax = 1_024

  private let inner: any WatchSubscriber
  private let continuation: AsyncStream<Delivery>.Continuation

  init(_ inner: any WatchSubscriber, _ kind: ResourceKind, _ core: RESTCore) {
    self.inner = inner
    let (stream, continuation) = AsyncStream<Delivery>.makeStream(
      bufferingPolicy: .bufferingOldest(Self.queueMax))
    self.continuation = continuation
    Task {
      do {
        for await delivery in stream {
          switch delivery {
          case .begin(let objects, let end):
            try await core.convertAhead(objects, kind)
            inner.begin(objects, end: end)
          case .events(let events):
            try await core.convertAhead(events.flatMap { [$0.object, $0.previous].compactMap(\.self) }, kind)
            inner.offer(events)
          case .bookmark(let revision): inner.bookmark(revision)
          }
        }
      } catch {
        core.log.warning("watch ended: its objects cannot be converted", metadata: ["error": "\(error)"])
      }
      inner.finish()
    }
  }

  func begin(_ objects: [CachedObject], end: Revision?) { send(.begin(objects, end)) }
  func offer(_ events: [CacheEvent]) { send(.events(events)) }
  func bookmark(_ revision: Revision) { send(.bookmark(revision)) }
  func finish() { continuation.finish() }

  private func send(_ delivery: Delivery) {
    if case .dropped = continuation.yield(delivery) { continuation.finish() }
  }
}
