// Goal: a pod that asks for its addresses gets them, and gets them back; one that does not is as before. Method: lease stores
// on a folder, and configurations as containerd writes them.
import Addresses
import Glibc
import KernelNetlink
import Testing

@testable import CNI

private func podLease(_ id: String, _ pod: String, kept: Bool = true) -> Lease {
  var wanted = lease(id)
  wanted.podNamespace = "demo"
  wanted.podName = pod
  wanted.isKept = kept
  return wanted
}

private func addresses(_ lease: Lease) -> [String] { lease.addresses.map { "\($0.address)" } }

@Suite struct KeptAddressTests {
  @Test func `a pod that asks to keep its address gets it back, whoever came meanwhile`() throws {
    let scratch = try Scratch()
    let store = try leases(in: scratch.path)
    #expect(try addresses(store.acquire(podLease("a", "db-0"))) == ["10.9.0.2"])
    #expect(try addresses(store.acquire(podLease("b", "web", kept: false))) == ["10.9.0.3"])
    try store.release("a:eth0")
    try store.release("b:eth0")
    // Every other address is given first, that of the pod that keeps nothing among them.
    for (id, wanted) in [("c", "4"), ("d", "5"), ("e", "6"), ("f", "3")] {
      #expect(try addresses(store.acquire(podLease(id, "p\(id)", kept: false))) == ["10.9.0.\(wanted)"])
    }
    #expect(try addresses(store.acquire(podLease("a2", "db-0"))) == ["10.9.0.2"])
    // The index is rebuilt from leases and claims.
    try store.release("a2:eth0")
    try store.release("c:eth0")
    unlink("\(scratch.path)/t/index.0")
    #expect(try addresses(store.acquire(podLease("g", "other", kept: false))) == ["10.9.0.4"])
    #expect(try addresses(store.acquire(podLease("a3", "db-0"))) == ["10.9.0.2"])
  }

  @Test func `it is not given twice while the pod's former container is there`() throws {
    let scratch = try Scratch()
    let store = try leases(in: scratch.path)
    _ = try store.acquire(podLease("a", "db-0"))
    do throws(CNIError) {
      _ = try store.acquire(podLease("a2", "db-0"))
      Issue.record("two containers have one address")
    } catch {
      #expect(error.code == .tryAgainLater && error.details.contains("container a holds 10.9.0.2"))
    }
    try store.release("a:eth0")
    #expect(try addresses(store.acquire(podLease("a2", "db-0"))) == ["10.9.0.2"])
    #expect(try store.usage()[0].used == 1)
  }

  @Test func `when nothing else is left the one unused for longest is given up`() throws {
    let scratch = try Scratch()
    let store = try leases(in: scratch.path)
    for (index, id) in ["a", "b", "c", "d", "e"].enumerated() {
      _ = try store.acquire(podLease(id, "db-\(index)"))
      var times = [timespec(tv_sec: 1000 + index, tv_nsec: 0), timespec(tv_sec: 1000 + index, tv_nsec: 0)]
      #expect(utimensat(AT_FDCWD, "\(scratch.path)/t/kept/demo_db-\(index):eth0", &times, 0) == 0)
    }
    try store.release("c:eth0")
    try store.release("b:eth0")
    // db-1 and db-2 are away; db-0 is older and is not.
    #expect(try addresses(store.acquire(podLease("x", "x", kept: false))) == ["10.9.0.3"])
    #expect(try addresses(store.acquire(podLease("y", "y", kept: false))) == ["10.9.0.4"])
    #expect(throws: CNIError.self) { try store.acquire(podLease("z", "z", kept: false)) }
    #expect(throws: CNIError.self) { try store.acquire(podLease("b2", "db-1")) }
  }

  @Test func `GC forgets pods that stay away for a week`() throws {
    let scratch = try Scratch()
    let store = try leases(in: scratch.path)
    for (id, pod) in [("a", "old"), ("b", "new"), ("c", "here")] { _ = try store.acquire(podLease(id, pod)) }
    try store.release("a:eth0")
    try store.release("b:eth0")
    for pod in ["old", "here"] {
      var times = [timespec(tv_sec: 1000, tv_nsec: 0), timespec(tv_sec: 1000, tv_nsec: 0)]
      #expect(utimensat(AT_FDCWD, "\(scratch.path)/t/kept/demo_\(pod):eth0", &times, 0) == 0)
    }
    try store.expireKept()
    #expect(try store.allKept().map(\.name).sorted() == ["demo_here:eth0", "demo_new:eth0"])
    #expect(try store.usage()[0].used == 2)
  }

