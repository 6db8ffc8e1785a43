// The newest flows, so many of them: readers come with the number of the next flow they want, and learn how many they missed.

/// A bounded memory. Appending costs nothing but the flow; nobody waits for a slow reader.
public struct FlowRing: Sendable {
  /// About 8 MB with names shared.
  public static let flowsMax = 16_384

  private var flows: [Flow] = []
  private let capacity: Int
  /// The number of the next flow to come; the first is 0.
  public private(set) var end: UInt64 = 0

  public init(capacity: Int = FlowRing.flowsMax) {
    precondition(capacity > 0)
    self.capacity = capacity
  }

  /// The number of the oldest flow that is still here.
  public var start: UInt64 { end - UInt64(flows.count) }
  public var count: Int { flows.count }

  public mutating func append(_ flow: Flow) {
    if flows.count < capacity {
      flows.append(flow)
    } else {
      flows[Int(end % UInt64(capacity))] = flow
    }
    end += 1
  }

  /// Up to `limit` flows from number `from` on, the number to go on with, and how many were overwritten before they could be read.
  public func read(from: UInt64, limit: Int) -> (flows: [Flow], next: UInt64, missed: UInt64) {
    let first = min(max(from, start), end)
    let last = min(end, first + UInt64(max(0, limit)))
    let found = (first..<last).map { flows[Int($0 % UInt64(capacity))] }
    return (found, last, first > from ? first - from : 0)
  }
}
