// Plugins by name. Each line of a server block is read here or in one of the files beside this one.

import Addresses
import Diagnostics
import Patterns

extension CorefileReader {
  mutating func read(_ directive: CorefileDirective) throws(WeftError) {
    let first = directive.arguments.first
    switch directive.name {
    case "kubernetes": try readKubernetes(directive)
    case "k8s_external": try readExternal(directive)
    case "forward": try readForward(directive)
    case "cache": try readCache(directive)
    case "hosts": try readHosts(directive)
    case "file": try readFile(directive)
    case "rewrite": try readRewrite(directive)
    case "template": try readTemplate(directive)
    case "acl": try readAccess(directive)
    case "view": try readView(directive)
    case "dns64": try readDNS64(directive)
    case "autopath": try readAutopath(directive)
    case "transfer": try readTransfer(directive)
    case "rrl": try readLimit(directive)
    case "log": try readLog(directive)
    case "any": block.isAnyRefused = true
    case "minimal": block.isMinimal = true
    case "loadbalance": try readBalance(directive)
    case "errors": try readErrors(directive)
    case "nsid":
      block.nsid = Array(
        (directive.arguments.isEmpty ? "weft" : directive.arguments.joined(separator: " ")).utf8.prefix(128))
    case "bufsize":
      guard let bytes = first.map({ Int($0) }) ?? 1232, (512...4096).contains(bytes) else {
        throw fail(directive, "a size from 512 to 4096 is needed")
      }
      block.udpBytesMax = bytes
    case "bind": try readBind(directive)
    case "prometheus": corefile.metricsAddress = first ?? "localhost:9153"
    case "ready": corefile.readyAddress = first ?? ":8181"
    case "health":
      corefile.healthAddress = first ?? ":8080"
      for option in directive.block {
        guard option.name == "lameduck", let seconds = option.arguments.first.flatMap(Self.seconds) else {
          throw fail(
            directive, "\(option.words.joined(separator: " ")): lameduck and a duration are all there is")
        }
        corefile.lameduckSeconds = seconds
      }
    case "reload":
      guard first != "off", first != "0" else { break }
      guard let seconds = Self.seconds(first ?? "30s"), seconds >= 2 else {
        throw fail(directive, "a duration of two seconds at least is needed")
      }
      corefile.reloadSeconds = seconds
    case "loop": corefile.isLoopChecked = true
    case "tls": try readTLS(directive)
    case "dnstap": try readDnstap(directive)
    case "chaos":
      warn(directive, "chaos", "questions about the server itself are refused")
    case "root": break
    case let name where Corefile.accepted.contains(name): break
    case let name where Corefile.withoutEffect.contains(name):
      warn(directive, name, "this plugin has no effect here")
    case let name where Corefile.unsupported.contains(name):
      throw fail(
        directive, "this plugin of CoreDNS is not supported; remove the line, or keep CoreDNS for these names"
      )
    default:
      let meant = NearWord.nearest(to: directive.name, in: Corefile.read).map { "; did you mean \($0)?" }
      throw fail(directive, "there is no plugin of this name\(meant ?? "")")
    }
  }

  func number<N: FixedWidthInteger>(_ option: CorefileDirective, _ range: ClosedRange<N>, at index: Int = 1)
    throws(WeftError) -> N
  {
    guard option.words.count > index, let number = N(option.words[index]), range.contains(number) else {
      throw fail(option, "a number from \(range.lowerBound) to \(range.upperBound) is needed", at: index)
    }
    return number
  }

  func duration(_ option: CorefileDirective, _ range: ClosedRange<Double>, at index: Int = 1)
    throws(WeftError) -> Double
  {
    guard option.words.count > index, let seconds = Self.seconds(option.words[index]), range.contains(seconds)
    else {
      throw fail(option, "a duration from \(range.lowerBound)s to \(range.upperBound)s is needed", at: index)
    }
    return seconds
  }

