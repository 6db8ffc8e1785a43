// One-layer images in the OCI image layout, as the archive that containerd imports.
//
//   oci-layout, index.json -> manifest -> config
//                                      -> layer (an uncompressed tar: its digest is also its diff id)

import ClusterObjects
import Crypto

/// An image to be: a file system and how to start in it.
struct OCIImage {
  /// The full reference, such as `weft.local/demo:1`.
  var reference: String
  var entrypoint: [String]
  var command: [String] = []
  var environment: [String] = ["PATH=/bin"]
  /// A tar of the file system.
  var layer: [UInt8]

  /// `sha256:` and 64 hexadecimal digits.
  static func digest(_ bytes: [UInt8]) -> String {
    var hash = SHA256()
    bytes.withUnsafeBytes { hash.update(bufferPointer: $0) }
    let digits = Array("0123456789abcdef".utf8)
    var text: [UInt8] = []
    for byte in hash.finalize() {
      text.append(digits[Int(byte >> 4)])
      text.append(digits[Int(byte & 0xf)])
    }
    return "sha256:" + String(decoding: text, as: UTF8.self)
  }

  static var architecture: String {
    #if arch(arm64)
      "arm64"
    #else
      "amd64"
    #endif
  }

  /// The whole archive.
  func archive() -> [UInt8] {
    let layerDigest = Self.digest(layer)
    let config: JSON = [
      "architecture": JSON(Self.architecture), "os": "linux", "created": "2020-01-01T00:00:00Z",
      "config": [
        "Env": JSON(environment), "Entrypoint": JSON(entrypoint), "Cmd": JSON(command), "WorkingDir": "/",
      ],
      "rootfs": ["type": "layers", "diff_ids": [JSON(layerDigest)]],
    ]
    let configBytes = config.bytes
    let manifest: JSON = [
      "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
      "config": Self.descriptor("application/vnd.oci.image.config.v1+json", configBytes),
      "layers": [Self.descriptor("application/vnd.oci.image.layer.v1.tar", layer)],
    ]
    let manifestBytes = manifest.bytes
    var entry = Self.descriptor("application/vnd.oci.image.manifest.v1+json", manifestBytes)
    let tag = reference.split(separator: ":").last.map(String.init) ?? "latest"
    entry["annotations"] = [
      "io.containerd.image.name": JSON(reference), "org.opencontainers.image.ref.name": JSON(tag),
    ]
    entry["platform"] = ["architecture": JSON(Self.architecture), "os": "linux"]
    let index: JSON = ["schemaVersion": 2, "manifests": [entry]]
    var tar = TarWriter()
    tar.file("oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}")
    tar.file("index.json", index.bytes)
    for blob in [layer, configBytes, manifestBytes] {
      tar.file("blobs/sha256/" + Self.digest(blob).dropFirst(7), blob)
    }
    return tar.finish()
  }

  private static func descriptor(_ mediaType: String, _ bytes: [UInt8]) -> JSON {
    ["mediaType": JSON(mediaType), "digest": JSON(digest(bytes)), "size": JSON(bytes.count)]
  }
}
