// The signal that asks a container to end, by the names of `lifecycle.stopSignal`. Pure.

import ClusterObjects

/// One of the signals that a container may name (KEP-4960).
struct ContainerSignal: Sendable, Hashable {
  let name: String
  /// As the kernel counts them.
  let number: Int32

  /// Nil for a name that is none.
  init?(_ name: String) {
    guard let number = Self.number(name) else { return nil }
    (self.name, self.number) = (name, number)
  }

  /// What `Runtime_V1_ContainerConfig.stopSignal` calls it: the place in the interface's own list, which is that of the alphabet.
  var runtimeNumber: Int32 { Int32(Names.stopSignals.firstIndex(of: name) ?? -1) + 1 }

  private static let numbers: [String: Int32] = [
    "SIGABRT": 6, "SIGALRM": 14, "SIGBUS": 7, "SIGCHLD": 17, "SIGCLD": 17, "SIGCONT": 18, "SIGFPE": 8,
    "SIGHUP": 1, "SIGILL": 4, "SIGINT": 2, "SIGIO": 29, "SIGIOT": 6, "SIGKILL": 9, "SIGPIPE": 13,
    "SIGPOLL": 29, "SIGPROF": 27, "SIGPWR": 30, "SIGQUIT": 3, "SIGSEGV": 11, "SIGSTKFLT": 16, "SIGSTOP": 19,
    "SIGSYS": 31, "SIGTERM": 15, "SIGTRAP": 5, "SIGTSTP": 20, "SIGTTIN": 21, "SIGTTOU": 22, "SIGURG": 23,
    "SIGUSR1": 10, "SIGUSR2": 12, "SIGVTALRM": 26, "SIGWINCH": 28, "SIGXCPU": 24, "SIGXFSZ": 25,
    "SIGRTMIN": 34, "SIGRTMAX": 64,
  ]

  private static func number(_ name: String) -> Int32? {
    if let known = numbers[name] { return known }
    // The C library keeps the first two of the kernel's own: SIGRTMIN is 34 in every container.
    if name.hasPrefix("SIGRTMIN+"), let step = Int32(name.dropFirst(9)), (1...15).contains(step) {
      return 34 + step
    }
    if name.hasPrefix("SIGRTMAX-"), let step = Int32(name.dropFirst(9)), (1...14).contains(step) {
      return 64 - step
    }
    return nil
  }
}

extension ContainerSpec {
  /// The signal that it wants to be ended by; nil for its image's, which is SIGTERM unless the image says otherwise.
  var stopSignal: ContainerSignal? {
    tree.at("lifecycle", "stopSignal")?.string.flatMap { ContainerSignal($0) }
  }
}
