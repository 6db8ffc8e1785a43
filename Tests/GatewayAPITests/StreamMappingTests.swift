// A plan in the data plane's table of streams: what a port and a name lead to. Named after the conformance tests of Gateway API.

import Addresses
import ClusterObjects
import ClusterView
import GatewayAPI
import Ingress
import Testing

private let slices = """
  apiVersion: discovery.k8s.io/v1
  kind: EndpointSlice
  metadata: {name: one-1, namespace: infra, labels: {kubernetes.io/service-name: one}}
  addressType: IPv4
  ports: [{name: http, port: 80}, {name: dns, port: 5353, protocol: UDP}]
  endpoints: [{addresses: [10.42.0.1]}, {addresses: [10.42.0.2], conditions: {ready: false}}]
  ---
  apiVersion: discovery.k8s.io/v1
  kind: EndpointSlice
  metadata: {name: two-1, namespace: infra, labels: {kubernetes.io/service-name: two}}
  addressType: IPv4
  ports: [{name: http, port: 80}, {name: https, port: 443}]
  endpoints: [{addresses: [10.42.0.3]}]
  """

@Suite struct StreamMappingTests {
  private func table(_ lab: Lab, beside: StreamTable = StreamTable()) -> StreamTable {
    lab.plan().streamTable(view: lab.view, input: lab.input, beside: beside)
  }

  /// `443/tls a.example passthrough one:8080=10.42.0.1:80*1`, a line for each rule.
  private func lines(_ table: StreamTable) -> [String] {
    table.listeners.flatMap { listener in
      listener.rules.map { rule in
        let targets = rule.targets.map { target -> String in
          guard target.backend >= 0 else { return "nobody*\(target.weight)" }
          let backend = table.backends[target.backend]
          let endpoints = backend.endpoints.map(\.description).joined(separator: ",")
          return "\(backend.service):\(backend.servicePort)=\(endpoints)*\(target.weight)"
        }
        return "\(listener.port)/\(listener.kind) \(rule.name.isEmpty ? "*" : rule.name) \(rule.opening) "
          + (targets.isEmpty ? "closed" : targets.joined(separator: " "))
      }
    }
  }

