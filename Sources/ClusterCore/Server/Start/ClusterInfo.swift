// ConfigMap `kube-public/cluster-info`: where the cluster is reached and whom to believe, readable without a credential, for
// programs that have nothing yet but a bootstrap token. A controller signs it with each token (decision 0044).

import ClusterClient
import ClusterObjects
import Logging

/// Keeps the ConfigMap. Not fatal: a cluster works without it.
struct ClusterInfo: Sendable {
  static let key = ObjectKey("kube-public", "cluster-info")
  let core: RESTCore
  /// `https://HOST:PORT`, as other machines reach this server.
  let server: String
  private let log = Logger(label: "apiserver")

  init(core: RESTCore, host: String, port: Int) {
    self.core = core
    server = Self.address(host: host, port: port)
  }

  static func address(host: String, port: Int) -> String {
    "https://\(host.contains(":") ? "[\(host)]" : host):\(port)"
  }

  /// A kubeconfig without users, whose only cluster has no name: discovery looks for that one.
  static func text(server: String, authority: String) -> String {
    """
    apiVersion: v1
    kind: Config
    clusters:
    - name: ""
      cluster:
        certificate-authority-data: \(Base64.encode(Array(authority.utf8)))
        server: \(server)
    contexts: []
    current-context: ""
    preferences: {}
    users: []

    """
  }

  /// What the ConfigMap's kubeconfig should be; nil when it is right, or is not of this form and so somebody else's.
  /// The address stays that of who wrote it first: of several servers, and of a balancer before them, it is as good as another.
  static func plan(_ present: String?, server: String, authority: String) -> String? {
    guard let present, !present.isEmpty else { return text(server: server, authority: authority) }
    guard let cluster = (try? YAML.parse(present))?["clusters"]?[0]?["cluster"],
      let address = cluster["server"]?.string,
      let trusted = cluster["certificate-authority-data"]?.string,
      trusted != Base64.encode(Array(authority.utf8))
    else { return nil }
    return text(server: address, authority: authority)
  }

  /// Makes what is missing, and puts the present authority in the place of one that went.
  func publish(authority: String) async {
    let api = InProcessClient(core: core, identity: .system)
    let options = WriteOptions(fieldManager: "weft-apiserver")
    do {
      let present: JSON?
      do {
        present = try await api.get(.configMaps, namespace: Self.key.namespace, name: Self.key.name)
      } catch let error as APIStatusError where error.isNotFound {
        present = nil
      }
      let text = present?.at("data", "kubeconfig")?.string
      guard let wanted = Self.plan(text, server: server, authority: authority) else { return }
      let data: JSON = ["data": ["kubeconfig": JSON(wanted)]]
      if present == nil {
        var map = data
        map["metadata"] = ["namespace": JSON(Self.key.namespace), "name": JSON(Self.key.name)]
        _ = try await api.create(.configMaps, map, options: options)
      } else {
        _ = try await api.patch(
          .configMaps, namespace: Self.key.namespace, name: Self.key.name, patch: .merge(data),
          subresource: nil, options: options)
      }
    } catch let error as APIStatusError where error.isAlreadyExists {
      // Another server of the store was quicker.
    } catch {
      log.warning("cluster-info was not published", metadata: ["error": "\(error)"])
    }
  }
}
