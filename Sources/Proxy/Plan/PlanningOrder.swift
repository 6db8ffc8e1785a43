// In which order Services are planned: numbers are given out in it, so that equal clusters get equal rules.

import ClusterObjects
import ClusterView

/// Those that go first, for they make room for those that come; then by namespace and name, byte by byte.
///
/// Values are large and looking at one copies it, so a whole view, in which all come, is put in order without.
enum PlanningOrder {
  typealias States = [ObjectKey: ServiceState?]

  /// What names begin with, as numbers: most are told apart without looking at text.
  private struct Place {
    var comes: Bool
    var namespace: UInt64
    var name: UInt64
    var index: States.Index
  }

  /// - Parameter allCome: whether every value is there.
  static func of(_ states: States, allCome: Bool) -> [States.Index] {
    var places: [Place] = []
    places.reserveCapacity(states.count)
    var index = states.startIndex
    while index != states.endIndex {
      let key = states.keys[index]
      places.append(
        Place(
          comes: allCome || states.values[index] != nil, namespace: beginning(key.namespace),
          name: beginning(key.name),
          index: index))
      states.formIndex(after: &index)
    }
    places.sort { first, second in
      if first.comes != second.comes { return !first.comes }
      if first.namespace != second.namespace { return first.namespace < second.namespace }
      let isNamespaceKnown = first.namespace & 0xff == 0
      if isNamespaceKnown, first.name != second.name { return first.name < second.name }
      let (one, other) = (states.keys[first.index], states.keys[second.index])
      if one.namespace != other.namespace {
        return one.namespace.utf8.lexicographicallyPrecedes(other.namespace.utf8)
      }
      return one.name.utf8.lexicographicallyPrecedes(other.name.utf8)
    }
    return places.map(\.index)
  }

  /// The first eight bytes, the first one highest; zeros behind the end.
  private static func beginning(_ text: String) -> UInt64 {
    var number: UInt64 = 0
    var shift: UInt64 = 64
    for byte in text.utf8 {
      guard shift > 0 else { break }
      shift -= 8
      number |= UInt64(byte) << shift
    }
    return number
  }
}
