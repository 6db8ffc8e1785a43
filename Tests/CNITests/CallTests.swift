// Calls that never reach the kernel: versions, environment, configuration, and what a runtime reads from an
// error.
import Addresses
import Glibc
import KernelNetlink
import Testing

@testable import CNI

func call(_ variables: [String: String], _ input: String, program: String = "weft-cni") throws -> (
  JSONValue, Int32
) {
  let answer = Plugin.run(program: program, environment: { variables[$0] }, input: { Array(input.utf8) })
  return (try JSONValue(parsing: Array(answer.output.utf8)), answer.exitCode)
}

@Test func `VERSION lists every supported version`() throws {
  let (json, code) = try call(["CNI_COMMAND": "VERSION"], #"{"cniVersion":"1.0.0"}"#)
  #expect(code == 0)
  #expect(
    json["supportedVersions"]?.array?.compactMap(\.string) == [
      "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0",
    ])
}

@Test(arguments: [
  (#"{"cniVersion":"9.0.0","name":"n"}"#, 1), ("not json", 6), (#"{"cniVersion":"1.0.0"}"#, 7),
  (#"{"cniVersion":"1.0.0","name":"../x"}"#, 7), (#"{"cniVersion":"1.0.0","name":"n"}"#, 7),
  (#"{"cniVersion":"1.0.0","name":"n","ipam":{"subnet":"10.0.0.0/24"},"ipMasq":"yes"}"#, 7),
  (#"{"cniVersion":"1.0.0","name":"n","ipam":{"subnet":"10.0.0.0/24"},"vlan":4095}"#, 7),
  (#"{"cniVersion":"1.0.0","name":"n","ipam":{"subnet":"10.0.0.0/24"},"ipMasqBackend":"ebtables"}"#, 2),
  (#"{"cniVersion":"1.0.0","name":"n","type":"../sh","ipam":{"subnet":"10.0.0.0/24"}}"#, 7),
  (#"{"cniVersion":"1.0.0","name":"n","ipam":{"subnet":"10.0.0.0/24","rangeStart":"10.1.0.1"}}"#, 7),
  (#"{"cniVersion":"1.0.0","name":"n","ipam":{"subnet":"10.0.0.0/24","type":"dhcp"}}"#, 2),
])
func `a bad configuration is refused with the specification's code`(input: String, code: Int64) throws {
  let variables = [
    "CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c", "CNI_NETNS": "/none", "CNI_IFNAME": "eth0",
  ]
  let (json, exit) = try call(variables, input)
  #expect(json["code"]?.integer == code && exit == 1)
}

@Test func `every missing or malformed variable is named`() throws {
  let (json, _) = try call(["CNI_COMMAND": "ADD", "CNI_CONTAINERID": "a/b", "CNI_IFNAME": "a:b"], "{}")
  #expect(json["code"]?.integer == 4)
  let message = try #require(json["msg"]?.string)
  for name in ["CNI_CONTAINERID=a/b", "CNI_IFNAME=a:b", "CNI_NETNS="] { #expect(message.contains(name)) }
  #expect(try call([:], "{}").0["code"]?.integer == 4)
}

@Test func `GC and STATUS need version 1 point 1`() throws {
  let input = #"{"cniVersion":"1.0.0","name":"n","ipam":{"subnet":"10.0.0.0/24"}}"#
  #expect(try call(["CNI_COMMAND": "STATUS"], input).0["code"]?.integer == 1)
}

@Test func `the rendered list is read back as the network it describes`() throws {
  let settings = NetworkSettings(
    podBlocks: [try #require(IPPrefix("10.42.3.0/24")), try #require(IPPrefix("fd00:42:0:3::/64"))],
    mtu: 1400,
    nodeSocket: "/run/weft/node.sock", requiresNode: true)
  let list = try JSONValue(parsing: Array(renderConflist(settings).utf8))
  #expect(list["cniVersion"]?.string == "1.0.0" && list["name"]?.string == "weft")
  var members = try #require(list["plugins"]?.array?.first?.members)
  members += [JSONValue.Member("cniVersion", .string("1.0.0")), JSONValue.Member("name", .string("weft"))]
  let network = try NetworkConfiguration(.object(members), isStrict: true)
  #expect(network.rangeSets.map { $0[0].gateway.description } == ["10.42.3.1", "fd00:42:0:3::1"])
  #expect(network.rangeSets[0][0].last.description == "10.42.3.254")
  #expect(network.requiresNode && network.nodeSocket == "/run/weft/node.sock" && network.bridge.mtu == 1400)
  #expect(network.routes?.count == 2)
}

@Test func `host interface names are stable, distinct and fit the kernel's limit`() {
  var names: Set<String> = []
  for index in 0..<10_000 {
    names.insert(hostInterfaceName(containerID: "container\(index)", ifname: "eth0"))
  }
  #expect(names.count == 10_000)
  #expect(names.allSatisfy { $0.utf8.count == 15 && $0.hasPrefix("vp") })
  #expect(
    hostInterfaceName(containerID: "c1", ifname: "eth0")
      == hostInterfaceName(containerID: "c1", ifname: "eth0"))
}
