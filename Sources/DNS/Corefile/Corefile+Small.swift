// Plugins around the answer and the process: loadbalance, errors, bind.

import Addresses
import Diagnostics
import Logging
import Patterns

extension CorefileReader {
  /// `loadbalance [round_robin | weighted FILE] { reload DURATION; prefer NETWORK... }`.
  mutating func readBalance(_ directive: CorefileDirective) throws(WeftError) {
    var balance = Balance()
    let arguments = Array(directive.arguments)
    switch arguments.first {
    case nil: break
    case "round_robin":
      guard arguments.count == 1 else { throw fail(directive, "\(arguments[1]) is one word too many") }
    case "weighted":
      guard arguments.count == 2 else { throw fail(directive, "weighted needs one file", at: 1) }
      let path = path(arguments[1])
      guard let text = files(path) else { throw fail(directive, "\(path) cannot be read", at: 2) }
      do throws(ZoneTextError) {
        balance.weights = try Balance.weights(text)
      } catch {
        throw fail(directive, "\(path):\(error.line): \(error)", at: 2)
      }
    case let other?: throw fail(directive, "\(other) is no way to balance; round_robin and weighted are")
    }
    var reload = 30.0
    for option in directive.block {
      switch option.name {
      case "reload" where balance.weights != nil: reload = try duration(option, 0...86400 * 365)
      case "prefer":
        guard !option.arguments.isEmpty else { throw fail(option, "a block of addresses is needed") }
        for word in option.arguments {
          guard let network = IPPrefix(word) else {
            throw fail(option, "\(word) is not a block of addresses")
          }
          balance.preferred.append(network)
        }
      default: throw fail(option, "prefer, and reload of a weight file, are all there is")
      }
    }
    if balance.weights != nil { lookAtFiles(every: reload) }
    block.isRotating = true
    if balance.weights != nil || !balance.preferred.isEmpty { block.balance = balance }
  }

  /// Files are to be looked at so often; 0 for never.
  mutating func lookAtFiles(every seconds: Double) {
    guard seconds > 0 else { return }
    corefile.fileReloadSeconds = min(seconds, corefile.fileReloadSeconds ?? .infinity)
  }

  /// `errors { stacktrace; consolidate DURATION PATTERN [LEVEL] [show_first] }`.
  mutating func readErrors(_ directive: CorefileDirective) throws(WeftError) {
    block.isLoggingErrors = true
    for option in directive.block {
      switch option.name {
      case "stacktrace":
        try nothing(option)
        warn(option, "errors stacktrace", "there is no panic to recover from, so no stack is ever written")
      case "consolidate":
        guard (3...5).contains(option.words.count) else {
          throw fail(option, "a duration and a pattern are needed, and perhaps a level and show_first")
        }
        var rule = Consolidation.Rule(
          seconds: try duration(option, 0.001...86400), period: option.words[1],
          pattern: try pattern(option.words[2], option))
        for word in option.words[3...] {
          switch word {
          case "warning": rule.level = .warning
          case "error": rule.level = .error
          case "info": rule.level = .info
          case "debug": rule.level = .debug
          case "show_first": rule.showsFirst = true
          default: throw fail(option, "\(word) is neither warning, error, info, debug nor show_first")
          }
        }
        block.consolidated.append(rule)
      default: throw fail(option, "errors has no option of this name")
      }
    }
  }

  /// `bind ADDRESS|INTERFACE... { except ADDRESS|INTERFACE... }`.
  mutating func readBind(_ directive: CorefileDirective) throws(WeftError) {
    guard !directive.arguments.isEmpty else {
      throw fail(directive, "an address or the name of an interface is needed")
    }
    var found = try addresses(directive)
    for option in directive.block {
      guard option.name == "except", !option.arguments.isEmpty else {
        throw fail(option, "except and addresses or interfaces are all there is")
      }
      let without = try addresses(option)
      found.removeAll { without.contains($0) }
    }
    guard !found.isEmpty else { throw fail(directive, "except leaves no address") }
    for address in found where !block.bind.contains(address) { block.bind.append(address) }
  }

  private func addresses(_ directive: CorefileDirective) throws(WeftError) -> [IPAddress] {
    var result: [IPAddress] = []
    for word in directive.arguments {
      if let address = IPAddress(word) {
        result.append(address)
      } else if let own = interfaces(word) {
        guard !own.isEmpty else { throw fail(directive, "\(word) has no address to listen on") }
        result += own
      } else {
        throw fail(directive, "\(word) is neither an address nor an interface of this machine")
      }
    }
    return result
  }
}
