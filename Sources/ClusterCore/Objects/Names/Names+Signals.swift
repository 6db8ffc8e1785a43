// The signals that a container may be ended by.

extension Names {
  /// Those that Linux knows and `lifecycle.stopSignal` may name (KEP-4960), in the order of the alphabet, the kernel's own for
  /// programs last.
  public static let stopSignals: [String] =
    [
      "SIGABRT", "SIGALRM", "SIGBUS", "SIGCHLD", "SIGCLD", "SIGCONT", "SIGFPE", "SIGHUP", "SIGILL", "SIGINT",
      "SIGIO", "SIGIOT", "SIGKILL", "SIGPIPE", "SIGPOLL", "SIGPROF", "SIGPWR", "SIGQUIT", "SIGSEGV",
      "SIGSTKFLT", "SIGSTOP", "SIGSYS", "SIGTERM", "SIGTRAP", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGURG",
      "SIGUSR1", "SIGUSR2", "SIGVTALRM", "SIGWINCH", "SIGXCPU", "SIGXFSZ", "SIGRTMIN",
    ] + (1...15).map { "SIGRTMIN+\($0)" } + (1...14).reversed().map { "SIGRTMAX-\($0)" } + ["SIGRTMAX"]
}
