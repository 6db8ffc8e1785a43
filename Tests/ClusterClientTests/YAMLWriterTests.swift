// Trees written as YAML read back the same.

import ClusterClient
import ClusterObjects
import Testing

@Suite struct YAMLWriterTests {
  @Test func `an object reads as people write it`() {
    let tree: JSON = [
      "apiVersion": "v1", "kind": "Pod",
      "metadata": [
        "name": "web", "labels": ["app.kubernetes.io/name": "web", "n": "1"], "annotations": [:],
      ],
      "spec": [
        "containers": [
          ["name": "a", "args": ["-x", "true"], "ports": [["containerPort": 80, "protocol": "TCP"]]],
          ["name": "b", "tty": true],
        ], "volumes": [],
      ],
    ]
    #expect(
      YAML.text(tree) == """
        apiVersion: v1
        kind: Pod
        metadata:
          name: web
          labels:
            app.kubernetes.io/name: web
            "n": "1"
          annotations: {}
        spec:
          containers:
          - name: a
            args:
            - "-x"
            - "true"
            ports:
            - containerPort: 80
              protocol: TCP
          - name: b
            tty: true
          volumes: []

        """)
  }

  @Test func `every text reads back as it was`() throws {
    let texts = [
      "", " ", "a", "A-b.c/d_e", "yes", "No", "y", "null", "~", "1", "1.5", "0x1f", "1e3",
      "2026-11-21T22:23:00Z", "-",
      "- a", "a: b", "a:", "#x", "a #b", "'", "\"", "\\", "\n", "a\nb\n", "\t", "\u{7f}", "\u{85}",
      "\u{2028}",
      "\u{feff}", "\u{fffe}", "\u{0}", "\u{1b}", "é", "日本", "👍", "{", "[a]", "&a", "*a", "!t", "|", ">", "%",
      "@", "`",
      ".inf", ".nan", "=", "<<", "---", "...", "a..", String(repeating: "long ", count: 500),
    ]
    for text in texts {
      let tree: JSON = [
        "a": .string(text), "list": [.string(text), [.string(text)], [], ["k": .string(text)]],
        "inner": .object(JSONObject([("k" + text.prefix(40), 1)])),
      ]
      #expect(try YAML.parse(YAML.text(tree)) == tree, "\(text.debugDescription)")
    }
  }

  @Test func `random trees read back as they were`() throws {
    var state: UInt64 = 20_261_121
    func next(_ below: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33) % below
    }
    func tree(_ depth: Int) -> JSON {
      switch next(depth > 4 ? 5 : 7) {
      case 0: return .null
      case 1: return .bool(next(2) == 0)
      case 2: return .integer(Int64(next(1 << 30)) - (1 << 29))
      case 3, 4:
        let pieces = ["a", "on", ":", " ", "-", "#", "\n", "\"", "1", ".", "/", "é"]
        return .string((0..<next(6)).map { _ in pieces[next(pieces.count)] }.joined())
      case 5: return .array((0..<next(4)).map { _ in tree(depth + 1) })
      default: return .object(JSONObject((0..<next(4)).map { ("k\($0)", tree(depth + 1)) }))
      }
    }
    for _ in 0..<2000 {
      let made = tree(0)
      #expect(try YAML.parse(YAML.text(made)) == made, "\(made.text)")
    }
  }
}
