// The roles and bindings that every cluster has, and that clients and operators take for granted.
//
// The tables below are read at each start, in a millisecond. Names and rules are facts of the public API.
// The grammar:
//
//   role NAME [in=NAMESPACE] [to=admin|edit|view] [gather=admin|edit|view]
//     VERBS GROUPS RESOURCES [NAMES]          lists with commas; `core` is the group without a name
//     VERBS url PATHS
//   bind NAME [in=NAMESPACE] [ROLE] user:NAME group:NAME sa:NAMESPACE/NAME

import ClusterObjects

enum DefaultRoles {
  static let autoupdate = "rbac.authorization.kubernetes.io/autoupdate"
  private static let verbWords = [
    "read": "get,list,watch", "write": "create,delete,deletecollection,patch,update",
    "all": "create,delete,deletecollection,get,list,patch,update,watch", "note": "create,patch,update",
  ]

  /// Roles, ClusterRoles and their bindings as objects, without what the server fills in.
  static let objects: [JSON] = read(tables)

  /// The rules of one ClusterRole.
  static func rules(_ name: String) -> [PolicyRule] {
    objects.first { $0.kind == "ClusterRole" && $0.name == name }.map(RoleIndex.rules) ?? []
  }

  private static var tables: String {
    users + "\n" + components + "\n" + controllerRoles + "\n" + namespaced
  }

  static func read(_ text: String) -> [JSON] {
    var objects: [JSON] = []
    var role: JSON?
    var rules: [JSON] = []
    func finish() {
      guard var done = role else { return }
      if done["aggregationRule"] == nil { done["rules"] = .array(rules) }
      objects.append(done)
      role = nil
      rules = []
    }
    for line in text.split(separator: "\n") {
      let words = line.split(separator: " ").map(String.init)
      switch words.first {
      case "role":
        finish()
        role = head("Role", words)
      case "bind":
        finish()
        objects.append(binding(words))
      case .some:
        rules.append(rule(words).json)
      case nil: break
      }
    }
    finish()
    return objects
  }

  private static func rule(_ words: [String]) -> PolicyRule {
    precondition(words.count >= 3, "default roles: \(words)")
    func list(_ word: String) -> [String] { word.split(separator: ",").map(String.init) }
    let verbs = list(verbWords[words[0]] ?? words[0])
    if words[1] == "url" { return PolicyRule(verbs: verbs, nonResourceURLs: list(words[2])) }
    return PolicyRule(
      verbs: verbs, apiGroups: list(words[1]).map { $0 == "core" ? "" : $0 }, resources: list(words[2]),
      resourceNames: words.count > 3 ? list(words[3]) : [])
  }

  private static func head(_ kind: String, _ words: [String]) -> JSON {
    var metadata: JSON = [
      "name": JSON(words[1]),
      "labels": ["kubernetes.io/bootstrapping": "rbac-defaults"],
      "annotations": [autoupdate: "true"],
    ]
    var object: JSON = ["kind": JSON("Cluster" + kind), "apiVersion": JSON(RoleIndex.group + "/v1")]
    for word in words.dropFirst(2) {
      let sides = word.split(separator: "=").map(String.init)
      guard sides.count == 2 else { continue }
      switch sides[0] {
      case "in":
        metadata["namespace"] = JSON(sides[1])
        object["kind"] = JSON(kind)
      case "to": metadata.set("true", at: "labels", label(sides[1]))
      case "gather":
        object["aggregationRule"] = ["clusterRoleSelectors": [["matchLabels": [label(sides[1]): "true"]]]]
      default: break
      }
    }
    object["metadata"] = metadata
    return object
  }

  private static func label(_ role: String) -> String {
    "rbac.authorization.k8s.io/aggregate-to-\(role)"
  }

