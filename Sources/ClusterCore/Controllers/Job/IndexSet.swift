// Sets of completion indexes as a Job's status writes them: `0,2-5,7`.

/// Numbers of an Indexed Job's pods.
struct JobIndexes: Equatable {
  /// An Indexed Job has at most this many.
  static let indexesMax = 1_000_000

  private(set) var values: Set<Int> = []

  init(_ values: Set<Int> = []) { self.values = values }

  /// Reads the text form; what is no number below `bound` is left out, so text from outside costs no more
  /// than `bound` entries.
  init(_ text: String?, below bound: Int) {
    let bound = min(bound, Self.indexesMax)
    for part in (text ?? "").split(separator: ",") {
      let ends = part.split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false)
      guard let first = Int(ends[0]), first >= 0, first < bound else { continue }
      let last = ends.count > 1 ? Int(ends[1]) : first
      guard let last, last >= first else { continue }
      values.formUnion(first...min(last, bound - 1))
    }
  }

  var count: Int { values.count }
  var isEmpty: Bool { values.isEmpty }
  func contains(_ index: Int) -> Bool { values.contains(index) }
  mutating func insert(_ index: Int) { values.insert(index) }

  /// Runs of three and more are written as ranges.
  var text: String {
    let sorted = values.sorted()
    var runs: [(first: Int, last: Int)] = []
    for value in sorted {
      if let last = runs.last, last.last + 1 == value {
        runs[runs.count - 1].last = value
      } else {
        runs.append((value, value))
      }
    }
    return runs.map { run in
      switch run.last - run.first {
      case 0: "\(run.first)"
      case 1: "\(run.first),\(run.last)"
      default: "\(run.first)-\(run.last)"
      }
    }.joined(separator: ",")
  }
}
