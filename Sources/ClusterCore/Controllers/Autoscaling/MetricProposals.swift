// What each entry of an autoscaler's `spec.metrics` asks for: reads, computes, and says what was seen.

import ClusterClient
import ClusterObjects

/// One entry's answer.
struct MetricProposal: Sendable, Equatable {
  var replicas: Int
  /// For the event of a change, upstream's words.
  var name: String
  /// The entry of `status.currentMetrics`.
  var status: JSON
}

/// Why an entry has no answer: the reason is for the event and the condition, `detail` is their message.
struct MetricFailure: Error, Sendable, Equatable {
  var reason: String
  /// What went wrong.
  var detail: String
  /// The same, as it is told with the other entries.
  var summary: String
}

/// The target of all entries of one autoscaler.
struct MetricEvaluation: Sendable {
  var reader: MetricsReader
  var calculator: ReplicaCalculator
  var namespace: String
  /// The scale's selector.
  var selector: String
  var specReplicas: Int
  var statusReplicas: Int
  /// `PLURAL.GROUP` of a kind; nil when it is not served.
  var resource: @Sendable (_ apiVersion: String, _ kind: String) -> String?

  func propose(_ spec: JSON) async throws(MetricFailure) -> MetricProposal {
    switch spec["type"]?.string {
    case "Resource": return try await resource(spec["resource"], container: nil)
    case "ContainerResource":
      let source = spec["containerResource"]
      return try await resource(source, container: source?["container"]?.string ?? "")
    case "Pods": return try await pods(spec["pods"])
    case "Object": return try await object(spec["object"])
    case "External": return try await external(spec["external"])
    default:
      let text = "unknown metric source type \"\(spec["type"]?.string ?? "")\""
      throw MetricFailure(reason: "InvalidMetricSourceType", detail: text, summary: text)
    }
  }

  // MARK: Sources

  private func resource(_ source: JSON?, container: String?) async throws(MetricFailure) -> MetricProposal {
    let name = source?["name"]?.string ?? ""
    let reason = container == nil ? "FailedGetResourceMetric" : "FailedGetContainerResourceMetric"
    let what = container == nil ? "\(name) resource" : "\(name) container"
    func failed(_ detail: String) -> MetricFailure {
      MetricFailure(
        reason: reason, detail: detail, summary: "failed to get \(what) metric value: \(detail)")
    }
    let target = source?["target"]
    let average = Quantity(target?["averageValue"])
    let percent = target?["averageUtilization"]?.int
    guard average != nil || percent != nil else {
      throw failed(
        "invalid resource metric source: neither an average utilization target nor an average value (usage) "
          + "target was set")
    }
    let proposal: ReplicaProposal
    do throws(MetricError) {
      let metrics: [String: PodMetric]
      do throws(MetricError) {
        metrics = try await reader.resource(
          name, namespace: namespace, selector: selector, container: container)
      } catch {
        throw MetricError("unable to get metrics for resource \(name): \(error)")
      }
      if let average {
        proposal = try calculator.averageUsage(
          current: specReplicas, target: average.milliValue, resource: name, metrics: metrics)
      } else {
        proposal = try calculator.utilization(
          current: specReplicas, target: percent ?? 0, resource: name, container: container,
          metrics: metrics)
      }
    } catch {
      throw failed("failed to get \(name) \(average == nil ? "utilization" : "usage"): \(error)")
    }
    var current: JSON = ["averageValue": JSON(Self.text(proposal.usage))]
    if let percent = proposal.utilization { current["averageUtilization"] = JSON(percent) }
    var status: JSON = ["name": JSON(name), "current": current]
    if let container { status["container"] = JSON(container) }
    return MetricProposal(
      replicas: proposal.replicas,
      name: average == nil ? "\(name) resource utilization (percentage of request)" : "\(name) resource",
      status: container == nil
        ? ["type": "Resource", "resource": status]
        : ["type": "ContainerResource", "containerResource": status])
  }

