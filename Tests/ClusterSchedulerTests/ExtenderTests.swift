// Extenders as others write them: a small Python server on loopback has a say in what the scheduler does.

import ClusterClient
import ClusterObjects
import Diagnostics
import Glibc
import Testing

@testable import ClusterScheduler

/// A server that vetoes nodes whose names begin with `bad`, likes `n2`, wants victims named `soft` only,
/// and notes what it is asked. It ends with its standard input.
private let server = """
  import http.server, json, os, sys, threading, time
  notes = []
  class Handler(http.server.BaseHTTPRequestHandler):
      protocol_version = 'HTTP/1.1'
      def log_message(self, *a): pass
      def do_GET(self): self.answer(notes)
      def answer(self, value):
          body = json.dumps(value).encode()
          self.send_response(200)
          self.send_header('Content-Type', 'application/json')
          self.send_header('Content-Length', str(len(body)))
          self.end_headers()
          self.wfile.write(body)
      def do_POST(self):
          args = json.loads(self.rfile.read(int(self.headers['Content-Length'])))
          verb = self.path.split('/')[-1]
          notes.append([self.path, args.get('Pod', {}).get('metadata', {}).get('name', args.get('PodName'))])
          names = args.get('NodeNames')
          if names is None and 'Nodes' in args: names = [n['metadata']['name'] for n in args['Nodes']['items']]
          if verb == 'filter':
              good = [n for n in names if not n.startswith('bad')]
              failed = {n: 'node(s) were vetoed' for n in names if n.startswith('bad')}
              if 'Nodes' in args:
                  items = [n for n in args['Nodes']['items'] if n['metadata']['name'] in good]
                  self.answer({'Nodes': {'items': items}, 'FailedNodes': failed, 'Error': ''})
              else:
                  self.answer({'NodeNames': good, 'FailedNodes': failed, 'Error': ''})
          elif verb == 'prioritize':
              self.answer([{'Host': n, 'Score': 10 if n == 'n2' else 0} for n in names])
          elif verb == 'preempt':
              kept = {}
              for node, victims in args['NodeNameToVictims'].items():
                  if all(p['metadata']['name'].startswith('soft') for p in victims['Pods']):
                      kept[node] = {'Pods': [{'UID': p['metadata']['uid']} for p in victims['Pods']],
                                    'NumPDBViolations': victims['NumPDBViolations']}
              self.answer({'NodeNameToMetaVictims': kept})
          elif verb == 'bind': self.answer({'Error': '' if args['Node'] == 'n1' else 'not there'})
          elif verb == 'error': self.answer({'Error': 'out of order'})
          elif verb == 'slow':
              time.sleep(5)
              self.answer({})
  http.server.ThreadingHTTPServer.daemon_threads = True
  s = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
  print(s.server_address[1], flush=True)
  threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
  s.serve_forever()
  """

private final class PythonServer {
  private static let words: [String] = ["python3", "-c", server]
  let port: Int
  private let process: pid_t
  private let input: Int32
  private let output: Int32

