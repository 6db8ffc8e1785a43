// `weft ingress migrate`: Ingresses of ingress-nginx as Gateway API, and what is to be known before.

import ArgumentParser
import ClusterClient
import ClusterObjects
import ClusterView
import Diagnostics
import Ingress

struct IngressMigrateCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "migrate", abstract: "Report what Ingresses depend on, and write them as Gateway API.",
    discussion: """
      Reads Ingresses from files, or from the cluster with --live, and changes nothing. Services and ConfigMaps in the same files tell ports
      and fields. Quirks are ways of ingress-nginx that nobody asks for and some depend on (MIG0001 to MIG0005); snippets are never
      translated (MIG0010). `-o yaml` is for `kubectl apply -f -`: its report goes to standard error.
      Exit code: 0, 1 something has no place in Gateway API, 2 a file cannot be read, 3 the cluster cannot be read.
      """)

  enum Format: String, ExpressibleByArgument, CaseIterable {
    case text, yaml, json
  }

  @Argument(help: "Files or folders of manifests; - for standard input.") var files: [String] = []
  @Flag(help: "Read the cluster instead.") var live = false
  @OptionGroup var cluster: ClusterOptions
  @OptionGroup var logging: LogOptions
  @Option(help: "Ingresses of this class alone.") var ingressClass: String?
  @Option(help: "The GatewayClass of the Gateways that are written.") var gatewayClass = "weft"
  @Option(name: .shortAndLong, help: "text: the report; yaml: manifests; json: both.") var output: Format =
    .text

  func validate() throws {
    if files.isEmpty != live { throw ValidationError("give files or --live, and not both") }
  }

  func run() async throws {
    logging.apply(quiet: true)
    var input = MigrationInput(ingresses: [], gatewayClass: gatewayClass, ingressClass: ingressClass)
    for object in live ? try await liveObjects() : try files.flatMap({ try readManifests($0) }) {
      try take(object, into: &input)
    }
    guard !input.ingresses.isEmpty else {
      throw WeftError(
        "CLI0174", object: live ? "cluster" : files.joined(separator: ", "), cause: "has no Ingress",
        next: "name the files that kubectl get ingress -A -o yaml writes, or use --live")
    }
    let migration = planMigration(input)
    switch output {
    case .text: Terminal.say(migration.text)
    case .json: Terminal.say(migration.json.text)
    case .yaml:
      Terminal.complain(migration.text)
      Terminal.say(migration.yaml)
    }
    if migration.hasLosses { throw Finding(status: .finding) }
  }

  private func take(_ object: JSON, into input: inout MigrationInput) throws {
    switch object.kind {
    case "Ingress" where object.apiVersion == "networking.k8s.io/v1":
      do { input.ingresses.append(try Ingress(object)) } catch {
        throw WeftError(
          "CLI0175", object: "ingress \(object.key)", cause: "\(error)",
          next: "correct it: kubectl explain ingress.spec")
      }
    case "Service": if let service = try? Service(object) { input.services[object.key] = service }
    case "ConfigMap": input.headers[object.key] = headerFields(configMap: object)
    default: break
    }
  }

  private func liveObjects() async throws -> [JSON] {
    let api = try await cluster.api()
    var objects: [JSON] = []
    for (resource, version, kind) in [
      (GroupVersionResource.ingresses, "networking.k8s.io/v1", "Ingress"), (.services, "v1", "Service"),
      (.configMaps, "v1", "ConfigMap"),
    ] {
      let list = try await api.list(resource, namespace: "", options: ListOptions())
      for var item in list.items {
        // Items of a list do not say what they are.
        item["apiVersion"] = JSON(version)
        item["kind"] = JSON(kind)
        objects.append(item)
      }
    }
    return objects
  }
}
