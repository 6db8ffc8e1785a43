// `--network` on the command line.

import ArgumentParser
import DataPlane

extension NetworkMode: ExpressibleByArgument {
  static let help: ArgumentHelp =
    "Between nodes: host-gw (routes, all on one link), vxlan (tunnels), auto (routes on our link, else tunnels)."
}
