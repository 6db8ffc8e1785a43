// The plugins around the cluster and upstream servers: kubernetes, forward, cache.

import Addresses
import ClusterObjects
import Diagnostics

extension CorefileReader {
  mutating func readKubernetes(_ directive: CorefileDirective) throws(WeftError) {
    if block.isServingCluster { throw fail(directive, "the cluster's zone is configured twice") }
    let names = try zones(directive.arguments, directive)
    let arpa = DomainName("arpa") ?? .root
    let forward = names.filter { !$0.isWithin(arpa) }
    let sets = try multiclusterZones(directive, among: forward)
    let clusters = forward.filter { !sets.contains($0) }
    guard let zone = clusters.first else { throw fail(directive, "no zone of cluster names is given") }
    for other in clusters.dropFirst() {
      warn(directive, "kubernetes \(other)", "one cluster zone is served, \(zone)")
    }
    // CoreDNS falls back to 5 seconds and to no pod names; whoever has a Corefile expects just that.
    var settings = ZoneSettings(
      zone: zone, reverseZones: names.filter { $0.isWithin(arpa) }, fallthroughZones: [], ttl: 5,
      pods: .disabled, compatibility: .coreDNS)
    settings.multiclusterZones = sets
    for option in directive.block { try read(option, &settings) }
    block.isServingCluster = true
    if let other = corefile.zone {
      settings.external = other.external
      guard other == settings else {
        throw fail(directive, "the cluster's zone is configured twice, and differently")
      }
    }
    corefile.zone = settings
  }

  /// The zones that `multicluster` names: zones of the plugin whose names are those of ServiceImports.
  private func multiclusterZones(_ directive: CorefileDirective, among names: [DomainName])
    throws(WeftError) -> [DomainName]
  {
    var sets: [DomainName] = []
    for option in directive.block where option.name == "multicluster" {
      guard !option.arguments.isEmpty else {
        throw fail(option, "a zone is needed, such as clusterset.local")
      }
      for zone in try zones(option.arguments, option) {
        guard names.contains(zone) else {
          throw fail(option, "\(zone) is not among the zones of the kubernetes line")
        }
        if !sets.contains(zone) { sets.append(zone) }
      }
    }
    return sets
  }

  mutating func readExternal(_ directive: CorefileDirective) throws(WeftError) {
    let arpa = DomainName("arpa") ?? .root
    var external = ZoneSettings.ExternalZones(
      zones: try zones(directive.arguments, directive).filter { !$0.isWithin(arpa) })
    guard !external.zones.isEmpty, !external.zones.contains(.root) else {
      throw fail(directive, "a zone for the external names is needed")
    }
    for option in directive.block {
      switch option.name {
      case "ttl": external.ttl = try number(option, 0...3600)
      case "headless": external.isHeadlessServed = true
      case "fallthrough": external.fallsThrough = true
      case "apex":
        if option.arguments.first != "dns" { warn(option, "k8s_external apex", "the apex is dns.<zone>") }
      default: throw fail(option, "apex, ttl, headless and fallthrough are all there is")
      }
    }
    self.external = (external, directive)
  }

  private mutating func read(_ option: CorefileDirective, _ settings: inout ZoneSettings) throws(WeftError) {
    let arguments = Array(option.arguments)
    switch option.name {
    case "pods":
      guard let pods = arguments.first.flatMap(ZoneSettings.PodNames.init) else {
        throw fail(option, "one of disabled, insecure, verified is needed")
      }
      settings.pods = pods
    case "ttl": settings.ttl = try number(option, 0...3600)
    case "fallthrough":
      settings.fallthroughZones = arguments.isEmpty ? [.root] : try zones(arguments, option)
    case "namespaces":
      guard !arguments.isEmpty else { throw fail(option, "a namespace is needed") }
      settings.namespaces = Set(arguments)
    case "namespace_labels": settings.namespaceSelector = try selector(arguments, option)
    case "labels": settings.serviceSelector = try selector(arguments, option)
    case "endpoint_pod_names": settings.endpointPodNames = true
    case "noendpoints": settings.isWithoutEndpoints = true
    case "ignore":
      guard arguments == ["empty_service"] else { throw fail(option, "empty_service is all there is") }
      settings.ignoresEmptyServices = true
    case "zonal": settings.isZonal = true
    case "startup_timeout": corefile.startupSeconds = try duration(option, 0...3600)
    case "endpoint":
      guard arguments.count == 1 else { throw fail(option, "the URL of one API server is needed") }
      corefile.access.server = arguments[0]
    case "tls":
      guard arguments.count == 3 else {
        throw fail(option, "a certificate, its key and an authority are needed")
      }
      corefile.access.tls = arguments.map { path($0) }
    case "kubeconfig":
      guard let first = arguments.first, arguments.count <= 2 else {
        throw fail(option, "a file is needed, and perhaps the name of a context")
      }
      corefile.access.kubeconfig = path(first)
      corefile.access.context = arguments.dropFirst().first
    case "apiserver_qps", "apiserver_burst", "apiserver_max_inflight":
      warn(option, "kubernetes \(option.name)", "three lists are asked for at once, and nothing after them")
    case "multicluster": break
    default: throw fail(option, "kubernetes has no option of this name")
    }
    if settings.namespaceSelector != nil, !settings.namespaces.isEmpty {
      throw fail(option, "namespaces and namespace_labels exclude each other")
    }
  }

