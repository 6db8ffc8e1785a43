// Counters, gauges and histograms, written as Prometheus text. A data path holds the child it counts on, so counting is
// one atomic add (about 5 ns) and never a look-up.
//
//   let requests = Metrics.shared.counter("coredns_dns_requests_total", "Queries.", labels: ["proto"])
//   let udp = requests.child("udp")      // once
//   udp.increment()                      // a million times a second

import Synchronization

/// One number that only grows.
public final class Counter: Sendable {
  @usableFromInline let value = Atomic<UInt64>(0)
  public init() {}
  @inlinable public func increment(by amount: UInt64 = 1) { value.add(amount, ordering: .relaxed) }
  public var current: UInt64 { value.load(ordering: .relaxed) }
}

/// One number that is set.
public final class Gauge: Sendable {
  private let bits = Atomic<UInt64>(0)
  public init() {}
  public func set(_ value: Double) { bits.store(value.bitPattern, ordering: .relaxed) }
  public func add(_ amount: Double) {
    var old = bits.load(ordering: .relaxed)
    while true {
      let new = (Double(bitPattern: old) + amount).bitPattern
      let (done, seen) = bits.weakCompareExchange(expected: old, desired: new, ordering: .relaxed)
      if done { return }
      old = seen
    }
  }
  public var current: Double { Double(bitPattern: bits.load(ordering: .relaxed)) }
}

/// A distribution in fixed buckets. Observing costs a short scan and two atomic operations.
public final class Histogram: Sendable {
  public let bounds: [Double]
  private let counts: [Counter]
  private let sum = Gauge()
  public init(bounds: [Double]) {
    self.bounds = bounds
    counts = (0...bounds.count).map { _ in Counter() }
  }
  public func observe(_ value: Double) {
    var index = 0
    while index < bounds.count, value > bounds[index] { index += 1 }
    counts[index].increment()
    sum.add(value)
  }
  public func observe(_ duration: Duration) {
    observe(Double(duration.components.seconds) + Double(duration.components.attoseconds) * 1e-18)
  }
  /// Adds observations counted elsewhere, one count a bucket: data-path threads count without sharing a cache line.
  public func merge(counts added: [UInt64], sum addedSum: Double) {
    for (index, count) in added.prefix(counts.count).enumerated() where count > 0 {
      counts[index].increment(by: count)
    }
    sum.add(addedSum)
  }
  /// Observations per bucket (not cumulative), the last one above all bounds; and their sum.
  public var snapshot: (counts: [UInt64], sum: Double) { (counts.map(\.current), sum.current) }
  public static let defaultBounds: [Double] = [
    0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192, 16.384,
  ]
}

/// All children of one metric name, by label values. Bounded: past `childrenMax` everything lands in one child whose
/// labels read `overflow`, so a stranger's label value cannot fill memory.
public final class MetricFamily<Child: AnyObject & Sendable>: Sendable {
  public let name: String
  public let help: String
  public let labels: [String]
  public static var childrenMax: Int { 2048 }
  private let make: @Sendable () -> Child
  private let children = Mutex<[[String]: Child]>([:])

  init(name: String, help: String, labels: [String], make: @escaping @Sendable () -> Child) {
    self.name = name
    self.help = help
    self.labels = labels
    self.make = make
    if labels.isEmpty { _ = child() }
  }

  /// The child with these label values, made on first use. Takes a lock: call once and keep the result on hot paths.
  public func child(_ values: String...) -> Child { child(values) }

  public func child(_ values: [String]) -> Child {
    precondition(values.count == labels.count, "metric \(name) has labels \(labels)")
    return children.withLock { children in
      if let child = children[values] { return child }
      let key = children.count < Self.childrenMax ? values : values.map { _ in "overflow" }
      if let child = children[key] { return child }
      let child = make()
      children[key] = child
      return child
    }
  }

  /// Forgets a child, for objects that went away.
  public func remove(_ values: String...) { remove(values) }

  public func remove(_ values: [String]) {
    // Released when the lock is free again.
    _ = children.withLock { $0.removeValue(forKey: values) }
  }

  var sorted: [(key: [String], value: Child)] {
    children.withLock { $0.map { ($0.key, $0.value) } }.sorted { $0.0.lexicographicallyPrecedes($1.0) }
  }
}

/// The metrics of one process, or of one part under test.
public final class Metrics: Sendable {
  public static let shared = Metrics()
  private enum Family: Sendable {
    case counter(MetricFamily<Counter>)
    case gauge(MetricFamily<Gauge>)
    case histogram(MetricFamily<Histogram>)
  }
  private struct State {
    var families: [String: Family] = [:]
    var collectors: [@Sendable () -> Void] = []
    var others: [@Sendable () -> [String]] = []
  }
  private let state = Mutex(State())

  public init() {}