  private static func binding(_ words: [String]) -> JSON {
    var object = head("RoleBinding", words)
    var role = words[1]
    var subjects: [JSON] = []
    for word in words.dropFirst(2) where !word.contains("=") {
      let sides = word.split(separator: ":", maxSplits: 1).map(String.init)
      switch sides[0] {
      case "user", "group":
        subjects.append([
          "kind": sides[0] == "user" ? "User" : "Group", "apiGroup": JSON(RoleIndex.group),
          "name": JSON(sides[1]),
        ])
      case "sa":
        let parts = sides[1].split(separator: "/").map(String.init)
        subjects.append(["kind": "ServiceAccount", "name": JSON(parts[1]), "namespace": JSON(parts[0])])
      default: role = word
      }
    }
    if !subjects.isEmpty { object["subjects"] = .array(subjects) }
    object["roleRef"] = [
      "apiGroup": JSON(RoleIndex.group), "kind": object.namespace.isEmpty ? "ClusterRole" : "Role",
      "name": JSON(role),
    ]
    return object
  }

  // MARK: People

  private static let users = """
    role cluster-admin
      * * *
      * url *
    role system:discovery
      get url /api,/api/*,/apis,/apis/*,/healthz,/livez,/openapi,/openapi/*,/readyz,/version,/version/
    role system:public-info-viewer
      get url /healthz,/livez,/readyz,/version,/version/
    role system:monitoring
      get url /healthz,/healthz/*,/livez,/livez/*,/metrics,/metrics/slis,/readyz,/readyz/*
    role system:service-account-issuer-discovery
      get url /.well-known/openid-configuration,/.well-known/openid-configuration/
      get url /openid/v1/jwks,/openid/v1/jwks/
    role system:basic-user
      create authorization.k8s.io selfsubjectaccessreviews,selfsubjectrulesreviews
      create authentication.k8s.io selfsubjectreviews
    role weft:viewer
      read core nodes,services
      read discovery.k8s.io endpointslices
      get url /weft/v1/nodes/*
    role admin gather=admin
    role edit gather=edit to=admin
    role view gather=view to=edit
    role system:aggregate-to-admin to=admin
      create authorization.k8s.io localsubjectaccessreviews
      all rbac.authorization.k8s.io rolebindings,roles
    role system:aggregate-to-edit to=edit
      read core pods/attach,pods/exec,pods/portforward,pods/proxy,secrets,services/proxy
      impersonate core serviceaccounts
      write core pods,pods/attach,pods/exec,pods/portforward,pods/proxy
      create core pods/eviction
      write core configmaps,events,persistentvolumeclaims,replicationcontrollers
      write core replicationcontrollers/scale,secrets,serviceaccounts,services,services/proxy
      create core serviceaccounts/token
      write apps daemonsets,deployments,deployments/rollback,deployments/scale,replicasets
      write apps replicasets/scale,statefulsets,statefulsets/scale
      write autoscaling horizontalpodautoscalers
      write batch cronjobs,jobs
      write extensions daemonsets,deployments,deployments/rollback,deployments/scale,ingresses
      write extensions networkpolicies,replicasets,replicasets/scale,replicationcontrollers/scale
      write policy poddisruptionbudgets
      write networking.k8s.io ingresses,networkpolicies
      write resource.k8s.io resourceclaims,resourceclaimtemplates
      all coordination.k8s.io leases
    role system:aggregate-to-view to=view
      read core configmaps,endpoints,persistentvolumeclaims,persistentvolumeclaims/status,pods
      read core replicationcontrollers,replicationcontrollers/scale,serviceaccounts,services,services/status
      read core bindings,events,limitranges,namespaces/status,pods/log,pods/status
      read core replicationcontrollers/status,resourcequotas,resourcequotas/status
      read core namespaces
      read discovery.k8s.io endpointslices
      read apps controllerrevisions,daemonsets,daemonsets/status,deployments,deployments/scale
      read apps deployments/status,replicasets,replicasets/scale,replicasets/status
      read apps statefulsets,statefulsets/scale,statefulsets/status
      read autoscaling horizontalpodautoscalers,horizontalpodautoscalers/status
      read batch cronjobs,cronjobs/status,jobs,jobs/status
      read extensions daemonsets,daemonsets/status,deployments,deployments/scale,deployments/status
      read extensions ingresses,ingresses/status,networkpolicies,replicasets,replicasets/scale
      read extensions replicasets/status,replicationcontrollers/scale
      read policy poddisruptionbudgets,poddisruptionbudgets/status
      read networking.k8s.io ingresses,ingresses/status,networkpolicies
      read resource.k8s.io resourceclaims,resourceclaims/status,resourceclaimtemplates
    role system:aggregated-metrics-reader to=admin to=edit to=view
      read metrics.k8s.io nodes,pods
    bind cluster-admin group:system:masters
    bind system:discovery group:system:authenticated
    bind system:basic-user group:system:authenticated
    bind system:public-info-viewer group:system:authenticated group:system:unauthenticated
    bind system:monitoring group:system:monitoring
    bind system:service-account-issuer-discovery group:system:serviceaccounts
    """

