// The webhooks of all configurations of one sort, in the order in which they are called. Read again when a
// configuration changed.

import ClusterObjects
import ClusterStore
import Synchronization

extension GroupVersionResource {
  static let mutatingWebhookConfigurations = Self(
    "admissionregistration.k8s.io", "v1", "mutatingwebhookconfigurations")
  static let validatingWebhookConfigurations = Self(
    "admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations")
}

/// Webhooks by configuration name, then in the order of the configuration.
final class WebhookIndex: Sendable {
  private struct Compiled {
    var revisions: [Revision] = []
    var webhooks: [Webhook] = []
  }
  private let compiled = Mutex(Compiled())
  private let configurations: AdmissionObjects

  init(_ resource: GroupVersionResource, _ state: AdmissionState) {
    configurations = AdmissionObjects(resource, state)
  }

  /// The webhooks now. Without configurations one look into a cache; else a comparison of their revisions.
  var webhooks: [Webhook] {
    let objects = configurations.all()
    if objects.isEmpty { return [] }
    let revisions = objects.map(\.revision)
    if let known = compiled.withLock({ $0.revisions == revisions ? $0.webhooks : nil }) { return known }
    let made = objects.flatMap { object in
      (object.tree["webhooks"]?.elements ?? []).enumerated().map {
        Webhook($0.element, configuration: object.name, index: $0.offset)
      }
    }
    compiled.withLock { $0 = Compiled(revisions: revisions, webhooks: made) }
    return made
  }
}