  /// The family of this name; asking twice gives the same one. Naming one family as two kinds is a programmer's error.
  public func counter(_ name: String, _ help: String, labels: [String] = []) -> MetricFamily<Counter> {
    state.withLock { state in
      if case .counter(let family) = state.families[name] { return family }
      let family = MetricFamily(name: name, help: help, labels: labels) { Counter() }
      state.families[name] = .counter(family)
      return family
    }
  }

  public func gauge(_ name: String, _ help: String, labels: [String] = []) -> MetricFamily<Gauge> {
    state.withLock { state in
      if case .gauge(let family) = state.families[name] { return family }
      let family = MetricFamily(name: name, help: help, labels: labels) { Gauge() }
      state.families[name] = .gauge(family)
      return family
    }
  }

  public func histogram(
    _ name: String, _ help: String, labels: [String] = [], bounds: [Double] = Histogram.defaultBounds
  ) -> MetricFamily<Histogram> {
    state.withLock { state in
      if case .histogram(let family) = state.families[name] { return family }
      let family = MetricFamily(name: name, help: help, labels: labels) { Histogram(bounds: bounds) }
      state.families[name] = .histogram(family)
      return family
    }
  }

  /// The sum of a counter's children, or of a gauge's; nil when there is no family of this name. For status pages, not for hot paths.
  public func total(_ name: String) -> Double? {
    for collect in state.withLock({ $0.collectors }) { collect() }
    switch state.withLock({ $0.families[name] }) {
    case .counter(let family): return family.sorted.reduce(0) { $0 + Double($1.value.current) }
    case .gauge(let family): return family.sorted.reduce(0) { $0 + $1.value.current }
    case .histogram, nil: return nil
    }
  }

  /// Runs `body` before each rendering, for gauges that are cheaper to read than to keep.
  public func onCollect(_ body: @escaping @Sendable () -> Void) {
    state.withLock { $0.collectors.append(body) }
  }

  /// Counts pages of other processes in: `body` gives their texts, on the thread that asks for `wholeText()`, and may block it.
  public func include(_ body: @escaping @Sendable () -> [String]) {
    state.withLock { $0.others.append(body) }
  }

  /// `text()` with the pages of other processes. Blocks as long as they take.
  public func wholeText() -> String {
    let texts = state.withLock { $0.others }.flatMap { $0() }
    if texts.isEmpty { return text() }
    var whole = MetricsText()
    whole.add(text())
    for text in texts { whole.add(text) }
    return whole.text
  }

  /// Prometheus text exposition format 0.0.4, families and children in order of name.
  public func text() -> String {
    for collect in state.withLock({ $0.collectors }) { collect() }
    var out = ""
    for (name, family) in state.withLock({ $0.families }).sorted(by: { $0.key < $1.key }) {
      switch family {
      case .counter(let family):
        Self.head(&out, name, family.help, "counter")
        for (values, child) in family.sorted {
          out += "\(name)\(Self.labels(family.labels, values)) \(child.current)\n"
        }
      case .gauge(let family):
        Self.head(&out, name, family.help, "gauge")
        for (values, child) in family.sorted {
          out += "\(name)\(Self.labels(family.labels, values)) \(Self.number(child.current))\n"
        }
      case .histogram(let family):
        Self.head(&out, name, family.help, "histogram")
        for (values, child) in family.sorted { Self.write(child, name, family.labels, values, to: &out) }
      }
    }
    return out
  }

  private static func write(
    _ histogram: Histogram, _ name: String, _ labels: [String], _ values: [String], to out: inout String
  ) {
    let (counts, sum) = histogram.snapshot
    var total: UInt64 = 0
    for (index, count) in counts.enumerated() {
      total += count
      let bound = index < histogram.bounds.count ? number(histogram.bounds[index]) : "+Inf"
      out += "\(name)_bucket\(Self.labels(labels + ["le"], values + [bound])) \(total)\n"
    }
    out += "\(name)_sum\(Self.labels(labels, values)) \(number(sum))\n"
    out += "\(name)_count\(Self.labels(labels, values)) \(total)\n"
  }

  private static func head(_ out: inout String, _ name: String, _ help: String, _ type: String) {
    out +=
      "# HELP \(name) \(help.replacing("\\", with: "\\\\").replacing("\n", with: "\\n"))\n# TYPE \(name) \(type)\n"
  }

  private static func labels(_ names: [String], _ values: [String]) -> String {
    if names.isEmpty { return "" }
    let pairs = zip(names, values).map { name, value in
      let escaped = value.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"").replacing(
        "\n", with: "\\n")
      return "\(name)=\"\(escaped)\""
    }
    return "{" + pairs.joined(separator: ",") + "}"
  }

  private static func number(_ value: Double) -> String {
    if value.isNaN { return "NaN" }
    if value.isInfinite { return value < 0 ? "-Inf" : "+Inf" }
    if value == value.rounded(), abs(value) < 1e15 { return String(Int64(value)) }
    return String(value)
  }
}
