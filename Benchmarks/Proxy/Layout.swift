// Who has which address, the same for both sides: Services in 172.16.0.0/12, endpoints in 10.128.0.0/9.

import ClusterObjects
import ClusterView

enum Layout {
  static func service(_ index: Int) -> String {
    "172.\(16 + index / 62500).\(index / 250 % 250).\(index % 250 + 1)"
  }

  /// `shifted` puts another endpoint in place of the first one.
  static func endpoints(of index: Int, count: Int, shifted: Int = 0) -> [String] {
    (0..<count).map { slot in
      let number = slot == 0 && shifted > 0 ? 6_000_000 + shifted : index * count + slot
      return "10.\(128 + number / 62500).\(number / 250 % 250).\(number % 250 + 1)"
    }
  }

  static func serviceObject(_ index: Int) -> JSON {
    [
      "kind": "Service", "metadata": ["name": JSON("svc\(index)"), "namespace": JSON("ns\(index % 100)")],
      "spec": [
        "type": "ClusterIP", "clusterIP": JSON(service(index)),
        "ports": [["name": "p80", "port": 80, "protocol": "TCP", "targetPort": 8080]],
      ],
    ]
  }

  static func slice(_ index: Int, count: Int, shifted: Int = 0) -> JSON {
    [
      "kind": "EndpointSlice", "addressType": "IPv4",
      "metadata": [
        "name": JSON("svc\(index)-1"), "namespace": JSON("ns\(index % 100)"),
        "labels": ["kubernetes.io/service-name": JSON("svc\(index)")],
      ],
      "ports": [["name": "p80", "port": 8080, "protocol": "TCP"]],
      "endpoints": .array(
        endpoints(of: index, count: count, shifted: shifted).map {
          ["addresses": [JSON($0)], "nodeName": "n2", "conditions": ["ready": true]]
        }),
    ]
  }

  static func view(_ services: Int, _ endpoints: Int) -> ClusterView {
    var view = ClusterView()
    for index in 0..<services {
      view.apply(serviceObject(index))
      view.apply(slice(index, count: endpoints))
    }
    return view
  }
}
