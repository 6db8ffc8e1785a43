// An authority of our own, made with openssl, and the clients that TLS is judged by: curl, openssl s_client, Python.

import Addresses
import Foundation
import Synchronization
import Testing

@testable import Ingress

/// A folder with a root certificate; removed with the value.
final class Authority: Sendable {
  let folder: String
  var root: String { folder + "/root.pem" }

  init() throws {
    folder = NSTemporaryDirectory() + "/weft-tls-\(UInt64.random(in: 0 ..< .max))"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    try openssl(
      "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
      "-subj", "/CN=weft test root", "-keyout", "\(folder)/root.key", "-out", root)
  }

  deinit { try? FileManager.default.removeItem(atPath: folder) }

  /// A certificate for these names, signed by the root. `-1` days: it ended yesterday.
  func issue(_ names: String..., days: Int = 20, rsa: Bool = false) throws -> TLSCertificate {
    let base = "\(folder)/\(UInt64.random(in: 0 ..< .max))"
    let key = rsa ? ["rsa:2048"] : ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    try openssl(
      ["req", "-newkey"] + key
        + ["-nodes", "-subj", "/CN=\(names[0])", "-keyout", "\(base).key", "-out", "\(base).csr"])
    let extensions = "subjectAltName=" + names.map { "DNS:\($0)" }.joined(separator: ",")
    try Data(extensions.utf8).write(to: URL(fileURLWithPath: "\(base).ext"))
    try openssl(
      "x509", "-req", "-in", "\(base).csr", "-CA", root, "-CAkey", "\(folder)/root.key", "-CAcreateserial",
      "-days", "\(days)", "-extfile", "\(base).ext", "-out", "\(base).pem")
    return TLSCertificate(chain: try bytes("\(base).pem"), key: try bytes("\(base).key"))
  }

  /// The files of a certificate, for programs.
  func files(_ certificate: TLSCertificate) throws -> (chain: String, key: String) {
    let base = "\(folder)/\(UInt64.random(in: 0 ..< .max))"
    try Data(certificate.chain).write(to: URL(fileURLWithPath: base + ".crt"))
    try Data(certificate.key).write(to: URL(fileURLWithPath: base + ".pem"))
    return (base + ".crt", base + ".pem")
  }

  /// A list of revoked certificates, good for 20 days or out of date.
  func revocations(of certificates: TLSCertificate..., isOld: Bool = false) throws -> [UInt8] {
    let base = "\(folder)/\(UInt64.random(in: 0 ..< .max))"
    try Data().write(to: URL(fileURLWithPath: base + ".index"))
    try Data("[ca]\ndefault_ca=d\n[d]\ndatabase=\(base).index\ndefault_md=sha256\n".utf8).write(
      to: URL(fileURLWithPath: base + ".conf"))
    let own = ["ca", "-config", base + ".conf", "-cert", root, "-keyfile", folder + "/root.key"]
    for certificate in certificates { try openssl(own + ["-revoke", try files(certificate).chain]) }
    let dates =
      isOld
      ? ["-crl_lastupdate", "20200101000000Z", "-crl_nextupdate", "20200102000000Z"] : ["-crldays", "20"]
    try openssl(own + ["-gencrl", "-out", base + ".crl"] + dates)
    return try bytes(base + ".crl")
  }

  func rootBytes() throws -> [UInt8] { try bytes(root) }

  private func bytes(_ path: String) throws -> [UInt8] {
    Array(try Data(contentsOf: URL(fileURLWithPath: path)))
  }
  private func openssl(_ arguments: String...) throws { try openssl(arguments) }
  private func openssl(_ arguments: [String]) throws {
    let output = run(["openssl"] + arguments)
    if output.status != 0 { throw ToolFailed(text: output.error) }
  }
}

struct ToolFailed: Error { var text: String }

struct ToolOutput: CustomStringConvertible {
  var status: Int32
  var text: String
  var error: String
  var description: String { "status \(status)\n\(text)\n\(error)" }
}

/// Runs a program to its end, at most a minute.
func run(_ words: [String], input: String = "") -> ToolOutput {
  let process = Process()
  process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
  process.arguments = ["timeout", "-s", "KILL", "60"] + words
  let (output, error, entry) = (Pipe(), Pipe(), Pipe())
  process.standardOutput = output
  process.standardError = error
  process.standardInput = entry
  do { try process.run() } catch { return ToolOutput(status: -1, text: "", error: "\(error)") }
  try? entry.fileHandleForWriting.write(contentsOf: Data(input.utf8))
  try? entry.fileHandleForWriting.close()
  let errors = Mutex(Data())
  let reader = Thread { errors.withLock { $0 = error.fileHandleForReading.readDataToEndOfFile() } }
  reader.start()
  let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
  process.waitUntilExit()
  while !reader.isFinished { usleep(500) }
  return ToolOutput(
    status: process.terminationStatus, text: text,
    error: String(decoding: errors.withLock { $0 }, as: UTF8.self))
}

/// Through the frames that the parent sends, as the data plane gets them.
func loaded(_ table: TLSTable) throws -> LoadedTLS {
  var receiver = TLSReceiver()
  for (id, certificate) in table.certificates.enumerated() {
    _ = try receiver.take(TLSTable.frame(id: UInt32(id), certificate))
  }
  guard let result = try receiver.take(table.frame(ids: table.certificates.indices.map(UInt32.init))) else {
    throw SetUpFailed()
  }
  return result
}

extension TestIngress {
  func curl(_ host: String, _ path: String = "/", _ more: String..., root: String) -> ToolOutput {
    run(
      [
        "curl", "-sS", "-m", "20", "--http1.1", "--cacert", root, "--resolve",
        "\(host):\(secure.port):127.0.0.1",
        "https://\(host):\(secure.port)\(path)",
      ] + more)
  }

  /// `openssl s_client` asking for a name; it ends after the handshake.
  func handshake(_ name: String?, _ more: String...) -> ToolOutput {
    run(
      ["openssl", "s_client", "-connect", "127.0.0.1:\(secure.port)"]
        + (name.map { ["-servername", $0] } ?? ["-noservername"]) + more)
  }

  func python(_ script: String, _ arguments: String...) -> ToolOutput {
    run(["python3", "-c", script, "\(secure.port)"] + arguments)
  }
}
