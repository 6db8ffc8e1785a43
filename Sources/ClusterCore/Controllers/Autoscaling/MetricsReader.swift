// Reads what autoscalers look at: metrics.k8s.io, custom.metrics.k8s.io and external.metrics.k8s.io, whoever serves them.

import ClusterClient
import ClusterObjects

struct MetricsReader: Sendable {
  private static let metrics = "metrics.k8s.io"
  private static let custom = "custom.metrics.k8s.io"
  private static let external = "external.metrics.k8s.io"
  /// What a pod's custom metric covers when it does not say.
  private static let customWindow: Int64 = 60

  let api: any ClusterAPI
  /// The APIServices that there are now.
  let apiServices: @Sendable () -> [JSON]

  /// The best version of a group that an APIService stands for; nil when there is none.
  private func version(_ group: String, _ known: [String]) -> String? {
    let served = apiServices().filter { $0.spec["group"]?.string == group }.compactMap {
      $0.spec["version"]?.string
    }
    return known.first { served.contains($0) }
  }

  // MARK: Resources

  /// A resource's use by pod, of all containers or of one.
  func resource(
    _ name: String, namespace: String, selector: String, container: String?
  ) async throws(MetricError) -> [String: PodMetric] {
    let list: JSON
    do {
      list = try await api.read(
        path: ["apis", Self.metrics, "v1beta1", "namespaces", namespace, "pods"],
        query: [("labelSelector", selector)])
    } catch {
      throw MetricError(
        "unable to fetch metrics from resource metrics API: \(text(error, "pods", Self.metrics))")
    }
    let items = list["items"]?.elements ?? []
    if items.isEmpty { throw MetricError("no metrics returned from resource metrics API") }
    return try Self.podMetrics(items, name, container: container)
  }

  /// From `PodMetrics`: pods that miss the resource are left out; a missing container is an error.
  static func podMetrics(
    _ items: [JSON], _ resource: String, container: String?
  ) throws(MetricError) -> [String: PodMetric] {
    var found: [String: PodMetric] = [:]
    for item in items {
      let containers = item["containers"]?.elements ?? []
      var sum: Int64 = 0
      var isWhole = !containers.isEmpty
      var isFound = false
      for entry in containers {
        if let container, entry["name"]?.string != container { continue }
        isFound = true
        guard let used = Quantity(entry.at("usage", resource)) else {
          isWhole = false
          continue
        }
        sum = sum &+ used.milliValue
      }
      if let container, !isFound {
        throw MetricError(
          "container \(container) not present in metrics for pod \(item.namespace)/\(item.name)")
      }
      guard isWhole else { continue }
      found[item.name] = PodMetric(
        value: sum, time: item.time("timestamp") ?? 0, window: seconds(item["window"]?.string ?? ""))
    }
    return found
  }

  /// Of a Go duration of hours, minutes and seconds.
  static func seconds(_ duration: String) -> Int64 {
    var (total, number) = (0.0, "")
    for letter in duration {
      switch letter {
      case "0"..."9", ".": number.append(letter)
      case "h": (total, number) = (total + (Double(number) ?? 0) * 3600, "")
      case "m": (total, number) = (total + (Double(number) ?? 0) * 60, "")
      case "s": (total, number) = (total + (Double(number) ?? 0), "")
      default: return 0
      }
    }
    return Int64(min(total, 86_400))
  }

  // MARK: Custom metrics

  /// A metric that pods have, by pod.
  func pods(
    _ metric: MetricName, namespace: String, selector: String
  ) async throws(MetricError) -> [String: PodMetric] {
    let items = try await customItems(
      ["namespaces", namespace, "pods", "*", metric.name],
      [("labelSelector", selector)] + metric.query("metricLabelSelector"), metric.name)
    var found: [String: PodMetric] = [:]
    for item in items {
      guard let name = item.at("describedObject", "name")?.string, let value = Quantity(item["value"]) else {
        continue
      }
      found[name] = PodMetric(
        value: value.milliValue, time: item.time("timestamp") ?? 0,
        window: item["windowSeconds"]?.integer ?? item["window"]?.integer ?? Self.customWindow)
    }
    return found
  }

  /// A metric of one object, in thousandths. `resource` is its `PLURAL.GROUP`.
  func object(
    _ metric: MetricName, namespace: String, resource: String, name: String
  ) async throws(MetricError) -> Int64 {
    let place =
      resource == "namespaces"
      ? ["namespaces", name, "metrics", metric.name]
      : ["namespaces", namespace, resource, name, metric.name]
    let items = try await customItems(place, metric.query("metricLabelSelector"), metric.name)
    guard let value = Quantity(items[0]["value"]) else {
      throw MetricError("no metrics returned from custom metrics API")
    }
    return value.milliValue
  }

  private func customItems(
    _ place: [String], _ query: [(name: String, value: String)], _ metric: String
  ) async throws(MetricError) -> [JSON] {
    guard let version = version(Self.custom, ["v1beta2", "v1beta1"]) else {
      throw MetricError(
        "unable to fetch metrics from custom metrics API: no custom metrics API (\(Self.custom)) registered")
    }
    let list: JSON
    do {
      list = try await api.read(path: ["apis", Self.custom, version] + place, query: query)
    } catch {
      throw MetricError(
        "unable to fetch metrics from custom metrics API: \(text(error, metric, Self.custom))")
    }
    let items = list["items"]?.elements ?? []
    if items.isEmpty { throw MetricError("no metrics returned from custom metrics API") }
    return items
  }

  // MARK: External metrics

  /// The sum of all values of a metric from outside, in thousandths.
  func external(_ metric: MetricName, namespace: String) async throws(MetricError) -> Int64 {
    guard let version = version(Self.external, ["v1beta1"]) else {
      throw MetricError(
        "unable to fetch metrics from external metrics API: the server could not find the requested resource "
          + "(get \(metric.name).\(Self.external))")
    }
    let list: JSON
    do {
      list = try await api.read(
        path: ["apis", Self.external, version, "namespaces", namespace, metric.name],
        query: metric.query("labelSelector"))
    } catch {
      throw MetricError(
        "unable to fetch metrics from external metrics API: \(text(error, metric.name, Self.external))")
    }
    let values = list["items"]?.elements.compactMap { Quantity($0["value"])?.milliValue } ?? []
    if values.isEmpty { throw MetricError("no metrics returned from external metrics API") }
    return values.reduce(0) { $0.addingReportingOverflow($1).overflow ? .max : $0 + $1 }
  }

  private func text(_ error: any Error, _ resource: String, _ group: String) -> String {
    guard let status = error as? APIStatusError else { return "\(error)" }
    return status.code == 404 && status.message.hasPrefix("the server could not find")
      ? "\(status.message) (get \(resource).\(group))" : status.message
  }
}

/// A metric's name, and the labels that it must have.
struct MetricName: Sendable, Hashable {
  var name: String
  var selector: LabelSelector

  /// Throws when the selector is none.
  init(_ identifier: JSON?) throws(SelectorError) {
    name = identifier?["name"]?.string ?? ""
    selector = identifier?["selector"] == nil ? .everything : try LabelSelector(identifier?["selector"])
  }

  func query(_ parameter: String) -> [(name: String, value: String)] {
    selector.isEmpty ? [] : [(parameter, selector.description)]
  }

  /// As upstream prints a selector in a message.
  var selectorText: String { selector.isEmpty ? "nil" : selector.description }
}
