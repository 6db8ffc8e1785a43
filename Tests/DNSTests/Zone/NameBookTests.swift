// The book of names is what `weft dns` keeps of a cluster in place of a view: zones planned from either are the same, whatever
// happens and however small the pieces are.

import Addresses
import ClusterObjects
import ClusterView
import Testing

@testable import DNS

private enum Zones: String, CaseIterable, Sendable {
  case plain, coreDNS, external, chosen

  var settings: ZoneSettings {
    var settings = Fixture.settings
    switch self {
    case .plain: break
    case .coreDNS:
      settings.compatibility = .coreDNS
      settings.isZonal = true
      settings.endpointPodNames = true
    case .external:
      settings.compatibility = .coreDNS
      settings.external = ZoneSettings.ExternalZones(zones: [DomainName("example.org") ?? .root])
      settings.external?.isHeadlessServed = true
    case .chosen:
      settings.namespaceSelector = try? LabelSelector(["matchLabels": ["team": "a"]])
      settings.serviceSelector = try? LabelSelector(["matchLabels": ["tier": "back"]])
    }
    return settings
  }

  var wants: NameBook.Wants { self == .plain || self == .external ? [] : [.labels, .zones, .endpointPods] }
}

@Suite(.timeLimit(.minutes(10))) struct NameBookTests {
  @Test(arguments: Zones.allCases, 1...2)
  fileprivate func `a zone planned from the book, in pieces, is the one planned from the view`(
    _ kind: Zones, _ seed: Int
  ) {
    var cluster = Changing(seed, kind.wants)
    var planner = ZonePlanner(settings: kind.settings)
    for number in 0..<60 {
      for _ in 0..<(number % 5) { cluster.step(number) }
      var pieces = 0
      while let changes = cluster.book.nextChanges(servicesMax: 2) {
        #expect(changes.services.count <= 2)
        planner.stage(changes)
        pieces += 1
      }
      let zone = planner.plan(ViewChanges())
      let whole = Contents(planZone(view: cluster.view, settings: kind.settings))
      #expect(Contents(zone) == whole, "\(kind), seed \(seed), step \(number), \(pieces) pieces")
      guard number % 20 == 19 else { continue }
      var another = ZonePlanner(settings: kind.settings)
      cluster.book.everything(servicesMax: 3) { another.stage($0) }
      #expect(Contents(another.plan(ViewChanges())) == whole, "\(kind), seed \(seed), step \(number), anew")
      var third = ZonePlanner(settings: kind.settings)
      cluster.textBook.everything(servicesMax: 3) { third.stage($0) }
      #expect(
        Contents(third.plan(ViewChanges())) == whole, "\(kind), seed \(seed), step \(number), from text")
      #expect(cluster.book.quarantined.count == cluster.view.quarantined.count)
      #expect(cluster.textBook.quarantined == cluster.book.quarantined)
    }
    #expect(cluster.takenAsText > 20, "\(cluster.takenAsText)")
  }

  @Test(arguments: 1...3) func `after a new list nothing is known that is not in it`(seed: Int) {
    var cluster = Changing(seed, [.labels])
    for number in 0..<60 { cluster.step(number) }
    var planner = ZonePlanner(settings: Fixture.settings)
    while let changes = cluster.book.nextChanges() { planner.stage(changes) }
    _ = planner.plan(ViewChanges())
    // While nobody looked, half of the objects went.
    let left = cluster.objects.enumerated().filter { $0.offset % 2 == 0 }.map(\.element)
    for object in left { cluster.book.apply(object.kind, object.key, object) }
    #expect(
      !cluster.book.hasChanges || left.contains { $0.kind == "Namespace" }, "the same again is no change")
    for kind in ["Service", "EndpointSlice", "Namespace"] {
      cluster.book.keep(kind, only: Set(left.filter { $0.kind == kind }.map(\.key)))
    }
    while let changes = cluster.book.nextChanges() { planner.stage(changes) }
    let whole = planZone(view: ClusterView(objects: left), settings: Fixture.settings)
    #expect(Contents(planner.plan(ViewChanges())) == Contents(whole), "seed \(seed)")
  }

  @Test func `an object that says the same again plans nothing`() {
    var book = NameBook()
    for object in Fixture.objects { book.apply(object.kind, object.key, object) }
    var planner = ZonePlanner(settings: Fixture.settings)
    while let changes = book.nextChanges() { planner.stage(changes) }
    let zone = planner.plan(ViewChanges())
    for object in Fixture.objects where object.kind != "Namespace" {
      var again = object
      again.set("another", at: "metadata", "annotations", "note")
      book.apply(object.kind, object.key, again)
    }
    #expect(!book.hasChanges)
    book.remove("Service", ObjectKey("demo", "absent"))
    #expect(book.nextChanges() == nil)
    #expect(planner.plan(ViewChanges()) === zone)
    #expect(book.serviceCount == 9)
  }

  @Test func `what cannot be read is left out and named, and comes back when it can`() {
    var book = NameBook()
    let key = ObjectKey("demo", "web")
    book.apply("Service", key, Fixture.service("web", ["clusterIP": "10.43.0.1"]))
    book.apply("Service", key, Fixture.service("web", ["clusterIP": "nothing"]))
    #expect(book.quarantined.values.map(\.field) == ["spec.clusterIP"])
    #expect(book.state(of: key) == nil)
    book.apply("Service", key, Fixture.service("web", ["clusterIP": "10.43.0.1"]))
    #expect(book.quarantined.isEmpty && book.state(of: key) != nil)
    #expect(book.withoutAddress.isEmpty)
    book.apply("Service", key, Fixture.service("web", [:]))
    #expect(book.withoutAddress == [key])
  }
}
