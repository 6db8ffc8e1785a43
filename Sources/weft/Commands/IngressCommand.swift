// `weft ingress`: what there is for an ingress besides `weft up`.

import ArgumentParser

struct IngressCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ingress", abstract: "HTTP from outside to Services.",
    subcommands: [IngressMigrateCommand.self])
}