  @Test
  func
    `TCPRouteParentRefAttachAll, UDPRoute, UDPRouteParentRefAttachAllListeners: ports lead to ready endpoints`()
    throws
  {
    let lab = try Lab(
      slices,
      gateway(
        "gw", "name: a, port: 5432, protocol: TCP", "name: b, port: 5433, protocol: TCP",
        "name: c, port: 5432, protocol: UDP"),
      route("t", kind: "TCPRoute", to: "{name: gw}"),
      route("u", kind: "UDPRoute", to: "{name: gw}", backend: "{name: one, port: 53}"))
    #expect(
      lines(table(lab)) == [
        "5432/tcp * passthrough one:8080=10.42.0.1:80*1", "5432/udp * passthrough one:53=10.42.0.1:5353*1",
        "5433/tcp * passthrough one:8080=10.42.0.1:80*1",
      ])
  }

  @Test
  func
    `TCPRouteWeightedRouting, TCPRouteInvalidBackendRefNonexistent: shares are kept, also those of nobody`()
    throws
  {
    let lab = try Lab(
      slices, gateway("gw", "name: a, port: 5432, protocol: TCP"),
      route(
        "t", kind: "TCPRoute", to: "{name: gw}",
        backend:
          "{name: one, port: 8080, weight: 70}, {name: two, port: 8080, weight: 20}, {name: gone, port: 1, weight: 10}"
      ))
    #expect(
      lines(table(lab)) == [
        "5432/tcp * passthrough one:8080=10.42.0.1:80*70 two:8080=10.42.0.3:80*20 nobody*10"
      ])
  }

  @Test
  func `TCPRouteMultipleRoutesAttachment: the oldest route has the port, and one without routes is closed`()
    throws
  {
    var lab = try Lab(
      slices, gateway("gw", "name: a, port: 5432, protocol: TCP"))
    #expect(lines(table(lab)) == ["5432/tcp * passthrough closed"])
    try lab.add(route("old", kind: "TCPRoute", to: "{name: gw}", backend: "{name: two, port: 8080}"))
    try lab.add(route("new", kind: "TCPRoute", to: "{name: gw}"))
    #expect(lines(table(lab)) == ["5432/tcp * passthrough two:8080=10.42.0.3:80*1"])
  }

  @Test
  func
    `TLSRouteSimpleSameNamespace, TLSRouteHostnameIntersection: names lead to their route, a listener's other names to nobody`()
    throws
  {
    let lab = try Lab(
      slices,
      gateway(
        "gw", "name: tls, port: 443, protocol: TLS, hostname: '*.example.org', tls: {mode: Passthrough}"),
      route(
        "a", kind: "TLSRoute", to: "{name: gw}", hosts: "a.example.org", backend: "{name: two, port: 8443}"))
    #expect(
      lines(table(lab)) == [
        "443/tls a.example.org passthrough two:8443=10.42.0.3:443*1",
        "443/tls *.example.org passthrough closed",
      ])
  }

  @Test
  func `TLSRouteMixedTerminationSameNamespace: names of one port are opened, passed on, or left to HTTPS`()
    throws
  {
    var lab = try Lab(
      slices,
      gateway(
        "gw", "name: p, port: 443, protocol: TLS, hostname: a.example.org, tls: {mode: Passthrough}",
        "name: t, port: 443, protocol: TLS, hostname: b.example.org, tls: {mode: Terminate, certificateRefs: [{name: good}]}",
        "name: h, port: 443, protocol: HTTPS, hostname: c.example.org, tls: {certificateRefs: [{name: good}]}"
      ),
      route(
        "a", kind: "TLSRoute", to: "{name: gw}", hosts: "a.example.org, b.example.org",
        backend: "{name: two, port: 8080}"))
    lab.input.secrets[ObjectKey("infra", "good")] = TestCertificate.secret
    #expect(
      lines(table(lab)) == [
        "443/tls a.example.org passthrough two:8080=10.42.0.3:80*1",
        "443/tls b.example.org terminate two:8080=10.42.0.3:80*1", "443/tls c.example.org http closed",
      ])
  }

  @Test
  func `BackendTLSPolicyTLSRouteTerminate: what was opened is sealed again, what was not is left alone`()
    throws
  {
    var lab = try Lab(
      slices,
      gateway(
        "gw", "name: p, port: 443, protocol: TLS, hostname: a.example.org, tls: {mode: Passthrough}",
        "name: t, port: 443, protocol: TLS, hostname: b.example.org, tls: {mode: Terminate, certificateRefs: [{name: good}]}"
      ),
      route(
        "a", kind: "TLSRoute", to: "{name: gw}", hosts: "a.example.org, b.example.org",
        backend: "{name: two, port: 8443}"),
      """
      apiVersion: gateway.networking.k8s.io/v1
      kind: BackendTLSPolicy
      metadata: {name: p, namespace: infra}
      spec:
        targetRefs: [{group: '', kind: Service, name: two}]
        validation: {hostname: two.example.org, caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}]}
      """)
    lab.input.secrets[ObjectKey("infra", "good")] = TestCertificate.secret
    lab.input.authorities[ObjectKey("infra", "ca")] = AuthorityBundle(configMap: TestCertificate.configMap)
    let table = table(lab)
    let policies = table.listeners[0].rules.map {
      table.backends[$0.targets[0].backend].policy.tls?.serverName
    }
    #expect(policies == [nil, "two.example.org"])
    // One that cannot be followed closes the backend.
    lab.input.authorities = [:]
    #expect(lines(self.table(lab)).contains { $0.hasSuffix("b.example.org terminate nobody*1") })
  }

  @Test func `a Service's word on the PROXY protocol holds, and hosts with ssl-passthrough stand beside`()
    throws
  {
    var lab = try Lab(
      slices, gateway("gw", "name: tls, port: 443, protocol: TLS, tls: {mode: Passthrough}"),
      route(
        "a", kind: "TLSRoute", to: "{name: gw}", hosts: "a.example.org", backend: "{name: two, port: 8443}"))
    try lab.add(
      """
      apiVersion: v1
      kind: Service
      metadata: {name: two, namespace: infra, annotations: {weft.dev/send-proxy-protocol: v2}}
      spec: {type: ClusterIP, clusterIP: 10.43.0.12, ports: [{name: http, port: 8080}, {name: https, port: 8443}]}
      """)
    let own = StreamTable(
      backends: [
        RouteBackend(
          namespace: "demo", ingress: "web", service: "web", servicePort: "443",
          endpoints: [SocketEndpoint("10.42.0.9:443")!])
      ],
      listeners: [
        StreamListener(
          port: 443, kind: .tls,
          rules: ["a.example.org", "b.example.org"].map {
            StreamRule(name: $0, coversOneLabel: true, targets: [StreamTarget(backend: 0)])
          })
      ])
    let table = table(lab, beside: own)
    #expect(
      lines(table) == [
        "443/tls a.example.org passthrough two:8443=10.42.0.3:443*1",
        "443/tls b.example.org passthrough web:443=10.42.0.9:443*1",
      ])
    #expect(table.backends.map(\.policy.proxy) == [nil, .v2])
    #expect(try StreamTable(encoded: table.encoded()) == table)
  }
}
