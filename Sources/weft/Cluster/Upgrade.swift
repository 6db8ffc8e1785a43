// The program that runs is replaced by the one that now stands in its place, under the same process id: SIGUSR2, then exec(2). What
// clients are connected to stays open meanwhile. A program that does not start, or does not understand the command line, is found out
// before anything ends.

import CLinux
import Diagnostics
import Glibc
import Ingress
import KernelSockets
import Logging
import Synchronization

enum Upgrade {
  /// The hidden command that says whether a program can go on with a command line: exit code 0, nothing done.
  static let checkCommand = "takeover-check"
  /// Time that the check may take.
  private static let checkSeconds = 30
  /// Where the next program finds what it was left.
  private static let variable = "WEFT_LISTENERS"

  private static let handed = Mutex(ListenerHandover())
  /// What whoever started this program left open for it: it may watch its end by that.
  private static let inherited = Mutex<[Int32]>([])
  private static let inheritedMax: Int32 = 256

  // MARK: The next program

  /// Takes over what the environment names. Called first of all: no child shall inherit it.
  static func receive() {
    takeHandedOver()
    let open = (3..<inheritedMax).filter { raw in
      let flags = fcntl(raw, F_GETFD)
      return flags >= 0 && flags & FD_CLOEXEC == 0
    }
    inherited.withLock { $0 = open }
  }

  private static func takeHandedOver() {
    guard let raw = getenv(variable) else { return }
    let text = String(cString: raw)
    unsetenv(variable)
    guard let found = ListenerHandover(text), found.descriptors.allSatisfy(keep) else {
      return Terminal.complain(
        WeftError(
          "ING0032", object: variable, cause: "names no sockets that another weft has left open",
          next: "leave it alone: it is set by a weft that is replaced; ports are opened anew"
        ).description)
    }
    handed.withLock { $0 = found }
  }

  /// What was left; once.
  static func takeHandover() -> ListenerHandover {
    handed.withLock { handed in
      defer { handed = ListenerHandover() }
      return handed
    }
  }

  /// Closes a socket on the next exec. False for what is none.
  private static func keep(_ raw: Int32) -> Bool {
    var kind: Int32 = 0
    var length = socklen_t(MemoryLayout<Int32>.size)
    return getsockopt(raw, SOL_SOCKET, SO_TYPE, &kind, &length) == 0
      && fcntl(raw, F_SETFD, FD_CLOEXEC) == 0
  }

  // MARK: The one before

  /// Has the running command end for another program when that one can go on; says so when it cannot, and nothing changes. Blocks for
  /// as long as the check takes.
  static func ask() {
    do throws(WeftError) {
      try check()
      StopSignal.askForUpgrade()
    } catch { Logger(label: "upgrade").error("\(error)") }
  }

  private static func check() throws(WeftError) {
    var arguments =
      ([Programs.own, checkCommand] + CommandLine.arguments.dropFirst()).map { strdup($0) } + [nil]
    defer { for argument in arguments { free(argument) } }
    let pid = weft_spawn_child(Programs.own, &arguments, nil, nil, 0)
    guard pid > 0 else { throw refusal("cannot be started (\(String(cString: strerror(-pid))))") }
    var status: Int32 = 0
    for _ in 0..<(checkSeconds * 100) {
      let result = waitpid(pid, &status, WNOHANG)
      if result == pid {
        if status == 0 { return }
        throw refusal("does not go on with this command line (status \(status >> 8 & 255))")
      }
      usleep(10_000)
    }
    kill(pid, SIGKILL)
    _ = waitpid(pid, &status, 0)
    throw refusal("has not answered within \(checkSeconds) seconds")
  }

  private static func refusal(_ cause: String) -> WeftError {
    WeftError(
      "ING0030", object: Programs.own, cause: cause,
      next: "try it: \(Programs.own) --version; this program goes on as it is", exit: .usage)
  }

  /// Becomes the program that now stands here, with the same arguments. Returns only when that fails; nothing runs any more then.
  static func become(leaving handover: ListenerHandover) -> WeftError {
    setenv(variable, handover.text, 1)
    var arguments = CommandLine.arguments.map { strdup($0) } + [nil]
    defer { for argument in arguments { free(argument) } }
    let descriptors = handover.descriptors + inherited.withLock { $0 }.filter { fcntl($0, F_GETFD) >= 0 }
    let result = weft_exec(Programs.own, &arguments, descriptors, Int32(descriptors.count))
    return WeftError(
      "ING0031", object: Programs.own, cause: "cannot be started (\(String(cString: strerror(-result))))",
      next: "start it again; connections that stand have thirty seconds", exit: .unreachable)
  }
}
