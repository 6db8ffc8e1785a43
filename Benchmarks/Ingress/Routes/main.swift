// Ten thousand routes, planned, written and read: `Benchmarks/Ingress/run.sh` judges by the exit code.

import Glibc

func say(_ text: String) {
  _ = Array((text + "\n").utf8).withUnsafeBytes { write(2, $0.baseAddress, $0.count) }
}

exit(RouteBenchmark.run() ? 0 : 1)
