// An object is serialized once; store, answer and watchers share what came of it.

import ClusterClient
import ClusterObjects
import ClusterStore
import NIOCore
import Testing

@testable import ClusterServer

@Suite struct WrittenFormTests {
  private static func map(_ name: String, _ text: String = "v") -> JSON {
    [
      "apiVersion": "v1", "kind": "ConfigMap", "metadata": ["name": JSON(name), "labels": ["a": "b"]],
      "data": ["k": JSON(text)],
    ]
  }

  @Test(
    arguments: [
      map("a"), map("b", "quote \" and \\ and \n"), ["metadata": ["name": "only"]],
      ["data": ["metadata": ["name": "inner"]], "metadata": ["name": "outer"], "last": [1, 2]], ["x": 1], [:],
    ] as [JSON])
  func `the revision stands in the bytes as in the tree`(tree: JSON) throws {
    let form = WrittenForm(tree)
    #expect(form.bytes == tree.bytes)
    let object = form.cached("/registry/x/y", 4711)
    #expect(try JSON(parsing: Array(object.bytes.readableBytesView)) == object.tree)
    #expect(object.tree.resourceVersion == "4711")
    let parsed = try #require(
      CachedObject(StoredValue(key: "/registry/x/y", value: form.bytes, createRevision: 1, revision: 4711)))
    #expect(parsed.tree == object.tree && parsed.labels == object.labels && parsed.name == object.name)
    #expect(form.cached("/registry/x/y", 4711) === object)
  }

  @Test func `what comes back is known by its bytes, once`() {
    var expected = ExpectedForms()
    let (mine, other) = (WrittenForm(Self.map("a")), WrittenForm(Self.map("a", "other")))
    expected.expect(mine, "a")
    #expect(expected.take("b", mine.bytes) == nil)
    #expect(expected.take("a", other.bytes) == nil)
    expected.forget(other, "a")
    #expect(expected.take("a", mine.bytes) === mine)
    #expect(expected.take("a", mine.bytes) == nil)
    expected.expect(mine, "a")
    expected.forget(mine, "a")
    #expect(expected.take("a", mine.bytes) == nil)
  }

  @Test func `no more is remembered than the bound says`() {
    var expected = ExpectedForms()
    let form = WrittenForm(Self.map("a"))
    for number in 0...ExpectedForms.formsMax { expected.expect(form, "\(number)") }
    #expect(expected.take("0", form.bytes) == nil)
    #expect(expected.take("\(ExpectedForms.formsMax)", form.bytes) === form)
  }

  @Test func `the cache shows the writer's own object, and another's when another was first`() {
    let cache = ObjectCache()
    cache.load([], revision: 0)
    let (mine, other) = (WrittenForm(Self.map("a")), WrittenForm(Self.map("a", "other")))
    func event(_ form: WrittenForm, _ revision: Revision) -> StoreEvent {
      StoreEvent(
        kind: revision == 1 ? .create : .update, key: "/registry/configmaps/default/a", revision: revision,
        createRevision: 1, value: form.bytes)
    }
    cache.expect(mine, "/registry/configmaps/default/a")
    cache.apply([event(mine, 1)])
    #expect(cache["/registry/configmaps/default/a"] === mine.cached("/registry/configmaps/default/a", 1))
    cache.expect(mine, "/registry/configmaps/default/a")
    cache.apply([event(other, 2)])
    #expect(cache["/registry/configmaps/default/a"]?.tree["data"] == ["k": "other"])
    #expect(cache["/registry/configmaps/default/a"]?.revision == 2)
  }

  @Test(arguments: [0, 1, 2, 700]) func `a list in parts is the list`(count: Int) throws {
    let objects = (0..<count).map {
      CachedObject(key: "\($0)", revision: 7, tree: Self.map("n\($0)", String(repeating: "x", count: $0)))
    }
    let body = ListBody(head: ByteBuffer(string: "{\"kind\":\"List\",\"items\":["), objects: objects)
    let whole = body.whole
    #expect(whole.readableBytes == body.readableBytes)
    let tree = try JSON(parsing: Array(whole.readableBytesView))
    #expect(tree["items"]?.elements == objects.map(\.tree))
    for size in [1, 100, 4096, body.readableBytes, body.readableBytes + 1] {
      var (rest, joined) = (body, ByteBuffer())
      while var part = rest.part(size) {
        #expect(part.readableBytes > 0)
        joined.writeBuffer(&part)
      }
      #expect(joined == whole, "in parts of \(size)")
    }
  }

  @Test func `an identifier is a random UUID as RFC 9562 writes it`() throws {
    let made = (0..<100).map { _ in RESTCore.uid() }
    #expect(Set(made).count == 100)
    for text in made {
      let parts = text.split(separator: "-")
      #expect(parts.map(\.count) == [8, 4, 4, 4, 12] && parts[2].first == "4", "\(text)")
      #expect(text.allSatisfy { $0 == "-" || ("0"..."9").contains($0) || ("a"..."f").contains($0) })
      #expect("89ab".contains(try #require(parts[3].first)), "\(text)")
    }
  }
}
