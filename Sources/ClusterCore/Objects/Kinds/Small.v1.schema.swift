// Groups of a kind or two: discovery, coordination, events, token requests.
// Names, types and numbers are facts of the public API; the grammar is told in Schema/SchemaText.swift.

extension SchemaText {
  static let discoveryV1 = #"""
    group discovery discovery.k8s.io v1 io.k8s.api.discovery.v1
    kind EndpointSlice endpointslices ns
    type EndpointSlice
      metadata meta.ObjectMeta #1
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
    type EndpointPort
      name string? #1 = ""
      protocol string? #2 = TCP enum(TCP|UDP|SCTP)
      port int32? #3
      appProtocol string? #4
    """#

  static let coordinationV1 = #"""
    group coordination coordination.k8s.io v1 io.k8s.api.coordination.v1
    kind Lease leases ns
    type Lease
      metadata meta.ObjectMeta #1
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
      metadata meta.ObjectMeta+ #1
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

  static let authenticationV1 = #"""
    group authentication authentication.k8s.io v1 io.k8s.api.authentication.v1
    hidden TokenRequest
    type TokenRequest
      metadata meta.ObjectMeta #1
      spec TokenRequestSpec+ #2
      status TokenRequestStatus+ #3
    type TokenRequestSpec
      audiences []string+ #1 atomic
      expirationSeconds int64? #4 = 3600
      boundObjectRef BoundObjectReference? #3
      attestations map[[]string] #5
    type BoundObjectReference
      kind string #1
      apiVersion string #2
      name string #3
      uid string #4
    type TokenRequestStatus
      token string+ #1
      expirationTimestamp time+ #2
    """#
}
