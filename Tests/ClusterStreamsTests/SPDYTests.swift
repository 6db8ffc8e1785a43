// SPDY against itself, against bytes of the draft, and against broken input.

import CZlib
import ClusterStreams
import NIOCore
import Testing

@Suite struct SPDYTests {
}
