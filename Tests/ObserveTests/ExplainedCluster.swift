// The small cluster that explanations are tried on: two web pods, a client whom a policy lets in, a stranger whom it does not.

import ClusterObjects

enum ExplainedCluster {
  static func pod(_ name: String, _ address: String, app: String) -> JSON {
    [
      "kind": "Pod", "metadata": ["name": JSON(name), "namespace": "demo", "labels": ["app": JSON(app)]],
      "spec": ["nodeName": "n1", "containers": [["ports": [["name": "http", "containerPort": 8080]]]]],
      "status": ["phase": "Running", "podIP": JSON(address)],
    ]
  }

  static func service(_ name: String, _ address: String, ports: JSON = [["name": "http", "port": 80]]) -> JSON
  {
    [
      "kind": "Service", "metadata": ["name": JSON(name), "namespace": "demo"],
      "spec": ["clusterIP": JSON(address), "selector": ["app": JSON(name)], "ports": ports],
    ]
  }

  static let objects: [JSON] = [
    ["kind": "Namespace", "metadata": ["name": "demo"]],
    pod("web-1", "10.42.0.3", app: "web"), pod("web-2", "10.42.0.4", app: "web"),
    pod("client", "10.42.0.5", app: "client"), pod("stranger", "10.42.0.6", app: "stranger"),
    service("web", "10.43.0.7"), service("empty", "10.43.0.8"),
    service("two", "10.43.0.9", ports: [["name": "a", "port": 1], ["name": "b", "port": 2]]),
    [
      "kind": "EndpointSlice", "addressType": "IPv4",
      "metadata": ["name": "web-x", "namespace": "demo", "labels": ["kubernetes.io/service-name": "web"]],
      "ports": [["name": "http", "port": 8080]],
      "endpoints": [
        ["addresses": ["10.42.0.3"], "targetRef": ["kind": "Pod", "name": "web-1"]],
        ["addresses": ["10.42.0.4"], "targetRef": ["kind": "Pod", "name": "web-2"]],
      ],
    ],
    [
      "kind": "NetworkPolicy", "metadata": ["name": "web-from-client", "namespace": "demo"],
      "spec": [
        "podSelector": ["matchLabels": ["app": "web"]],
        "ingress": [
          ["from": [["podSelector": ["matchLabels": ["app": "client"]]]], "ports": [["port": "http"]]]
        ],
      ],
    ],
  ]
}
