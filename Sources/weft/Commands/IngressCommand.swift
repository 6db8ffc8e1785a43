// `weft ingress`: HTTP from outside to the Services of any cluster, and away from other ingresses.

import ArgumentParser

/// Serves unless a word says otherwise.
struct IngressCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ingress", abstract: "HTTP from outside to Services, alone.",
    subcommands: [IngressServeCommand.self, IngressMigrateCommand.self],
    defaultSubcommand: IngressServeCommand.self)
}
