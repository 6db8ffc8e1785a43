// Manifests and lists object by object: the same objects as when they are read at once, whatever the pieces they come in.

import ClusterObjects
import Diagnostics
import FuzzLab
import Glibc
import Synchronization
import Testing

@testable import ClusterClient

private func split(_ text: String, by size: Int) throws -> (elements: [JSON], rest: JSON) {
  var items = JSONItems()
  var elements: [JSON] = []
  let bytes = Array(text.utf8)
  for start in stride(from: 0, to: bytes.count, by: size) {
    try bytes[start..<min(start + size, bytes.count)].withUnsafeBufferPointer { buffer in
      try items.feed(buffer) { if let element = try? JSON(parsing: $0) { elements.append(element) } }
    }
  }
  return (elements, try JSON(parsing: items.rest))
}

@Suite(.timeLimit(.minutes(10))) struct JSONItemsTests {
  @Test(arguments: [1, 2, 3, 7, 64, 4096])
  func `elements of a list are found wherever the bytes are cut`(size: Int) throws {
    let text = #"""
      {"items" : [ {"a": "]},{\"\\"} , {"b": [{"items": [1, 2]}], "c": {}},
        {} ], "kind":"List", "other": {"items": [3]}, "more": ["items", ["x"]]}
      """#
    let (elements, rest) = try split(text, by: size)
    #expect(elements == [["a": "]},{\"\\"], ["b": [["items": [1, 2]]], "c": [:]], [:]])
    let left: JSON = ["items": [], "kind": "List", "other": ["items": [3]], "more": ["items", ["x"]]]
    #expect(rest == left)
  }

  @Test(arguments: ["{}", "[]", "[\"items\", [1]]", "{\"a\":\"items\",\"b\":[1]}", "{\"items\":{}}", "1"])
  func `what is no list is left as it is`(text: String) throws {
    let (elements, rest) = try split(text, by: 3)
    #expect(elements.isEmpty)
    #expect(rest == (try JSON(parsing: text)))
  }

  @Test(arguments: [
    "{\"items\":[{}{}]}", "{\"items\":[,{}]}", "{\"items\":[{},]}", "{\"items\":[1]}", "{\"items\":[{}",
    "{\"items\":[{}}",
    "{\"items\":[]]}", "{\"items\":[{},,{}]}",
  ])
  func `a list that is no JSON is refused`(text: String) {
    #expect(throws: (any Error).self) { _ = try split(text, by: 5) }
  }

  @Test func `damaged lists are split as JSON reads them, or refused`() throws {
    let sample =
      #"{"apiVersion":"v1","items":[{"kind":"Service","metadata":{"name":"a\"b"}},{"n":[1,{}]}],"kind":"List"}"#
    for bytes in mutations(of: Array(sample.utf8), count: 4000, seed: 5) {
      let text = String(decoding: bytes, as: UTF8.self)
      guard text.utf8.elementsEqual(bytes) else { continue }
      let whole = try? JSON(parsing: bytes)
      let pieces = try? split(text, by: 11)
      // Elements that are no objects are left to YAML's reader, which takes any.
      if let pieces, let whole, let items = whole["items"]?.array, pieces.elements.count == items.count {
        #expect(pieces.elements == items, "\(text)")
      }
      if whole == nil, let pieces {
        // Only an element that is no JSON itself can be missing here; the reader of files refuses it.
        #expect(pieces.elements.count < 3, "\(text)")
      }
    }
  }
}

/// What a stream handed on.
private final class Heard: Sendable {
  private let state = Mutex((objects: [String: JSON](), rings: 0))
  var objects: [String: JSON] { state.withLock { $0.objects } }
  var rings: Int { state.withLock { $0.rings } }
  var names: [String] { objects.keys.sorted() }
  func ring() { state.withLock { $0.rings += 1 } }
  func take(_ resource: GroupVersionResource, _ step: ObjectStep) {
    state.withLock { state in
      switch step {
      case .object(let key, let tree): state.objects["\(resource) \(key)"] = tree
      case .gone(let key): state.objects["\(resource) \(key)"] = nil
      case .listed(let keys):
        for name in state.objects.keys where !keys.contains(where: { "\(resource) \($0)" == name }) {
          state.objects[name] = nil
        }
      }
    }
  }
}

private func follow(_ folder: Folder, _ heard: Heard) throws -> ManifestStream {
  try ManifestStream(folder: folder.path, resources: [.services, .namespaces]) {
    heard.ring()
  } handler: {
    heard.take($0, $1)
  }
}

private func service(_ name: String, _ address: String) -> String {
  "apiVersion: v1\nkind: Service\nmetadata: {name: \(name)}\nspec: {clusterIP: \(address)}\n"
}

@Suite(.timeLimit(.minutes(10))) struct ManifestStreamTests {
  @Test func `documents, lists and both spellings are objects, and changes are followed`() async throws {
    let folder = try Folder()
    folder.write("a.yaml", service("one", "10.43.0.1") + "---\n" + service("two", "10.43.0.2"))
    folder.write(
      "b.json",
      #"{"apiVersion":"v1","items":[{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"demo"}},"#
        + #"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"}}],"kind":"List"}"#)
    folder.write(
      "c.yaml",
      "apiVersion: v1\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata: {name: three}\nkind: ServiceList\n"
    )
    let heard = Heard()
    let stream = try follow(folder, heard)
    #expect(
      heard.names == [
        "namespaces demo", "services default/one", "services default/three", "services default/two",
      ])
    let rings = heard.rings
    folder.write("a.yaml", service("one", "10.43.0.99"))
    #expect(await eventually { heard.rings > rings })
    #expect(heard.objects["services default/one"]?.at("spec", "clusterIP") == "10.43.0.99")
    #expect(heard.names == ["namespaces demo", "services default/one", "services default/three"])
    unlink("\(folder.path)/b.json")
    #expect(await eventually { heard.names.count == 2 })
    await stream.stop()
  }

  @Test func `of an object in two files the last counts, and when it goes the other speaks again`()
    async throws
  {
    let folder = try Folder()
    folder.write("a.yaml", service("one", "10.43.0.1"))
    folder.write("b.yaml", service("one", "10.43.0.2") + "---\n" + service("two", "10.43.0.3"))
    let heard = Heard()
    let stream = try follow(folder, heard)
    func address() -> JSON? { heard.objects["services default/one"]?.at("spec", "clusterIP") }
    #expect(address() == "10.43.0.2")
    // The earlier file changes and still does not count.
    var rings = heard.rings
    folder.write("a.yaml", service("one", "10.43.0.11") + "---\n" + service("four", "10.43.0.4"))
    #expect(await eventually { heard.rings > rings })
    #expect(address() == "10.43.0.2")
    #expect(heard.names.contains("services default/four"))
    rings = heard.rings
    unlink("\(folder.path)/b.yaml")
    #expect(await eventually { heard.rings > rings })
    #expect(address() == "10.43.0.11")
    #expect(heard.names == ["services default/four", "services default/one"])
    await stream.stop()
  }

  @Test func `a file that breaks keeps its content and names its line`() async throws {
    let folder = try Folder()
    folder.write("a.yaml", service("one", "10.43.0.1") + "---\n" + service("two", "10.43.0.2"))
    let heard = Heard()
    let stream = try follow(folder, heard)
    folder.write("a.yaml", service("one", "10.43.0.99") + "---\napiVersion: v1\nkind: [\n")
    #expect(await eventually { !stream.problems.isEmpty })
    #expect(stream.problems.first?.object.hasPrefix("\(folder.path)/a.yaml:") == true)
    #expect(heard.names == ["services default/one", "services default/two"])
    #expect(heard.objects["services default/one"]?.at("spec", "clusterIP") == "10.43.0.1")
    await stream.stop()
    let refused = #expect(throws: WeftError.self) { _ = try follow(folder, Heard()) }
    #expect(refused?.code == "CLI0111")
  }
}

/// What a reader that takes Services as text, or trees alone, hears of one file: names in order, and what was wrong.
private func read(_ text: String, asText: Bool) throws -> (names: [String], trees: Int, problem: String?) {
  let folder = try Folder()
  folder.write("all.json", text)
  let names = Mutex<[String]>([])
  let trees = Mutex(0)
  do {
    let stream = try ManifestStream(
      folder: folder.path, resources: [.services, .namespaces], changed: {},
      plain: { resource, key, object in
        guard asText, resource == .services, object.tree != nil else { return false }
        names.withLock { $0.append("\(resource) \(key)") }
        return true
      }
    ) { resource, step in
      guard case .object(let key, _) = step else { return }
      names.withLock { $0.append("\(resource) \(key)") }
      trees.withLock { $0 += 1 }
    }
    withExtendedLifetime(stream) {}
  } catch {
    let place = error.object.dropFirst(folder.path.utf8.count)
    return (names.withLock { $0 }, trees.withLock { $0 }, "\(error.code) \(place) \(error.cause)")
  }
  return (names.withLock { $0 }, trees.withLock { $0 }, nil)
}

/// A list of Services and, here and there, of a Namespace, longer than is read at once.
private func longList() -> [String] {
  (0..<1500).map { number in
    number % 100 == 0
      ? #"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"n\#(number)"}}"#
      : #"{"apiVersion":"v1","kind":"Service","metadata":{"name":"s\#(number)","annotations":{"a":"}\"]\#(String(repeating: "x", count: number % 300))"}},"spec":{"clusterIP":"10.0.0.1"}}"#
  }
}

@Suite(.timeLimit(.minutes(10))) struct PlainManifestTests {
  @Test func `objects are the same as text and as trees, wherever the pieces of a file end`() throws {
    let text =
      "{\"apiVersion\":\"v1\",\"items\":[" + longList().joined(separator: ", ") + "],\"kind\":\"List\"}"
    let (texts, trees) = (try read(text, asText: true), try read(text, asText: false))
    #expect(text.utf8.count > 300_000)
    #expect(texts.names == trees.names && texts.names.count == 1500)
    #expect(texts.problem == nil && trees.problem == nil)
    #expect(texts.trees == 15 && trees.trees == 1500)
  }

  @Test(arguments: [
    (#"{"apiVersion":"v1","kind":"Service","metadata":{}}"#, true),
    (#"{"kind":"Service","metadata":{"name":"x"}}"#, true),
    // Read as YAML from the beginning, where they mean something.
    (#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"x"},"spec":{"a":}}"#, false),
    (#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"x"},"spec":[1,]}"#, false),
    (#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"x"}"#, true), ("1", true),
    (#"{"apiVersion":"v1"}"#, true),
  ])
  func `what is wrong in a list is said alike, and what came before is there`(
    broken: String, isWrong: Bool
  ) throws {
    var list = longList()
    list.insert(broken, at: 700)
    let text = "{\"apiVersion\":\"v1\",\"items\":[" + list.joined(separator: ",\n") + "],\"kind\":\"List\"}"
    let (texts, trees) = (try read(text, asText: true), try read(text, asText: false))
    #expect((trees.problem != nil) == isWrong)
    #expect(texts.problem == trees.problem)
    #expect(Set(texts.names) == Set(trees.names) && texts.names.count >= 700)
  }
}

@Suite(.timeLimit(.minutes(10))) struct ObjectStreamTests {
  @Test(arguments: [UInt64(1), 7, 42, 1009], [true, false])
  func `a stream has handed on what the API holds through lost watches and expired revisions`(
    seed: UInt64, usesWatchList: Bool
  ) async throws {
    let api = unreliableAPI(seed)
    var settings = testSettings()
    settings.usesWatchList = usesWatchList
    settings.pageSize = 3
    let heard = Heard()
    let stream = ObjectStream.follow(
      InformerScope(.pods), of: api, settings: settings, metrics: Metrics()
    ) { heard.take(.pods, $0) }
    await churnPods(api, seed)
    let isEqual = await eventually {
      stream.hasSynced && heard.objects.values.sorted { $0.key < $1.key } == api.objects(.pods)
    }
    #expect(isEqual, "seed \(seed)")
    await stream.stop()
    let last = heard.names
    api.put(.pods, pod("late"))
    #expect(heard.names == last, "nothing comes after stop")
  }

  @Test func `what does not come is named`() async throws {
    let api = MemoryClusterAPI()
    api.inject { _, _ in APIStatusError(code: 500, reason: "InternalError", message: "injected") }
    let stream = ObjectStream.follow(
      InformerScope(.pods), of: api, settings: testSettings(), metrics: Metrics()
    ) { _ in }
    let missing = await #expect(throws: WeftError.self) {
      try await ObjectStream.waitForSync([stream], timeout: .milliseconds(300))
    }
    #expect(missing?.code == "API0103" && missing?.object == "pods")
    await stream.stop()
  }
}
