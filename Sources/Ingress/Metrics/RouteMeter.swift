// What the requests of one route, method and status were. One worker counts, without locks, allocation or a shared cache line;
// whoever renders the metrics reads.
//
//   worker --note--> RouteMeter <--collect-- RouteMeters --> families with ingress-nginx's names

import Diagnostics
import Synchronization

/// The labels of one series.
struct RouteSeries: Hashable {
  var ingress: String
  var namespace: String
  var service: String
  var host: String
  var path: String
  var method: String
  var status: String
  /// Namespace, Service and port of a canary; empty: no canary answered.
  var canary = ""

  static let labels = ["ingress", "namespace", "service", "host", "path", "method", "status", "canary"]
  /// Where series beyond the bound land, as everywhere (`MetricFamily`).
  static let overflow = RouteSeries(
    ingress: "overflow", namespace: "overflow", service: "overflow", host: "overflow", path: "overflow",
    method: "overflow", status: "overflow", canary: "overflow")

  var values: [String] { [ingress, namespace, service, host, path, method, status, canary] }
}

/// One request, when it is over. Times in nanoseconds; `none` where there was nothing to measure.
struct RequestMeasures {
  static let none = UInt64.max
  /// From the request's head to its answer's end.
  var whole: UInt64 = 0
  /// Of the last try: to the answer's end, to its head, to the connection.
  var response = RequestMeasures.none
  var header = RequestMeasures.none
  var connect = RequestMeasures.none
  /// Bytes, heads included, in the form that HTTP/1.1 has.
  var requestBytes = RequestMeasures.none
  var responseBytes = RequestMeasures.none
}

/// One worker's numbers of one series.
///
/// `@unchecked Sendable`: cells are atomics with one writer, the worker; `collected` is guarded by the lock of `RouteMeters`.
final class RouteMeter: @unchecked Sendable {
  /// ingress-nginx's default buckets, of seconds and of bytes.
  static let timeBounds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
  static let sizeBounds: [Double] = [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]

  /// A distribution's cells: its buckets, the last one above all bounds, and the sum.
  private static let timeCells = timeBounds.count + 2
  private static let sizeCells = sizeBounds.count + 2
  private static let cellCount = 1 + 4 * timeCells + 2 * sizeCells

  let series: RouteSeries
  private let cells: UnsafeMutablePointer<Atomic<UInt64>>
  /// What has gone to the families already.
  fileprivate var collected = [UInt64](repeating: 0, count: cellCount)

  init(_ series: RouteSeries) {
    self.series = series
    cells = .allocate(capacity: Self.cellCount)
    for index in 0..<Self.cellCount { (cells + index).initialize(to: Atomic(0)) }
  }

  deinit {
    cells.deinitialize(count: Self.cellCount)
    cells.deallocate()
  }

  /// Counts one request. The worker's thread only: a load and a store each, nothing is locked.
  func note(_ measures: RequestMeasures) {
    var at = 1
    noteTime(measures.whole, &at)
    noteTime(measures.response, &at)
    noteTime(measures.header, &at)
    noteTime(measures.connect, &at)
    noteSize(measures.requestBytes, &at)
    noteSize(measures.responseBytes, &at)
    // Last: who sees it sees the rest too.
    cells.pointee.store(cells.pointee.load(ordering: .relaxed) &+ 1, ordering: .releasing)
  }

  private func add(_ amount: UInt64, at index: Int) {
    let cell = cells + index
    cell.pointee.store(cell.pointee.load(ordering: .relaxed) &+ amount, ordering: .relaxed)
  }

  private func noteTime(_ nanoseconds: UInt64, _ at: inout Int) {
    defer { at += 13 }
    guard nanoseconds != RequestMeasures.none else { return }
    let bucket: Int
    switch nanoseconds {
    case ...5_000_000: bucket = 0
    case ...10_000_000: bucket = 1
    case ...25_000_000: bucket = 2
    case ...50_000_000: bucket = 3
    case ...100_000_000: bucket = 4
    case ...250_000_000: bucket = 5
    case ...500_000_000: bucket = 6
    case ...1_000_000_000: bucket = 7
    case ...2_500_000_000: bucket = 8
    case ...5_000_000_000: bucket = 9
    case ...10_000_000_000: bucket = 10
    default: bucket = 11
    }
    add(1, at: at + bucket)
    add(nanoseconds, at: at + 12)
  }

