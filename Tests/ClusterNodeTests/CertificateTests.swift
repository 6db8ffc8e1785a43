// Certificates of a node: asked for, kept over restarts, replaced before they end, and shown without a restart. With an API server
// in memory whose signer is the test.

import Addresses
import CLinux
import ClusterClient
import ClusterObjects
import ClusterStreams
import Crypto
import Diagnostics
import FoundationEssentials
import FuzzLab
import Glibc
import NIOCore
import NIOPosix
import NIOSSL
import SoakLab
import SwiftASN1
import Synchronization
import Testing
import X509

@testable import ClusterNode

/// An authority that signs what it is asked.
private struct Signer: Sendable {
  let key = P256.Signing.PrivateKey()
  let name: DistinguishedName

  init() throws { name = try DistinguishedName { CommonName("test") } }

  var pem: String {
    get throws {
      try issue(key.publicKey, name, [], isAuthority: true, seconds: 3600).serializeAsPEM().pemString
    }
  }

  func issue(
    _ subjectKey: P256.Signing.PublicKey, _ subject: DistinguishedName, _ names: [GeneralName],
    isAuthority: Bool = false, seconds: Int64
  ) throws -> Certificate {
    try issue(Certificate.PublicKey(subjectKey), subject, names, isAuthority: isAuthority, seconds: seconds)
  }

  func issue(
    _ subjectKey: Certificate.PublicKey, _ subject: DistinguishedName, _ names: [GeneralName],
    isAuthority: Bool = false, seconds: Int64
  ) throws -> Certificate {
    let now = Timestamp.now().seconds
    return try Certificate(
      version: .v3, serialNumber: Certificate.SerialNumber(), publicKey: subjectKey,
      notValidBefore: Date(timeIntervalSince1970: Double(now - 1)),
      notValidAfter: Date(timeIntervalSince1970: Double(now + seconds)), issuer: name, subject: subject,
      signatureAlgorithm: .ecdsaWithSHA256,
      extensions: try Certificate.Extensions {
        if isAuthority { Critical(BasicConstraints.isCertificateAuthority(maxPathLength: nil)) }
        if !names.isEmpty { SubjectAlternativeNames(names) }
      }, issuerPrivateKey: Certificate.PrivateKey(key))
  }

  /// Answers a request as the control plane's signer does.
  func answer(_ request: JSON, seconds: Int64) throws -> JSON {
    let bytes = Base64.decode(request.at("spec", "request")?.string ?? "") ?? []
    let asked = try CertificateSigningRequest(pemEncoded: String(decoding: bytes, as: UTF8.self))
    let names =
      try asked.attributes.extensionRequest?.extensions.subjectAlternativeNames.map { Array($0) } ?? []
    let issued = try issue(asked.publicKey, asked.subject, names, seconds: seconds)
    var answered = request
    answered["status"] = [
      "certificate": JSON(Base64.encode(Array(try issued.serializeAsPEM().pemString.utf8))),
      "conditions": [["type": "Approved", "status": "True"]],
    ]
    return answered
  }
}

private let requests = GroupVersionResource("certificates.k8s.io", "v1", "certificatesigningrequests")

/// Signs whatever comes until it is cancelled; the first for `lives[0]` seconds, and so on.
private func signing(_ signer: Signer, _ api: MemoryClusterAPI, lives: [Int64]) -> Task<Void, any Error> {
  Task {
    var count = 0
    while !Task.isCancelled {
      for request in api.objects(requests) where request.at("status", "certificate") == nil {
        let life = lives[min(count, lives.count - 1)]
        count += 1
        _ = try await api.update(
          requests, signer.answer(request, seconds: life), subresource: "status", options: WriteOptions())
      }
      try await Task.sleep(for: .milliseconds(10))
    }
  }
}

private let serving = CertificatePurpose.serving(
  names: ["n1"], addresses: [.v4(IPv4Address(127, 0, 0, 1)), .v4(IPv4Address(10, 0, 0, 1))])

