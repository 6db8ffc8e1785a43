// What the CNI specification 1.1.0 asks of a plugin with MUST, one entry each, in our own words. The subject is a parameter, so
// that other plugins run the same suite.
import Addresses
import CNI
import Glibc
import KernelNetlink
import Testing

struct Requirement: Sendable, CustomTestStringConvertible {
  /// Chapter of the specification and a number of ours.
  var id: String
  var text: String
  var check: @Sendable (Subject) throws -> Void
  var testDescription: String { "\(id): \(text)" }
}

let requirements: [Requirement] =
  parameterRequirements + addRequirements + undoRequirements + otherVerbRequirements

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