  init() throws {
    var input: [Int32] = [0, 0]
    var output: [Int32] = [0, 0]
    try #require(pipe(&input) == 0 && pipe(&output) == 0)
    for end in input + output { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_adddup2(&actions, input[0], 0)
    posix_spawn_file_actions_adddup2(&actions, output[1], 1)
    var words: [UnsafeMutablePointer<CChar>?] = Self.words.map { strdup($0) } + [nil]
    defer { for word in words { free(word) } }
    var process: pid_t = 0
    let failure = posix_spawnp(&process, "python3", &actions, nil, &words, environ)
    close(input[0])
    close(output[1])
    try #require(failure == 0)
    self.process = process
    self.input = input[1]
    self.output = output[0]
    // Python may write the number and the end of the line apart, and fails when nobody reads the second.
    var text = ""
    var byte: UInt8 = 0
    while text.utf8.count < 16, read(output[0], &byte, 1) == 1, byte != UInt8(ascii: "\n") {
      text.unicodeScalars.append(Unicode.Scalar(byte))
    }
    port = try #require(Int(text))
  }

  deinit {
    close(input)
    close(output)
    kill(process, SIGKILL)
    var status: Int32 = 0
    while waitpid(process, &status, 0) < 0, errno == EINTR {}
  }
}

@Suite(.serialized, .timeLimit(.minutes(5))) struct ExtenderTests {
  private func extender(
    _ server: PythonServer, _ change: (inout ExtenderConfiguration) -> Void
  ) -> HTTPExtender {
    var configuration = ExtenderConfiguration()
    configuration.urlPrefix = "http://127.0.0.1:\(server.port)/scheduler/"
    configuration.httpTimeout = .seconds(30)
    change(&configuration)
    return HTTPExtender(configuration)
  }
  private func search(_ names: [String]) -> Search {
    planFeasible(
      PodInfo(makePod("p")), ClusterState(names.map { info(makeNode($0)) }), profile(NodeResourcesFit()))
  }

  @Test(arguments: [false, true]) func `filter vetoes nodes, with its own words`(byName: Bool) async throws {
    let server = try PythonServer()
    defer { withExtendedLifetime(server) {} }
    let one = extender(server) {
      $0.filterVerb = "filter"
      $0.nodeCacheCapable = byName
    }
    var search = search(["n1", "bad1", "n2", "bad2"])
    try await [one as any Extender].filter(PodInfo(makePod("p")), &search)
    #expect(search.feasible.map(\.name) == ["n1", "n2"])
    var hopeless = self.search(["bad1", "bad2"])
    try await [one as any Extender].filter(PodInfo(makePod("p")), &hopeless)
    #expect(hopeless.message() == "0/2 nodes are available: 2 node(s) were vetoed.")
  }

  @Test func `prioritize counts by weight`() async throws {
    let server = try PythonServer()
    defer { withExtendedLifetime(server) {} }
    let one = extender(server) {
      $0.prioritizeVerb = "prioritize"
      $0.weight = 3
    }
    var scores: [Int64] = [250, 0]
    let nodes = ["n1", "n2"].map { info(makeNode($0)) }
    try await [one as any Extender].prioritize(PodInfo(makePod("p")), nodes, &scores)
    #expect(scores == [250, 300])
  }

  @Test func `preempt keeps the plans that it agrees with`() async throws {
    let server = try PythonServer()
    defer { withExtendedLifetime(server) {} }
    let one = extender(server) { $0.preemptVerb = "preempt" }
    let plans = [
      PreemptionPlan(node: "n1", victims: [PodInfo(makePod("hard"))], violations: 0),
      PreemptionPlan(node: "n2", victims: [PodInfo(makePod("soft"))], violations: 0),
    ]
    let kept = try await [one as any Extender].preempt(PodInfo(makePod("p")), plans)
    #expect(kept.map(\.node) == ["n2"] && kept.first?.victims.map(\.name) == ["soft"])
  }

  @Test func `bind does it or says why not`() async throws {
    let server = try PythonServer()
    defer { withExtendedLifetime(server) {} }
    let extenders = [extender(server) { $0.bindVerb = "bind" } as any Extender]
    #expect(try await extenders.bind(PodInfo(makePod("p")), to: "n1"))
    await #expect(throws: ExtenderError.self) { try await extenders.bind(PodInfo(makePod("p")), to: "n2") }
    #expect(try await [any Extender]().bind(PodInfo(makePod("p")), to: "n1") == false)
  }

  @Test func `only pods that ask for its resources are its business`() async throws {
    let server = try PythonServer()
    defer { withExtendedLifetime(server) {} }
    let one = extender(server) {
      $0.filterVerb = "filter"
      $0.managedResources = ["example.com/foo"]
    }
    var search = search(["bad1"])
    try await [one as any Extender].filter(PodInfo(makePod("p")), &search)
    #expect(search.feasible.count == 1)
    let asking = makePod(
      "p", spec: ["containers": [["name": "c", "resources": ["limits": ["example.com/foo": "1"]]]]])
    try await [one as any Extender].filter(PodInfo(asking), &search)
    #expect(search.feasible.isEmpty)
  }

  @Test(arguments: ["error", "slow", "gone"]) func `one that fails is an error, unless it can be ignored`(
    how: String
  ) async throws {
    let server = try PythonServer()
    defer { withExtendedLifetime(server) {} }
    func failing(ignorable: Bool) -> any Extender {
      extender(server) {
        $0.filterVerb = how
        if how == "slow" { $0.httpTimeout = .milliseconds(50) }
        if how == "gone" { $0.urlPrefix = "http://127.0.0.1:1" }
        $0.ignorable = ignorable
      }
    }
    var found = search(["n1"])
    await #expect(throws: (any Error).self) {
      try await [failing(ignorable: false)].filter(PodInfo(makePod("p")), &found)
    }
    try await [failing(ignorable: true)].filter(PodInfo(makePod("p")), &found)
    #expect(found.feasible.map(\.name) == ["n1"])
  }

  @Test func `a scheduler with an extender places pods where it wants them`() async throws {
    let server = try PythonServer()
    defer { withExtendedLifetime(server) {} }
    let api = MemoryClusterAPI()
    for name in ["bad1", "n2", "n3"] { api.put(.nodes, makeNode(name)) }
    var extender = ExtenderConfiguration()
    extender.urlPrefix = "http://127.0.0.1:\(server.port)"
    extender.filterVerb = "filter"
    extender.prioritizeVerb = "prioritize"
    extender.weight = 100
    extender.httpTimeout = .seconds(30)
    var settings = SchedulerSettings()
    settings.configuration.extenders = [extender]
    let informers = SharedInformers(api: api, metrics: Metrics())
    let scheduler = try startScheduler(api: api, informers: informers, settings: settings, metrics: Metrics())
    for number in 0..<3 { _ = try await api.create(.pods, makePod("p\(number)"), options: WriteOptions()) }
    let isPlaced = await eventually {
      api.objects(.pods).allSatisfy { $0.at("spec", "nodeName")?.string == "n2" }
    }
    #expect(isPlaced)
    await scheduler.stop()
    await informers.stop()
  }
}
