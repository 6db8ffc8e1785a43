// Who a reflector keeps current: informers, which hold every object, and streams, which hold none.

import ClusterObjects

/// A copy of one resource, as its reflector writes it. Lists come object by object, so that nobody has to hold one whole.
protocol ReflectorTarget: AnyObject, Sendable {
  var scope: InformerScope { get }
  /// Of the last list or event taken; empty before the first.
  var resourceVersion: String { get }
  /// Why it is not current at the moment; nil when it is.
  func report(failure: String?)
  /// Takes one event after the list.
  func apply(_ event: WatchEvent)
  /// A list begins: what an unfinished one before it brought counts for nothing.
  func beginList()
  func take(listed object: JSON)
  func drop(listed key: ObjectKey)
  /// Whether it would like to see objects as text before a tree is made of them.
  var readsPlain: Bool { get }
  /// An object of the list or of an event after it. False when it wants the tree: then `take` or `apply` follows.
  func take(plain object: TapeValue, isListed: Bool) -> Bool
  /// The list is complete: what it did not bring is gone.
  func endList(resourceVersion: String)
}

extension ReflectorTarget {
  var readsPlain: Bool { false }
  func take(plain object: TapeValue, isListed: Bool) -> Bool { false }
}
