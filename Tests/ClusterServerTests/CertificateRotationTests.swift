// T-A13 and T-A14: certificates that end, another authority in the first one's place; requests go on meanwhile, and none may fail for
// want of trust.

import ClusterClient
import ClusterObjects
import ClusterStreams
import Diagnostics
import Glibc
import StoreLab
import SwiftASN1
import Synchronization
import Testing
import X509

@testable import ClusterServer

/// What requests under way and the test both look at.
private final class Shared: Sendable {
  let authority: Mutex<String>
  init(authority: String) { self.authority = Mutex(authority) }

  /// One request, with the authority that is trusted now.
  func ask(_ server: ClusterServer, _ folder: String, as credential: Credential) async -> String?? {
    let authority = authority.withLock { $0 }
    do {
      let answer = try await ClusterServerTests.ask(
        server, folder, "/api/v1/namespaces/default", as: credential, more: ["--cacert", authority])
      return .some(answer.code == 200 || answer.code == 403 ? nil : "\(answer.code) \(answer.headers)")
    } catch { return .some("\(error)") }
  }
}

private func year(_ count: Int64) -> Int64 { count * 365 * 86_400 }

/// What `curl` shows of a server: its certificate's end of life and who signed it are judged by OpenSSL there.
private func certificate(_ path: String) throws -> Certificate {
  let text = try #require(try PrivateFile.read(path))
  return try Certificate(pemEncoded: try #require(PEM.blocks(text).first))
}

@Suite(.serialized, .timeLimit(.minutes(20))) struct CertificateRotationTests {
  @Test func `the table of check-expiration`() {
    let day: Int64 = 86_400
    func life(_ name: String, _ end: Int64, isAuthority: Bool = false) -> CertificateFolder.Life {
      CertificateFolder.Life(
        name: name, end: end, authority: "weft-ca", isAuthority: isAuthority, isLate: false)
    }
    #expect(
      CertificateFolder.Life.table(
        [
          life("ca", 3650 * day, isAuthority: true), life("apiserver", 364 * day), life("admin", 7200),
          life("front-proxy/client", 0),
        ], now: 0) == [
          ["CERTIFICATE", "EXPIRES", "RESIDUAL TIME", "CERTIFICATE AUTHORITY"],
          ["ca", "1979-12-30T00:00:00Z", "10y", ""],
          ["apiserver", "1970-12-31T00:00:00Z", "364d", "weft-ca"],
          ["admin", "1970-01-01T02:00:00Z", "2h", "weft-ca"],
          ["front-proxy/client", "1970-01-01T00:00:00Z", "<expired>", "weft-ca"],
        ])
  }

  @Test func `everything that ended is made anew offline, and the objects are there`() async throws {
    try await withFolder { folder in
      let data = folder + "/data"
      var settings = ServerSettings(dataFolder: data)
      settings.port = 0
      settings.store = try testStore(folder)
      let first = try await ClusterServer.start(settings)
      _ = try await first.client(user: "test").create(
        .configMaps, ["metadata": ["name": "kept", "namespace": "default"]], options: WriteOptions())
      _ = try first.kubeconfig(name: "component", user: "system:kube-scheduler", groups: [])
      await first.shutdown()
      // Eleven years ago all of this was made; nothing of it is valid now.
      let path = data + "/certificates"
      let old = Timestamp.now().seconds - year(11)
      for name in CertificateFolder.names(path) {
        for end in [".crt", ".key"] { unlink("\(path)/\(name)\(end)") }
      }
      let authority = try CertificateAuthority(folder: path, now: { old })
      _ = try authority.server(names: ["localhost"], addresses: [[127, 0, 0, 1]])
      _ = try authority.client(file: "admin", user: "weft-admin", groups: ["system:masters"])
      _ = try authority.client(file: "component", user: "system:kube-scheduler", groups: ["g"])
      let key = try PrivateFile.read(path + "/ca.key")
      let certificates = try CertificateFolder(dataFolder: data)
      #expect(
        try certificates.lives().filter { !$0.name.hasPrefix("front-proxy") }.map {
          $0.end < Timestamp.now().seconds
        } == [true, true, true, true])

      let began = ContinuousClock.now
      let renewed = try certificates.renew()
      #expect(ContinuousClock.now - began < .seconds(60))
      #expect(Set(renewed).isSuperset(of: ["ca", "admin", "component", "server"]), "\(renewed)")
      #expect(try PrivateFile.read(path + "/ca.key") == key)
      #expect(try certificates.lives().allSatisfy { !$0.isLate })
      let component = try certificate(path + "/component.crt")
      #expect(
        ClientCertificates.identity(component.subject)?.user == "system:kube-scheduler"
          && ClientCertificates.identity(component.subject)?.groups.contains("g") == true)
      #expect(try component.extensions.extendedKeyUsage?.contains(.clientAuth) == true)

      let second = try await ClusterServer.start(settings)
      let found = try await ask(second, folder, "/api/v1/namespaces/default/configmaps/kept")
      #expect(found.code == 200, "\(found)")
      let scheduler = try await ask(
        second, folder, "/api/v1/nodes", as: .certificate(path + "/component"))
      #expect(scheduler.code == 200, "\(scheduler)")
      await second.shutdown()
    }
  }

  @Test func `a start renews what has ended by itself, the authority too`() async throws {
    try await withFolder { folder in
      let path = folder + "/data/certificates"
      _ = mkdir(folder + "/data", 0o700)
      let old = Timestamp.now().seconds - year(11)
      let authority = try CertificateAuthority(folder: path, now: { old })
      _ = try authority.client(file: "admin", user: "weft-admin", groups: ["system:masters"])
      var settings = ServerSettings(dataFolder: folder + "/data")
      settings.port = 0
      settings.store = try testStore(folder)
      let server = try await ClusterServer.start(settings)
      let answer = try await ask(server, folder, "/api/v1/namespaces/default")
      #expect(answer.code == 200, "\(answer)")
      await server.shutdown()
    }
  }

  @Test func `in the last third of its life a certificate is replaced while the server runs`() async throws {
    try await withServer { server, folder in
      let path = folder + "/data/certificates"
      let before = try certificate(path + "/server.crt")
      try await server.refreshCertificates()
      #expect(try certificate(path + "/server.crt") == before)
      // One that was made 250 days ago stands in its place.
      let past = Timestamp.now().seconds - 250 * 86_400
      for name in ["server.crt", "admin.crt"] { unlink("\(path)/\(name)") }
      let authority = try CertificateAuthority(folder: path, now: { past })
      let late = try authority.server(names: ["localhost"], addresses: [[127, 0, 0, 1]])
      _ = try authority.client(file: "admin", user: "weft-admin", groups: ["system:masters"])
      let kubeconfig = try PrivateFile.read(server.kubeconfigPath)
      try await server.refreshCertificates()
      let after = try certificate(path + "/server.crt")
      #expect(after != (try Certificate(pemEncoded: late.certificate)))
      #expect(after.end > Timestamp.now().seconds + 300 * 86_400)
      #expect(try PrivateFile.read(server.kubeconfigPath) != kubeconfig)
      // Shown from now on, which curl says.
      let answer = try await ask(
        server, folder, "/version", more: ["-v"])
      #expect(answer.code == 200, "\(answer)")
      let text = Metrics.shared.text()
      #expect(text.contains("weft_certificate_expiration_timestamp_seconds{certificate=\"ca\"}"))
    }
  }

  @Test func `another authority takes the first one's place, and no request fails`() async throws {
    try await withServer { server, folder in
      let path = folder + "/data/certificates"
      let certificates = try CertificateFolder(dataFolder: folder + "/data")
      _ = try await server.client(user: "test").create(
        .serviceAccounts, ["metadata": ["name": "robot", "namespace": "default"]], options: WriteOptions())
      let token = try await requestToken(server, folder, "robot")
      // What a client had before, and has to the end of the second step.
      let (first, kept) = (folder + "/first-ca.crt", folder + "/kept")
      try writeText(first, try #require(try PrivateFile.read(path + "/ca.crt")))
      for end in [".crt", ".key"] {
        try writeText(kept + end, try #require(try PrivateFile.read(path + "/admin" + end)))
      }
      let traffic = Traffic()
      let shared = Shared(authority: first)
      let runs = [Credential.certificate(kept), .bearer(token)].map { credential in
        Task { await traffic.run { await shared.ask(server, folder, as: credential) } }
      }
      await traffic.more(6)
      #expect(throws: WeftError.self) { try certificates.rotate(.sign) }
      #expect(throws: WeftError.self) { try certificates.rotate(.finish) }
      try certificates.rotate(.trust)
      #expect(throws: WeftError.self) { try certificates.rotate(.trust) }
      try await server.refreshCertificates()
      #expect(PEM.blocks(server.authorityPEM).count == 2)
      await traffic.more(6)
      // Clients take up both, as pods do by kube-root-ca.crt.
      let both = folder + "/both-ca.crt"
      try writeText(both, server.authorityPEM)
      shared.authority.withLock { $0 = both }
      await traffic.more(6)
      try certificates.rotate(.sign)
      try await server.refreshCertificates()
      await traffic.more(6)
      // What is shown is signed by the second alone: who trusts only the first is refused.
      let shown = try certificate(path + "/server.crt")
      #expect(shown.issuer != (try certificate(first)).subject)
      let late = try await ask(server, folder, "/version", more: ["--cacert", first])
      #expect(late.code == 0 && late.headers.contains("certificate"), "\(late)")
      let map = try await server.client(user: "test").get(
        .configMaps, namespace: "kube-system", name: "extension-apiserver-authentication")
      #expect(map.at("data", "client-ca-file")?.string == server.authorityPEM)
      #expect(traffic.counts.failures.isEmpty, "\(traffic.counts.failures.prefix(3))")
      traffic.stop()
      for run in runs { await run.value }
      // The old client's certificate counts until the last step, and not after it.
      #expect(try await ask(server, folder, "/api/v1/nodes", as: .certificate(kept)).code == 200)
      try certificates.rotate(.finish)
      try await server.refreshCertificates()
      #expect(PEM.blocks(server.authorityPEM).count == 1)
      #expect(try await ask(server, folder, "/api/v1/nodes", as: .certificate(kept)).code == 401)
      #expect(try await ask(server, folder, "/api/v1/nodes").code == 200)
      #expect(try await ask(server, folder, "/api/v1/namespaces/default", as: .bearer(token)).code == 403)
      #expect(traffic.counts.answered >= 24 && traffic.counts.failures.isEmpty)
    }
  }

  @Test func `without an authority there is nothing to look after`() throws {
    let error = #expect(throws: WeftError.self) { try CertificateFolder(dataFolder: "/nowhere") }
    #expect(error?.code == "API0061")
  }
}
