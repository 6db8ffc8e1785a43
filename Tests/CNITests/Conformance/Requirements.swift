// What the CNI specification 1.1.0 asks of a plugin with MUST, one entry each, in our own words. The subject is a parameter, so
// that other plugins run the same suite.
import Addresses
import CNI
import Glibc
import KernelNetlink
import Testing

struct Requirement: Sendable, CustomTestStringConvertible {
  /// What it is about, and a number of ours.
  var id: String
  var text: String
  var check: @Sendable (Subject) throws -> Void
  var testDescription: String { "\(id): \(text)" }
  /// Where the specification asks for it.
  var chapter: String { chapters[id] ?? "" }
}

let requirements: [Requirement] =
  parameterRequirements + configurationRequirements + addRequirements + undoRequirements
  + otherVerbRequirements + delegationRequirements

/// Section of the specification 1.1.0 and the heading in it; MUST where it says must, else should.
private let chapters: [String: String] = [
  "CFG-1": "1 `name`, MUST", "CFG-2": "1 `ipam.type`, MUST", "PAR-1": "2 ADD required, 5 code 4, MUST",
  "PAR-2": "2 `CNI_CONTAINERID`, MUST", "PAR-3": "2 `CNI_IFNAME`, MUST", "PAR-4": "5 Error, should",
  "PAR-5": "5 code 6", "PAR-6": "5 code 1", "PAR-7": "5 code 7", "PAR-8": "1 other keys, should",
  "PAR-9": "2 Errors, MUST", "PAR-10": "2 DEL and CHECK required, 5 code 4, MUST",
  "PAR-11": "2 optional parameters", "PAR-12": "2 VERSION required", "ERR-1": "5 code 2, MUST",
  "ERR-2": "5 reserved codes", "ADD-1": "2 ADD, MUST", "ADD-2": "2 ADD, MUST", "ADD-3": "5 ADD success, MUST",
  "ADD-4": "5 `cniVersion`, MUST", "ADD-5": "5 ADD success, MUST", "ADD-6": "4 procedure, should",
  "ADD-7": "2 ADD", "ADD-8": "2 `prevResult`, 5, MUST", "ADD-9": "5 delegated, MUST",
  "ADD-10": "4 IPAM, MUST", "ADD-11": "2 ADD", "ADD-12": "2 `prevResult`, 5, MUST", "IPAM-1": "4 IPAM, MUST",
  "DEL-1": "2 DEL, 4 procedure, MUST", "DEL-2": "2 DEL, MUST", "DEL-3": "2 DEL, should",
  "DEL-4": "2 DEL, should", "DEL-5": "2 DEL", "DEL-6": "2 DEL, MUST", "CHK-1": "2 CHECK, MUST",
  "CHK-2": "2 CHECK, should", "CHK-3": "2 CHECK, MUST", "CHK-4": "2 versions", "CHK-5": "2 CHECK, MUST",
  "CHK-6": "4 procedure, MUST", "VER-1": "5 VERSION success, MUST", "VER-2": "1 versions, MUST",
  "VER-3": "5 VERSION success, MUST", "GC-1": "2 GC, SHOULD", "GC-2": "2 GC",
  "GC-3": "2 GC, 4 procedure, MUST", "ST-1": "2 STATUS, MUST", "ST-2": "2 STATUS, MUST",
  "ST-3": "2 STATUS, MUST", "ST-4": "2 STATUS, MUST NOT", "CON-1": "3 lifecycle, MUST",
]

private let parameterRequirements: [Requirement] = [
  Requirement(id: "PAR-1", text: "a missing variable is error 4, named in the message") { subject in
    let stand = try Stand(subject, "par1")
    let pod = try stand.lab.pod("a")
    for name in ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"] {
      let reply = try stand.call(
        "ADD", "a", pod, input: stand.configuration(), without: [name])
      try reply.isError(4)
      try meet(reply.text.contains(name), "does not name \(name): \(reply.text)")
    }
  },
  Requirement(id: "PAR-2", text: "a container ID starts alphanumeric and has only . _ - besides") { subject in
    let stand = try Stand(subject, "par2")
    let pod = try stand.lab.pod("a")
    for id in ["../../x", "-a", "a b", "a/b"] {
      let reply = try stand.call("ADD", id, pod, input: stand.configuration())
      try meet(reply.code != 0, "accepted the container ID \(id)")
    }
    try meet(try stand.links(pod).count == 1, "made an interface for a malformed container ID")
  },
  Requirement(
    id: "PAR-3", text: "an interface name is what Linux takes: no / : or space, 15 bytes, not . or .."
  ) {
    subject in
    let stand = try Stand(subject, "par3")
    let pod = try stand.lab.pod("a")
    for name in ["a/b", "a:b", "a b", ".", "..", "abcdefghijklmnop"] {
      let reply = try stand.call(
        "ADD", "a", pod, input: stand.configuration(), variables: ["CNI_IFNAME": name])
      try meet(reply.code != 0, "accepted the interface name \(name)")
    }
  },
  Requirement(id: "PAR-4", text: "an unknown verb is an error with JSON") { subject in
    let stand = try Stand(subject, "par4")
    let reply = try stand.call("EXPLODE", "a", try stand.lab.pod("a"), input: stand.configuration())
    try meet(reply.code != 0 && reply.error != nil, "answered \(reply.code) and \(reply.text)")
  },
  Requirement(id: "PAR-5", text: "a configuration that is not JSON is error 6") { subject in
    let stand = try Stand(subject, "par5")
    try stand.call("ADD", "a", try stand.lab.pod("a"), input: "{").isError(6)
  },
  Requirement(id: "PAR-6", text: "a version that is not supported is error 1") { subject in
    let stand = try Stand(subject, "par6")
    let pod = try stand.lab.pod("a")
    try stand.call("ADD", "a", pod, input: stand.configuration(version: "9.0.0")).isError(1)
  },
  Requirement(id: "PAR-7", text: "a configuration that is wrong is error 7") { subject in
    let stand = try Stand(subject, "par7")
    let pod = try stand.lab.pod("a")
    try stand.call("ADD", "a", pod, input: stand.configuration(subnet: "10.99.0.0/99")).isError(7)
  },
  Requirement(id: "PAR-8", text: "keys and arguments that the plugin does not know are passed over") {
    subject in
    let stand = try Stand(subject, "par8")
    let pod = try stand.lab.pod("a")
    let reply = try stand.call(
      "ADD", "a", pod,
      input: stand.configuration(more: #","x.example/y":{"z":[1]},"args":{"cni":{"labels":[]},"other":1}"#),
      variables: ["CNI_ARGS": "IgnoreUnknown=1;FOO=BAR"])
    try meet(reply.code == 0, reply.text)
  },
  Requirement(id: "PAR-9", text: "an error has cniVersion, code and msg, and the exit code is not 0") {
    subject in
    let stand = try Stand(subject, "par9")
    let reply = try stand.call("ADD", "a", "/run/netns/none-such", input: stand.configuration())
    try meet(reply.code != 0, "succeeded without a namespace")
    try meet(
      reply.error != nil && reply.json["msg"]?.string?.isEmpty == false, "no code or msg: \(reply.text)")
    try meet(reply.json["cniVersion"]?.string == "1.0.0", "no cniVersion: \(reply.text)")
  },
]
