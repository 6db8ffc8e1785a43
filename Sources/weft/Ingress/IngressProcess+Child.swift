// The data plane as a process: what its arguments say, and its whole life.

import Addresses
import Diagnostics
import Glibc
import Ingress
import Logging

extension IngressProcess {
  /// The child's whole life. Called before any other thread exists: capabilities belong to threads.
  static func runChild() -> Never {
    bootstrapLogging(level: .info)
    var configuration = IngressDataPlaneConfiguration(listeners: [], snapshots: 3, workers: 2)
    for (index, kind) in CommandLine.arguments.dropFirst(2).enumerated() {
      if kind.hasPrefix(logWord) {
        configuration.accessLog = AccessLogConfiguration(argument: kind.dropFirst(logWord.count))
        continue
      }
      if kind.hasPrefix(proxyWord) {
        configuration.proxy = ProxyAcceptance(
          sources: kind.dropFirst(proxyWord.count).split(separator: ",").compactMap { IPPrefix($0) })
        continue
      }
      let descriptor = Int32(4 + index)
      switch kind {
      case metricsWord: configuration.metrics = descriptor
      case "https": configuration.secureListeners.append(descriptor)
      default: configuration.listeners.append(descriptor)
      }
    }
    do {
      try runIngressDataPlane(configuration)
      exit(0)
    } catch {
      Terminal.complain("\(error)")
      exit(ExitStatus.usage.rawValue)
    }
  }
}

extension AccessLogConfiguration {
  /// `FORMAT:FILE`.
  fileprivate init?(argument: Substring) {
    let parts = argument.split(separator: ":", maxSplits: 1).map(String.init)
    guard parts.count == 2, let format = AccessLogFormat(rawValue: parts[0]) else { return nil }
    self.init(path: parts[1], format: format)
  }
}
