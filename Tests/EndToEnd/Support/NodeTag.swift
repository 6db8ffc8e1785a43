// What tells the namespaces, folders and links of one test's machines from those of others.

import Foundation
import Synchronization

enum NodeTag {
  private static let given = Mutex<Set<String>>([])

  /// Four hexadecimal digits at most, as interface names have fifteen characters: no other test of this process has had them, and
  /// nothing that an earlier one left is named by them.
  static func next() -> String {
    while true {
      let tag = String(UInt32.random(in: 0...0xffff), radix: 16)
      let left = ["/run/netns", "/var/tmp"].flatMap {
        (try? FileManager.default.contentsOfDirectory(atPath: $0)) ?? []
      }
      if left.allSatisfy({ !$0.contains("-\(tag)") }), given.withLock({ $0.insert(tag).inserted }) {
        return tag
      }
    }
  }
}
