// The pool of addresses for Services of type LoadBalancer, as a flag.

import Addresses
import ArgumentParser
import Diagnostics

struct LoadBalancerOptions: ParsableArguments {
  @Option(
    help: """
      Addresses for Services of type LoadBalancer: blocks, ranges A-B and addresses, with commas. The ConfigMap
      kube-system/weft-load-balancer goes before it.
      """)
  var loadBalancerPool: String?

  /// Empty without the flag. Throws `CLI0039`.
  func pool() throws(WeftError) -> AddressPool {
    guard let loadBalancerPool else { return AddressPool() }
    guard let pool = AddressPool(loadBalancerPool) else {
      throw WeftError(
        "CLI0039", object: "--load-balancer-pool \(loadBalancerPool)", cause: "is no list of addresses",
        next: "write it as 192.0.2.0/28 or 192.0.2.10-192.0.2.20, several with commas")
    }
    return pool
  }
}