  // MARK: Nodes and control plane

  private static let components = """
    role system:node
      create authentication.k8s.io tokenreviews
      create authorization.k8s.io localsubjectaccessreviews,subjectaccessreviews
      read core services
      create,get,list,watch core nodes
      patch,update core nodes/status
      patch,update core nodes
      note core events
      read core pods
      create,delete core pods
      patch,update core pods/status
      create core pods/eviction
      read core configmaps,secrets
      get core persistentvolumeclaims,persistentvolumes
      get core endpoints
      create,get,list,watch certificates.k8s.io certificatesigningrequests
      read certificates.k8s.io clustertrustbundles
      create,delete,get,patch,update coordination.k8s.io leases
      get storage.k8s.io volumeattachments
      create core serviceaccounts/token
      get core serviceaccounts
      get,patch,update core persistentvolumeclaims/status
      read storage.k8s.io csidrivers
      create,delete,get,patch,update storage.k8s.io csinodes
      read node.k8s.io runtimeclasses
      get resource.k8s.io resourceclaims
      create,delete,deletecollection,get,list,patch,update,watch resource.k8s.io resourceslices
    role system:node-bootstrapper
      create,get,list,watch certificates.k8s.io certificatesigningrequests
    role system:node-problem-detector
      get core nodes
      patch core nodes/status
      note core,events.k8s.io events
    role system:node-proxier
      list,watch core endpoints,services
      read core nodes
      note core,events.k8s.io events
      list,watch discovery.k8s.io endpointslices
      list,watch networking.k8s.io servicecidrs
    role system:weft:network
      list,watch core namespaces,nodes,pods,services
      list,watch discovery.k8s.io endpointslices
      list,watch networking.k8s.io ingressclasses,ingresses,networkpolicies
      list,watch policy.networking.k8s.io clusternetworkpolicies
    role system:weft:proxy
      list,watch core namespaces,pods
      list,watch networking.k8s.io networkpolicies
      list,watch policy.networking.k8s.io clusternetworkpolicies
    role system:weft:dns
      list,watch core namespaces,pods,services
      list,watch discovery.k8s.io endpointslices
    role system:weft:cluster
      patch core nodes
      create gateway.networking.k8s.io gatewayclasses
      create networking.k8s.io ingressclasses
      create storage.k8s.io storageclasses
    role system:weft:cluster-network-policy-controller
      read policy.networking.k8s.io clusternetworkpolicies
      patch,update policy.networking.k8s.io clusternetworkpolicies/status
    role system:weft:gateway-controller
      get gateway.networking.k8s.io *
      patch,update gateway.networking.k8s.io backendtlspolicies/status,gatewayclasses/status,gateways/status
      patch,update gateway.networking.k8s.io grpcroutes/status,httproutes/status,listenersets/status
      patch,update gateway.networking.k8s.io tcproutes/status,tlsroutes/status,udproutes/status
      note core,events.k8s.io events
    role system:weft:ingress-controller
      get networking.k8s.io ingresses
      patch,update networking.k8s.io ingresses/status
    role system:weft:resourcequota-controller
      get core resourcequotas
    role system:kubelet-api-admin
      read core nodes
      proxy core nodes
      * core nodes/configz,nodes/healthz,nodes/log,nodes/metrics,nodes/pods,nodes/proxy,nodes/stats
    role system:auth-delegator
      create authentication.k8s.io tokenreviews
      create authorization.k8s.io subjectaccessreviews
    role system:kube-aggregator
      read core endpoints,services
    role system:kube-dns
      list,watch core endpoints,services
    role system:kube-controller-manager
      note core,events.k8s.io events
      create coordination.k8s.io leases
      get,update coordination.k8s.io leases kube-controller-manager
      create core secrets,serviceaccounts
      delete core secrets
      get core configmaps,namespaces,secrets,serviceaccounts
      update core secrets,serviceaccounts
      create authentication.k8s.io tokenreviews
      create authorization.k8s.io subjectaccessreviews
      list,watch * *
      create core serviceaccounts/token
    role system:kube-scheduler
      note core,events.k8s.io events
      create coordination.k8s.io leases
      get,list,update,watch coordination.k8s.io leases kube-scheduler
      all coordination.k8s.io leasecandidates
      read core nodes
      delete,get,list,watch core pods
      create core bindings,pods/binding
      patch,update core pods/status
      read core replicationcontrollers,services
      read apps,extensions replicasets
      read apps statefulsets
      read policy poddisruptionbudgets
      read core persistentvolumeclaims,persistentvolumes
      create authentication.k8s.io tokenreviews
      create authorization.k8s.io subjectaccessreviews
      read storage.k8s.io csidrivers,csinodes,csistoragecapacities,volumeattachments
      read core namespaces
      read resource.k8s.io deviceclasses,resourceslices
      get,list,patch,update,watch resource.k8s.io resourceclaims
      patch,update resource.k8s.io resourceclaims/status
      update core pods/finalizers
    role system:volume-scheduler
      get,list,patch,update,watch core persistentvolumes
      read storage.k8s.io storageclasses
      get,list,patch,update,watch core persistentvolumeclaims
    role system:persistent-volume-provisioner
      create,delete,get,list,watch core persistentvolumes
      get,list,update,watch core persistentvolumeclaims
      read storage.k8s.io storageclasses
      watch core events
      note core,events.k8s.io events
    role system:certificates.k8s.io:certificatesigningrequests:nodeclient
      create certificates.k8s.io certificatesigningrequests/nodeclient
    role system:certificates.k8s.io:certificatesigningrequests:selfnodeclient
      create certificates.k8s.io certificatesigningrequests/selfnodeclient
    role system:certificates.k8s.io:kube-apiserver-client-approver
      approve certificates.k8s.io signers kubernetes.io/kube-apiserver-client
    role system:certificates.k8s.io:kube-apiserver-client-kubelet-approver
      approve certificates.k8s.io signers kubernetes.io/kube-apiserver-client-kubelet
    role system:certificates.k8s.io:kubelet-serving-approver
      approve certificates.k8s.io signers kubernetes.io/kubelet-serving
    role system:certificates.k8s.io:legacy-unknown-approver
      approve certificates.k8s.io signers kubernetes.io/legacy-unknown
    bind system:node
    bind system:node-proxier user:system:kube-proxy
    bind system:weft:network group:system:nodes
    bind system:weft:node-bootstrapper system:node-bootstrapper group:system:bootstrappers
    bind system:weft:node-first-certificate system:certificates.k8s.io:certificatesigningrequests:nodeclient group:system:bootstrappers
    bind system:weft:node-next-certificate system:certificates.k8s.io:certificatesigningrequests:selfnodeclient group:system:nodes
    bind system:weft:proxy user:system:kube-proxy sa:kube-system/kube-proxy
    bind system:weft:dns sa:kube-system/kube-dns
    bind system:weft:cluster user:system:weft
    bind system:weft:cluster-network-policy-controller sa:kube-system/cluster-network-policy-controller
    bind system:weft:gateway-controller sa:kube-system/weft-gateway-controller
    bind system:weft:ingress-controller sa:kube-system/weft-ingress-controller
    bind system:weft:resourcequota-controller sa:kube-system/resourcequota-controller
    bind system:kube-dns sa:kube-system/kube-dns
    bind system:kube-controller-manager user:system:kube-controller-manager
    bind system:kube-scheduler user:system:kube-scheduler
    bind system:volume-scheduler user:system:kube-scheduler
    """
}
