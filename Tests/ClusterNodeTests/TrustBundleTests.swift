// Certificates of authorities in a pod's files: by a bundle's name, or by signer and labels.

import ClusterObjects
import Testing

@testable import ClusterNode

@Suite struct TrustBundleTests {
  private func certificate(_ body: String) -> String {
    "-----BEGIN CERTIFICATE-----\n\(body)\n-----END CERTIFICATE-----\n"
  }
  private func bundle(_ name: String, signer: String = "", labels: [String: String] = [:], _ text: String)
    -> JSON
  {
    [
      "metadata": ["name": JSON(name), "labels": JSON(labels)],
      "spec": ["signerName": JSON(signer), "trustBundle": JSON(text)],
    ]
  }
  private func files(_ source: JSON, _ bundles: [JSON]) throws -> [String: String] {
    let volume: JSON = ["name": "v", "projected": ["sources": [["clusterTrustBundle": source]]]]
    let pod: JSON = ["spec": ["volumes": [volume]]]
    var data = PodData()
    for wish in planTrustWishes(pod) { data.trust[wish] = planTrust(wish, bundles) }
    let found = try #require(try planVolumeFiles(volume, pod: pod, data: data, capacity: [:]))
    return Dictionary(
      found.map { ($0.path, String(decoding: $0.bytes, as: UTF8.self)) }, uniquingKeysWith: { $1 })
  }

  @Test func `certificates come each once, without what is between them, in one order`() throws {
    let (a, b) = (certificate("QQ=="), certificate("Qg=="))
    let bundles = [
      bundle("own", "a remark\n" + b + a + b),
      bundle("x.io:s:1", signer: "x.io/s", labels: ["live": "yes"], a),
      bundle("x.io:s:2", signer: "x.io/s", labels: ["live": "no"], b),
      bundle("y.io:s:1", signer: "y.io/s", b),
    ]
    #expect(try files(["name": "own", "path": "p"], bundles) == ["p": a + b])
    #expect(try files(["name": "own", "path": "p"], bundles.reversed()) == ["p": a + b])
    #expect(try files(["signerName": "x.io/s", "labelSelector": [:], "path": "p"], bundles) == ["p": a + b])
    let live: JSON = ["matchLabels": ["live": "no"]]
    #expect(try files(["signerName": "x.io/s", "labelSelector": live, "path": "p"], bundles) == ["p": b])
  }

  @Test func `a bundle that is not there keeps the pod waiting, or leaves an empty file`() throws {
    for (source, words): (JSON, String) in [
      (["name": "none", "path": "p"], "ClusterTrustBundle \"none\" not found"),
      // Without a selector nothing is selected.
      (
        ["signerName": "x.io/s", "path": "p"],
        "combination of signerName and labelSelector matched zero ClusterTrustBundles"
      ),
    ] {
      let bundles = [bundle("x.io:s:1", signer: "x.io/s", certificate("QQ=="))]
      let error = #expect(throws: MissingReference.self) { try files(source, bundles) }
      #expect(error?.message == words)
      var optional = source
      optional["optional"] = true
      #expect(try files(optional, bundles) == ["p": ""])
    }
  }
}
