// TLS towards endpoints (`proxy-ssl-*`), against an nginx that says what it was asked and shown.

import Addresses
import Foundation
import Testing

@testable import Ingress

@Suite(.serialized) struct UpstreamTLSTests {
  private static let told = "$ssl_server_name|$ssl_client_s_dn|$ssl_protocol|$ssl_cipher"

  @Test func `endpoints are asked and verified as proxy-ssl says`() throws {
    let authority = try Authority()
    let other = try Authority()
    let served = try authority.issue("in.test")
    let own = try authority.issue("weft")
    let nginx = try NginxPeer(
      http: """
        server { listen 127.0.0.1:PORT; return 404; }
        server { listen 127.0.0.1:SECURE ssl; ssl_certificate FOLDER/chain; ssl_certificate_key FOLDER/key;
          ssl_client_certificate FOLDER/ca; ssl_verify_client optional_no_ca; ssl_protocols TLSv1.2 TLSv1.3;
          return 200 "\(Self.told)"; }
        """, upstreams: [:],
      files: ["chain": served.chain, "key": served.key, "ca": try authority.rootBytes()])
    defer { nginx.stop() }
    func ask(_ change: (inout UpstreamTLS) throws -> Void) throws -> (status: Int, told: [String]) {
      var tls = UpstreamTLS()
      try change(&tls)
      var table = everything(to: [nginx.secure])
      var backend = table.backends[0]
      backend.policy.tls = tls
      table = RouteTable(backends: [backend], hosts: table.hosts)
      let ingress = try TestIngress(try RouteTable(encoded: table.encoded()))
      defer { ingress.stop() }
      let answer = Client(ingress.endpoint).get()
      return (
        answer?.status ?? 0,
        text(answer?.body).split(separator: "|", omittingEmptySubsequences: false).map(String.init)
      )
    }
    // ingress-nginx's own way: nothing is sent, nothing is verified, nothing is shown.
    let plain = try ask { $0.hidesName = true }
    #expect(
      plain.status == 200 && plain.told[0].isEmpty && plain.told[1].isEmpty && plain.told[2] == "TLSv1.3")
    let named = try ask { $0.serverName = "any.test" }
    #expect(named.status == 200 && named.told[0] == "any.test")
    let hidden = try ask {
      $0.serverName = "in.test"
      $0.hidesName = true
      $0.authorities = try authority.rootBytes()
      $0.depth = 1
    }
    #expect(hidden.status == 200 && hidden.told[0].isEmpty, "\(hidden)")
    // Verified: another name, another authority.
    for (name, root) in [("out.test", authority), ("in.test", other)] {
      let refused = try ask {
        $0.serverName = name
        $0.authorities = try root.rootBytes()
      }
      #expect(refused.status == 502, "\(name)")
    }
    let shown = try ask {
      $0.certificate = own.chain
      $0.key = own.key
    }
    #expect(shown.status == 200 && shown.told[1] == "CN=weft", "\(shown)")
    let older = try ask {
      $0.newest = 12
      $0.ciphers = "ECDHE-ECDSA-AES256-GCM-SHA384"
    }
    #expect(older.told.dropFirst(2) == ["TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384"], "\(older)")
    let unknown = try ask { $0.ciphers = "no such cipher" }
    #expect(unknown.status == 502)
  }
}