  private func noteSize(_ bytes: UInt64, _ at: inout Int) {
    defer { at += Self.sizeCells }
    guard bytes != RequestMeasures.none else { return }
    // Bounds are tens: 10 and less, 20 and less, …, more than 100.
    add(1, at: at + Int(min(10, (max(bytes, 1) - 1) / 10)))
    add(bytes, at: at + Self.sizeCells - 1)
  }

  /// What was counted since the last call; nil for nothing. Under the lock of `RouteMeters`.
  fileprivate func takeNew() -> [UInt64]? {
    guard cells.pointee.load(ordering: .acquiring) != collected[0] else { return nil }
    var new = collected
    for index in 0..<Self.cellCount {
      let value = (cells + index).pointee.load(ordering: .relaxed)
      new[index] = value &- collected[index]
      collected[index] = value
    }
    return new
  }
}

/// The meters of one worker, by series. Bounded: past `seriesMax` everything is counted as `overflow`.
final class RouteMeters: Sendable {
  /// With the one for the rest as many as a family has room for.
  let seriesMax: Int
  private let meters = Mutex<[RouteSeries: RouteMeter]>([:])
  private let requests: MetricFamily<Counter>
  /// In the order of a meter's cells.
  private let times: [MetricFamily<Histogram>]
  private let sizes: [MetricFamily<Histogram>]

  init(_ metrics: Metrics, seriesMax: Int = MetricFamily<Histogram>.childrenMax - 1) {
    self.seriesMax = seriesMax
    requests = metrics.counter(
      "nginx_ingress_controller_requests", "Requests answered.", labels: RouteSeries.labels)
    times = [
      ("request_duration_seconds", "Time from a request's head to its answer's end."),
      ("response_duration_seconds", "Time from a request's last try to its answer's end."),
      ("header_duration_seconds", "Time from a request's last try to its answer's head."),
      ("connect_duration_seconds", "Time in which the connection of a request's last try stood."),
    ].map {
      metrics.histogram(
        "nginx_ingress_controller_\($0.0)", $0.1, labels: RouteSeries.labels, bounds: RouteMeter.timeBounds)
    }
    sizes = [
      ("request_size", "Bytes of a request with its head."),
      ("response_size", "Bytes of an endpoint's answer with its head."),
    ].map {
      metrics.histogram(
        "nginx_ingress_controller_\($0.0)", $0.1, labels: RouteSeries.labels, bounds: RouteMeter.sizeBounds)
    }
    metrics.onCollect { [weak self] in self?.collect() }
  }

  /// The meter of a series, made on first use. Takes a lock: keep the result.
  func meter(_ series: RouteSeries) -> RouteMeter {
    meters.withLock { meters in
      if let meter = meters[series] { return meter }
      let key = meters.count < seriesMax ? series : .overflow
      if let meter = meters[key] { return meter }
      let meter = RouteMeter(key)
      meters[key] = meter
      return meter
    }
  }

  /// Forgets the series of Ingresses that are gone, so that they do not fill what there is room for.
  func keep(only backends: [RouteBackend]) {
    struct Owner: Hashable { var namespace, ingress: String }
    let kept = Set(backends.map { Owner(namespace: $0.namespace, ingress: $0.ingress) })
    let gone = meters.withLock { meters in
      let gone = meters.keys.filter {
        !kept.contains(Owner(namespace: $0.namespace, ingress: $0.ingress)) && $0 != .overflow
      }
      return gone.compactMap { meters.removeValue(forKey: $0) }
    }
    for series in gone.map(\.series.values) {
      requests.remove(series)
      for family in times + sizes { family.remove(series) }
    }
  }

  /// Adds what was counted to the families.
  private func collect() {
    // Copied out: families have locks of their own.
    let new = meters.withLock { $0.values.compactMap { meter in meter.takeNew().map { (meter.series, $0) } } }
    for (series, cells) in new {
      let values = series.values
      requests.child(values).increment(by: cells[0])
      var rest = cells[1...]
      func take(_ family: MetricFamily<Histogram>, _ bounds: Int, _ scale: Double) {
        let counts = Array(rest.prefix(bounds + 1))
        let sum = rest[rest.startIndex + bounds + 1]
        rest = rest.dropFirst(bounds + 2)
        guard counts.contains(where: { $0 > 0 }) else { return }
        family.child(values).merge(counts: counts, sum: Double(sum) * scale)
      }
      for family in times { take(family, RouteMeter.timeBounds.count, 1e-9) }
      for family in sizes { take(family, RouteMeter.sizeBounds.count, 1) }
    }
  }
}
