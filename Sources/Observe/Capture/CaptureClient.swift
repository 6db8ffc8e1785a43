// The asking end of a capture: frames off the socket, blocks into a sink, until the sink has enough, a time is over or a signal comes.

import ClusterObjects
import Diagnostics
import Glibc
import KernelSockets

/// Where blocks of a capture go. The first are a section and its interfaces.
public protocol CaptureSink {
  /// Takes a whole block. False: it has enough; blocks that come after are not wanted.
  mutating func take(_ block: PcapngBlock) throws(WeftError) -> Bool
  /// What has come so far is to be seen now.
  mutating func flush() throws(WeftError)
}

public enum CaptureClient {
  /// What the node process says before the first packet.
  public struct Beginning: Sendable, Hashable {
    public var links: [String] = []
    public var remarks: [String] = []
  }

  /// For so long nothing may come once the end was asked for.
  static let endSeconds = 10

  /// Where packets are asked for: a connection to a node process, or what stands for one. Closed when the capture ends.
  public struct Source: Sendable {
    /// In what is said: a socket's path, or a node.
    public var name: String
    public var descriptor: Int32
    /// Why a connection that ended without an answer did so; asked once it has.
    public var failure: @Sendable () -> WeftError? = { nil }
    public init(name: String, descriptor: Int32) {
      self.name = name
      self.descriptor = descriptor
    }
  }

  /// Captures at one node process until the sink has enough, `seconds` are over, `stop` can be read from, or it ends by itself. Blocks
  /// the thread.
  ///
  /// Throws `CAP0005` when no node process answers, what the node process refuses with, and what the sink throws.
  public static func run(
    _ question: CaptureQuestion, at path: String, seconds: Double? = nil, stop: Int32 = -1,
    into sink: inout some CaptureSink, begun: (Beginning) -> Void = { _ in }
  ) throws(WeftError) -> CaptureSummary {
    try run(
      [(question, try connect(path))], seconds: seconds, stop: stop, into: &sink, begun: begun)
  }

  /// A connection to the node process of this machine. Throws `CAP0005`.
  public static func connect(_ path: String) throws(WeftError) -> Source {
    let descriptor = UnixSocket.connect(path)
    guard descriptor >= 0 else { throw unreachable(path, errno) }
    return Source(name: path, descriptor: descriptor)
  }

  /// Captures at several nodes at once: what they send is one capture, its packets in the order of their times. A node that refuses is
  /// said as a remark as long as another one captures; a node that goes away ends its part.
  public static func run(
    _ asked: [(question: CaptureQuestion, source: Source)], seconds: Double? = nil, stop: Int32 = -1,
    into sink: inout some CaptureSink, begun: (Beginning) -> Void = { _ in }
  ) throws(WeftError) -> CaptureSummary {
    defer { for each in asked { close(each.source.descriptor) } }
    var run = CaptureExchange(asked, stop: stop, seconds: seconds)
    return try run.run(into: &sink, begun: begun)
  }

  static func unreachable(_ path: String, _ reason: Int32) -> WeftError {
    WeftError(
      "CAP0005", object: path, cause: "cannot be asked for packets: \(String(cString: strerror(reason)))",
      next: reason == EACCES || reason == EPERM
        ? "run as root" : "run it where `weft up`, `weft node` or `weft proxy` runs, or give its --run-dir",
      exit: .unreachable)
  }
}