  private func selector(_ words: [String], _ option: CorefileDirective) throws(WeftError) -> LabelSelector {
    let text = words.joined(separator: " ")
    do throws(SelectorError) { return try LabelSelector(parsing: text) } catch {
      throw fail(option, "\(text): \(error)")
    }
  }

  // MARK: - Forward

  mutating func readForward(_ directive: CorefileDirective) throws(WeftError) {
    guard let from = directive.arguments.first, let zones = zoneNames(from) else {
      throw fail(directive, "the zone to forward is missing")
    }
    var upstreams: [SocketEndpoint] = []
    var encrypted: Set<SocketEndpoint> = []
    for text in directive.arguments.dropFirst() {
      let servers = try servers(text, directive)
      upstreams += servers
      if text.hasPrefix("tls://") { encrypted.formUnion(servers) }
    }
    guard !upstreams.isEmpty else { throw fail(directive, "an upstream server is missing") }
    guard upstreams.count <= Corefile.forwardUpstreamsMax else {
      throw fail(directive, "at most \(Corefile.forwardUpstreamsMax) upstream servers")
    }
    var route = ForwardRoute(zone: zones[0], upstreams: upstreams)
    route.encryptedUpstreams = encrypted
    for option in directive.block { try read(option, &route) }
    for zone in zones {
      var own = route
      own.zone = zone
      block.routes.append(own)
    }
  }

  private func servers(_ text: String, _ directive: CorefileDirective) throws(WeftError) -> [SocketEndpoint] {
    if text.hasPrefix("/") {
      guard let content = files(text) else { throw fail(directive, "\(text) cannot be read") }
      return nameServers(resolvConf: content)
    }
    for scheme in ["https://", "grpc://"] where text.hasPrefix(scheme) {
      throw fail(directive, "\(text): upstream servers are asked over plain DNS or TLS only")
    }
    let isEncrypted = text.hasPrefix("tls://")
    let plain = isEncrypted || text.hasPrefix("dns://") ? text.dropFirst(6) : text[...]
    if let endpoint = SocketEndpoint(plain) { return [endpoint] }
    if let address = IPAddress(plain) { return [SocketEndpoint(address, isEncrypted ? 853 : 53)] }
    throw fail(directive, "\(text) is neither an address nor a resolv.conf")
  }

  private mutating func read(_ option: CorefileDirective, _ route: inout ForwardRoute) throws(WeftError) {
    switch option.name {
    case "policy":
      guard let policy = option.arguments.first.flatMap(ForwardRoute.Policy.init) else {
        throw fail(option, "one of random, round_robin, sequential is needed")
      }
      route.policy = policy
    case "except":
      guard !option.arguments.isEmpty else { throw fail(option, "a zone is needed") }
      route.except += try zones(option.arguments, option)
    case "force_tcp": route.isTCPForced = true
    case "max_concurrent":
      block.forwardsMax = try number(option, 0...1_000_000)
      if block.forwardsMax == 0 { block.forwardsMax = 1_000_000 }
    case "max_fails":
      let count = try number(option, 0...1_000_000)
      route.failuresMax = count == 0 ? .max : count
    case "health_check":
      route.healthCheckMilliseconds = Int(try duration(option, 0...3600) * 1000)
      if let at = option.words.firstIndex(of: "domain"), option.words.count > at + 1 {
        guard let name = DomainName(option.words[at + 1]) else {
          throw fail(option, "\(option.words[at + 1]) is not a name")
        }
        route.healthCheckName = name
      }
    case "read_timeout": route.timeoutMilliseconds = Int(try duration(option, 0.001...60) * 1000)
    case "prefer_udp", "expire", "max_age": break
    case "private_address":
      // Not of CoreDNS; named as Unbound names it.
      for word in option.arguments {
        guard let network = IPPrefix(word) else { throw fail(option, "\(word) is not a block of addresses") }
        route.deniedAddresses.append(network)
      }
      if option.arguments.isEmpty { route.deniedAddresses += AddressFilter.privateAddresses }
    case "tls_servername":
      guard let name = option.arguments.first else { throw fail(option, "a name is needed") }
      route.tls.serverName = name
    case "tls": try readUpstreamTLS(option, &route)
    case "failover":
      guard !option.arguments.isEmpty else {
        throw fail(option, "a response code such as SERVFAIL is needed")
      }
      for word in option.arguments {
        guard let code = ResponseCode(name: word) else {
          throw fail(option, "\(word) is not a response code")
        }
        guard code != .noError else { throw fail(option, "an answer is what is asked for") }
        route.failoverCodes.insert(code)
      }
    case "failfast_all_unhealthy_upstreams", "next", "max_idle_conns", "max_connect_attempts",
      "doh_method":
      warn(option, "forward \(option.name)", "this option has no effect here")
    default: throw fail(option, "forward has no option of this name")
    }
  }

