// Says in each ClusterNetworkPolicy's status whether the nodes understand it. It asks the same reading that the nodes plan from.

import ClusterClient
import ClusterObjects
import ClusterView
import Diagnostics

func clusterNetworkPolicyController(_ context: ControllerContext) -> Controller {
  let queue: WorkQueue<ObjectKey> = context.queue("clusternetworkpolicies")
  let policies = context.informers.informer(.clusterNetworkPolicies)
  return Controller(
    "clusternetworkpolicies", context, queue: queue,
    registrations: [
      policies.onChange { changes in for change in changes where change.new != nil { queue.add(change.key) } }
    ], workers: 1, resync: { for key in policies.snapshot.keys { queue.add(key) } }
  ) { key in
    guard var policy = policies[key], !policy.isTerminating else { return nil }
    let verdict = planPolicyVerdict(policy)
    let isNew = policy.setCondition(
      PolicyVerdict.condition, verdict.status, reason: verdict.reason, message: verdict.message)
    guard isNew else { return nil }
    _ = try await context.api.update(
      .clusterNetworkPolicies, policy, subresource: "status", options: context.options)
    return nil
  }
}

/// What is to be said of a policy.
struct PolicyVerdict: Equatable {
  static let condition = "Accepted"
  var status: String
  var reason: String
  var message: String
}

/// Pure. `Invalid`: nothing of it is in force; `RuleClosed`: rules that are not understood accept nothing, or deny everything.
func planPolicyVerdict(_ tree: JSON) -> PolicyVerdict {
  do throws(UnreadableObject) {
    let policy = try ClusterNetworkPolicy(tree)
    let closed = (policy.ingress + policy.egress).filter { $0.unknown != nil }.map { rule in
      "\(rule.unknown ?? "") is not understood: the rule "
        + (rule.action == .accept ? "accepts nothing" : "denies everything")
    }
    if closed.isEmpty {
      return PolicyVerdict(status: "True", reason: "Accepted", message: "every rule is understood")
    }
    return PolicyVerdict(status: "False", reason: "RuleClosed", message: closed.joined(separator: "; "))
  } catch {
    return PolicyVerdict(
      status: "False", reason: "Invalid",
      message: "\(error.field) cannot be read: nothing of the policy is in force")
  }
}
