// One HTTP request to a server under test, by curl: any credential, any header.

import ClusterObjects
import ClusterServer
import Glibc
import StoreLab
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

private let whoAmI: JSON = ["apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"]
private let whoAmIPath = "/apis/authentication.k8s.io/v1/selfsubjectreviews"

/// A server whose settings are made in its folder.
func withServer(
  _ change: (inout ServerSettings, String) async throws -> Void,
  _ body: (ClusterServer, String) async throws -> Void
) async throws {
  try await withFolder { folder in
    var settings = ServerSettings(dataFolder: folder + "/data")
    settings.port = 0
    settings.store = try testStore(folder)
    try await change(&settings, folder)
    let server = try await ClusterServer.start(settings)
    do {
      try await body(server, folder)
      await server.shutdown()
    } catch {
      await server.shutdown()
      throw error
    }
  }
}

func writeText(_ path: String, _ text: String) throws {
  let file = try #require(fopen(path, "w"))
  fputs(text, file)
  fclose(file)
}

/// Whom the server takes the asker for; nil when it answers 401.
func user(
  _ server: ClusterServer, _ folder: String, as credential: Credential, headers: [String] = []
) async throws -> JSON? {
  let answer = try await ask(
    server, folder, whoAmIPath, "POST", as: credential, body: whoAmI, headers: headers)
  if answer.code == 401 { return nil }
  guard let info = answer.json.at("status", "userInfo") else { throw Failed(text: "\(answer)") }
  return info
}
