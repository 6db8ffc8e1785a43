// Protobuf bodies. The fixtures were encoded with protoc from the public message definitions and set every empty field
// that Go clients send.
import ClusterObjects
import Testing

private func bytes(_ hex: String) -> [UInt8] {
  let digits = hex.utf8.map { $0 < 58 ? $0 - 48 : $0 - 87 }
  return stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
}

private func field(_ number: UInt8, _ content: [UInt8]) -> [UInt8] {
  var length: [UInt8] = []
  var rest = content.count
  repeat {
    length.append(UInt8(rest & 0x7f) | (rest > 127 ? 0x80 : 0))
    rest >>= 7
  } while rest > 0
  return [number << 3 | 2] + length + content
}

private func envelope(_ apiVersion: String, _ kind: String, _ raw: [UInt8]) -> [UInt8] {
  let meta = field(1, Array(apiVersion.utf8)) + field(2, Array(kind.utf8))
  return [0x6b, 0x38, 0x73, 0] + field(1, meta) + field(2, raw) + field(3, []) + field(4, [])
}

private func decode(_ apiVersion: String, _ kind: String, _ hex: String) throws -> JSON {
  let envelope = try ProtobufEnvelope(envelope(apiVersion, kind, bytes(hex)))
  let schema = try #require(KindRegistry.builtin.bodySchema(envelope.gvk))
  return try schema.decode(protobuf: envelope).object
}

private let deployment =
  "0a1f0a037765621a0464656d6f2a003200380042005a0a0a03617070120377656212c5010802120c0a0a0a0361707012037765621aaa01"
  + "0a100a0042005a0a0a0361707012037765621295010a130a03636667120c9a01090a040a02636d18a40312740a016312066563686f3a"
  + "31320e0a00100018903f22035443502a003a120a014112001a0b1a090a040a02636d12016b4210120e0a0363707512070a0531353030"
  + "6d52100a0e1a0c0a0a080110001a04687474705a160a1212100a012f1207080010903f1a001a00220010037a04100020008001001a00"
  + "580072042005200722020a00280038001a0408001000"

@Test func `a deployment arrives as its JSON would`() throws {
  let expected = try JSON(
    parsing: #"""
      {"kind":"Deployment","apiVersion":"apps/v1","metadata":{"name":"web","namespace":"demo","labels":{"app":"web"}},
      "spec":{"replicas":2,"selector":{"matchLabels":{"app":"web"}},"template":{"metadata":{"labels":{"app":"web"}},
      "spec":{"volumes":[{"name":"cfg","configMap":{"name":"cm","defaultMode":420}}],"containers":[{"name":"c",
      "image":"echo:1","ports":[{"containerPort":8080,"protocol":"TCP"}],"env":[{"name":"A","valueFrom":
      {"configMapKeyRef":{"name":"cm","key":"k"}}}],"resources":{"requests":{"cpu":"1500m"}},"livenessProbe":
      {"tcpSocket":{"port":"http"}},"readinessProbe":{"httpGet":{"path":"/","port":8080},"initialDelaySeconds":3},
      "securityContext":{"privileged":false,"runAsUser":0}}],"securityContext":{"supplementalGroups":[5,7]}}},
      "strategy":{}},"status":{}}
      """#)
  let decoded = try decode("apps/v1", "Deployment", deployment)
  #expect(decoded == expected, "\(decoded.text)")
}

@Test func `bytes become base64 and maps keep their entries`() throws {
  let secret = try decode(
    "v1", "Secret", "0a030a0173120a0a016b120500ff6162631a064f706171756522060a01701201782801")
  #expect(
    secret == [
      "kind": "Secret", "apiVersion": "v1", "metadata": ["name": "s"], "data": ["k": "AP9hYmM="],
      "type": "Opaque", "stringData": ["p": "x"], "immutable": true,
    ])
}

@Test func `times become text`() throws {
  let lease = try decode(
    "coordination.k8s.io/v1", "Lease", "0a0d0a016c42080880e2cfaa061000120e0a016822090881e2cfaa06108827")
  #expect(lease.creationTimestamp == "2023-11-14T22:13:20Z")
  #expect(lease.at("spec", "renewTime") == "2023-11-14T22:13:21.000005Z")
}

@Test func `what is no protobuf says so`() {
  #expect(throws: DecodeError.self) { try ProtobufEnvelope(Array("{\"kind\":\"Pod\"}".utf8)) }
  #expect(throws: DecodeError.self) { try ProtobufEnvelope([0x6b, 0x38, 0x73, 0, 0x0a, 0x7f]) }
}

@Test func `lengths that lie and endless nesting are refused`() throws {
  let schema = KindRegistry.builtin[GroupVersionResource.pods]!.schema
  #expect(throws: DecodeError.self) { try schema.decode(message: [0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]) }
  #expect(throws: DecodeError.self) { try schema.decode(message: [UInt8](repeating: 0xff, count: 30)) }
  #expect(throws: DecodeError.self) { try schema.decode(message: [0x08, 0x01]) }
}

@Test func `damaged messages never trap`() throws {
  let good = bytes(deployment)
  let schema = KindRegistry.builtin[GroupVersionResource.deployments]!.schema
  var generator = Seeded(state: 42)
  var accepted = 0
  for _ in 0..<20_000 {
    var bad = good
    for _ in 0..<Int.random(in: 1...6, using: &generator) {
      let position = Int.random(in: 0..<bad.count, using: &generator)
      switch Int.random(in: 0..<3, using: &generator) {
      case 0: bad[position] = UInt8.random(in: 0...255, using: &generator)
      case 1: bad.remove(at: position)
      default: bad.insert(UInt8.random(in: 0...255, using: &generator), at: position)
      }
      if bad.isEmpty { bad = [0] }
    }
    if (try? ProtobufEnvelope(envelope("apps/v1", "Deployment", bad))).flatMap({
      try? schema.decode(protobuf: $0)
    })
      != nil
    {
      accepted += 1
    }
  }
  #expect(accepted > 0 && accepted < 20_000)
}
