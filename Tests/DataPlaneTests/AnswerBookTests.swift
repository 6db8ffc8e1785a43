// Answers of cluster DNS that policies speak of: in the view before the client has them, and out of it after their time.
import Addresses
import ClusterObjects
import ClusterView
import Synchronization
import Testing

@testable import DataPlane

private let view = ClusterView(objects: [
  [
    "kind": "ClusterNetworkPolicy", "metadata": ["name": "p"],
    "spec": [
      "tier": "Admin", "priority": 1, "subject": ["namespaces": [:]],
      "egress": [["action": "Accept", "to": [["domainNames": ["*.example.org", "example.com"]]]]],
    ],
  ]
])

private final class Log: Sendable {
  let lines = Mutex<[String]>([])
  func add(_ line: String) { lines.withLock { $0.append(line) } }
}

@Suite(.timeLimit(.minutes(1))) struct AnswerBookTests {
  private func addresses(_ last: Int...) throws -> [IPAddress] {
    try last.map { try #require(IPAddress("198.51.100.\($0)")) }
  }

  @Test func `an answer waits until its addresses are in the view and in force`() async throws {
    let follower = ViewFollower()
    let book = AnswerBook(follower)
    let log = Log()
    book.begin { log.add("in force \(follower.view.resolved["www.example.org"]?.count ?? 0)") }
    let (one, two) = (try addresses(1), try addresses(1, 2))
    let early = book.take("www.example.org", one, seconds: 5) { log.add("never") }
    #expect(!book.isActive && !early)
    book.watch(view)
    #expect(book.isActive && book.isMissing("www.example.org") && book.isMissing("example.com"))
    #expect(!book.isMissing("example.org") && !book.isMissing("www.example.net"))
    await withCheckedContinuation { (done: CheckedContinuation<Void, Never>) in
      let waits = book.take("www.example.org", two, seconds: 5) {
        log.add("answered")
        done.resume()
      }
      if !waits { done.resume() }
    }
    #expect(log.lines.withLock { $0 } == ["in force 2", "answered"])
    #expect(!book.isMissing("www.example.org"))
    // The same again has nothing to wait for.
    for name in ["www.example.org", "www.example.net"] {
      let waits = book.take(name, two, seconds: 5) { log.add("never") }
      #expect(!waits, "\(name)")
    }
  }

  @Test func `addresses go after their time and a grace, each by itself`() throws {
    let follower = ViewFollower()
    let book = AnswerBook(follower)
    book.watch(view)
    let start = ContinuousClock.now
    _ = book.take("example.com", try addresses(1), seconds: 10, now: start) {}
    _ = book.take("example.com", try addresses(2), seconds: 100, now: start) {}
    #expect(follower.view.resolved["example.com"]?.count == 2)
    book.sweep(now: start + .seconds(10) + AnswerBook.grace - .seconds(1))
    #expect(follower.view.resolved["example.com"]?.count == 2)
    book.sweep(now: start + .seconds(11) + AnswerBook.grace)
    let second = Set(try addresses(2))
    #expect(follower.view.resolved["example.com"] == second)
    // A later answer makes the time longer, never shorter.
    _ = book.take("example.com", try addresses(2), seconds: 1, now: start) {}
    book.sweep(now: start + .seconds(99) + AnswerBook.grace)
    #expect(follower.view.resolved["example.com"] != nil)
    book.sweep(now: start + .seconds(101) + AnswerBook.grace)
    #expect(follower.view.resolved["example.com"] == nil && book.isMissing("example.com"))
  }

  @Test func `names that no policy speaks of any more are forgotten`() throws {
    let follower = ViewFollower()
    let book = AnswerBook(follower)
    book.watch(view)
    _ = book.take("example.com", try addresses(1), seconds: 100) {}
    book.watch(ClusterView())
    #expect(!book.isActive && follower.view.resolved.isEmpty)
  }

  @Test func `names and addresses have a bound`() throws {
    let follower = ViewFollower()
    let book = AnswerBook(follower)
    book.watch(view)
    let many = (0..<200).map { IPAddress.v4(IPv4Address(bits: 0xc633_6400 + UInt32($0))) }
    _ = book.take("example.com", many, seconds: 100) {}
    #expect(follower.view.resolved["example.com"]?.count == AnswerBook.addressesMax)
    for index in 0..<(AnswerBook.namesMax + 10) {
      _ = book.take("n\(index).example.org", try addresses(1), seconds: 100) {}
    }
    #expect(follower.view.resolved.count == AnswerBook.namesMax)
  }
}
