// One program takes over from another: sockets stay open, data planes of the one before serve until ours does.

import Diagnostics
import Glibc
import Ingress
import KernelSockets
import Logging
import Reactor
import Synchronization

extension IngressProcess {
  /// Data planes that others have taken over from, at a time; while there are as many, the program is not replaced.
  private static let leavingMax = 4

  /// Whether another program may take over now; says why not.
  func mayLeave() -> Bool {
    let (count, isStopping) = state.withLock { ($0.leaving.count + $0.former.count, $0.isStopping) }
    if count >= Self.leavingMax {
      log.warning(
        "program not replaced: data planes of earlier ones still have connections",
        metadata: ["count": "\(count)"])
    }
    return count < Self.leavingMax && !isStopping
  }

  /// Goes on with what the program before has left. Descriptors that nobody asked for are closed.
  func adopt(_ handed: ListenerHandover) {
    for raw in handed.http.values { close(raw) }
    for raw in handed.https.values { close(raw) }
    replacements.increment(by: handed.replacements)
    let children = handed.planes.map { plane in
      let child = Child(
        plane.pid, IngressFeeder(plane.feeder.map { Descriptor(owning: $0) } ?? Descriptor()),
        IngressMetricsPipe(plane.metrics.map { Descriptor(owning: $0) } ?? Descriptor()), generation: 0)
      return (child, plane.feeder == nil)
    }
    state.withLock { state in
      state.replacements = handed.replacements
      state.sockets = handed.opened
      for (child, isLeaving) in children {
        state.alive.insert(child.pid)
        if isLeaving { state.leaving.append(child) } else { state.former.append(child) }
      }
    }
    for (child, _) in children { _ = DetachedThread.start { self.wait(for: child) } }
  }

  /// Tells data planes of the program before to leave once ours works by a table. Does not wait.
  func takeOver() {
    guard state.withLock({ !$0.former.isEmpty }) else { return }
    _ = DetachedThread.start { [weak self] in
      while let self, !self.letFormerLeave() { usleep(5_000) }
    }
  }

  /// Whether there is nothing left to do.
  private func letFormerLeave() -> Bool {
    let former: [Child]? = state.withLock { state in
      guard !state.isStopping, !state.former.isEmpty else { return [] }
      guard state.table != nil, let current = state.current,
        current.feeder.isInForce(current.feeder.sentCount)
      else { return nil }
      let former = state.former
      state.leaving += former
      state.former = []
      state.replacements += 1
      return former
    }
    guard let former else { return false }
    guard !former.isEmpty else { return true }
    for child in former { child.feeder.leave() }
    replacements.increment()
    let pids = former.map { "\($0.pid)" }.joined(separator: ",")
    log.info("this program has taken over", metadata: ["leaving": "\(pids)"])
    return true
  }

  /// What another program needs to go on. From now on nothing is sent to the data planes, and none is started; they serve on.
  func handOver() -> ListenerHandover {
    var handed = ListenerHandover()
    for (raw, (endpoint, isSecure)) in zip(listeners, zip(endpoints, [false, true])) {
      guard let copy = Self.copy(raw) else { continue }
      if isSecure { handed.https[endpoint] = copy } else { handed.http[endpoint] = copy }
    }
    let (all, told, sockets, count) = state.withLock { state in
      state.isStopping = true
      return (state.all, state.leaving, state.sockets, state.replacements)
    }
    handed.opened = sockets.compactMapValues(Self.copy)
    handed.replacements = count
    handed.planes = all.map { child in
      let isTold = told.contains { $0 === child }
      return ListenerHandover.Plane(
        pid: child.pid, feeder: isTold ? nil : child.feeder.duplicate(), metrics: child.metrics.duplicate())
    }
    return handed
  }

  private static func copy(_ raw: Int32) -> Int32? {
    let copy = fcntl(raw, F_DUPFD_CLOEXEC, 3)
    return copy < 0 ? nil : copy
  }
}
