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
    if settings.isZonal, settings.isWithoutEndpoints {
      throw fail(directive, "zonal names are made of endpoints, which noendpoints leaves out")
    }
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
    case "apiserver_qps":
      guard arguments.count == 1, let rate = Double(arguments[0]), rate > 0, rate <= 1_000_000 else {
        throw fail(option, "a number above 0 is needed", at: 1)
      }
      corefile.access.requestsPerSecond = rate
    case "apiserver_burst": corefile.access.requestBurst = try number(option, 1...1_000_000)
    case "apiserver_max_inflight": corefile.access.requestsInFlightMax = try number(option, 1...1_000_000)
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
    var names: [SocketEndpoint: String] = [:]
    for word in directive.arguments.dropFirst() {
      let (text, name) = Self.withoutName(word)
      let servers = try servers(text, directive)
      upstreams += servers
      if text.hasPrefix("tls://") { encrypted.formUnion(servers) }
      if let name { for server in servers { names[server] = name } }
    }
    guard !upstreams.isEmpty else { throw fail(directive, "an upstream server is missing") }
    guard upstreams.count <= Corefile.forwardUpstreamsMax else {
      throw fail(directive, "at most \(Corefile.forwardUpstreamsMax) upstream servers")
    }
    var route = ForwardRoute(zone: zones[0], upstreams: upstreams)
    route.encryptedUpstreams = encrypted
    route.tls.serverNames = names
    route.order = block.routes.count
    for option in directive.block { try read(option, &route) }
    if route.tls.serverName != nil, !names.isEmpty {
      throw fail(directive, "tls_servername and names behind % exclude each other")
    }
    if let source = route.source, upstreams.contains(where: { $0.address.family != source.family }) {
      throw fail(directive, "source_address is of another family than a server")
    }
    for zone in zones {
      var own = route
      own.zone = zone
      block.routes.append(own)
    }
  }

  /// `tls://9.9.9.9%dns.quad9.net:853` without the name that the certificate is to have.
  private static func withoutName(_ word: String) -> (text: String, name: String?) {
    guard word.hasPrefix("tls://"), let percent = word.lastIndex(of: "%") else { return (word, nil) }
    let rest = word[word.index(after: percent)...]
    let name = rest.prefix { $0 != ":" }
    return (String(word[..<percent] + rest.dropFirst(name.count)), name.isEmpty ? nil : String(name))
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
    case "force_tcp":
      try nothing(option)
      route.isTCPForced = true
    // Questions always go over UDP first, those of TCP clients too.
    case "prefer_udp": try nothing(option)
    case "max_concurrent":
      block.forwardsMax = try number(option, 0...1_000_000)
      if block.forwardsMax == 0 { block.forwardsMax = 1_000_000 }
    case "max_fails":
      let count = try number(option, 0...1_000_000)
      route.failuresMax = count == 0 ? .max : count
    case "health_check":
      route.healthCheckMilliseconds = Int(try duration(option, 0...3600) * 1000)
      var rest = option.arguments.dropFirst()
      while let word = rest.popFirst() {
        switch word {
        case "no_rec": route.isHealthCheckRecursive = false
        case "domain":
          guard let text = rest.popFirst(), let name = DomainName(text) else {
            throw fail(option, "domain needs a name")
          }
          route.healthCheckName = name
        default: throw fail(option, "\(word) is neither no_rec nor domain")
        }
      }
    case "read_timeout": route.timeoutMilliseconds = Int(try duration(option, 0.001...60) * 1000)
    case "expire": route.tls.idleSeconds = try duration(option, 0...86400)
    case "max_age":
      let seconds = try duration(option, 0...86400 * 365)
      route.tls.ageSecondsMax = seconds > 0 ? seconds : nil
    // One connection a server is kept at most, which any number allows.
    case "max_idle_conns": _ = try number(option, 0...1_000_000)
    case "max_connect_attempts": route.attemptsMax = try number(option, 0...1_000_000)
    case "failfast_all_unhealthy_upstreams":
      try nothing(option)
      route.failsFast = true
    case "next": route.nextCodes.formUnion(try codes(option))
    case "next_on_nodata":
      try nothing(option)
      route.goesOnWithoutData = true
    case "source_address":
      guard option.words.count == 2, let address = IPAddress(option.words[1]) else {
        throw fail(option, "an address of this machine is needed", at: 1)
      }
      route.source = address
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
      let codes = try codes(option)
      guard !codes.contains(.noError) else { throw fail(option, "NOERROR is what is asked for") }
      route.failoverCodes.formUnion(codes)
    case "doh_method": throw fail(option, "upstream servers are asked over plain DNS or TLS only, not HTTPS")
    case "resolver":
      throw fail(option, "upstream servers are named by address, so there is nothing to resolve")
    default: throw fail(option, "forward has no option of this name")
    }
  }

  private func codes(_ option: CorefileDirective) throws(WeftError) -> Set<ResponseCode> {
    guard !option.arguments.isEmpty else {
      throw fail(option, "a response code such as SERVFAIL is needed")
    }
    var codes: Set<ResponseCode> = []
    for word in option.arguments {
      guard let code = ResponseCode(name: word) else { throw fail(option, "\(word) is not a response code") }
      codes.insert(code)
    }
    return codes
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
      if directive.arguments.count > 1 { cache.zones = try zones(directive.arguments.dropFirst(), directive) }
    } else if !directive.arguments.isEmpty {
      cache.zones = try zones(directive.arguments, directive)
    }
    // Of a block's own zone all names are kept, without looking at each.
    if block.keys.allSatisfy({ key in cache.zones.contains { key.zone.isWithin($0) } }) { cache.zones = [] }
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
        try readStale(option, &cache)
      case "serve_stale_policy":
        guard option.arguments == ["prefer_positive"] else {
          throw fail(option, "prefer_positive is all there is", at: 1)
        }
        cache.prefersPositive = true
      case "servfail": cache.failureSeconds = UInt32(try duration(option, 0...300))
      case "disable":
        let zones = try zones(option.arguments.dropFirst(), option)
        switch option.arguments.first {
        case "success": cache.disabledPositive += zones
        case "denial": cache.disabledNegative += zones
        default: throw fail(option, "success or denial is needed")
        }
      case "keepttl":
        try nothing(option)
        cache.keepsTTL = true
      default: throw fail(option, "cache has no option of this name")
      }
    }
    block.cache = cache
  }

  /// `serve_stale [DURATION] [immediate [TTL [RECHECK]] | verify [TIMEOUT [TTL [RECHECK]]]]`.
  private func readStale(_ option: CorefileDirective, _ cache: inout ForwardCacheSettings) throws(WeftError) {
    guard option.words.count > 2 else { return }
    guard ["immediate", "verify"].contains(option.words[2]) else {
      throw fail(option, "immediate or verify is needed", at: 2)
    }
    cache.isStaleVerified = option.words[2] == "verify"
    var at = 3
    if cache.isStaleVerified, option.words.count > at {
      cache.staleVerifyMilliseconds = Int(try duration(option, 0...60, at: at) * 1000)
      at += 1
    }
    if option.words.count > at {
      let seconds = try duration(option, 0...86400, at: at)
      guard seconds == seconds.rounded() else { throw fail(option, "a TTL has whole seconds", at: at) }
      cache.staleTTL = UInt32(seconds)
      at += 1
    }
    if option.words.count > at {
      cache.staleRecheckSeconds = UInt32(try duration(option, 0...300, at: at).rounded(.up))
      at += 1
    }
    if option.words.count > at { throw fail(option, "\(option.words[at]) is one word too many", at: at) }
  }
}

extension ResponseCode {
  /// Reads `NXDOMAIN`.
  init?(name: String) {
    guard let value = Self.names.firstIndex(of: name.uppercased()) else { return nil }
    self.init(rawValue: UInt16(value))
  }
}
