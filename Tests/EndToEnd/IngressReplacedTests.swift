// T-I2 and T-I3 on the whole program: it is replaced while clients connect as fast as the machine lets them, and its data plane is killed. No
// port of any kind refuses anybody. `make soak` runs the long form: a million connections at least, and twenty kills.

import Foundation
import SoakLab
import Testing

@Suite(.serialized) struct IngressReplacedTests {
  /// `weft ingress` on ports of every kind, before nginx.
  private final class Served {
    let node: TestNode
    let folder: String
    /// Put in its own place by each replacement.
    let program: String
    let ingress: Process
    private let server: Process
    /// Of an Ingress, of a Gateway, of a ConfigMap (TCP), and HTTPS.
    static let pages = [
      "http://127.0.0.1:8080/page", "http://127.0.0.1:8081/page", "http://127.0.0.1:9001/page",
      "https://127.0.0.1:8443/page",
    ]

    init() throws {
      let node = try TestNode()
      let folder = node.dataFolder + "-replaced"
      (self.node, self.folder, program) = (node, folder, folder + "/weft")
      do {
        try FileManager.default.createDirectory(
          atPath: folder + "/manifests", withIntermediateDirectories: true)
        try
          (IngressAloneTests.objects(node, class: "weft") + IngressAloneTests.alone
          + IngressAloneTests.gateway("HTTP", port: 8081)).write(
            toFile: folder + "/manifests/objects.yaml", atomically: true, encoding: .utf8)
        try Self.nginx.replacing("FOLDER", with: folder).replacing("ADDRESS", with: node.address).write(
          toFile: folder + "/nginx.conf", atomically: true, encoding: .utf8)
        try FileManager.default.copyItem(atPath: Project.weft, toPath: program)
        server = try node.background([
          "/usr/sbin/nginx", "-p", folder, "-c", folder + "/nginx.conf", "-e", "/dev/null",
        ])
        ingress = try node.background([
          program, "ingress", "--manifests", folder + "/manifests", "--http", "127.0.0.1:8080", "--https",
          "127.0.0.1:8443", "--metrics", "127.0.0.1:10254", "--tcp-services-configmap", "default/ports",
        ])
      } catch {
        try? FileManager.default.removeItem(atPath: folder)
        node.remove()
        throw error
      }
    }

    /// All ports at a time. Nil when one was refused, reset, or not answered within a minute; else seconds until the last one was.
    func ask() -> Double? {
      let begin = ContinuousClock.now
      let output = node.exec(
        [
          "curl", "-sk", "-Z", "--parallel-immediate", "-m", "60", "-H", "Host: shop.test", "-w",
          " %{http_code};",
        ] + Self.pages, seconds: 90)
      let seconds = (ContinuousClock.now - begin) / .seconds(1)
      let answers = output.standardOutput
      let isGood =
        output.status == 0 && answers.components(separatedBy: "from the backend").count == 5
        && answers.components(separatedBy: " 200;").count == 5
      return isGood ? seconds : nil
    }

    var metrics: String { node.exec("curl", "-s", "http://127.0.0.1:10254/metrics").standardOutput }

    func stop() {
      kill(ingress.processIdentifier, SIGTERM)
      ingress.waitUntilExit()
      kill(server.processIdentifier, SIGKILL)
      server.waitUntilExit()
      try? FileManager.default.removeItem(atPath: folder)
      node.remove()
    }

    private static let nginx = """
      daemon off; pid FOLDER/pid; error_log /dev/null; worker_processes 1; worker_rlimit_nofile 8192; master_process off;
      events { worker_connections 4096; }
      http {
      access_log off; keepalive_requests 1000000;
      client_body_temp_path FOLDER/a; proxy_temp_path FOLDER/b; fastcgi_temp_path FOLDER/c;
      uwsgi_temp_path FOLDER/d; scgi_temp_path FOLDER/e;
      server { listen ADDRESS:9000; location / { return 200 "from the backend"; } }
      }

      """
  }

