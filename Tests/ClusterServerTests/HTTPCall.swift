// One HTTP request to a server under test, by curl: any credential, any header.

import ClusterObjects
import ClusterServer
import Testing

/// An answer as it came over the wire.
struct HTTPAnswer {
  var code: Int
  var body: String
  var headers: String
  var json: JSON { (try? JSON(parsing: body)) ?? .null }
  /// A header's value; empty when there is none.
  func header(_ name: String) -> String {
    for line in headers.split(whereSeparator: \.isNewline) where line.lowercased().hasPrefix(name + ": ") {
      return String(line.dropFirst(name.count + 2))
    }
    return ""
  }
}

enum Credential {
  case admin
  case none
  case bearer(String)
  /// Certificate and key by their path without `.crt` and `.key`.
  case certificate(String)
}

/// Asks the server of `folder`. `body` is sent as JSON.
func ask(
  _ server: ClusterServer, _ folder: String, _ path: String, _ method: String = "GET",
  as credential: Credential = .admin, body: JSON? = nil, headers: [String] = [], more: [String] = []
) async throws -> HTTPAnswer {
  let keys = folder + "/data/certificates"
  var arguments = [
    "-sS", "--cacert", keys + "/ca.crt", "-X", method, "-D", "/dev/stderr", "-w", "\n%{http_code}",
  ]
  switch credential {
  case .admin: arguments += ["--cert", keys + "/admin.crt", "--key", keys + "/admin.key"]
  case .none: break
  case .bearer(let token): arguments += ["-H", "authorization: Bearer \(token)"]
  case .certificate(let path): arguments += ["--cert", path + ".crt", "--key", path + ".key"]
  }
  for header in headers { arguments += ["-H", header] }
  if let body { arguments += ["-H", "content-type: application/json", "--data-binary", body.text] }
  let run = try await Program.run("/usr/bin/curl", arguments + more + [server.address + path])
  let lines = run.output.split(separator: "\n", omittingEmptySubsequences: false)
  return HTTPAnswer(
    code: Int(lines.last ?? "") ?? 0, body: lines.dropLast().joined(separator: "\n"), headers: run.errors)
}

/// A token for a ServiceAccount, made by TokenRequest.
func requestToken(
  _ server: ClusterServer, _ folder: String, _ account: String = "default", spec: JSON = [:]
) async throws -> String {
  let answer = try await ask(
    server, folder, "/api/v1/namespaces/default/serviceaccounts/\(account)/token", "POST",
    body: ["apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec])
  return try #require(answer.json.at("status", "token")?.string, "\(answer)")
}
