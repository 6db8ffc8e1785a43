// Groups of a kind or two: slices of endpoints, leases, events, priorities, runtimes.
// Names, types and numbers are facts of the public API; the grammar is told in Schema/SchemaText.swift.

extension SchemaText {
  static let discoveryV1 = #"""
    group discovery discovery.k8s.io v1 io.k8s.api.discovery.v1
    kind EndpointSlice endpointslices ns
    type EndpointSlice "Some of the endpoints behind a Service.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      addressType string! #4 "IPv4, IPv6 or FQDN; it never changes.
      endpoints []Endpoint+ #2 atomic "The endpoints; a thousand at most.
      ports []EndpointPort+ #3 atomic "Ports of every endpoint.
    type Endpoint "One thing that answers, mostly a pod.
      addresses []string! #1 set "Its addresses; they are interchangeable.
      conditions EndpointConditions+ #2 "Whether it may be sent to.
      hostname string? #3 "Its own name in DNS.
      targetRef core.ObjectReference? #4 "The object behind it.
      deprecatedTopology map[string] #5 "Where it is, in the old form.
      nodeName string? #6 "The node it runs on.
      zone string? #7 "The zone it is in.
      hints EndpointHints? #8 "Who should use it.
    type EndpointConditions "Whether an endpoint may be sent to; what is unknown counts as yes.
      ready bool? #1 "Takes new connections.
      serving bool? #2 "Answers, even while it is going.
      terminating bool? #3 "Is going.
    type EndpointHints "Who should use an endpoint.
      forZones []ForZone #1 atomic "Clients in these zones.
      forNodes []ForNode #2 atomic "Clients on these nodes.
    type ForZone "A zone.
      name string! #1 "Its name.
    type ForNode "A node.
      name string! #1 "Its name.
    type EndpointPort atomic "A port of every endpoint of a slice.
      name string? #1 = "" "Its name, which is the Service port's.
      protocol string? #2 = TCP enum(TCP|UDP|SCTP) "TCP, UDP or SCTP.
      port int32? #3 "Its number; none is any.
      appProtocol string? #4 "What is spoken on it, such as kubernetes.io/h2c.
    """#

  static let coordinationV1 = #"""
    group coordination coordination.k8s.io v1 io.k8s.api.coordination.v1
    kind Lease leases ns
    type Lease "Who holds something for now, such as the lead among equals.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec LeaseSpec+ #2 "The holder and its time.
    type LeaseSpec "The holder and its time.
      holderIdentity string? #1 "Who holds it; empty is nobody.
      leaseDurationSeconds int32? #2 "How long others wait after the last renewal before they take it.
      acquireTime microtime? #3 "When the holder got it.
      renewTime microtime? #4 "When the holder said last that it is there.
      leaseTransitions int32? #5 "How often it changed hands.
      strategy string? #6 "How a holder is chosen by a coordinator.
      preferredHolder string? #7 "Who would be better; the holder should give it up.
    """#

  static let eventsV1 = #"""
    group events events.k8s.io v1 io.k8s.api.events.v1
    kind Event events short=ev ns
    type Event "Something that happened to an object; kept for an hour.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      eventTime microtime! #2 "When it was seen first.
      series EventSeries? #3 "How often and how lately it happened again.
      reportingController string #4 "Which controller tells it, such as kubernetes.io/kubelet.
      reportingInstance string #5 "Which instance of that controller.
      action string #6 "What was done about it.
      reason string #7 "Why, in one word.
      regarding core.ObjectReference+ #8 "The object it is about.
      related core.ObjectReference? #9 "Another object that took part.
      note string #10 "What people read.
      type string #11 "Normal or Warning.
      deprecatedSource core.EventSource+ #12 "Who told it, in the old form.
      deprecatedFirstTimestamp time #13 "When it was seen first, in the old form.
      deprecatedLastTimestamp time #14 "When it was seen last, in the old form.
      deprecatedCount int32 #15 "How often, in the old form.
    type EventSeries "The same event again and again.
      count int32! #1 "How often so far.
      lastObservedTime microtime! #2 "When it was seen last.
    """#

  static let schedulingV1 = #"""
    group scheduling scheduling.k8s.io v1 io.k8s.api.scheduling.v1
    kind PriorityClass priorityclasses short=pc
    type PriorityClass "How much pods that name it matter.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      value int32+ #2 "The priority; more goes first. A user's is a billion at most, and it never changes.
      globalDefault bool #3 "Whether pods that name no class have this one.
      description string #4 "When to use it.
      preemptionPolicy string? #5 = PreemptLowerPriority enum(PreemptLowerPriority|Never) \#
    "Whether its pods may push others off nodes: PreemptLowerPriority or Never.
    """#

  static let nodeV1 = #"""
    group node node.k8s.io v1 io.k8s.api.node.v1
    kind RuntimeClass runtimeclasses
    type RuntimeClass "A way to run containers that pods choose by name.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      handler string! #2 "What the runtime on the node calls it; it never changes.
      overhead Overhead? #3 "What a pod of the class costs beside its containers.
      scheduling Scheduling? #4 "Which nodes have it.
    type Overhead "What a pod costs beside its containers.
      podFixed map[quantity] #1 "Amounts by resource, for each pod.
    type Scheduling "Which nodes have a runtime.
      nodeSelector map[string] #1 atomic "Labels that such nodes have; pods of the class go nowhere else.
      tolerations []core.Toleration #2 atomic "Taints of such nodes that pods of the class bear.
    """#
}
