// What is refused is not served, and what stands beside it is: Gateway API's conformance tests of references and listeners that are wrong, by
// requests, until what was wrong is right.

import Addresses
import ClusterObjects
import ClusterView
import GatewayAPI
import Ingress
import Testing

@Suite(.serialized) struct RefusalTrafficTests {
  private func http(_ name: String, _ port: UInt16, _ more: String = "") -> String {
    "name: \(name), port: \(port), protocol: HTTP\(more)"
  }
  private func https(_ name: String, _ port: UInt16, _ secret: String) -> String {
    "name: \(name), port: \(port), protocol: HTTPS, tls: {certificateRefs: [\(secret)]}"
  }
  private func rules(_ path: String, _ backend: String = "one") -> String {
    "[{matches: [{path: {value: \(path)}}], backendRefs: [{name: \(backend), port: 8080}]}]"
  }

  @Test
  func
    `HTTPRouteInvalidParentRefNotMatchingListenerPort, HTTPRouteInvalidParentRefNotMatchingSectionName, HTTPRouteInvalidParentRefSectionNameNotMatchingPort, HTTPRouteDisallowedKind, HTTPRouteInvalidCrossNamespaceParentRef: what is not attached is not served`()
    throws
  {
    let traffic = try Traffic(ports: 2)
    defer { traffic.stop() }
    let ports = traffic.ports
    let nobodys = ports.contains(1) ? 2 : 1
    let plan = try traffic.serve(
      gateway(
        "gw", http("first", ports[0]),
        http("calls", ports[1], ", allowedRoutes: {kinds: [{kind: GRPCRoute}]}")),
      route("good", to: "{name: gw, port: \(ports[0])}", rules: rules("/good")),
      route("port", to: "{name: gw, port: \(nobodys)}", rules: rules("/port")),
      route("section", to: "{name: gw, sectionName: missing}", rules: rules("/section")),
      route("both", to: "{name: gw, sectionName: first, port: \(ports[1])}", rules: rules("/both")),
      route("kind", to: "{name: gw, sectionName: calls}", rules: rules("/kind")),
      route("far", "web", to: "{name: gw, namespace: infra, port: \(ports[0])}", rules: rules("/far", "far")))
    for (name, namespace, reason) in [
      ("port", "infra", "NoMatchingParent"), ("section", "infra", "NoMatchingParent"),
      ("both", "infra", "NoMatchingParent"), ("kind", "infra", "NotAllowedByListeners"),
      ("far", "web", "NotAllowedByListeners"),
    ] {
      #expect(try plan.parent(name, namespace)["Accepted"] == "False \(reason)", "\(name)")
      for index in [0, 1] { #expect(traffic.ask("/\(name)", on: index).status == 404, "\(name) at \(index)") }
    }
    #expect(try plan.gateway("gw").listeners.map(\.attachedRoutes) == [1, 0])
    #expect(traffic.ask("/good").backend == "one" && traffic.ask("/good", on: 1).status == 404)
    // The port that is meant.
    try traffic.serve(
      gateway("gw", http("first", ports[0]), http("second", ports[1])),
      route("port", to: "{name: gw, port: \(ports[1])}", rules: rules("/port")))
    #expect(traffic.ask("/port").status == 404 && traffic.ask("/port", on: 1).backend == "one")
  }

  @Test
  func
    `GatewayInvalidRouteKind, GatewayListenerUnsupportedProtocol, GatewayInvalidParametersRef, GatewayInvalidTLSBackendConfiguration: what is right beside what is wrong is served`()
    throws
  {
    let traffic = try Traffic(ports: 4)
    defer { traffic.stop() }
    let ports = traffic.ports
    let parameters = "  infrastructure: {parametersRef: {group: example.com, kind: Thing, name: x}}\n"
    let plan = try traffic.serve(
      gateway(
        "kinds", http("http", ports[0], ", allowedRoutes: {kinds: [{kind: Odd}, {kind: HTTPRoute}]}")),
      gateway("odd", http("http", ports[1]), "name: odd, port: \(ports[2]), protocol: example.com/odd"),
      gateway("none", more: parameters, http("http", ports[3])),
      gateway(
        "shown", more: "  tls: {backend: {clientCertificateRef: {name: missing}}}\n",
        http("http", ports[0], ", hostname: shown.org")),
      route("kinds", to: "{name: kinds}"),
      route("odd", to: "{name: odd}", backend: "{name: two, port: 8080}"),
      route("none", to: "{name: none}"),
      route("shown", to: "{name: shown}", backend: "{name: two, port: 8080}"))
    #expect(try plan.listener("http", of: "kinds").conditions["ResolvedRefs"] == "False InvalidRouteKinds")
    #expect(try plan.listener("odd", of: "odd").conditions["Accepted"] == "False UnsupportedProtocol")
    #expect(try plan.gateway("none").conditions["Accepted"] == "False InvalidParameters")
    #expect(try plan.gateway("shown").conditions["ResolvedRefs"] == "False InvalidClientCertificateRef")
    #expect(traffic.ask().backend == "one" && traffic.ask(on: 1).backend == "two")
    #expect(traffic.ask(host: "shown.org").backend == "two")
    #expect((0..<4).map { traffic.isOpen($0) } == [true, true, false, false])
    try traffic.serve(gateway("none", http("http", ports[3])))
    #expect(traffic.ask(on: 3).backend == "one")
  }

  @Test
  func
    `GatewayInvalidTLSConfiguration, GatewaySecretReferenceGrantAllInNamespace, GatewayFrontendInvalidDefaultClientCertificateValidation, GatewayInvalidFrontendClientCertificateValidation: a port opens when all that it names is there`()
    throws
  {
    let authority = try TestAuthority()
    let traffic = try Traffic()
    defer { traffic.stop() }
    let ports = traffic.ports
    let good = try authority.secret(try authority.issue("DNS:a.org"))
    traffic.lab.input.secrets = [
      ObjectKey("infra", "cert"): TestCertificate.broken, ObjectKey("web", "far"): good,
    ]
    func isServed(_ index: Int, _ more: String = "") -> Bool {
      traffic.curl("a.org", on: index, authority: authority.root, more).output.hasPrefix("one\n")
    }
    let frontend =
      "  tls: {frontend: {default: {validation: {caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}]}}}}\n"
    let plan = try traffic.serve(
      gateway("broken", https("https", ports[0], "{name: cert}"), http("http", ports[2])),
      gateway(
        "asks", more: frontend, https("https", ports[1], "{name: far, namespace: web}"),
        http("http", ports[2], ", hostname: b.org")),
      route("r", to: "{name: broken}, {name: asks}"),
      grant(in: "web", from: "Gateway", to: "{group: '', kind: Secret}"))
    #expect(
      try plan.listener("https", of: "broken").conditions["ResolvedRefs"] == "False InvalidCertificateRef")
    #expect(try plan.listener("https", of: "asks").conditions["Accepted"] == "False NoValidCACertificate")
    #expect((0..<3).map { traffic.isOpen($0) } == [false, false, true])
    for host in ["a.org", "b.org"] { #expect(traffic.ask(host: host, on: 2).backend == "one", "\(host)") }
    // All that was missing.
    traffic.lab.input.secrets[ObjectKey("infra", "cert")] = good
    traffic.lab.input.authorities[ObjectKey("infra", "ca")] = try authority.bundle
    try traffic.serve()
    #expect(isServed(0))
    let client = try authority.issue("DNS:client")
    #expect(isServed(1, "--cert \(client).pem --key \(client).key") && !isServed(1))
    // Without the question everybody comes in, with the certificate that all of a namespace's Secrets are granted with.
    try traffic.serve(gateway("asks", https("https", ports[1], "{name: far, namespace: web}")))
    #expect(isServed(1))
  }

  @Test
  func
    `GatewayNameMaximumLength, GatewayOptionalAddressValue, GatewayWithAttachedRoutes, GatewayObservedGenerationBump, HTTPRouteObservedGenerationBump: are served as their status says`()
    throws
  {
    let traffic = try Traffic()
    defer { traffic.stop() }
    let ports = traffic.ports
    let name = String(repeating: "a", count: 253)
    var plan = try traffic.serve(
      gateway(name, more: "  addresses: [{type: IPAddress}]\n", http("http", ports[0], ", hostname: a.org")),
      route("r", to: "{name: \(name)}", rules: rules("/r"), generation: 4),
      route("named", to: "{name: \(name)}", hosts: "a.org", rules: rules("/named")),
      route("not", to: "{name: \(name)}", hosts: "b.org", rules: rules("/not")))
    #expect(try plan.gateway(name).addresses.map(\.value) == ["192.0.2.1"])
    #expect(try plan.listener("http", of: name).attachedRoutes == 2)
    for path in ["/r", "/named"] { #expect(traffic.ask(path).backend == "one", "\(path)") }
    for host in ["a.org", "b.org"] { #expect(traffic.ask("/not", host: host).status == 404, "\(host)") }
    // An edit is served with the generation that is told.
    plan = try traffic.serve(
      gateway(name, generation: 7, http("http", ports[0], ", hostname: a.org"), http("more", ports[1])),
      route("r", to: "{name: \(name)}", rules: rules("/r", "two"), generation: 5))
    #expect(try plan.gateway(name).conditions.allSatisfy { $0.generation == 7 })
    #expect(try plan.parent("r").allSatisfy { $0.generation == 5 })
    for index in [0, 1] { #expect(traffic.ask("/r", on: index).backend == "two", "\(index)") }
  }

  @Test
  func
    `ListenerSetDefaultNotAllowed, ListenerSetAllowedNamespaceNone, ListenerSetAllowedNamespaceSame, ListenerSetAllowedNamespaceSelector, ListenerSetAllowedRoutesSupportedKinds, ListenerSetRouteStatusScopedToParentRef: sets that may attach are served`()
    throws
  {
    let traffic = try Traffic(ports: 4)
    defer { traffic.stop() }
    let ports = traffic.ports
    func allowing(_ from: String) -> String { "  allowedListeners: {namespaces: {from: \(from)}}\n" }
    for text in [
      listenerSet(
        "near", of: "gw", http("near", ports[1]),
        http("odd", ports[3], ", allowedRoutes: {kinds: [{kind: TCPRoute}]}")),
      listenerSet("away", "web", of: "gw", http("away", ports[2])),
      route("own", to: "{name: gw}", rules: rules("/own")),
      route("near", to: "{kind: ListenerSet, name: near}", rules: rules("/near", "two")),
      route("away", "web", to: "{kind: ListenerSet, name: away}", rules: rules("/away", "far")),
    ] { try traffic.add(text) }
    for (more, isNear, isAway) in [
      ("", false, false), (allowing("None"), false, false), (allowing("Same"), true, false),
      (allowing("Selector, selector: {matchLabels: {team: web}}"), false, true),
    ] {
      let plan = try traffic.serve(gateway("gw", more: more, http("own", ports[0])))
      #expect((0..<4).map { traffic.isOpen($0) } == [true, isNear, isAway, isNear], "\(more)")
      #expect(traffic.ask("/own").backend == "one" && traffic.ask("/near").status == 404)
      #expect(try plan.gateway("gw").attachedListenerSets == (isNear || isAway ? 1 : 0))
      if isNear {
        #expect(traffic.ask("/near", on: 1).backend == "two" && traffic.ask("/own", on: 1).status == 404)
        #expect(traffic.ask("/near", on: 3).status == 404, "a kind that does not fit takes nothing")
      }
      if isAway { #expect(traffic.ask("/away", on: 2).backend == "far") }
    }
  }

  @Test
  func
    `TCPRouteInvalidNonTCPListener, UDPRouteNotAllowedByListeners, TLSRouteInvalidNoMatchingListener, TLSRouteInvalidNoMatchingListenerHostname, TLSRouteListenerPassthroughSupportedKinds, TLSRouteListenerTerminateSupportedKinds: routes that do not fit get no connection`()
    throws
  {
    let authority = try TestAuthority()
    let leaf = try authority.issue("DNS:a.org", "DNS:b.org", "DNS:c.org")
    let server = try PythonServer(PythonServer.https, "sealed", "\(leaf).pem", "\(leaf).key")
    let traffic = try Traffic()
    defer {
      traffic.stop()
      server.stop()
    }
    try traffic.point("two", to: server.ports[0])
    traffic.lab.input.secrets[ObjectKey("infra", "cert")] = try authority.secret(leaf)
    let ports = traffic.ports
    let kinds = "allowedRoutes: {kinds: [{kind: TLSRoute}, {kind: TCPRoute}]}"
    let sealed = "{name: two, port: 8443}"
    let plan = try traffic.serve(
      gateway(
        "gw",
        "name: pass, port: \(ports[0]), protocol: TLS, hostname: a.org, tls: {mode: Passthrough}, \(kinds)",
        "name: open, port: \(ports[0]), protocol: TLS, hostname: b.org, tls: {mode: Terminate, certificateRefs: [{name: cert}]}, \(kinds)",
        http("http", ports[1]), "name: tcp, port: \(ports[2]), protocol: TCP"),
      route("tcp", kind: "TCPRoute", to: "{name: gw, sectionName: pass}"),
      route("udp", kind: "UDPRoute", to: "{name: gw}", backend: "{name: one, port: 53}"),
      route("http", kind: "TLSRoute", to: "{name: gw, sectionName: http}", hosts: "a.org", backend: sealed),
      route("name", kind: "TLSRoute", to: "{name: gw, sectionName: pass}", hosts: "c.org", backend: sealed),
      route("plain", to: "{name: gw, sectionName: http}"))
    for (name, kind, reason) in [
      ("tcp", .tcp, "NotAllowedByListeners"), ("udp", .udp, "NotAllowedByListeners"),
      ("http", .tls, "NotAllowedByListeners"), ("name", .tls, "NoMatchingListenerHostname"),
    ] as [(String, GatewayRoute.Kind, String)] {
      #expect(try plan.parent(name, kind: kind)["Accepted"] == "False \(reason)", "\(name)")
    }
    for name in ["pass", "open"] {
      let listener = try plan.listener(name, of: "gw")
      #expect(
        listener.kinds == ["TLSRoute"] && listener.conditions["ResolvedRefs"] == "False InvalidRouteKinds")
    }
    func ask(_ host: String) -> (status: Int32, output: String) {
      traffic.curl(host, on: 0, authority: authority.root)
    }
    for host in ["a.org", "b.org", "c.org"] { #expect(ask(host).status == 35, "\(host)") }
    #expect(traffic.ask(on: 1).backend == "one" && traffic.backend(2).isEmpty)
    #expect(!plan.sockets(at: IPAddress("0.0.0.0")!).keys.contains { $0.transport == .udp })
    // Routes that fit.
    try traffic.serve(
      route("pass", kind: "TLSRoute", to: "{name: gw, sectionName: pass}", hosts: "a.org", backend: sealed),
      route("open", kind: "TLSRoute", to: "{name: gw, sectionName: open}", hosts: "b.org"),
      route("tcp", kind: "TCPRoute", to: "{name: gw, sectionName: tcp}"))
    #expect(ask("a.org").output.hasPrefix("sealed") && ask("b.org").output.hasPrefix("one\n"))
    #expect(ask("c.org").status == 35 && traffic.backend(2) == "one")
  }

  @Test
  func
    `TLSRouteListenerTerminateNotSupported, TLSRouteListenerMixedTerminationNotSupported: what a data plane cannot do is not open`()
    throws
  {
    let authority = try TestAuthority()
    let leaf = try authority.issue("DNS:a.org", "DNS:b.org")
    let traffic = try Traffic(ports: 2)
    defer { traffic.stop() }
    traffic.lab.input.secrets[ObjectKey("infra", "cert")] = try authority.secret(leaf)
    let ports = traffic.ports
    func listeners(_ port: UInt16) -> [String] {
      [
        "name: pass, port: \(ports[0]), protocol: TLS, hostname: a.org, tls: {mode: Passthrough}",
        "name: open, port: \(port), protocol: TLS, hostname: b.org, tls: {mode: Terminate, certificateRefs: [{name: cert}]}",
      ]
    }
    func isServed(_ index: Int) -> Bool {
      traffic.curl("b.org", on: index, authority: authority.root).output.hasPrefix("one\n")
    }
    let (mixed, apart) = (listeners(ports[0]), listeners(ports[1]))
    try traffic.serve(
      gateway("gw", mixed[0], mixed[1]), route("r", kind: "TLSRoute", to: "{name: gw}", hosts: "a.org, b.org")
    )
    #expect(isServed(0))
    traffic.lab.settings.allowsMixedTLS = false
    var plan = try traffic.serve()
    #expect(
      try plan.gateway("gw").listeners.allSatisfy { $0.conditions["Accepted"] == "False ProtocolConflict" })
    #expect((0..<2).map { traffic.isOpen($0) } == [false, false])
    try traffic.serve(gateway("gw", apart[0], apart[1]))
    #expect(isServed(1) && traffic.isOpen(0))
    traffic.lab.settings.opensTLS = false
    plan = try traffic.serve()
    #expect(try plan.listener("open", of: "gw").conditions["Accepted"] == "False UnsupportedValue")
    #expect((0..<2).map { traffic.isOpen($0) } == [true, false])
  }
}