@Suite(.timeLimit(.minutes(5))) struct CertificateTests {
  @Test func `a certificate is asked for by its signer's rules and comes with the key that stayed here`()
    async throws
  {
    let api = MemoryClusterAPI()
    let signer = try Signer()
    let answering = signing(signer, api, lives: [3600])
    defer { answering.cancel() }
    let own = try await CertificateRequests.obtain(serving, nodeName: "n1", api: api)
    #expect(own.commonName == "system:node:n1" && own.end > own.begin && own.digest.count == 64)
    let client = try await CertificateRequests.obtain(.client, nodeName: "n1", api: api)
    #expect(client.key != own.key)
    let made = api.objects(requests)
    #expect(
      Set(made.compactMap { $0.at("spec", "signerName")?.string }) == [
        "kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet",
      ])
    for request in made {
      let isServing = request.at("spec", "signerName") == "kubernetes.io/kubelet-serving"
      #expect(
        request.at("spec", "usages")
          == ["digital signature", isServing ? "server auth" : "client auth"])
      let bytes = try #require(Base64.decode(request.at("spec", "request")?.string ?? ""))
      let asked = try CertificateSigningRequest(pemEncoded: String(decoding: bytes, as: UTF8.self))
      #expect("\(asked.subject)".contains("system:nodes"))
      let names = try asked.attributes.extensionRequest?.extensions.subjectAlternativeNames.map { Array($0) }
      #expect(names?.count ?? 0 == (isServing ? 3 : 0))
    }
  }

  @Test func `a request that is denied, and one that nobody answers, are said`() async throws {
    let api = MemoryClusterAPI()
    let denying = Task {
      while !Task.isCancelled {
        for var request in api.objects(requests) where request["status"] == nil {
          request["status"] = ["conditions": [["type": "Denied", "message": "not today"]]]
          _ = try await api.update(requests, request, subresource: "status", options: WriteOptions())
        }
        try await Task.sleep(for: .milliseconds(10))
      }
    }
    let denied = await #expect(throws: WeftError.self) {
      try await CertificateRequests.obtain(.client, nodeName: "n1", api: api)
    }
    denying.cancel()
    #expect(denied?.code == "NOD0032" && denied?.cause == "was denied: not today")
    let silent = await #expect(throws: WeftError.self) {
      try await CertificateRequests.obtain(
        .client, nodeName: "n1", api: MemoryClusterAPI(), patience: .milliseconds(50))
    }
    #expect(silent?.cause == "was not approved in time")
  }

  @Test
  func
    `a certificate is replaced before it ends, kept over a restart, and not asked for again while it is new`()
    async throws
  {
    let folder = try ScratchFolder.make("pki")
    defer { ScratchFolder.remove(folder) }
    let api = MemoryClusterAPI()
    let signer = try Signer()
    // The first is over its share of life as soon as it is there.
    let answering = signing(signer, api, lives: [1, 3600])
    defer { answering.cancel() }
    let used = Mutex<[NodeCertificate]>([])
    let keeper = CertificateKeeper(
      .client, nodeName: "n1", folder: folder, api: api, metrics: Metrics()
    ) { next in used.withLock { $0.append(next) } }
    let running = Task { await keeper.run() }
    #expect(await eventually { used.withLock { $0.count } >= 2 })
    running.cancel()
    await running.value
    let path = folder + "/kubelet-client-current.pem"
    let last = try #require(used.withLock { $0.last })
    #expect(NodeCertificate.read(path, now: Timestamp.now().seconds) == last)
    #expect(Files.info(path).map { $0.mode & 0o777 } == 0o600)
    let asked = api.objects(requests).count

    let again = Mutex<[NodeCertificate]>([])
    let next = CertificateKeeper(
      .client, nodeName: "n1", folder: folder, api: api, metrics: Metrics()
    ) { next in again.withLock { $0.append(next) } }
    let running2 = Task { await next.run() }
    #expect(await eventually { again.withLock { $0 } == [last] })
    running2.cancel()
    await running2.value
    #expect(api.objects(requests).count == asked)
    // An end is not begun with.
    #expect(NodeCertificate.read(path, now: last.end + 1) == nil)
    #expect(last.renewal(share: 0) < last.renewal(share: 1) && last.renewal(share: 1) < last.end)
  }

  @Test func `the port shows its next certificate to new connections, and keeps those that are open`()
    async throws
  {
    let signer = try Signer()
    var settings = NodeSettings(nodeName: "n1", addresses: [.v4(IPv4Address(127, 0, 0, 1))])
    settings.kubeletPort = 0
    let first = try ServingCertificate(nodeName: "n1", addresses: settings.addresses)
    let server = try await NodeServer.start(settings, authority: try signer.pem, certificate: first) { _ in
      .text(200, "ok")
    }
    let old = try await Connection.open(server.port)
    #expect(try await old.digest == first.digest)
    let key = P256.Signing.PrivateKey()
    let issued = try signer.issue(
      key.publicKey, try DistinguishedName { CommonName("system:node:n1") }, [.dnsName("n1")], seconds: 3600)
    let next = try #require(
      NodeCertificate(
        certificate: try issued.serializeAsPEM().pemString + "\n", key: key.pemRepresentation + "\n"))
    try server.show(ServingCertificate(next))
    let new = try await Connection.open(server.port)
    #expect(try await new.digest == next.digest)
    #expect(old.isActive)
    old.close()
    new.close()
    await server.stop()
  }

  @Test func `no file, however broken, ends the agent`() throws {
    let signer = try Signer()
    let key = P256.Signing.PrivateKey()
    let issued = try signer.issue(key.publicKey, signer.name, [], seconds: 60)
    let whole = try #require(
      NodeCertificate(certificate: try issued.serializeAsPEM().pemString, key: key.pemRepresentation))
    #expect(NodeCertificate(pem: whole.certificate + "\n" + whole.key)?.digest == whole.digest)
    #expect(
      NodeCertificate(
        certificate: whole.certificate, key: P256.Signing.PrivateKey().pemRepresentation) == nil)
    for bytes in mutations(of: Array((whole.certificate + "\n" + whole.key).utf8), count: 200, seed: 4) {
      _ = NodeCertificate(pem: String(decoding: bytes, as: UTF8.self))
    }
  }
}

/// A TLS connection that believes anybody and says whom it met.
private struct Connection {
  let channel: any Channel
  private let shown: EventLoopFuture<String>
  var digest: String { get async throws { try await shown.get() } }
  var isActive: Bool { channel.isActive }
  func close() { channel.close(promise: nil) }

  static func open(_ port: Int) async throws -> Connection {
    let loop = MultiThreadedEventLoopGroup.singleton.next()
    let promise = loop.makePromise(of: String.self)
    let context = try NIOSSLContext(configuration: .makeClientConfiguration())
    let channel = try await ClientBootstrap(group: loop).channelInitializer { channel in
      channel.eventLoop.makeCompletedFuture {
        let handler = try NIOSSLClientHandler(context: context, serverHostname: nil) { chain, verdict in
          promise.succeed(sha256Text((try? chain.first?.toDERBytes()) ?? []))
          verdict.succeed(.certificateVerified)
        }
        try channel.pipeline.syncOperations.addHandler(handler)
      }
    }.connect(host: "127.0.0.1", port: port).get()
    channel.closeFuture.whenComplete { _ in promise.fail(ChannelError.eof) }
    return Connection(channel: channel, shown: promise.futureResult)
  }
}