  /// `tls`, `tls AUTHORITY`, `tls CERTIFICATE KEY` or `tls CERTIFICATE KEY AUTHORITY`.
  private func readUpstreamTLS(_ option: CorefileDirective, _ route: inout ForwardRoute) throws(WeftError) {
    var texts: [String] = []
    for word in option.arguments {
      guard let text = files(path(word)) else { throw fail(option, "\(path(word)) cannot be read") }
      texts.append(text)
    }
    guard texts.count <= 3 else { throw fail(option, "certificate, key and authority are all there is") }
    if texts.count >= 2 { (route.tls.certificate, route.tls.key) = (texts[0], texts[1]) }
    if texts.count % 2 == 1 { route.tls.authority = texts.last }
  }

  // MARK: - Cache

  mutating func readCache(_ directive: CorefileDirective) throws(WeftError) {
    var cache = ForwardCacheSettings()
    cache.positiveSecondsMin = 5
    cache.negativeSecondsMin = 5
    cache.failureSeconds = 5
    if let first = directive.arguments.first, let seconds = UInt32(first) {
      cache.positiveSecondsMax = seconds
      cache.negativeSecondsMax = min(seconds, 1800)
      if directive.arguments.count > 1 { try onlyOwn(directive.arguments.dropFirst(), directive) }
    } else if !directive.arguments.isEmpty {
      try onlyOwn(directive.arguments, directive)
    }
    for option in directive.block {
      switch option.name {
      case "success":
        cache.entriesMax = try number(option, 1...10_000_000)
        if option.words.count > 2 {
          cache.positiveSecondsMax = try number(option, 0...UInt32(Int32.max), at: 2)
        }
        if option.words.count > 3 {
          cache.positiveSecondsMin = try number(option, 0...UInt32(Int32.max), at: 3)
        }
      case "denial":
        cache.denialsMax = try number(option, 1...10_000_000)
        if option.words.count > 2 {
          cache.negativeSecondsMax = try number(option, 0...UInt32(Int32.max), at: 2)
        }
        if option.words.count > 3 {
          cache.negativeSecondsMin = try number(option, 0...UInt32(Int32.max), at: 3)
        }
      case "prefetch":
        cache.prefetchQueries = try number(option, 0...1_000_000)
        if option.words.count > 2 { cache.prefetchSeconds = UInt32(try duration(option, 0...86400, at: 2)) }
        if option.words.count > 3 {
          guard let percent = UInt32(option.words[3].filter { $0 != "%" }), (10...90).contains(percent) else {
            throw fail(option, "from 10% to 90% is needed")
          }
          cache.prefetchPercent = percent
        }
      case "serve_stale":
        cache.staleSeconds = option.words.count > 1 ? UInt32(try duration(option, 0...86400 * 30)) : 3600
        if option.words.count > 2 {
          guard ["immediate", "verify"].contains(option.words[2]) else {
            throw fail(option, "immediate or verify is needed")
          }
          cache.isStaleVerified = option.words[2] == "verify"
        }
      case "servfail": cache.failureSeconds = UInt32(try duration(option, 0...300))
      case "disable":
        let zones = try zones(option.arguments.dropFirst(), option)
        switch option.arguments.first {
        case "success": cache.disabledPositive += zones
        case "denial": cache.disabledNegative += zones
        default: throw fail(option, "success or denial is needed")
        }
      case "keepttl": warn(option, "cache keepttl", "the time an answer has left is always told")
      default: throw fail(option, "cache has no option of this name")
      }
    }
    block.cache = cache
  }

  /// `cache` may name zones; what lies outside is not cached, which here would be another block.
  private mutating func onlyOwn(_ words: some Sequence<String>, _ directive: CorefileDirective)
    throws(WeftError)
  {
    let named = try zones(words, directive)
    for key in block.keys where !named.contains(where: { key.zone.isWithin($0) }) {
      warn(directive, "cache", "all forwarded names of the block are kept, not only those of the zones named")
    }
  }
}

extension ResponseCode {
  /// Reads `NXDOMAIN`.
  init?(name: String) {
    guard let value = Self.names.firstIndex(of: name.uppercased()) else { return nil }
    self.init(rawValue: UInt16(value))
  }
}
