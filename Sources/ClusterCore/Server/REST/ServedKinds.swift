// The kinds that are served now: the built-in ones, and custom resources as they come and go.

import ClusterObjects
import Synchronization

/// A registry that changes under its readers: each reads one value, whole.
final class ServedKinds: Sendable {
  private struct State {
    var registry: KindRegistry
    var generation: UInt64 = 0
  }
  private let state: Mutex<State>

  init(_ registry: KindRegistry) { state = Mutex(State(registry: registry)) }

  var current: KindRegistry { state.withLock { $0.registry } }

  /// The registry and a number that every change increments: what was made from it is good while this stays.
  var versioned: (registry: KindRegistry, generation: UInt64) {
    state.withLock { ($0.registry, $0.generation) }
  }

  func change(_ body: (inout KindRegistry) -> Void) {
    state.withLock { state in
      body(&state.registry)
      state.generation += 1
    }
  }
}
