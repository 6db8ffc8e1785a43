// Finding objects by an index gives what a look at every object gives, and costs what is found.

import ClusterObjects
import Diagnostics
import Testing

@testable import ClusterClient

/// An object of a revision, controlled by the owner of this uid.
private func state(
  _ name: String, _ revision: Int, owner: String? = nil, labels: [String: String] = [:],
  namespace: String = "demo"
) -> JSON {
  var object = pod(name, namespace: namespace, labels: labels)
  object.set(JSON("uid-\(name)"), at: "metadata", "uid")
  object.set(JSON("\(revision)"), at: "metadata", "resourceVersion")
  if let owner {
    object.set([["uid": JSON(owner), "name": "o", "controller": true]], at: "metadata", "ownerReferences")
  }
  return object
}

private func owner(_ uid: String, namespace: String = "demo") -> JSON {
  ["kind": "ReplicaSet", "metadata": ["namespace": JSON(namespace), "name": JSON(uid), "uid": JSON(uid)]]
}

@Suite(.timeLimit(.minutes(10))) struct InformerIndexTests {
  private let metrics = Metrics()
  private let informer: Informer
  init() { informer = Informer(scope: InformerScope(.pods), metrics: metrics) }

  private var found: UInt64 {
    metrics.counter("weft_informer_found_total", "", labels: ["resource"]).child(
      "\(GroupVersionResource.pods)"
    ).current
  }

  private func claims(_ uid: String, _ labels: [String: String] = ["app": "a"], namespace: String = "demo")
    -> [String]
  {
    informer.objects(
      claimableBy: owner(uid, namespace: namespace), selector: LabelSelector(matchLabels: labels)
    ).map(
      \.name
    ).sorted()
  }

  @Test func `an object is found under its new owner and no more under the old one`() {
    let labels = ["app": "a"]
    informer.apply(.added(state("p", 1, labels: labels)))
    #expect(claims("one") == ["p"] && claims("two") == ["p"])
    informer.apply(.modified(state("p", 2, owner: "one", labels: labels)))
    #expect(claims("one") == ["p"] && claims("two") == [])
    informer.apply(.modified(state("p", 3, owner: "two", labels: labels)))
    #expect(claims("one") == [] && claims("two") == ["p"])
    // Its owner finds it whatever its labels are, to let go of it; then nobody's selector selects it.
    informer.apply(.modified(state("p", 4, owner: "two", labels: ["app": "b"])))
    #expect(claims("two") == ["p"])
    informer.apply(.modified(state("p", 5, labels: ["app": "b"])))
    #expect(claims("two") == [] && claims("two", ["app": "b"]) == ["p"])
    informer.apply(.deleted(state("p", 6, labels: ["app": "b"])))
    #expect(claims("two", ["app": "b"]) == [])
  }

  @Test func `an owner finds nothing of another namespace, and nothing of who has no uid`() {
    informer.apply(.added(state("p", 1, owner: "one", labels: ["app": "a"])))
    informer.apply(.added(state("q", 2, labels: ["app": "a"])))
    #expect(claims("one", namespace: "other") == [])
    var nameless = state("r", 3, labels: ["app": "a"])
    nameless.set([["name": "o", "controller": true]], at: "metadata", "ownerReferences")
    informer.apply(.added(nameless))
    #expect(claims("one") == ["p", "q"])
  }

  @Test func `several values at once give each object once`() {
    for number in 0..<6 {
      informer.apply(.added(state("p\(number)", number + 1, labels: ["app": "a", "tier": "\(number % 2)"])))
    }
    let pair = ObjectIndex.labelPair
    let values = ["demo/app=a", "demo/tier=0", "demo/tier=1", "demo/tier=7"]
    #expect(informer.objects(pair, anyOf: values).map(\.name).sorted() == (0..<6).map { "p\($0)" })
    #expect(
      informer.objects(pair, anyOf: []).isEmpty && informer.objects(pair, anyOf: ["demo/tier=7"]).isEmpty)
    let either = LabelSelector([.init("tier", .in, ["0", "1", "1"])])
    #expect(informer.objects(in: "demo", selectedBy: either).count == 6)
  }

  @Test func `a list moves what it changes and takes away what it does not bring`() {
    for number in 0..<4 {
      informer.apply(.added(state("p\(number)", number + 1, owner: "one", labels: ["app": "a"])))
    }
    #expect(claims("one").count == 4)
    informer.beginList()
    informer.take(listed: state("p0", 1, owner: "one", labels: ["app": "a"]))
    informer.take(listed: state("p1", 9, owner: "two", labels: ["app": "a"]))
    informer.take(listed: state("p2", 10, labels: ["app": "a"]))
    informer.endList(resourceVersion: "11")
    #expect(claims("one") == ["p0", "p2"] && claims("two") == ["p1", "p2"])
    #expect(informer.objects(in: "demo", selectedBy: LabelSelector(matchLabels: ["app": "a"])).count == 3)
  }

  @Test func `a change concerns who selected what it was and who selects what it is, once`() {
    let owners = Informer(scope: InformerScope(.services), metrics: metrics)
    func service(_ name: String, _ selector: JSON, _ revision: Int) -> JSON {
      var object = state(name, revision)
      object["spec"] = ["selector": selector]
      return object
    }
    owners.apply(.added(service("a", ["app": "a"], 1)))
    owners.apply(.added(service("b", ["app": "b"], 2)))
    owners.apply(.added(service("both", ["team": "x"], 3)))
    owners.apply(.added(service("nobody", [:], 4)))
    func concerned(_ old: JSON?, _ new: JSON?) -> [String] {
      owners.objects(
        concernedBy: ObjectChange(key: ObjectKey("demo", "p"), old: old, new: new), by: .selectorMap
      ).map(\.name).sorted()
    }
    let before = state("p", 5, labels: ["app": "a", "team": "x"])
    let after = state("p", 6, labels: ["app": "b", "team": "x"])
    #expect(concerned(nil, before) == ["a", "both"])
    #expect(concerned(before, before) == ["a", "both"])
    #expect(concerned(before, after) == ["a", "b", "both"])
    #expect(concerned(after, nil) == ["b", "both"])
    #expect(concerned(nil, state("p", 7)) == [])
  }

  @Test(arguments: [UInt64(1), 2, 3, 4]) func `what an index finds is what a look at all finds`(seed: UInt64)
    throws
  {
    var random = SeededRandom(seed: seed)
    let owners = Informer(scope: InformerScope(.replicaSets), metrics: metrics)
    let namespaces = ["demo", "other"]
    func labels(_ random: inout SeededRandom) -> [String: String] {
      var labels: [String: String] = [:]
      for key in ["a", "b", "c"] where Bool.random(using: &random) {
        labels[key] = String(Int.random(in: 0..<3, using: &random))
      }
      return labels
    }
    func selector(_ random: inout SeededRandom) -> JSON {
      var expressions: [JSON] = []
      for key in ["a", "b"] where Int.random(in: 0..<3, using: &random) == 0 {
        let kind =
          ["In", "NotIn", "Exists", "DoesNotExist", "Nonsense"].randomElement(using: &random) ?? "In"
        let values: JSON = kind.hasSuffix("In") ? ["0", "1"] : []
        expressions.append(["key": JSON(key), "operator": JSON(kind), "values": values])
      }
      var selector: JSON = ["matchExpressions": .array(expressions)]
      let exact = labels(&random)
      if !exact.isEmpty { selector["matchLabels"] = JSON(exact) }
      return Int.random(in: 0..<12, using: &random) == 0 ? .null : selector
    }
    for revision in 1..<400 {
      let namespace = namespaces.randomElement(using: &random) ?? "demo"
      let name = "p\(Int.random(in: 0..<30, using: &random))"
      let controller = ["o1", "o2", "o3"].randomElement(using: &random)
      let object = state(
        name, revision, owner: Bool.random(using: &random) ? controller : nil, labels: labels(&random),
        namespace: namespace)
      if Int.random(in: 0..<4, using: &random) == 0 {
        informer.apply(.deleted(object))
      } else {
        informer.apply(.modified(object))
      }
      var set = state("o\(Int.random(in: 1..<9, using: &random))", revision, namespace: namespace)
      set["spec"] = ["selector": selector(&random)]
      owners.apply(.modified(set))
      let chosen = SelectorMatch.selector(set.at("spec", "selector"))
      let near = informer.snapshot.inNamespace(namespace)
      let selected = near.filter { chosen.matches($0.labels) }.map(\.name).sorted()
      #expect(
        informer.objects(in: namespace, selectedBy: chosen).map(\.name).sorted() == selected, "\(revision)")
      var owner = set
      owner.set(JSON(controller ?? ""), at: "metadata", "uid")
      let claimable = informer.objects(claimableBy: owner, selector: chosen)
      #expect(
        Set(claimable.map(\.key)).count == claimable.count
          && claimable.allSatisfy { $0.namespace == namespace })
      #expect(claimable.allSatisfy { $0.isControlled(by: owner) || $0.controllerReference == nil })
      let wanted = near.filter {
        $0.isControlled(by: owner) || ($0.controllerReference == nil && chosen.matches($0.labels))
      }
      #expect(Set(wanted.map(\.key)).isSubset(of: claimable.map(\.key)), "\(revision)")
      let selecting = owners.snapshot.inNamespace(namespace).filter {
        SelectorMatch.matches($0.at("spec", "selector"), object.labels)
      }
      #expect(
        owners.objects(selecting: object, by: .labelSelector).map(\.name).sorted()
          == selecting.map(\.name).sorted(),
        "\(revision)")
    }
  }

  @Test func `a look costs what is found, however much there is beside it`() {
    for number in 0..<2000 {
      let app = "\(number / 10)"
      informer.apply(
        .added(
          state("p\(number)", number + 1, owner: "o\(app)", labels: ["app": app, "team": "\(number % 2)"])))
    }
    let begun = found
    #expect(claims("o7", ["app": "7"]).count == 10)
    let few = LabelSelector(matchLabels: ["app": "7", "team": "1"])
    #expect(informer.objects(in: "demo", selectedBy: few).count == 5)
    #expect(found - begun == 20)
  }
}
