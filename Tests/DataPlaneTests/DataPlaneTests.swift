// The book of attachments survives what a machine does to files.
import Addresses
import ClusterObjects
import DataPlane
import Diagnostics
import Glibc
import Policy
import Testing

private func temporaryPath() -> String { "/tmp/weft-book-\(getpid())-\(UInt32.random(in: 0...UInt32.max))" }

private func attachment(_ number: Int) throws -> ContainerAttachment {
  ContainerAttachment(
    containerID: "c\(number)", interface: "eth0",
    attachment: PodAttachment(
      pod: ObjectKey("demo", "p\(number)"), addresses: [try #require(IPAddress("10.42.0.\(number)"))],
      hardwareAddress: MACAddress(text: "0a:58:0a:2a:00:0\(number)"), hostInterface: "vp\(number)"))
}

@Test func `attachments are the same after a restart`() throws {
  let path = temporaryPath()
  defer { unlink(path) }
  var book = try AttachmentBook(path: path)
  for number in 2...5 { try book.add(attachment(number)) }
  let removed = try book.remove(containerID: "c3")
  #expect(removed)
  let again = try AttachmentBook(path: path)
  #expect(again.attachments == book.attachments && again.attachments.count == 3)
}

@Test func `a damaged book is an error with a code and not an empty book`() throws {
  let path = temporaryPath()
  defer { unlink(path) }
  let file = open(path, O_WRONLY | O_CREAT, 0o600)
  _ = write(file, "{\"attachments\":[", 16)
  close(file)
  #expect(throws: WeftError.self) { try AttachmentBook(path: path) }
}

@Test func `the book has a bound`() throws {
  let path = temporaryPath()
  defer { unlink(path) }
  var book = try AttachmentBook(path: path)
  let template = try attachment(2)
  for number in 0..<AttachmentBook.entriesMax {
    var entry = template
    entry.containerID = "c\(number)"
    if number % 256 == 0 || number == AttachmentBook.entriesMax - 1 { try book.add(entry) }
  }
  #expect(book.attachments.count == 5)
}
