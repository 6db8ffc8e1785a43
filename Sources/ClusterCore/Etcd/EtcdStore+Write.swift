// Writing: one transaction of etcd each. If the key's newest change is the one expected, nobody holds the names claimed and the
// term is the writer's, then put; else show what is there.

import ClusterStore
import Diagnostics
import FoundationEssentials
import SwiftProtobuf

extension EtcdStore {
  public func create(_ key: String, _ value: [UInt8]) async throws(StoreError) -> Revision {
    try await create(key, value, claims: StoreClaims())
  }

  public func create(
    _ key: String, _ value: [UInt8], claims: StoreClaims
  ) async throws(StoreError) -> Revision {
    try await write(key, value, expecting: 0, claims)
  }

  public func update(
    _ key: String, _ value: [UInt8], expecting: Revision
  ) async throws(StoreError) -> Revision {
    try await update(key, value, expecting: expecting, claims: StoreClaims())
  }

  public func update(
    _ key: String, _ value: [UInt8], expecting: Revision, claims: StoreClaims
  ) async throws(StoreError) -> Revision {
    try await write(key, value, expecting: max(1, expecting), claims)
  }

  public func delete(_ key: String, expecting: Revision) async throws(StoreError) -> Revision {
    try await delete(key, expecting: expecting, claims: StoreClaims())
  }

  public func delete(
    _ key: String, expecting: Revision, claims: StoreClaims
  ) async throws(StoreError) -> Revision {
    try await write(key, nil, expecting: max(1, expecting), claims)
  }

  /// `expecting` 0: the key must not exist. No value: the key goes.
  private func write(
    _ key: String, _ value: [UInt8]?, expecting: Revision, _ claims: StoreClaims
  ) async throws(StoreError) -> Revision {
    let name = keys.bytes(key)
    let lease = value == nil ? 0 : try await lease(for: key)
    var request = Etcdserverpb_TxnRequest()
    request.compare = [
      .with {
        $0.target = .mod
        $0.result = .equal
        $0.key = name
        $0.modRevision = expecting == 0 ? 0 : max(1, keys.theirs(expecting))
      }
    ]
    request.success = [value.map { Self.put(name, Data($0), lease) } ?? remove(name)]
    request.failure = [look(name)]
    for claim in claims.claiming.map(keys.claim) {
      request.compare.append(
        .with {
          $0.target = .create
          $0.result = .equal
          $0.key = claim
          $0.createRevision = 0
        })
      request.success.append(Self.put(claim, Data(key.utf8), 0))
      request.failure.append(look(claim))
    }
    for claim in claims.releasing { request.success.append(remove(keys.claim(claim))) }
    if let term = claims.beginning {
      request.success.append(Self.put(keys.term(term.name), Data(term.value.utf8), 0))
    }
    if let term = claims.ending { request.success.append(remove(keys.term(term))) }
    if let term = claims.during {
      request.compare.append(
        .with {
          $0.target = .value
          $0.result = .equal
          $0.key = keys.term(term.name)
          $0.value = Data(term.value.utf8)
        })
      request.failure.append(look(keys.term(term.name)))
    }

    let (response, tries) = try await commit(value == nil ? "delete" : "put", request)
    if response.succeeded {
      let made = keys.revision(response.header.revision)
      note(made)
      return made
    }
    let found = response.responses.first?.responseRange.kvs.first.map(keys.value)
    if tries > 0 {
      // An earlier try may have taken place although its answer was lost.
      if let value, let found, found.value == value, found.revision > expecting,
        expecting > 0 || found.createRevision == found.revision
      {
        note(found.revision)
        return found.revision
      }
      if value == nil, found == nil {
        throw .failed(
          WeftError(
            "STO0016", object: key, cause: "the connection to etcd broke while it was deleted; it is gone",
            next: "look whether that is what you want", exit: .unreachable, isRetryable: true))
      }
    }
    if let term = claims.during,
      response.responses.last?.responseRange.kvs.first.map({ Array($0.value) }) != Array(term.value.utf8)
    {
      throw .ended(term)
    }
    guard let found else {
      if expecting > 0 { throw .notFound }
      throw claimed(claims.claiming, response)
    }
    if expecting == 0 { throw .exists(current: found) }
    if found.revision != expecting { throw .conflict(current: found) }
    throw claimed(claims.claiming, response)
  }

  private func claimed(_ names: [String], _ response: Etcdserverpb_TxnResponse) -> StoreError {
    for (name, answer) in zip(names, response.responses.dropFirst()) {
      if let holder = answer.responseRange.kvs.first {
        return .claimed(name: name, holder: String(decoding: holder.value, as: UTF8.self))
      }
    }
    return .failed(
      WeftError(
        "STO0014", object: members.text, cause: "a transaction was refused without a reason",
        next: "try again",
        isRetryable: true))
  }

  static func put(_ key: Data, _ value: Data, _ lease: Int64) -> Etcdserverpb_RequestOp {
    .with {
      $0.requestPut = .with {
        $0.key = key
        $0.value = value
        $0.lease = lease
      }
    }
  }

  private func remove(_ key: Data) -> Etcdserverpb_RequestOp {
    .with { $0.requestDeleteRange = .with { $0.key = key } }
  }

  private func look(_ key: Data) -> Etcdserverpb_RequestOp {
    .with { $0.requestRange = .with { $0.key = key } }
  }
}