  private func pods(_ source: JSON?) async throws(MetricFailure) -> MetricProposal {
    let reason = "FailedGetPodsMetric"
    let metric = try name(source, reason, "pods")
    do throws(MetricError) {
      let metrics: [String: PodMetric]
      do throws(MetricError) {
        metrics = try await reader.pods(metric, namespace: namespace, selector: selector)
      } catch { throw MetricError("unable to get metric \(metric.name): \(error)") }
      let proposal = try calculator.averageUsage(
        current: specReplicas, target: Quantity(source?.at("target", "averageValue"))?.milliValue ?? 0,
        resource: "", metrics: metrics)
      return MetricProposal(
        replicas: proposal.replicas, name: "pods metric \(metric.name)",
        status: [
          "type": "Pods",
          "pods": [
            "metric": Self.identifier(source), "current": ["averageValue": JSON(Self.text(proposal.usage))],
          ],
        ])
    } catch {
      throw failure(reason, "pods", error)
    }
  }

  private func object(_ source: JSON?) async throws(MetricFailure) -> MetricProposal {
    let reason = "FailedGetObjectMetric"
    let metric = try name(source, reason, "object")
    let described = source?["describedObject"] ?? [:]
    let kind = described["kind"]?.string ?? ""
    let target = source?["target"]
    do throws(MetricError) {
      guard target?["value"] != nil || target?["averageValue"] != nil else {
        throw MetricError(
          "invalid object metric source: neither a value target nor an average value target was set")
      }
      let apiVersion = described["apiVersion"]?.string ?? ""
      guard let resource = resource(apiVersion.isEmpty ? "v1" : apiVersion, kind) else {
        throw MetricError(
          "unable to get metric \(metric.name): no matches for kind \"\(kind)\" in version \"\(apiVersion)\"")
      }
      let usage: Int64
      do throws(MetricError) {
        usage = try await reader.object(
          metric, namespace: namespace, resource: resource, name: described["name"]?.string ?? "")
      } catch {
        throw MetricError(
          "unable to get metric \(metric.name): \(kind) on \(namespace) "
            + "\(described["name"]?.string ?? "")/\(error)")
      }
      let (proposal, current) = try proposal(target, usage)
      return MetricProposal(
        replicas: proposal.replicas, name: "\(kind) metric \(metric.name)",
        status: [
          "type": "Object",
          "object": [
            "metric": Self.identifier(source), "describedObject": described, "current": current,
          ],
        ])
    } catch {
      throw failure(reason, "object", error)
    }
  }

  private func external(_ source: JSON?) async throws(MetricFailure) -> MetricProposal {
    let reason = "FailedGetExternalMetric"
    let metric = try name(source, reason, "external")
    let target = source?["target"]
    do throws(MetricError) {
      guard target?["value"] != nil || target?["averageValue"] != nil else {
        throw MetricError(
          "invalid external metric source: neither a value target nor an average value target was set")
      }
      let usage: Int64
      do throws(MetricError) {
        usage = try await reader.external(metric, namespace: namespace)
      } catch {
        throw MetricError(
          "unable to get external metric \(namespace)/\(metric.name)/\(metric.selectorText): \(error)")
      }
      let (proposal, current) = try proposal(target, usage)
      return MetricProposal(
        replicas: proposal.replicas, name: "external metric \(metric.name)(\(metric.selectorText))",
        status: [
          "type": "External", "external": ["metric": Self.identifier(source), "current": current],
        ])
    } catch {
      throw failure(reason, "external", error)
    }
  }

  // MARK: Parts

  /// For a number that is one for all pods; the share of each goes first when both are asked for.
  private func proposal(
    _ target: JSON?, _ usage: Int64
  ) throws(MetricError) -> (ReplicaProposal, JSON) {
    if let average = Quantity(target?["averageValue"]) {
      let proposal = calculator.share(status: statusReplicas, usage: usage, target: average.milliValue)
      return (proposal, ["averageValue": JSON(Self.text(proposal.usage))])
    }
    let wanted = Quantity(target?["value"])?.milliValue ?? 0
    let proposal = try calculator.value(current: specReplicas, usage: usage, target: wanted)
    return (proposal, ["value": JSON(Self.text(proposal.usage))])
  }

  private func name(_ source: JSON?, _ reason: String, _ what: String) throws(MetricFailure) -> MetricName {
    do { return try MetricName(source?["metric"]) } catch {
      throw failure(reason, what, MetricError(error.description))
    }
  }

  private func failure(_ reason: String, _ what: String, _ error: MetricError) -> MetricFailure {
    MetricFailure(
      reason: reason, detail: error.description, summary: "failed to get \(what) metric value: \(error)")
  }

  private static func identifier(_ source: JSON?) -> JSON { source?["metric"] ?? [:] }

  static func text(_ milli: Int64) -> String { Quantity(milli: milli).description }
}
