// The machine that runs patterns, and the memory it runs in: kept by whoever matches often, so that a match allocates nothing.

/// Working memory of matches, and the groups of the last one. Belongs to one thread.
public final class PatternSpace {
  /// Threads of one run in order of preference; each step holds at most one.
  private struct Threads {
    var steps: [Int32] = []
    /// `slots` numbers a thread.
    var saved: [Int32] = []
    mutating func clear() {
      steps.removeAll(keepingCapacity: true)
      saved.removeAll(keepingCapacity: true)
    }
  }
  private var current = Threads()
  private var next = Threads()
  /// Steps met at the present octet carry its mark.
  private var marks: [UInt64] = []
  private var mark: UInt64 = 0
  private var stack: [Int32] = []
  private var stackSaved: [Int32] = []
  private var fresh: [Int32] = []
  private var best: [Int32] = []

  public init() {}

  /// Where a group of the last `match` that succeeded lies; nil when it took no part.
  public func group(_ number: Int) -> Range<Int>? {
    guard number >= 0, number * 2 + 1 < best.count else { return nil }
    let (start, end) = (best[number * 2], best[number * 2 + 1])
    return start >= 0 && end >= start ? Int(start)..<Int(end) : nil
  }

  /// - Parameter slots: how many ends of groups are kept; none when nobody asks for groups.
  func run(_ pattern: BytePattern, _ text: UnsafeRawBufferPointer, slots: Int) -> Bool {
    let steps = pattern.steps
    if marks.count < steps.count { marks = Array(repeating: 0, count: steps.count) }
    if fresh.count != slots { fresh = Array(repeating: -1, count: slots) }
    best.removeAll(keepingCapacity: true)
    var hasMatched = false
    next.clear()
    for at in 0...text.count {
      mark += 1
      current.clear()
      for index in next.steps.indices {
        let start = index * slots
        add(next.steps[index], next.saved[start..<start + slots], steps, at, text.count, slots)
      }
      // The leftmost match is wanted: no thread begins behind one.
      if !hasMatched { add(0, fresh[...], steps, at, text.count, slots) }
      next.clear()
      threads: for index in current.steps.indices {
        let step = Int(current.steps[index])
        let start = index * slots
        switch steps[step] {
        case .match:
          hasMatched = true
          if slots == 0 { return true }
          best.removeAll(keepingCapacity: true)
          best.append(contentsOf: current.saved[start..<start + slots])
          // What comes after a match is less wanted than it.
          break threads
        case .set(let set):
          guard at < text.count, set.contains(text[at]) else { continue }
          next.steps.append(Int32(step + 1))
          next.saved.append(contentsOf: current.saved[start..<start + slots])
        default: continue
        }
      }
      if next.steps.isEmpty, hasMatched { return true }
      // An anchored pattern whose threads have all ended cannot match any more.
      if next.steps.isEmpty, !hasMatched, pattern.isAnchored { return false }
    }
    return hasMatched
  }

  /// Follows steps that take no octet, with a stack of its own: patterns nest, the thread's stack must not.
  private func add(
    _ step: Int32, _ saved: ArraySlice<Int32>, _ steps: [BytePattern.Step], _ at: Int, _ count: Int,
    _ slots: Int
  ) {
    stack.removeAll(keepingCapacity: true)
    stackSaved.removeAll(keepingCapacity: true)
    stack.append(step)
    stackSaved.append(contentsOf: saved)
    while let step = stack.popLast() {
      let base = stack.count * slots
      let index = Int(step)
      if marks[index] == mark {
        stackSaved.removeLast(slots)
        continue
      }
      marks[index] = mark
      switch steps[index] {
      case .jump(let next): stack.append(Int32(next))
      case .split(let first, let second):
        // The first way lies on top; both have what was saved so far.
        stack.append(Int32(second))
        stack.append(Int32(first))
        for slot in 0..<slots { stackSaved.append(stackSaved[base + slot]) }
      case .save(let slot):
        if slot < slots { stackSaved[base + slot] = Int32(at) }
        stack.append(step + 1)
      case .start:
        if at == 0 { stack.append(step + 1) } else { stackSaved.removeLast(slots) }
      case .end:
        if at == count { stack.append(step + 1) } else { stackSaved.removeLast(slots) }
      case .set, .match:
        current.steps.append(step)
        for slot in 0..<slots { current.saved.append(stackSaved[base + slot]) }
        stackSaved.removeLast(slots)
      }
    }
  }
}
