// Which plugins there are, in upstream's order.

import ClusterClient
import ClusterObjects

/// What the built-in plugins can be told.
struct AdmissionSettings: Sendable {
  /// Pods get the volume with their ServiceAccount's token.
  var automountsTokens = true
  /// Levels of Pod Security for namespaces without labels, and who is exempt.
  var podSecurity = PodSecuritySettings()
}

extension AdmissionChain {
  /// The chain of an API server. `services` gives out addresses, `webhooks` calls out, `guards` have the last
  /// word: they ask who writes.
  static func builtin(
    _ state: AdmissionState, services: ServiceAllocator, webhooks: WebhookCaller,
    settings: AdmissionSettings, guards: [any AdmissionPlugin] = []
  ) -> AdmissionChain {
    AdmissionChain(
      [
        NamespaceLifecycle(state: state),
        LimitRanger(state: state),
        ServiceAccountPlugin(state: state, automountsTokens: settings.automountsTokens),
        NodeRestriction(state: state),
        TaintNodesByCondition(),
        PriorityPlugin(state: state),
        DefaultTolerationSeconds(),
        DefaultStorageClass(state: state),
        StorageObjectInUseProtection(),
        RuntimeClassPlugin(state: state),
        DefaultIngressClass(state: state),
        MutatingWebhooks(state: state, caller: webhooks),
        ObjectStrategy(),
        ServiceAllocation(services: services),
        PersistentVolumeClaimResize(state: state),
        PodSecurityPlugin(state: state, settings: settings.podSecurity),
        WebhookConfigurationCheck(),
        ValidatingWebhooks(state: state, caller: webhooks),
      ] + guards + [ResourceQuotaPlugin(state: state)],
      configuration: Set(RoleEscalation.kinds).union([
        GroupResource("", "namespaces"), GroupResource("", "limitranges"),
        GroupResource("", "resourcequotas"),
        GroupResource("", "serviceaccounts"), GroupResource("scheduling.k8s.io", "priorityclasses"),
        GroupResource("node.k8s.io", "runtimeclasses"), GroupResource("storage.k8s.io", "storageclasses"),
        GroupResource("networking.k8s.io", "ingressclasses"),
        GroupResource("admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
        GroupResource("admissionregistration.k8s.io", "validatingwebhookconfigurations"),
      ]))
  }
}

/// Resources that plugins read and that have no other name in this program.
extension GroupVersionResource {
  static let limitRanges = Self("", "v1", "limitranges")
  static let priorityClasses = Self("scheduling.k8s.io", "v1", "priorityclasses")
  static let runtimeClasses = Self("node.k8s.io", "v1", "runtimeclasses")
  static let storageClasses = Self("storage.k8s.io", "v1", "storageclasses")
}