  @Test(.timeLimit(.minutes(Soak.isLong ? 10 : 3)))
  func `a data plane that is killed is followed by another, and no port of any kind refuses anybody`() throws
  {
    let served = try Served()
    defer { served.stop() }
    try #require(eventually(within: 60) { served.ask() != nil } != nil)
    let quiet = try #require(served.ask())
    var late: [Double] = []
    for round in 0..<Soak.rounds(3, long: 20) {
      // One that has lived for long is followed at once, one that has not after a moment.
      if Soak.isLong { sleep(6) }
      let plane = try #require(children(of: served.ingress.processIdentifier).first)
      kill(plane, SIGKILL)
      // Until it is gone it may still accept somebody, who ends with it.
      #expect(eventually(within: 20, every: 0.001) { kill(plane, 0) != 0 } != nil)
      // What the parent serves itself goes on meanwhile.
      #expect(served.metrics.contains("weft_ingress_restarts_total"))
      let seconds = served.ask()
      #expect(seconds != nil, "round \(round)")
      late.append(seconds ?? 60)
      #expect(children(of: served.ingress.processIdentifier).contains(plane) == false)
    }
    let middle = late.sorted()[late.count / 2]
    if Soak.isLong { #expect(middle - quiet <= 0.2, "\(late)") }
    func text(_ seconds: Double) -> String { "\(Int((seconds * 1000).rounded())) ms" }
    Soak.report(
      "\(late.count) data planes killed: four ports answered after \(text(middle)) in the middle, \(text(late.max() ?? 0)) at most, \(text(quiet)) without"
    )
  }

  @Test(.timeLimit(.minutes(Soak.isLong ? 30 : 3)))
  func `connections as fast as they can be made are all answered while the program is replaced`() throws {
    let served = try Served()
    defer { served.stop() }
    try #require(eventually(within: 60) { served.ask() != nil } != nil)
    let asked = ProcessInfo.processInfo.environment["WEFT_SOAK_CONNECTIONS"].flatMap { Int($0) }
    let wanted = asked ?? Soak.rounds(2_000, long: 1_000_000)
    let parent = served.ingress.processIdentifier
    var (made, replaced, rounds) = (0, 0, 0)
    while made < wanted, rounds < 300 {
      rounds += 1
      let output = served.folder + "/wrk"
      let load = try served.node.background([
        "sh", "-c", "exec wrk \"$@\" >\(output) 2>&1", "wrk", "-t", "2", "-c", "64", "-d",
        "\(Soak.rounds(3, long: 10))s", "--timeout", "60s", "-H", "Host: shop.test", "-H",
        "Connection: close",
        Served.pages[0],
      ])
      while load.isRunning {
        let file = served.program
        try FileManager.default.copyItem(atPath: Project.weft, toPath: file + ".new")
        // In one step: between two there would be no program to go on as.
        try #require(rename(file + ".new", file) == 0)
        kill(parent, SIGUSR2)
        let isReplaced = eventually(within: 60) {
          served.metrics.contains("weft_ingress_replacements_total \(replaced + 1)\n")
        }
        try #require(isReplaced != nil, "\(served.metrics.prefix(2000))")
        replaced += 1
        usleep(300_000)
      }
      load.waitUntilExit()
      let said = try String(contentsOfFile: output, encoding: .utf8)
      let count = said.split(separator: "\n").first { $0.contains(" requests in ") }
        .flatMap { $0.split(separator: " ").first }.flatMap { Int($0) }
      made += try #require(count, "\(said)")
      #expect(load.terminationStatus == 0, "\(said)")
      // It says nothing of them when there were none.
      #expect(!said.contains("Socket errors") && !said.contains("Non-2xx"), "\(said)")
    }
    #expect(made >= wanted && replaced > 0)
    // The same process, and nobody of before is left when what ran has ended.
    #expect(served.ingress.isRunning)
    #expect(eventually(within: 60) { children(of: parent).count == 1 } != nil, "\(children(of: parent))")
    Soak.report(
      "\(replaced) replacements of the program: \(made) connections, none refused, reset or without its answer"
    )
  }
}
