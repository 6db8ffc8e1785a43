// Short requests are answered on the event loop of their connection: the thread that read the request goes on with it, and the
// store's writer hands the result back to that loop. On the pool of tasks each request would wake a thread twice.

import NIOCore
import NIOHTTP1

/// Runs tasks on one event loop.
final class LoopExecutor: TaskExecutor {
  private let loop: any EventLoop

  init(_ loop: any EventLoop) { self.loop = loop }

  func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    loop.execute { job.runSynchronously(on: self.asUnownedTaskExecutor()) }
  }
}

/// One for each loop of a group.
struct LoopExecutors: Sendable {
  private let executors: [ObjectIdentifier: LoopExecutor]

  init(_ group: any EventLoopGroup) {
    executors = Dictionary(
      uniqueKeysWithValues: group.makeIterator().map { (ObjectIdentifier($0), LoopExecutor($0)) })
  }

  subscript(_ loop: any EventLoop) -> LoopExecutor {
    executors[ObjectIdentifier(loop)] ?? LoopExecutor(loop)
  }
}

extension HTTPRequest {
  /// A body from here on is worth a thread of the pool.
  private static let shortBodyMax = 64 << 10

  /// Whether the answer takes a fraction of a millisecond of processor time: one object is read or written. Lists, documents and
  /// definitions, whose schemas are compiled, would keep the loop's other connections waiting.
  var isShort: Bool {
    guard body.count <= Self.shortBodyMax, let first = path.first, first == "api" || first == "apis",
      path.count > 2, path[1] != "apiextensions.k8s.io", let target = Target(path)
    else { return false }
    switch method {
    case .GET, .HEAD: return target.name != nil && target.subresource != "proxy" && !flag("watch")
    case .POST: return true
    case .PUT, .PATCH: return target.name != nil
    case .DELETE: return target.name != nil
    default: return false
    }
  }
}
