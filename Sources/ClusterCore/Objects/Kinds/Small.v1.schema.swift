// Groups of a kind or two: slices of endpoints, leases, events, priorities, runtimes.
// Names, types and numbers are facts of the public API; the grammar is told in Schema/SchemaText.swift.

extension SchemaText {
  static let discoveryV1 = #"""
    group discovery discovery.k8s.io v1 io.k8s.api.discovery.v1
    kind EndpointSlice endpointslices ns
    type EndpointSlice
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      addressType string! #4
      endpoints []Endpoint+ #2 atomic
      ports []EndpointPort+ #3 atomic
    type Endpoint
      addresses []string! #1 set
      conditions EndpointConditions+ #2
      hostname string? #3
      targetRef core.ObjectReference? #4
      deprecatedTopology map[string] #5
      nodeName string? #6
      zone string? #7
      hints EndpointHints? #8
    type EndpointConditions
      ready bool? #1
      serving bool? #2
      terminating bool? #3
    type EndpointHints
      forZones []ForZone #1 atomic
      forNodes []ForNode #2 atomic
    type ForZone
      name string! #1
    type ForNode
      name string! #1
    type EndpointPort atomic
      name string? #1 = ""
      protocol string? #2 = TCP enum(TCP|UDP|SCTP)
      port int32? #3
      appProtocol string? #4
    """#

  static let coordinationV1 = #"""
    group coordination coordination.k8s.io v1 io.k8s.api.coordination.v1
    kind Lease leases ns
    type Lease
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec LeaseSpec+ #2
    type LeaseSpec
      holderIdentity string? #1
      leaseDurationSeconds int32? #2
      acquireTime microtime? #3
      renewTime microtime? #4
      leaseTransitions int32? #5
      strategy string? #6
      preferredHolder string? #7
    """#

  static let eventsV1 = #"""
    group events events.k8s.io v1 io.k8s.api.events.v1
    kind Event events short=ev ns
    type Event
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      eventTime microtime! #2
      series EventSeries? #3
      reportingController string #4
      reportingInstance string #5
      action string #6
      reason string #7
      regarding core.ObjectReference+ #8
      related core.ObjectReference? #9
      note string #10
      type string #11
      deprecatedSource core.EventSource+ #12
      deprecatedFirstTimestamp time #13
      deprecatedLastTimestamp time #14
      deprecatedCount int32 #15
    type EventSeries
      count int32! #1
      lastObservedTime microtime! #2
    """#

  static let schedulingV1 = #"""
    group scheduling scheduling.k8s.io v1 io.k8s.api.scheduling.v1
    kind PriorityClass priorityclasses short=pc
    type PriorityClass
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      value int32+ #2
      globalDefault bool #3
      description string #4
      preemptionPolicy string? #5 = PreemptLowerPriority enum(PreemptLowerPriority|Never)
    """#

  static let nodeV1 = #"""
    group node node.k8s.io v1 io.k8s.api.node.v1
    kind RuntimeClass runtimeclasses
    type RuntimeClass
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      handler string! #2
      overhead Overhead? #3
      scheduling Scheduling? #4
    type Overhead
      podFixed map[quantity] #1
    type Scheduling
      nodeSelector map[string] #1 atomic
      tolerations []core.Toleration #2 atomic
    """#
}
