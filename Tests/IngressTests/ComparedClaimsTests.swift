// What docs/ingress-compared.md says in numbers is what the code has.

import Foundation
import Testing

@testable import Ingress

@Suite struct ComparedClaimsTests {
  @Test func `as many annotations are honoured, and need nothing, as the page says`() throws {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    let page = try String(contentsOf: root.appending(path: "docs/ingress-compared.md"), encoding: .utf8)
    let row = try #require(
      page.split(separator: "\n").first { $0.hasPrefix("| ingress-nginx's annotations |") })
    let (honoured, needless) = (AnnotationCatalogue.honoured.count, AnnotationCatalogue.needless.count)
    #expect(row.contains("| \(honoured) honoured, \(needless) without need, others told |"), "\(row)")
  }
}
