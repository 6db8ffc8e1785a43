// The labels and annotations by which sandboxes and containers are known again after a restart: kubelet's, so that other
// tools (crictl, cAdvisor, log shippers) read them too.

enum RuntimeLabels {
  static let podName = "io.kubernetes.pod.name"
  static let podNamespace = "io.kubernetes.pod.namespace"
  static let podUID = "io.kubernetes.pod.uid"
  static let containerName = "io.kubernetes.container.name"
  static let hash = "io.kubernetes.container.hash"
  static let restartCount = "io.kubernetes.container.restartCount"
  static let terminationMessagePath = "io.kubernetes.container.terminationMessagePath"
  static let terminationMessagePolicy = "io.kubernetes.container.terminationMessagePolicy"
  static let gracePeriod = "io.kubernetes.pod.terminationGracePeriod"
}
