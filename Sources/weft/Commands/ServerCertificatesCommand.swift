// `weft server certs`: when certificates end, all of them anew, another authority. Reads and writes files alone: a server may run,
// and one that cannot run any more because everything has ended is helped by it too.

import ArgumentParser
import ClusterServer
import Diagnostics

struct ServerCertificatesCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "certs",
    abstract: "The certificates of a data directory: their ends, new ones, another authority.",
    discussion: """
      A server makes its certificates anew by itself, when a third of their life is left, and takes up within a minute what \
      these commands write. Nodes look after their own.
      """,
    subcommands: [CheckExpiration.self, Renew.self, RotateAuthority.self])

  struct CheckExpiration: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "check-expiration", abstract: "When each certificate ends, and who signed it.",
      discussion: "Ends with code 1 when one has ended.")
    @ParentCommand var server: ServerCommand

    func run() throws {
      let now = Timestamp.now().seconds
      let lives = try server.certificates().lives()
      Terminal.say(Terminal.table(CertificateFolder.Life.table(lives, now: now)))
      if lives.contains(where: { $0.end <= now }) { throw ExitCode(1) }
    }
  }

  struct Renew: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "renew",
      abstract: "Make every certificate anew, and the authority's if it is near its end.",
      discussion: """
        The authority keeps its key and its name: who trusts its old certificate trusts what it signs, until that ends. Has it \
        ended already, clients need the new one: take DATA/admin.kubeconfig anew when the server has started.
        """)
    @ParentCommand var server: ServerCommand

    func run() throws {
      for name in try server.certificates().renew() { Terminal.say("\(name): renewed") }
    }
  }

  struct RotateAuthority: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "rotate-ca", abstract: "Put another authority in the first one's place, in three steps.",
      discussion: """
        trust: another authority is made, and both are trusted. sign: it signs, and every certificate is made anew. finish: the \
        first is trusted no more. Before the next step everybody has to have taken up the last: servers do within a minute \
        (`weft up` and `weft node` when they are started again), pods by ConfigMap kube-root-ca.crt, people by \
        DATA/admin.kubeconfig. Servers of one cluster share these files: copy them after each step.
        """)
    @ParentCommand var server: ServerCommand
    @Argument(help: "trust, sign or finish.") var step: CertificateFolder.RotationStep

    func run() throws {
      try server.certificates().rotate(step)
      switch step {
      case .trust:
        Terminal.say(
          "two authorities are trusted; when everybody has taken them up: weft server certs rotate-ca sign")
      case .sign:
        Terminal.say(
          "the new authority signs; when every certificate of the first is out of use: weft server certs rotate-ca finish"
        )
      case .finish: Terminal.say("the first authority is trusted no more")
      }
    }
  }
}

extension CertificateFolder.RotationStep: ExpressibleByArgument {}

extension ServerCommand {
  fileprivate func certificates() throws(WeftError) -> CertificateFolder {
    try CertificateFolder(dataFolder: dataDir)
  }
}
