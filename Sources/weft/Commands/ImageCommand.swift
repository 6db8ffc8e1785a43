// `weft image import FILE`: brings an image to the containerd of this machine's `weft up`, for clusters without a registry.

import ArgumentParser
import ClusterNode
import Diagnostics
import Glibc

struct ImageCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "image", abstract: "Images of this machine's pods.", subcommands: [Import.self])

  struct Import: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "import",
      abstract: "Load an OCI image layout or the output of `docker save`, as a tar file.",
      discussion: "Prints the references it brought, one a line: write one of them as a pod's `image`.")

    @Argument(help: "The archive.") var file: String
    @OptionGroup var places: ClusterPlaces
    @OptionGroup var logging: LogOptions

    func run() async throws {
      logging.apply(quiet: true)
      let settings = ContainerdSettings(dataDirectory: places.dataDir, runDirectory: places.runDir)
      for reference in try await importImage(file, settings: settings) { Terminal.say(reference) }
    }
  }
}
