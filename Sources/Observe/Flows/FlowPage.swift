// Flows a page at a time, for askers that come again with the number of the next flow they want.
//
//   {"flows":[{…}],"next":4711,"missed":0,"lost":{"flows":0,"packets":0}}

import ClusterObjects
import Diagnostics
import KernelNftables

extension FlowKeeper {
  /// Flows of one answer at most.
  public static let answerMax = 500

  /// One page as JSON with stable fields: of flows from number `after` on, or without it of the newest that match, the oldest first.
  /// `missed`: so many were overwritten before they could be read. `lost`: what the kernel dropped, ever. Throws `FLW0002` for a
  /// question that cannot be read. Costs a look at each kept flow, at most.
  public func page(_ question: FlowQuestion, after: UInt64?) throws(WeftError) -> JSON {
    let filter = try question.filter()
    let limit = min(max(0, question.limit ?? Self.answerMax), Self.answerMax)
    var next = after ?? newest(limit, before: end, filter)
    var flows: [Flow] = []
    var missed: UInt64 = 0
    let last = end
    while flows.count < limit, next < last {
      // No more than fits: what is read is given or refused.
      let page = read(from: next, limit: limit - flows.count, filter: filter)
      if after != nil { missed += page.missed }
      flows += page.flows
      next = page.next
    }
    // A number from before a restart of the node process.
    if next > last { next = last }
    let losses = losses
    return [
      "flows": .array(flows.map(\.json)), "next": JSON(next), "missed": JSON(missed),
      "lost": ["flows": JSON(losses.flows), "packets": JSON(losses.packets)],
    ]
  }

  /// The number from which on `limit` flows match, as of now.
  func newest(_ limit: Int, before end: UInt64, _ filter: FlowFilter) -> UInt64 {
    var left = max(0, limit)
    var at = end
    while left > 0, at > 0 {
      let from = at > UInt64(FlowServer.pageMax) ? at - UInt64(FlowServer.pageMax) : 0
      let page = read(from: from, limit: Int(at - from))
      // Older ones are gone.
      if page.flows.isEmpty || page.missed >= at - from { return at }
      for (offset, flow) in page.flows.enumerated().reversed() where filter.matches(flow) {
        left -= 1
        if left == 0 { return from + page.missed + UInt64(offset) }
      }
      if page.missed > 0 { return from + page.missed }
      at = from
    }
    return at
  }
}
