// What is answered beyond the DNS specification of Kubernetes, for commands that serve names or explain them.

import ArgumentParser
import DNS

struct NameOptions: ParsableArguments {
  enum Compatibility: String, ExpressibleByArgument, CaseIterable {
    case coredns, none
  }

  @Option(
    help:
      "Whose choices hold beyond the specification: `coredns`, such as SRV records at the Service's own name, or `none`."
  )
  var compat = Compatibility.coredns

  func apply(to settings: inout ZoneSettings) {
    settings.compatibility = compat == .none ? [] : .coreDNS
  }
}
