// The two plugins with many options: `kubernetes` and `forward`.

import Addresses
import Diagnostics

extension CorefileReader {
  func readKubernetes(
    _ directive: CorefileDirective, _ zones: [DomainName], _ warnings: inout [Corefile.Warning]
  ) throws(WeftError) -> ZoneSettings {
    var names: [DomainName] = []
    for text in directive.arguments {
      guard let name = zoneName(text) else { throw fail(directive, "\(text) is not a zone") }
      names.append(name)
    }
    if names.isEmpty { names = zones }
    let arpa = DomainName("arpa") ?? .root
    let forward = names.filter { !$0.isWithin(arpa) }
    guard let zone = forward.first else { throw fail(directive, "no zone of cluster names is given") }
    for other in forward.dropFirst() {
      warnings.append(
        .init(
          line: directive.line, subject: "kubernetes \(other)", text: "one cluster zone is served, \(zone)"))
    }
    // CoreDNS falls back to 5 seconds and to no pod names; whoever has a Corefile expects just that.
    var settings = ZoneSettings(
      zone: zone, reverseZones: names.filter { $0.isWithin(arpa) }, fallthroughZones: [], ttl: 5,
      pods: .disabled,
      compatibility: .coreDNS)
    for option in directive.block {
      let arguments = Array(option.arguments)
      switch option.name {
      case "pods":
        guard let pods = arguments.first.flatMap(ZoneSettings.PodNames.init) else {
          throw fail(option, "one of disabled, insecure, verified is needed")
        }
        settings.pods = pods
      case "ttl":
        guard let ttl = arguments.first.flatMap(UInt32.init), ttl <= 3600 else {
          throw fail(option, "a number of seconds from 0 to 3600 is needed")
        }
        settings.ttl = ttl
      case "fallthrough":
        settings.fallthroughZones = []
        for text in arguments.isEmpty ? ["."] : arguments {
          guard let name = zoneName(text) else { throw fail(option, "\(text) is not a zone") }
          settings.fallthroughZones.append(name.lowercased)
        }
      case "namespaces": settings.namespaces = Set(arguments)
      case "endpoint_pod_names": settings.endpointPodNames = true
      case "noendpoints": settings.isWithoutEndpoints = true
      case "endpoint", "tls", "kubeconfig", "apiserver_qps", "apiserver_burst", "apiserver_max_inflight",
        "startup_timeout":
        warnings.append(
          .init(
            line: option.line, subject: "kubernetes \(option.name)",
            text: "how the API server is reached is decided by --kubeconfig"))
      default:
        warnings.append(
          .init(line: option.line, subject: "kubernetes \(option.name)", text: "this option is not supported")
        )
      }
    }
    return settings
  }

  func readForward(_ directive: CorefileDirective, _ warnings: inout [Corefile.Warning]) throws(WeftError)
    -> ForwardRoute
  {
    guard let from = directive.arguments.first, let zone = zoneName(from) else {
      throw fail(directive, "the zone to forward is missing")
    }
    var upstreams: [SocketEndpoint] = []
    for text in directive.arguments.dropFirst() {
      if text.hasPrefix("/") {
        guard let content = resolvConf(text) else { throw fail(directive, "\(text) cannot be read") }
        upstreams += nameServers(resolvConf: content)
      } else if text.hasPrefix("tls://") || text.hasPrefix("https://") {
        throw fail(directive, "\(text): only plain DNS upstreams are supported")
      } else if let endpoint = SocketEndpoint(text.hasPrefix("dns://") ? text.dropFirst(6) : text[...]) {
        upstreams.append(endpoint)
      } else if let address = IPAddress(text.hasPrefix("dns://") ? text.dropFirst(6) : text[...]) {
        upstreams.append(SocketEndpoint(address, 53))
      } else {
        throw fail(directive, "\(text) is neither an address nor a resolv.conf")
      }
    }
    guard upstreams.count <= Corefile.forwardUpstreamsMax else {
      throw fail(directive, "at most \(Corefile.forwardUpstreamsMax) upstream servers")
    }
    var route = ForwardRoute(zone: zone, upstreams: upstreams)
    for option in directive.block {
      switch option.name {
      case "policy":
        guard let policy = option.arguments.first.flatMap(ForwardRoute.Policy.init) else {
          throw fail(option, "one of random, round_robin, sequential is needed")
        }
        route.policy = policy
      case "except":
        for text in option.arguments {
          guard let name = zoneName(text) else { throw fail(option, "\(text) is not a zone") }
          route.except.append(name)
        }
      case "force_tcp": route.isTCPForced = true
      case "prefer_udp", "max_concurrent", "expire", "health_check": break
      case "max_fails":
        guard let count = option.arguments.first.flatMap(Int.init), count >= 0 else {
          throw fail(option, "not a number")
        }
        route.failuresMax = count == 0 ? .max : count
      case "read_timeout":
        guard let seconds = option.arguments.first.flatMap(Self.seconds), seconds > 0, seconds < 60 else {
          throw fail(option, "not a duration")
        }
        route.timeoutMilliseconds = Int(seconds * 1000)
      default:
        warnings.append(
          .init(line: option.line, subject: "forward \(option.name)", text: "this option is not supported"))
      }
    }
    return route
  }
}
