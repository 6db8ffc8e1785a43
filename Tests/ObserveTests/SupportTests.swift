// What a support archive keeps to itself, and that tar reads it.

import ClusterObjects
import Foundation
import Testing

@testable import Observe

@Suite struct SupportTests {
  @Test func `secrets are gone, and what the network is planned from is not`() throws {
    let pod = try JSON(
      parsing: Array(
        #"""
        {"kind":"Pod","metadata":{"name":"a","namespace":"b","labels":{"app":"web"},"managedFields":[{"manager":"m"}],
          "annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"password\":\"s3cret\"}","weft.dev/x":"kept"}},
         "spec":{"containers":[{"name":"c","image":"i:1","command":["run","--password=s3cret"],"args":["s3cret"],
           "env":[{"name":"PASSWORD","value":"s3cret"},{"name":"FROM","valueFrom":{"secretKeyRef":{"name":"k","key":"x"}}}],
           "ports":[{"name":"http","containerPort":8080}]}],"nodeName":"n1"},"status":{"podIP":"10.42.0.3"}}
        """#.utf8))
    let text = Redaction.object(pod).text
    #expect(!text.contains("s3cret"))
    for kept in [
      #""app":"web""#, #""weft.dev/x":"kept""#, #""name":"PASSWORD""#, #""secretKeyRef""#,
      #""containerPort":8080"#,
      "10.42.0.3", #""image":"i:1""#, #""nodeName":"n1""#,
    ] { #expect(text.contains(kept), "\(kept) is gone: \(text)") }
    #expect(!text.contains("managedFields"))
  }

  @Test(arguments: ["Secret", "ConfigMap"]) func `keys stay, values do not`(kind: String) throws {
    let object = try JSON(
      parsing: Array(
        #"{"kind":"\#(kind)","metadata":{"name":"a"},"data":{"tls.key":"s3cret"},"stringData":{"p":"s3cret"},"binaryData":{"b":"s3cret"}}"#
          .utf8))
    let text = Redaction.object(object).text
    #expect(!text.contains("s3cret") && text.contains(#""tls.key":"(removed)""#), "\(text)")
  }

  @Test func `fields that hold credentials are gone at any depth`() throws {
    let object = try JSON(
      parsing: Array(
        #"{"kind":"Thing","spec":{"a":[{"token":"s3cret","password":"s3cret","tokens":3}]}}"#.utf8))
    #expect(Redaction.object(object).text.contains("s3cret") == false)
    #expect(Redaction.object(object).at("spec", "a")?[0]?["tokens"]?.int == 3)
  }

  @Test(arguments: [
    ("authorization: Bearer abc-def.ghi next", "authorization: Bearer (removed) next"),
    ("token=abc&x=1", "token=(removed)&x=1"),
    ("db_password=abc def", "db_password=(removed) def"),
    ("x eyJhbGciOi.eyJzdWIiOi.c2lnbmF0 y", "x (removed) y"),
    ("Bearer\nnext line", "Bearer\nnext line"),
    ("a = b; 10.42.0.3:80 tokens 3", "a = b; 10.42.0.3:80 tokens 3"),
    ("", ""),
  ]) func `tokens in texts are gone`(text: String, expected: String) {
    #expect(Redaction.text(text) == expected)
  }

  @Test func `tar lists and reads the archive`() throws {
    var archive = TarArchive(modified: 1_700_000_000)
    archive.add("a/empty.txt", [])
    archive.add("a/exact.txt", Array(repeating: 65, count: 512))
    archive.add("a/more.txt", Array(repeating: 66, count: 513))
    let folder = NSTemporaryDirectory() + "support-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    try Data(archive.bytes).write(to: URL(filePath: "\(folder)/x.tar"))
    let tar = Process()
    tar.executableURL = URL(filePath: "/usr/bin/tar")
    tar.arguments = ["xf", "x.tar"]
    tar.currentDirectoryURL = URL(filePath: folder)
    try tar.run()
    tar.waitUntilExit()
    #expect(tar.terminationStatus == 0)
    for (name, size) in [("empty", 0), ("exact", 512), ("more", 513)] {
      #expect(try Data(contentsOf: URL(filePath: "\(folder)/a/\(name).txt")).count == size)
    }
  }
}