  @Test func `a claim that is damaged, of no pod or named to break out is none`() throws {
    let scratch = try Scratch()
    let store = try leases(in: scratch.path)
    for (index, pod) in ["", "../../x", ".hidden", "a/b", "A_B"].enumerated() {
      _ = try store.acquire(podLease("n\(index)", pod))
      try store.release("n\(index):eth0")
    }
    #expect(try Files.names(in: "\(scratch.path)/t/kept") == [])
    _ = try store.acquire(podLease("a", "db-0"))
    try store.release("a:eth0")
    for text in [
      "", "{", "{}", #"{"holder":"../x:eth0","addresses":["10.9.0.2"]}"#, #"{"holder":"a","addresses":[1]}"#,
    ] {
      try Files.replace(
        "\(scratch.path)/t/kept/demo_db-0:eth0", temporary: "\(scratch.path)/t/tmp", with: Array(text.utf8))
      #expect(try store.keptAddresses(podLease("b", "db-0")).isEmpty, "\(text)")
    }
    _ = try store.acquire(podLease("b", "db-0"))
  }

  @Test func `an address that is asked for by name wins, and the former one is free again`() throws {
    let scratch = try Scratch()
    let store = try leases(in: scratch.path)
    _ = try store.acquire(podLease("a", "db-0"))
    try store.release("a:eth0")
    let wanted = try #require(IPAddress("10.9.0.5"))
    #expect(try addresses(store.acquire(podLease("b", "db-0"), requested: [wanted])) == ["10.9.0.5"])
    #expect(try store.usage()[0].used == 1)
    try store.release("b:eth0")
    #expect(try addresses(store.acquire(podLease("c", "db-0"))) == ["10.9.0.5"])
  }

  @Test func `annotations of the pod ask for addresses and for keeping them`() throws {
    func read(_ annotations: String) throws -> NetworkConfiguration {
      let text = """
        {"cniVersion":"1.0.0","name":"t","ipam":{"subnet":"10.9.0.0/24"},
         "runtimeConfig":{"io.kubernetes.cri.pod-annotations":\(annotations)}}
        """
      return try NetworkConfiguration(JSONValue(parsing: Array(text.utf8)), isStrict: true)
    }
    let asks = try read(#"{"weft.dev/addresses":"10.9.0.50, fd00::50","other":"x"}"#)
    #expect(asks.requestedAddresses.map(\.description) == ["10.9.0.50", "fd00::50"] && !asks.keepsAddresses)
    let keeps = try read(#"{"weft.dev/keep-addresses":"true"}"#)
    #expect(keeps.requestedAddresses.isEmpty && keeps.keepsAddresses)
    for odd in [
      "null", "[]", "{}", "3", #"{"weft.dev/keep-addresses":"false"}"#, #"{"weft.dev/keep-addresses":true}"#,
    ] {
      let none = try read(odd)
      #expect(none.requestedAddresses.isEmpty && !none.keepsAddresses, "\(odd)")
    }
    do throws(CNIError) {
      _ = try NetworkConfiguration(
        .object([
          "name": .string("t"),
          "runtimeConfig": .object([
            JSONValue.Member(
              "io.kubernetes.cri.pod-annotations",
              .object([
                JSONValue.Member("weft.dev/addresses", .string("10.9.0.500"))
              ]))
          ]),
        ]), isStrict: true)
      Issue.record("a malformed address was passed over")
    } catch { #expect(error.code == .invalidConfiguration) }
  }

  @Test func `STATUS says that addresses run out before they have`() throws {
    let scratch = try Scratch()
    let store = try leases(in: scratch.path, subnet: "10.9.0.0/28")
    let text =
      #"{"cniVersion":"1.1.0","name":"t","type":"host-local","ipam":{"dataDir":"\#(scratch.path)","subnet":"10.9.0.0/28"}}"#
    func status() -> PluginAnswer {
      Plugin.run(program: "host-local", environment: { $0 == "CNI_COMMAND" ? "STATUS" : nil }) {
        Array(text.utf8)
      }
    }
    for index in 0..<13 {
      let answer = status()
      #expect(answer.exitCode == 0 && answer.output.isEmpty)
      #expect(answer.notes.isEmpty == (index < 12), "\(index): \(answer.notes)")
      _ = try store.acquire(lease("c\(index)"))
    }
    #expect(status().exitCode == 1 && status().output.contains("\"code\":50"))
  }
}
