// A cluster of ten thousand routes as its API server tells it: from the changed object to the table in the hands of the data plane.

import Addresses
import ClusterObjects
import ClusterView
import Ingress

/// 1,000 Ingresses with ten paths each, or one path for each of 10,000 hosts, in front of 1,000 Services with two endpoints each.
enum ManyIngresses {
  static let count = 1_000
  static let pathsEach = 10

  static func view(manyHosts: Bool) -> ClusterView {
    var objects: [JSON] = [
      ["kind": "IngressClass", "metadata": ["name": "weft"], "spec": ["controller": "weft.dev/ingress"]]
    ]
    for number in 0..<count {
      objects += [service(number), slice(number), ingress(number, manyHosts: manyHosts)]
    }
    return ClusterView(objects: objects)
  }

  private static func key(_ name: String, _ number: Int) -> JSON {
    ["name": .string("\(name)-\(number)"), "namespace": .string("tenant-\(number / 100)")]
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

  /// The Ingress of this number; `edit` changes its last path.
  static func ingress(_ number: Int, manyHosts: Bool, edit: Int = 0) -> JSON {
    let paths = (0..<pathsEach).map { index -> (String, String) in
      let last = index == pathsEach - 1 && edit > 0 ? "/edit-\(edit)" : ""
      return manyHosts
        ? ("app-\(number)-\(index).example", "/\(last)")
        : ("api.example", "/tenant-\(number)/service-\(index)\(last)")
    }
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
