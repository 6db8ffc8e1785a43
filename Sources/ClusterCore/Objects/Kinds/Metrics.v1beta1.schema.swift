// What nodes and pods use, as `kubectl top` and autoscalers read it. Computed by the server, never stored.
// Names, types and numbers are facts of the public API; the grammar is told in Schema/SchemaText.swift.

extension SchemaText {
  static let metricsV1beta1 = #"""
    group metricsV1beta1 metrics.k8s.io v1beta1 io.k8s.metrics.pkg.apis.metrics.v1beta1
    kind NodeMetrics nodes verbs=get,list
    kind PodMetrics pods ns verbs=get,list
    type NodeMetrics "What a node uses.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      timestamp time! #2 "The end of the time that was measured.
      window duration! #3 "How long was measured.
      usage map[quantity]! #4 "What was used, by resource.
    type PodMetrics "What a pod uses.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      timestamp time! #2 "The end of the time that was measured.
      window duration! #3 "How long was measured.
      containers []ContainerMetrics! #4 atomic "What each container uses.
    type ContainerMetrics "What a container uses.
      name string! #1 "The container.
      usage map[quantity]! #2 "What was used, by resource.
    """#
}
