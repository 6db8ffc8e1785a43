// Cluster DNS: packets, zone files, Corefiles.

import FuzzDriver

/// Where the linker begins a program of the package.
@c(DNSFuzz_main)
public func begin(_ count: Int32, _ arguments: Arguments) -> Int32 {
  switch wanted {
  case "zone": runFuzzer(count, arguments, ZoneFileParser())
  case "corefile": runFuzzer(count, arguments, CorefileParser())
  default: runFuzzer(count, arguments, WireParser())
  }
}
