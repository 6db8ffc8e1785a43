// All members of etcd: which of them is asked, and who is given up.
//
//   refused or reset connection   the call fails at once and goes to the next member
//   silence (paused, unplugged)   a question each second finds out; two seconds without an answer, while another member
//                                 answers: the connection is thrown away, and with it every call and watch on it

import ClusterStore
import Diagnostics
import GRPCCore
import Logging
import Synchronization

/// The members. A call goes to the member that answered last, and to the next one when it fails.
final class EtcdMembers: Sendable {
  private struct Connected {
    var member: EtcdMember
    var connection: Task<Void, Never>
    /// Silent when last asked; not asked for anything else until it answers, if another can be.
    var isGivenUp = false

    init(_ member: EtcdMember) {
      self.member = member
      connection = Task { try? await member.client.runConnections() }
    }

    func close() {
      member.client.beginGracefulShutdown()
      connection.cancel()
    }
  }
  private struct State {
    var members: [Connected]
    var preferred = 0
    var isClosed = false
  }
  private let state: Mutex<State>
  private let settings: EtcdStoreSettings
  private let log = Logger(label: "store")
  private let health = Mutex<Task<Void, Never>?>(nil)
  let text: String
  let count: Int
  /// A member without a leader refuses at once instead of letting us wait.
  static let metadata: Metadata = ["hasleader": "true"]
  private static let silenceMax = Duration.seconds(2)

  init(_ settings: EtcdStoreSettings) throws(WeftError) {
    self.settings = settings
    text = settings.endpoints.map(\.description).joined(separator: ",")
    count = settings.endpoints.count
    do {
      state = Mutex(State(members: try settings.endpoints.map { Connected(try EtcdMember($0, settings)) }))
    } catch {
      throw WeftError(
        "STO0012", object: settings.endpoints.map(\.description).joined(separator: ","),
        cause: "the connection cannot be prepared: \(error)",
        next: "check that --etcd-cafile, --etcd-certfile and --etcd-keyfile name readable PEM files",
        underlying: error)
    }
    guard count > 1 else { return }
    health.withLock {
      $0 = Task { [weak self] in
        while !Task.isCancelled {
          try? await Task.sleep(for: .seconds(1))
          await self?.look()
        }
      }
    }
  }

  func close() {
    health.withLock { $0 }?.cancel()
    let members = state.withLock { state in
      state.isClosed = true
      return state.members
    }
    for member in members { member.close() }
  }

  deinit { close() }

  var isClosed: Bool { state.withLock { $0.isClosed } }

  /// The member to ask, by its number.
  var current: (index: Int, member: EtcdMember) {
    state.withLock { ($0.preferred, $0.members[$0.preferred].member) }
  }

  /// The next call goes elsewhere, unless another caller turned away from this member already.
  func turnAway(from index: Int) {
    state.withLock { state in
      guard state.preferred == index else { return }
      let next = (1...count).map { (index + $0) % count }
      state.preferred = next.first { !state.members[$0].isGivenUp } ?? next[0]
    }
  }

  var options: CallOptions {
    var options = CallOptions.defaults
    options.timeout = settings.callTimeout
    // Where there is a choice, nobody waits for a member that refuses connections.
    options.waitForReady = count == 1
    // A page of 500 objects of 1.5 MiB.
    options.maxResponseMessageBytes = 1 << 30
    options.maxRequestMessageBytes = 64 << 20
    return options
  }

  /// Runs `body` until it succeeds, fails for good, or `patience` is over. `body` is told how many times it ran before: a
  /// write whose first try failed may have taken place.
  func call<T: Sendable>(
    _ body: (EtcdMember, CallOptions, Int) async throws -> T
  ) async throws(RPCError) -> T {
    let start = ContinuousClock.now
    var tries = 0
    var pause = Duration.milliseconds(20)
    while true {
      if isClosed { throw RPCError(code: .failedPrecondition, message: "the store is closed") }
      let (index, member) = current
      do {
        return try await body(member, options, tries)
      } catch {
        let failure = (error as? RPCError) ?? RPCError(code: .unknown, message: "\(error)", cause: error)
        guard failure.isTransient, !Task.isCancelled, ContinuousClock.now - start + pause < settings.patience
        else { throw failure }
        turnAway(from: index)
      }
      tries += 1
      try? await Task.sleep(for: pause)
      pause = min(pause * 2, .milliseconds(500))
    }
  }

  // MARK: Silence

  private enum Answer { case alive, silent, refused }

  /// Asks every member for a sign of life. On a machine so slow that none answers in time, nobody is given up.
  private func look() async {
    let asked = state.withLock { $0.isClosed ? [] : $0.members.map(\.member) }
    let answers = await withTaskGroup(of: (Int, Answer).self) { group in
      for (index, member) in asked.enumerated() { group.addTask { (index, await Self.ask(member)) } }
      var answers = [Answer](repeating: .refused, count: asked.count)
      for await (index, answer) in group { answers[index] = answer }
      return answers
    }
    guard let better = answers.firstIndex(of: .alive) else { return }
    for (index, answer) in answers.enumerated() {
      switch answer {
      case .alive: state.withLock { $0.members[index].isGivenUp = false }
      case .refused: break
      case .silent: giveUp(index, for: better)
      }
    }
  }

  private static func ask(_ member: EtcdMember) async -> Answer {
    var options = CallOptions.defaults
    options.timeout = silenceMax
    options.waitForReady = false
    do {
      _ = try await member.maintenance.status(.init(), options: options)
      return .alive
    } catch {
      return (error as? RPCError)?.code == .deadlineExceeded ? .silent : .refused
    }
  }

  private func giveUp(_ index: Int, for better: Int) {
    // Certificates are read again: they may have been renewed.
    guard let fresh = try? EtcdMember(settings.endpoints[index], settings) else { return }
    let old: Connected? = state.withLock { state in
      if state.isClosed || state.members[index].isGivenUp { return nil }
      if state.preferred == index { state.preferred = better }
      let old = state.members[index]
      state.members[index] = Connected(fresh)
      state.members[index].isGivenUp = true
      return old
    }
    guard let old else { return }
    log.warning(
      "etcd member is silent and given up until it answers",
      metadata: ["member": "\(settings.endpoints[index])"])
    old.close()
  }
}
