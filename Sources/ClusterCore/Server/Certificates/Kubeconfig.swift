// The file that kubectl reads: where the server is, whom to trust, what to show.

import ClusterObjects
import Diagnostics

/// A kubeconfig with one cluster, one user and one context.
public struct Kubeconfig: Sendable {
  public var server: String
  public var authority: String
  public var client: CertifiedKey
  public var name: String

  public init(server: String, authority: String, client: CertifiedKey, name: String = "weft") {
    self.server = server
    self.authority = authority
    self.client = client
    self.name = name
  }

  /// YAML as kubectl writes it; everything embedded, so the file can be copied.
  public var text: String {
    func encoded(_ text: String) -> String { Base64.encode(Array(text.utf8)) }
    return """
      apiVersion: v1
      kind: Config
      clusters:
      - name: \(name)
        cluster:
          server: \(server)
          certificate-authority-data: \(encoded(authority))
      contexts:
      - name: \(name)
        context:
          cluster: \(name)
          user: \(name)
      current-context: \(name)
      users:
      - name: \(name)
        user:
          client-certificate-data: \(encoded(client.certificate))
          client-key-data: \(encoded(client.key))

      """
  }

  /// Writes the file with mode 0600, whole or not at all.
  public func write(to path: String) throws(WeftError) { try PrivateFile.write(path, text, mode: 0o600) }
}