  func pattern(_ text: String, _ directive: CorefileDirective) throws(WeftError) -> BytePattern {
    do throws(BytePatternError) { return try BytePattern(text) } catch {
      throw fail(directive, "\(text): \(error)")
    }
  }

  // MARK: - Small plugins

  private mutating func readDnstap(_ directive: CorefileDirective) throws(WeftError) {
    guard var text = directive.arguments.first else { throw fail(directive, "a socket is needed") }
    var tap = DnstapSettings(target: .path(""), isFull: directive.arguments.dropFirst().first == "full")
    if text.hasPrefix("tcp://") {
      guard let endpoint = SocketEndpoint(text.dropFirst(6)) else {
        throw fail(directive, "\(text): an address and a port are needed")
      }
      tap.target = .endpoint(endpoint)
    } else if text.hasPrefix("tls://") {
      throw fail(directive, "\(text): copies go to a Unix socket or over plain TCP only")
    } else {
      if text.hasPrefix("unix://") { text.removeFirst(7) }
      tap.target = .path(path(text))
    }
    for option in directive.block {
      switch option.name {
      case "identity": tap.identity = option.arguments.first ?? ""
      case "version": tap.version = option.arguments.first ?? ""
      case "extra", "skipverify": warn(option, "dnstap \(option.name)", "this option has no effect here")
      default: throw fail(option, "identity and version are all there is")
      }
    }
    block.dnstap = tap
  }

  private mutating func readTLS(_ directive: CorefileDirective) throws(WeftError) {
    let paths = directive.arguments.map { path($0) }
    guard (2...3).contains(paths.count) else {
      throw fail(directive, "a certificate and a key are needed, and perhaps the clients' authority")
    }
    var texts: [String] = []
    for path in paths {
      guard let text = files(path) else { throw fail(directive, "\(path) cannot be read") }
      texts.append(text)
    }
    var credentials = TLSCredentials(
      certificate: texts[0], key: texts[1], authority: texts.count > 2 ? texts[2] : nil)
    for option in directive.block {
      guard option.name == "client_auth", let kind = option.arguments.first else {
        throw fail(option, "client_auth is all there is")
      }
      switch kind {
      case "nocert": break
      case "require_and_verify": credentials.isClientVerified = true
      case "request", "require", "verify_if_given":
        throw fail(
          option, "clients show a certificate that is verified (require_and_verify), or none (nocert)")
      default: throw fail(option, "nocert or require_and_verify is needed")
      }
    }
    block.credentials = credentials
  }

  private mutating func readAccess(_ directive: CorefileDirective) throws(WeftError) {
    let zones = try zones(directive.arguments, directive)
    for option in directive.block {
      guard let action = AccessRule.Action(rawValue: option.name) else {
        throw fail(option, "one of allow, block, filter, drop is needed")
      }
      var rule = AccessRule(zones: zones, action: action, types: [], networks: [])
      var field = ""
      for word in option.arguments {
        if word == "type" || word == "net" {
          field = word
          continue
        }
        switch field {
        case "type":
          if word == "*" || word.uppercased() == "ANY" && option.arguments.count == 2 { continue }
          guard let type = RecordType(word) else { throw fail(option, "\(word) is not a record type") }
          rule.types.insert(type)
        case "net":
          if word == "*" { continue }
          guard
            let network = IPPrefix(word) ?? IPAddress(word).map({ IPPrefix($0, length: $0.family.width) })
              ?? nil
          else {
            throw fail(option, "\(word) is not a block of addresses")
          }
          rule.networks.append(network)
        default: throw fail(option, "type or net is needed before \(word)")
        }
      }
      block.accessRules.append(rule)
    }
  }

  private mutating func readView(_ directive: CorefileDirective) throws(WeftError) {
    guard let name = directive.arguments.first else { throw fail(directive, "a view needs a name") }
    var view = ViewRule(name: name, conditions: [])
    for option in directive.block {
      guard option.name == "expr", !option.arguments.isEmpty else {
        throw fail(option, "expr and an expression are all there is")
      }
      let text = option.arguments.joined(separator: " ")
      do throws(BytePatternError) {
        view.conditions.append(try ViewParser.parse(text))
      } catch {
        throw fail(option, "\(text): \(error)")
      }
    }
    block.view = view
  }

