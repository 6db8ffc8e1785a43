// A cluster of ten thousand routes as its API server tells it: from the changed object to the table in the hands of the data plane.

import Addresses
import ClusterObjects
import ClusterView
import Ingress

/// 1,000 Ingresses with ten paths each, or one path for each of 10,000 hosts, or 1,000 HTTPRoutes with ten rules each, or
/// 10,000 with one, in front of
/// 1,000 Services with two endpoints each.
enum ManyIngresses {
  enum Shape: String, CaseIterable {
    case oneHost = "an Ingress of 1,000, one host"
    case manyHosts = "an Ingress of 1,000, 10,000 hosts"
    case gateway = "an HTTPRoute of 1,000, one Gateway"
    case manyRoutes = "an HTTPRoute of 10,000, one Gateway"
  }
  static let services = 1_000
  static func count(_ shape: Shape) -> Int { shape == .manyRoutes ? 10_000 : 1_000 }

  static func view(_ shape: Shape) -> ClusterView {
    var objects: [JSON] = [
      ["kind": "IngressClass", "metadata": ["name": "weft"], "spec": ["controller": "weft.dev/ingress"]],
      [
        "kind": "GatewayClass", "metadata": ["name": "weft"],
        "spec": ["controllerName": "weft.dev/gateway"],
      ],
      [
        "kind": "Gateway", "metadata": ["name": "front", "namespace": "infra", "generation": 1],
        "spec": [
          "gatewayClassName": "weft",
          "listeners": [
            [
              "name": "http", "port": 80, "protocol": "HTTP",
              "allowedRoutes": ["namespaces": ["from": "All"]],
            ]
          ],
        ],
      ],
    ]
    for number in 0..<services { objects += [service(number), slice(number)] }
    for number in 0..<count(shape) { objects.append(route(number, shape)) }
    return ClusterView(objects: objects)
  }

  /// The Ingress or HTTPRoute of this number; `edit` changes its last path.
  static func route(_ number: Int, _ shape: Shape, edit: Int = 0) -> JSON {
    let pathsEach = 10_000 / count(shape)
    let paths = (0..<pathsEach).map { index -> (String, String) in
      let last = index == pathsEach - 1 && edit > 0 ? "/edit-\(edit)" : ""
      return shape == .manyHosts
        ? ("app-\(number)-\(index).example", "/\(last)")
        : ("api.example", "/tenant-\(number)/service-\(index)\(last)")
    }
    switch shape {
    case .gateway, .manyRoutes: return httpRoute(number, paths.map(\.1))
    case .oneHost, .manyHosts: return ingress(number, paths)
    }
  }

  private static func httpRoute(_ number: Int, _ paths: [String]) -> JSON {
    let rules = paths.map { path -> JSON in
      [
        "matches": [["path": ["type": "PathPrefix", "value": .string(path)]]],
        "backendRefs": [["name": .string("web-\(number % services)"), "port": 80]],
      ]
    }
    return [
      "kind": "HTTPRoute", "metadata": key("web", number),
      "spec": [
        "parentRefs": [["name": "front", "namespace": "infra"]], "hostnames": ["api.example"],
        "rules": .array(rules),
      ],
    ]
  }

  private static func key(_ name: String, _ number: Int) -> JSON {
    ["name": .string("\(name)-\(number)"), "namespace": .string("tenant-\(number % services / 100)")]
  }

  private static func service(_ number: Int) -> JSON {
    [
      "kind": "Service", "metadata": key("web", number),
      "spec": [
        "clusterIP": .string("10.43.\(number / 250).\(number % 250 + 1)"),
        "ports": [["name": "http", "port": 80, "targetPort": 8080]],
      ],
    ]
  }

  private static func slice(_ number: Int) -> JSON {
    let address = "10.42.\(number / 100).\(number % 100 * 2 + 1)"
    let other = "10.42.\(number / 100).\(number % 100 * 2 + 2)"
    return [
      "kind": "EndpointSlice", "addressType": "IPv4",
      "metadata": [
        "name": .string("web-\(number)-a"), "namespace": .string("tenant-\(number / 100)"),
        "labels": ["kubernetes.io/service-name": .string("web-\(number)")],
      ],
      "ports": [["name": "http", "port": 8080, "protocol": "TCP"]],
      "endpoints": [
        ["addresses": [.string(address)], "conditions": ["ready": true]],
        ["addresses": [.string(other)], "conditions": ["ready": true]],
      ],
    ]
  }

  private static func ingress(_ number: Int, _ paths: [(String, String)]) -> JSON {
    let rules = paths.map { host, path -> JSON in
      [
        "host": .string(host),
        "http": [
          "paths": [
            [
              "path": .string(path), "pathType": "Prefix",
              "backend": ["service": ["name": .string("web-\(number)"), "port": ["number": 80]]],
            ]
          ]
        ],
      ]
    }
    return [
      "kind": "Ingress", "metadata": key("web", number),
      "spec": ["ingressClassName": "weft", "rules": .array(rules)],
    ]
  }
}
