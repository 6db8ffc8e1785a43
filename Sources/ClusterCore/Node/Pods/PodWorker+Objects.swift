// What a pod's files are made of: fetched when a container starts, and again when one of the objects changed.

import ClusterObjects
import Diagnostics
import Logging

extension PodWorker {
  /// The objects and tokens this pod refers to, as they are now.
  func podData(_ pod: JSON, inVolumes: Bool = false) async throws -> PodData {
    let references = planReferences(pod, inVolumes: inVolumes)
    var data = PodData()
    for reference in references.objects.sorted() {
      let parts = reference.split(separator: "/", maxSplits: 1).map(String.init)
      let object = try await context.objects.object(parts[0], namespace: pod.namespace, name: parts[1])
      data.versions[reference] = object?.resourceVersion ?? ""
      if var object {
        // Lists and caches may leave the kind out, and the coding of the data depends on it.
        object["kind"] = parts[0] == "secret" ? "Secret" : "ConfigMap"
        data.objects[reference] = objectData(object)
      }
    }
    data.claimed = try await claimed(pod)
    let wishes = planTrustWishes(pod)
    if !wishes.isEmpty {
      let bundles = try await context.objects.trustBundles()
      for wish in wishes { data.trust[wish] = planTrust(wish, bundles) }
    }
    tokens.retain(references.tokens)
    for wish in references.tokens {
      if let known = tokens.fresh(wish, now: Timestamp.now().seconds) {
        data.tokens[wish] = known
        continue
      }
      do {
        let token = try await context.objects.token(pod, audience: wish.audience, seconds: wish.seconds)
        tokens.keep(token, for: wish, now: Timestamp.now().seconds)
        data.tokens[wish] = token.text
      } catch {
        data.tokens[wish] = tokens.usable(wish, now: Timestamp.now().seconds)
        context.log.warning(
          "no service account token", metadata: ["pod": "\(key)", "error": "\(runtimeMessage(error))"])
      }
    }
    return data
  }

  /// The volumes behind the pod's claims. Throws `MissingReference` for a claim that has none yet.
  private func claimed(_ pod: JSON) async throws -> [String: ClaimedVolume] {
    for volume in pod.at("spec", "volumes")?.elements ?? [] {
      guard let name = volume["name"]?.string, claimedVolumes[name] == nil,
        let claimName = ClaimedVolume.claimName(volume, pod: pod)
      else { continue }
      let claim = try await context.objects.claim(namespace: pod.namespace, name: claimName)
      let bound = claim?.at("spec", "volumeName")?.string ?? ""
      let object = bound.isEmpty ? nil : try await context.objects.persistentVolume(bound)
      claimedVolumes[name] = try planClaimedVolume(volume, pod: pod, claim: claim, volume: object)
    }
    return claimedVolumes
  }

  /// To be called before the objects are read: what changes after that is told.
  func followObjects() async {
    let wanted = planReferences(pod, inVolumes: true).objects.map { reference in
      let parts = reference.split(separator: "/", maxSplits: 1).map(String.init)
      return ObjectReference(kind: parts[0], namespace: pod.namespace, name: parts[1])
    }
    await context.watches.follow(uid, Set(wanted)) { [weak self] reference, version in
      await self?.objectChanged("\(reference.kind)/\(reference.name)", version)
    }
  }

  private func objectChanged(_ reference: String, _ version: String) {
    latestVersions[reference] = version
    refreshIfOutdated()
  }

  /// The volumes' files were just made of these.
  func noteVersions(_ data: PodData) {
    filedVersions = data.versions
    // Something may have changed between the reading and the writing.
    refreshIfOutdated()
  }

  /// A pod that ran here before this agent: its files are of an unknown age.
  func adoptObjects() async {
    guard filedVersions == nil else { return }
    filedVersions = [:]
    await followObjects()
    requestRefresh()
  }

  private func refreshIfOutdated() {
    if isOutdated { requestRefresh() }
  }

  private var isOutdated: Bool {
    guard let filedVersions else { return false }
    return latestVersions.contains { reference, latest in
      filedVersions[reference].map { isVersion($0, before: latest) } ?? false
    }
  }

  /// One at a time; a wish meanwhile means once more.
  func requestRefresh() {
    isRefreshWanted = true
    guard !isRefreshing else { return }
    isRefreshing = true
    Task {
      while isRefreshWanted {
        isRefreshWanted = false
        // An object that went and came back may be read before its watch says so.
        if await refreshVolumes(), isOutdated {
          isRefreshWanted = true
          try? await Task.sleep(for: .milliseconds(20))
        }
      }
      isRefreshing = false
    }
  }

  /// The slow round: for tokens that age, and for objects that nobody follows.
  func refreshIfDue() async {
    let references = planReferences(pod, inVolumes: true)
    let now = Timestamp.now().seconds
    let areTokensFresh = references.tokens.allSatisfy { tokens.fresh($0, now: now) != nil }
    // Bundles are few and nobody follows them.
    let hasBundles = !planTrustWishes(pod).isEmpty
    if areTokensFresh, !isOutdated, !hasBundles, await context.watches.isFollowing(uid) { return }
    requestRefresh()
  }

  /// Brings the files of object volumes up to date under a running pod. False when the objects cannot be had now.
  private func refreshVolumes() async -> Bool {
    guard !pod.isTerminating, lastObserved.sandbox != nil, filedVersions != nil,
      let data = try? await podData(pod, inVolumes: true)
    else { return false }
    let directory = context.settings.podDirectory(uid)
    // A pod that ended meanwhile has no files.
    guard !isDone, Files.exists(directory) else { return false }
    var pod = pod
    setAddresses(&pod, lastObserved)
    for failure in Volumes(podDirectory: directory, capacity: context.capacity).refresh(pod, data: data)
    where refreshFailures.insert(failure).inserted { event(true, "FailedMount", failure) }
    filedVersions = data.versions
    return true
  }
}
