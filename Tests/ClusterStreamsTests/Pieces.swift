// Bytes as networks bring them.

import FuzzLab
import NIOCore

/// Cuts bytes into pieces of random sizes.
func pieces(_ bytes: [UInt8], sizeMax: Int, seed: UInt64) -> [ByteBuffer] {
  var numbers = SeededNumbers(seed)
  var rest = bytes[...]
  var out: [ByteBuffer] = []
  while !rest.isEmpty {
    let count = Int.random(in: 1...sizeMax, using: &numbers)
    out.append(ByteBuffer(bytes: rest.prefix(count)))
    rest = rest.dropFirst(count)
  }
  return out
}
