// The ingress: its readers, or all of it with one neighbour that says anything.

import FuzzDriver

/// Where the linker begins a program of the package.
@c(IngressFuzz_main)
public func begin(_ count: Int32, _ arguments: Arguments) -> Int32 {
  switch wanted {
  case "client": runFuzzer(count, arguments, LiveIngress(.client))
  case "endpoint": runFuzzer(count, arguments, LiveIngress(.endpoint))
  case "endpoint2": runFuzzer(count, arguments, LiveIngress(.endpointHTTP2))
  default: runFuzzer(count, arguments, HeadParsers())
  }
}
