// Quantities, times, ages, base64, names, selectors, discovery.
import ClusterObjects
import Testing

@Test(arguments: [
  ("0", "0"), ("1", "1"), ("1000m", "1"), ("0.5", "500m"), ("1500m", "1500m"), ("100Mi", "100Mi"),
  ("1024Mi", "1Gi"), ("1.5Gi", "1536Mi"), ("1000", "1k"), ("1000k", "1M"), ("1e3", "1e3"),
  ("12E", "9223372036854775807"),
  ("0.0000000001", "1n"), ("-5m", "-5m"), ("+3", "3"), ("123456Ki", "123456Ki"), ("512", "512"),
  ("1Ki", "1Ki"),
  ("0.5Ki", "512"), ("1e-3", "1e-3"), (".5", "500m"), ("5.", "5"),
])
func `quantities are canonical`(text: String, canonical: String) throws {
  let quantity = try #require(Quantity(text))
  #expect(quantity.description == canonical)
  #expect(Quantity(quantity.description) == quantity)
}

@Test(arguments: ["", "m", "1mm", "abc", "1 Gi", "1e", "--1", "1K", "0x10", ".", "1ki", "1e99999999999"])
func `what is no quantity is refused`(text: String) { #expect(Quantity(text) == nil) }

@Test func `quantities add, compare and round up`() {
  #expect(Quantity("1")! == Quantity("1000m")! && Quantity("1")! < Quantity("1001m")!)
  #expect((Quantity("250m")! + Quantity("750m")!).description == "1")
  #expect((Quantity("1Gi")! + Quantity("512Mi")!).description == "1536Mi")
  #expect((Quantity("1Gi")! - Quantity("1Gi")!).isZero)
  #expect(Quantity("1500m")!.value == 2 && Quantity("1.0001")!.milliValue == 1001)
  #expect(Quantity("9E")!.value == 9_000_000_000_000_000_000 && Quantity("100E")!.value == Int64.max)
}

@Test func `a pod asks for its containers or its largest init step`() throws {
  let pod = try JSON(
    parsing: #"""
      {"spec":{"overhead":{"cpu":"10m"},"containers":[{"resources":{"requests":{"cpu":"100m"}}},
      {"resources":{"limits":{"cpu":"200m"}}}],"initContainers":[{"restartPolicy":"Always","resources":
      {"requests":{"cpu":"50m"}}},{"resources":{"requests":{"cpu":"900m","memory":"1Gi"}}}]}}
      """#)
  let requests = ResourceList.requests(ofPod: pod)
  #expect(requests["cpu"].description == "960m" && requests["memory"].description == "1Gi")
}

@Test(arguments: [
  ("2026-11-21T05:00:00Z", "2026-11-21T05:00:00Z"), ("2024-02-29T23:59:59+01:30", "2024-02-29T22:29:59Z"),
  ("1969-12-31T23:59:59Z", "1969-12-31T23:59:59Z"),
  ("2000-01-01T00:00:00.123456789Z", "2000-01-01T00:00:00Z"),
  ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"), ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
])
func `times read back`(text: String, canonical: String) {
  #expect(KubeTime(text)?.text == canonical)
}

@Test(arguments: [
  "", "2026-11-21", "2026-13-01T00:00:00Z", "2023-02-29T00:00:00Z", "2026-11-21T24:00:00Z",
  "2026-11-21T05:00:00",
  "2026-11-21T05:00:00+1", "2026-11-21T05:00:00.Z", "2026-11-21 05:00:00Zx",
])
func `what is no time is refused`(text: String) { #expect(KubeTime(text) == nil) }

@Test func `six decimals are kept where they count`() {
  #expect(KubeTime("2026-01-01T00:00:00.5Z")?.microText == "2026-01-01T00:00:00.500000Z")
}

@Test(arguments: [
  (0, "0s"), (119, "119s"), (120, "2m"), (125, "2m5s"), (599, "9m59s"), (600, "10m"), (10_799, "179m"),
  (10_800, "3h"), (12_000, "3h20m"), (28_800, "8h"), (172_799, "47h"), (172_800, "2d"), (180_000, "2d2h"),
  (691_200, "8d"), (63_072_000, "2y"), (64_000_000, "2y10d"), (260_000_000, "8y"), (-5, "<invalid>"),
])
func `ages read as kubectl prints them`(seconds: Int64, text: String) {
  #expect(KubeTime.age(seconds) == text)
}

@Test func `base64 is exact`() {
  for text in ["", "f", "fo", "foo", "foob", "fooba", "foobar"] {
    #expect(Base64.decode(Base64.encode(text.utf8)) == Array(text.utf8))
  }
  #expect(Base64.encode("fooba".utf8) == "Zm9vYmE=")
  for bad in ["Z", "Zg", "Zg=", "Z===", "Zm9v!", "Zg==Zg==", "====", "=Zg="] {
    #expect(Base64.decode(bad) == nil)
  }
  #expect(Base64.decode("Zm9v\nYmFy") == Array("foobar".utf8))
}

@Test func `names follow the RFCs`() {
  for good in ["a", "a-b", "0a", String(repeating: "a", count: 63)] {
    #expect(Names.labelProblem(good) == nil)
  }
  for bad in ["", "-a", "a-", "A", "a.b", "ä", String(repeating: "a", count: 64)] {
    #expect(Names.labelProblem(bad) != nil, "\(bad)")
  }
  #expect(Names.subdomainProblem("a.b-c.d") == nil && Names.subdomainProblem("a..b") != nil)
  #expect(Names.label1035Problem("0a") != nil)
  #expect(Names.qualifiedNameProblem("example.com/My_Name") == nil)
  for bad in ["/a", "a/", "a/b/c", "Ex.com/a", "a b"] {
    #expect(Names.qualifiedNameProblem(bad) != nil, "\(bad)")
  }
  #expect(Names.portNameProblem("http-2") == nil && Names.portNameProblem("123") != nil)
  #expect(Names.wildcardProblem("*.a.b") == nil && Names.wildcardProblem("*a.b") != nil)
}

@Test func `generated names and hashes use the safe alphabet`() {
  var generator = Seeded(state: 1)
  let suffix = Names.randomSuffix(using: &generator)
  #expect(suffix.utf8.count == 5 && suffix.utf8.allSatisfy(Names.safeAlphabet.contains))
  let a: JSON = ["metadata": ["labels": ["x": "y"]], "spec": ["containers": []]]
  let b: JSON = ["spec": ["containers": []], "metadata": ["labels": ["x": "y"]]]
  #expect(Names.templateHash(a) == Names.templateHash(b))
  #expect(Names.templateHash(a) != Names.templateHash(a, collisions: 1))
  #expect(Names.fnv1a("a".utf8) == 0xe40c_292c)  // The published test vector.
}

@Test(arguments: [
  ("a=b", ["a": "b"], true), ("a==b", ["a": "b"], true), ("a!=b", [:], true), ("a!=b", ["a": "b"], false),
  ("a in (b, c)", ["a": "c"], true), ("a notin (b)", ["a": "b"], false), ("a notin (b)", [:], true),
  ("a", ["a": ""], true), ("!a", ["a": ""], false), ("a,b=c", ["a": "1", "b": "c"], true), ("", [:], true),
  ("x.io/n>3", ["x.io/n": "4"], true), ("n<3", ["n": "x"], false), ("a=", ["a": ""], true),
  ("in in (in)", ["in": "in"], true), ("a in ()", ["a": ""], true),
])
func `label selectors select`(text: String, labels: [String: String], expected: Bool) throws {
  let selector = try LabelSelector(parsing: text)
  #expect(selector.matches(labels) == expected)
  #expect(try LabelSelector(parsing: selector.description).matches(labels) == expected)
}

@Test(arguments: ["=a", "a in", "a in (b", "a=b c", "a,,b", "!!a", "a>b", "a b", "-=x", "a=-", "(a)"])
func `a malformed label selector is refused`(text: String) {
  #expect(throws: SelectorError.self) { try LabelSelector(parsing: text) }
}

@Test func `an absent selector selects nothing and an empty one everything`() throws {
  #expect(try !LabelSelector(nil).matches([:]) && LabelSelector([:]).matches(["a": "b"]))
  #expect(throws: SelectorError.self) {
    try LabelSelector(["matchExpressions": [["key": "a", "operator": "Near"]]])
  }
}

@Test func `field selectors select by what the kind allows`() throws {
  let pods = KindRegistry.builtin[GroupVersionResource.pods]!
  let pod: JSON = [
    "metadata": ["name": "p", "namespace": "d"], "spec": ["nodeName": "n1"], "status": ["phase": "Running"],
  ]
  let selector = try pods.fieldSelector(
    parsing: "spec.nodeName=n1,status.phase!=Failed,status.phase!=Succeeded")
  #expect(selector.matches(pod))
  #expect(try !pods.fieldSelector(parsing: "metadata.name==q").matches(pod))
  #expect(try pods.fieldSelector(parsing: "metadata.name=p").name == "p")
  #expect(throws: SelectorError.self) { try pods.fieldSelector(parsing: "spec.color=red") }
  #expect(throws: SelectorError.self) { try FieldSelector(parsing: "nonsense") }
  #expect(
    try FieldSelector(parsing: #"metadata.name=a\,b"#).terms == [FieldSelector.Term("metadata.name", "a,b")])
  let node: JSON = ["metadata": ["name": "n"], "spec": [:]]
  #expect(try FieldSelector(parsing: "spec.unschedulable=false").matches(node))
}

@Test func `discovery lists what is served`() throws {
  let registry = KindRegistry.builtin
  let core = registry.aggregatedDiscovery(core: true) { _, name in !name.hasSuffix("/exec") }
  let resources = core["items"]![0]!["versions"]![0]!["resources"]!.elements
  let pods = try #require(resources.first { $0["resource"] == "pods" })
  #expect(pods["scope"] == "Namespaced" && pods["shortNames"] == ["po"] && pods["categories"] == ["all"])
  #expect(pods["subresources"]!.elements.contains { $0["subresource"] == "log" })
  #expect(!pods["subresources"]!.elements.contains { $0["subresource"] == "exec" })
  let groups = registry.aggregatedDiscovery(core: false)["items"]!.elements.map(\.name)
  #expect(groups.contains("apps") && groups.contains("networking.k8s.io") && !groups.contains(""))
  let apps = try #require(registry.apiResourceList(groupVersion: "apps/v1"))
  let scale = try #require(apps["resources"]!.elements.first { $0["name"] == "deployments/scale" })
  #expect(scale["kind"] == "Scale" && scale["group"] == "autoscaling" && scale["version"] == "v1")
  #expect(registry.apiResourceList(groupVersion: "none/v1") == nil)
  #expect(registry.apiGroup("apps")?["preferredVersion"]?["groupVersion"] == "apps/v1")
}
