// Timers of one reactor: a binary heap by deadline whose entries know their place, so that cancelling really
// removes.

/// Called when a timer of its reactor ends.
public protocol TimerHandler: AnyObject {
  /// `tag` is the number given when it was set, for owners of several timers.
  func timerEnded(tag: Int)
}

/// Names one set timer. Cancelling one that has ended does nothing.
public struct TimerToken: Equatable, Sendable {
  var index: UInt32
  var generation: UInt32
  /// A token that names no timer.
  public static let none = TimerToken(index: .max, generation: 0)
}

final class ClosureTimer: TimerHandler {
  let body: () -> Void
  init(_ body: @escaping () -> Void) { self.body = body }
  func timerEnded(tag: Int) { body() }
}

struct Timers {
  private struct Entry {
    var deadline: UInt64 = 0
    var position = -1
    var generation: UInt32 = 0
    var tag = 0
    var handler: (any TimerHandler)?
  }
  private var entries: [Entry] = []
  private var unused: [UInt32] = []
  private var heap: [UInt32] = []
  let countMax: Int

  init(countMax: Int) { self.countMax = countMax }

  var count: Int { heap.count }
  var nextDeadline: UInt64? { heap.first.map { entries[Int($0)].deadline } }

  /// nil when `countMax` timers are set already.
  mutating func set(deadline: UInt64, tag: Int, handler: any TimerHandler) -> TimerToken? {
    let index: UInt32
    if let reused = unused.popLast() {
      index = reused
    } else if entries.count < countMax {
      index = UInt32(entries.count)
      entries.append(Entry())
    } else {
      return nil
    }
    entries[Int(index)].deadline = deadline
    entries[Int(index)].tag = tag
    entries[Int(index)].handler = handler
    entries[Int(index)].position = heap.count
    heap.append(index)
    siftUp(heap.count - 1)
    return TimerToken(index: index, generation: entries[Int(index)].generation)
  }

  @discardableResult
  mutating func cancel(_ token: TimerToken) -> Bool {
    let index = Int(token.index)
    guard index < entries.count, entries[index].generation == token.generation,
      entries[index].position >= 0
    else { return false }
    _ = remove(at: entries[index].position)
    return true
  }

  /// Takes the earliest timer out if its deadline has come.
  mutating func popEnded(now: UInt64) -> (handler: any TimerHandler, tag: Int)? {
    guard let first = heap.first, entries[Int(first)].deadline <= now else { return nil }
    return remove(at: 0)
  }

  mutating func removeAll() {
    while !heap.isEmpty { _ = remove(at: heap.count - 1) }
  }

  private mutating func remove(at position: Int) -> (handler: any TimerHandler, tag: Int)? {
    let index = Int(heap[position])
    let last = heap.count - 1
    if position != last { swap(position, last) }
    heap.removeLast()
    if position < heap.count {
      siftDown(position)
      siftUp(position)
    }
    let handler = entries[index].handler
    let tag = entries[index].tag
    entries[index].handler = nil
    entries[index].position = -1
    entries[index].generation &+= 1
    unused.append(UInt32(index))
    return handler.map { ($0, tag) }
  }

  private mutating func swap(_ a: Int, _ b: Int) {
    heap.swapAt(a, b)
    entries[Int(heap[a])].position = a
    entries[Int(heap[b])].position = b
  }

  private mutating func siftUp(_ start: Int) {
    var position = start
    while position > 0 {
      let parent = (position - 1) / 2
      if entries[Int(heap[parent])].deadline <= entries[Int(heap[position])].deadline { return }
      swap(parent, position)
      position = parent
    }
  }

  private mutating func siftDown(_ start: Int) {
    var position = start
    while true {
      var least = position
      for child in 2 * position + 1...2 * position + 2 where child < heap.count {
        if entries[Int(heap[child])].deadline < entries[Int(heap[least])].deadline { least = child }
      }
      if least == position { return }
      swap(least, position)
      position = least
    }
  }
}
