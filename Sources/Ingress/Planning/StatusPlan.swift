// Where an ingress is reached, as Ingresses' statuses tell it: `status.loadBalancer.ingress`, the way ingress-nginx fills it.

import Addresses
import ClusterObjects
import ClusterView

/// The Ingresses that a controller serves, in order of name: those whose status is its to write.
public func planServedIngresses(
  view: ClusterView, controller: String = ingressControllerName, servesUnclassed: Bool = false
) -> [ObjectKey] {
  let planner = RoutePlanner(
    view: view, controller: controller, servesUnclassed: servesUnclassed, input: nil)
  return view.ingresses.values.filter(planner.isOurs).map(\.key).sorted()
}

/// An address of an ingress, as a status has it.
public enum IngressAddress: Sendable, Hashable, Comparable {
  case ip(String)
  case hostname(String)

  /// An address is an IP when it reads as one.
  public init(_ text: String) { self = IPAddress(text) == nil ? .hostname(text) : .ip(text) }

  public var json: JSON {
    switch self {
    case .ip(let text): ["ip": JSON(text)]
    case .hostname(let text): ["hostname": JSON(text)]
    }
  }

  /// Where a Service is reached from outside: what its load balancer says and its external addresses; for one of another type
  /// without either, its own address or name.
  public static func of(service: JSON) -> [IngressAddress] {
    let external = (service.at("spec", "externalIPs")?.elements ?? []).compactMap(\.string)
    let balanced = (service.at("status", "loadBalancer", "ingress")?.elements ?? []).compactMap {
      $0["ip"]?.string.flatMap { $0.isEmpty ? nil : $0 } ?? $0["hostname"]?.string
    }
    let texts =
      switch service.at("spec", "type")?.string ?? "ClusterIP" {
      case "LoadBalancer": balanced + external
      case "ExternalName": [service.at("spec", "externalName")?.string ?? ""]
      default: external.isEmpty ? [service.at("spec", "clusterIP")?.string ?? ""] : external
      }
    return Set(texts.filter { !$0.isEmpty && $0 != "None" }.map { IngressAddress($0) }).sorted()
  }
}

extension JSON {
  private var ingressAddresses: [IngressAddress] {
    (at("status", "loadBalancer", "ingress")?.elements ?? []).map { entry in
      entry["ip"]?.string.map { IngressAddress.ip($0) } ?? .hostname(entry["hostname"]?.string ?? "")
    }
  }

  /// The status says where this Ingress is reached.
  public var hasIngressStatus: Bool { !ingressAddresses.isEmpty }

  /// This Ingress without `addresses` in its status, others stay; nil when none of them is there.
  public func withoutIngressStatus(_ addresses: [IngressAddress]) -> JSON? {
    let kept = ingressAddresses.filter { !addresses.contains($0) }
    return kept.count == ingressAddresses.count ? nil : withIngressStatus(kept)
  }

  /// This Ingress with `addresses` in its status; nil when they are there already, in any order.
  public func withIngressStatus(_ addresses: [IngressAddress]) -> JSON? {
    guard ingressAddresses.sorted() != addresses.sorted() else { return nil }
    var object = self
    var status = object["status"] ?? [:]
    status["loadBalancer"] = addresses.isEmpty ? [:] : ["ingress": .array(addresses.sorted().map(\.json))]
    object["status"] = status
    return object
  }
}