  private mutating func readDNS64(_ directive: CorefileDirective) throws(WeftError) {
    var text = directive.arguments.first ?? "64:ff9b::/96"
    var dns64: DNS64?
    var isAll = false
    var isFour = false
    for option in directive.block {
      switch option.name {
      case "prefix": text = option.arguments.first ?? ""
      case "translate_all": isAll = true
      case "allow_ipv4": isFour = true
      default: throw fail(option, "prefix, translate_all and allow_ipv4 are all there is")
      }
    }
    if let prefix = IPPrefix(text), prefix.family == .v6, DNS64.lengths.contains(prefix.length) {
      dns64 = DNS64(prefix: prefix)
    }
    guard var dns64 else {
      throw fail(directive, "\(text) is not an IPv6 prefix of 32, 40, 48, 56, 64 or 96 bits")
    }
    dns64.translatesAll = isAll
    dns64.allowsIPv4 = isFour
    block.dns64 = dns64
  }

  private mutating func readAutopath(_ directive: CorefileDirective) throws(WeftError) {
    guard let source = directive.arguments.last else {
      throw fail(directive, "@kubernetes or a resolv.conf is needed")
    }
    let zones = try zones(directive.arguments.dropLast(), directive)
    if source == "@kubernetes" {
      let own = files("/etc/resolv.conf").map(searchPath(resolvConf:)) ?? []
      block.autopath = Autopath(zones: zones, source: .cluster(besides: own))
    } else {
      guard let text = files(path(source)) else { throw fail(directive, "\(source) cannot be read") }
      block.autopath = Autopath(zones: zones, source: .path(searchPath(resolvConf: text)))
    }
  }

  private mutating func readTransfer(_ directive: CorefileDirective) throws(WeftError) {
    var rule = TransferRule(zones: try zones(directive.arguments, directive), clients: [])
    var isOpen = false
    var hasClients = false
    for option in directive.block {
      guard option.name == "to", !option.arguments.isEmpty else {
        throw fail(option, "to and addresses are all there is")
      }
      for word in option.arguments {
        hasClients = true
        if word == "*" {
          isOpen = true
        } else if let network = IPPrefix(word) {
          rule.clients.append(network)
        } else if let address = IPAddress(word) ?? SocketEndpoint(word)?.address {
          if let network = IPPrefix(address, length: address.family.width) { rule.clients.append(network) }
        } else {
          throw fail(option, "\(word) is not an address")
        }
      }
    }
    guard hasClients else { throw fail(directive, "to and addresses are needed") }
    if isOpen { rule.clients = [] }
    block.transfers.append(rule)
  }

  private mutating func readLimit(_ directive: CorefileDirective) throws(WeftError) {
    for option in directive.block {
      switch option.name {
      case "responses-per-second": corefile.server.responsesPerSecondMax = try number(option, 0...1_000_000)
      case "slip-ratio": corefile.server.responseSlip = try number(option, 0...10)
      default: warn(option, "rrl \(option.name)", "this option has no effect here")
      }
    }
  }

  private mutating func readLog(_ directive: CorefileDirective) throws(WeftError) {
    var words = Array(directive.arguments)
    var format: String?
    if let last = words.last, last.contains("{") {
      let named = ["{common}": nil, "{combined}": nil] as [String: String?]
      format = named[last] ?? last
      words.removeLast()
    }
    var classes: Set<LogRule.Class> = [.all]
    for option in directive.block {
      guard option.name == "class" else { throw fail(option, "class is all there is") }
      classes = []
      for word in option.arguments {
        guard let kind = LogRule.Class(rawValue: word) else {
          throw fail(option, "one of success, denial, error, all is needed")
        }
        classes.insert(kind)
      }
    }
    for zone in try zones(words, directive) {
      block.logs.append(LogRule(zone: zone, classes: classes, format: format))
    }
  }
}
