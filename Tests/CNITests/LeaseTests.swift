// Leases: the order they are given in, what a crash or a reboot leaves, and that time does not grow with
// their number.
import Addresses
import Glibc
import KernelNetlink
import StoreLab
import Testing

@testable import CNI

func leases(in folder: String, subnet: String = "10.9.0.0/29") throws -> LeaseStore {
  let text = #"{"cniVersion":"1.0.0","name":"t","ipam":{"dataDir":"\#(folder)","subnet":"\#(subnet)"}}"#
  return LeaseStore(try NetworkConfiguration(JSONValue(parsing: Array(text.utf8)), isStrict: true))
}

func lease(_ id: String) -> Lease { Lease(network: "t", containerID: id, interfaceName: "eth0") }

@Test func `addresses are given in order, then the one released first`() throws {
  let scratch = try Scratch()
  let store = try leases(in: scratch.path)
  func add(_ id: String) throws -> String { try store.acquire(lease(id)).addresses[0].description }
  #expect(try ["a", "b", "c", "d", "e"].map(add) == (2...6).map { "10.9.0.\($0)/29" })
  #expect(throws: CNIError.self) { try add("f") }
  for id in ["d", "b", "e"] { #expect(try store.release("\(id):eth0") != nil) }
  #expect(try ["g", "h", "i"].map(add) == ["10.9.0.5/29", "10.9.0.3/29", "10.9.0.6/29"])
  #expect(try store.release("nobody:eth0") == nil)
}

@Test func `a second lease for the same attachment is error 100, an exhausted range error 11`() throws {
  let scratch = try Scratch()
  let store = try leases(in: scratch.path, subnet: "10.9.0.0/30")
  _ = try store.acquire(lease("a"))
  #expect(throws: CNIError.self) { try store.acquire(lease("a")) }
  do throws(CNIError) { _ = try store.acquire(lease("a")) } catch { #expect(error.code == .alreadyAttached) }
  do throws(CNIError) { _ = try store.acquire(lease("b")) } catch { #expect(error.code == .tryAgainLater) }
  #expect(try store.all().count == 1)
}

@Test func `a requested address is given once and skipped later`() throws {
  let scratch = try Scratch()
  let store = try leases(in: scratch.path)
  let wanted = try #require(IPAddress("10.9.0.3"))
  #expect(try store.acquire(lease("a"), requested: [wanted]).addresses[0].address == wanted)
  #expect(throws: CNIError.self) { try store.acquire(lease("b"), requested: [wanted]) }
  #expect(
    try ["c", "d"].map { try store.acquire(lease($0)).addresses[0].description } == [
      "10.9.0.2/29", "10.9.0.4/29",
    ])
}

@Test func `an index left dirty, cut short or deleted is rebuilt without giving an address twice`() throws {
  let scratch = try Scratch()
  let store = try leases(in: scratch.path)
  var seen: Set<String> = []
  for (round, damage) in ["dirty", "short", "gone", "garbage"].enumerated() {
    seen.insert(try store.acquire(lease("c\(round)")).addresses[0].description)
    let index = "\(scratch.path)/t/index.0"
    switch damage {
    case "dirty":
      let file = open(index, O_WRONLY)
      #expect(pwrite(file, [UInt8(1)], 1, 12) == 1)
      close(file)
    case "short": #expect(truncate(index, 100) == 0)
    case "gone": #expect(unlink(index) == 0)
    default:
      let file = open(index, O_WRONLY | O_TRUNC)
      #expect(write(file, [UInt8](repeating: 0xff, count: 5000), 5000) == 5000)
      close(file)
    }
  }
  seen.insert(try store.acquire(lease("last")).addresses[0].description)
  #expect(seen.count == 5)
}

@Test func `leases of another boot and torn files do not hold addresses`() throws {
  let scratch = try Scratch()
  let store = try leases(in: scratch.path, subnet: "10.9.0.0/30")
  _ = try store.acquire(lease("old"))
  let path = "\(scratch.path)/t/leases/old:eth0"
  var json = String(decoding: try #require(try Files.read(path)), as: UTF8.self)
  json.replace(LeaseStore.bootID, with: "00000000-1111-2222-3333-444444444444")
  try Files.replace(path, temporary: path + ".new", with: Array(json.utf8))
  try Files.replace("\(scratch.path)/t/leases/torn:eth0", temporary: path + ".new", with: [0x7b])
  unlink("\(scratch.path)/t/index.0")  // its boot differs too after a real reboot
  #expect(try store.acquire(lease("new")).addresses[0].description == "10.9.0.2/30")
  #expect(try store.all().map(\.containerID) == ["new"])
  #expect(try store.release("torn:eth0") == nil)
}

@Test func `DEL without ranges in the configuration frees the address`() throws {
  let scratch = try Scratch()
  let store = try leases(in: scratch.path, subnet: "10.9.0.0/30")
  _ = try store.acquire(lease("a"))
  let text = #"{"cniVersion":"1.0.0","name":"t","ipam":{"dataDir":"\#(scratch.path)"}}"#
  let bare = LeaseStore(try NetworkConfiguration(JSONValue(parsing: Array(text.utf8)), isStrict: false))
  #expect(try bare.release("a:eth0")?.containerID == "a")
  #expect(try store.acquire(lease("b")).addresses[0].description == "10.9.0.2/30")
}

@Test func `an address has no twin over thousands of random steps`() throws {
  let scratch = try Scratch()
  let store = try leases(in: scratch.path, subnet: "10.9.0.0/27")
  var random = SeededGenerator(seed: 7)
  var held: [String: String] = [:]
  for step in 0..<3000 {
    if Bool.random(using: &random) {
      do throws(CNIError) {
        let given = try store.acquire(lease("c\(step)")).addresses[0].description
        #expect(!held.values.contains(given))
        held["c\(step)"] = given
      } catch {
        #expect(error.code == .tryAgainLater && held.count == 29)
      }
    } else if let id = held.keys.sorted().randomElement(using: &random) {
      #expect(try store.release("\(id):eth0")?.addresses[0].description == held[id])
      held[id] = nil
    }
    if step % 500 == 0 { unlink("\(scratch.path)/t/index.0") }
  }
  #expect(try store.usage().first.map { $0.used == held.count && $0.total == 29 } == true)
}

@Test func `two families and two ranges give one address of each set`() throws {
  let scratch = try Scratch()
  let text = """
    {"cniVersion":"1.0.0","name":"t","ipam":{"dataDir":"\(scratch.path)","ranges":[
      [{"subnet":"10.1.0.0/30"},{"subnet":"10.2.0.0/30"}],[{"subnet":"fd00::/64"}]]}}
    """
  let store = LeaseStore(try NetworkConfiguration(JSONValue(parsing: Array(text.utf8)), isStrict: true))
  #expect(try store.acquire(lease("a")).addresses.map(\.description) == ["10.1.0.2/30", "fd00::2/64"])
  let second = try store.acquire(lease("b"))
  #expect(second.addresses.map(\.description) == ["10.2.0.2/30", "fd00::3/64"])
  #expect(second.gateways.map(\.description) == ["10.2.0.1", "fd00::1"])
  #expect(throws: CNIError.self) { try store.acquire(lease("c")) }
  // The failed call gave the second set's address back.
  try store.release("a:eth0")
  #expect(try store.acquire(lease("d")).addresses.map(\.description) == ["10.1.0.2/30", "fd00::4/64"])
}
