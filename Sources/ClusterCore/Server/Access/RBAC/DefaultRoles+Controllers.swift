// Default roles of controllers, one for each ServiceAccount in kube-system, and those that hold in one
// namespace. The grammar is told in DefaultRoles.swift.

import ClusterObjects

extension DefaultRoles {
  private static let controllerPrefix = "system:controller:"

  /// The controllers' roles, each followed by the binding to its account.
  static var controllerRoles: String {
    var lines: [Substring] = []
    var bindings: [String] = []
    for line in controllers.split(separator: "\n") {
      if line.hasPrefix("role ") {
        let name = line.dropFirst(5)
        lines.append("role \(controllerPrefix)\(name)")
        bindings.append("bind \(controllerPrefix)\(name) sa:kube-system/\(name)")
      } else if line == "  events" {
        lines.append("  note core,events.k8s.io events")
      } else {
        lines.append(line)
      }
    }
    return (lines.map(String.init) + bindings).joined(separator: "\n")
  }

  private static let controllers = """
    role attachdetach-controller
      list,watch core persistentvolumeclaims,persistentvolumes
      read core nodes
      patch,update core nodes/status
      list,watch core pods
      events
      create,delete,get,list,watch storage.k8s.io volumeattachments
      read storage.k8s.io csidrivers,csinodes
    role certificate-controller
      delete,get,list,watch certificates.k8s.io certificatesigningrequests
      update certificates.k8s.io certificatesigningrequests/approval,certificatesigningrequests/status
      approve certificates.k8s.io signers kubernetes.io/kube-apiserver-client-kubelet
      sign certificates.k8s.io signers kubernetes.io/kube-apiserver-client
      sign certificates.k8s.io signers kubernetes.io/kube-apiserver-client-kubelet
      sign certificates.k8s.io signers kubernetes.io/kubelet-serving,kubernetes.io/legacy-unknown
      create authorization.k8s.io subjectaccessreviews
      events
    role clusterrole-aggregation-controller
      escalate,get,list,patch,update,watch rbac.authorization.k8s.io clusterroles
    role cronjob-controller
      get,list,update,watch batch cronjobs
      create,delete,get,list,patch,update,watch batch jobs
      update batch cronjobs/status
      update batch cronjobs/finalizers
      delete,list core pods
      events
    role daemon-set-controller
      read apps,extensions daemonsets
      update apps,extensions daemonsets/status
      update apps,extensions daemonsets/finalizers
      list,watch core nodes
      create,delete,list,patch,watch core pods
      create core pods/binding
      create,delete,get,list,patch,update,watch apps controllerrevisions
      events
    role deployment-controller
      get,list,update,watch apps,extensions deployments
      update apps,extensions deployments/status
      update apps,extensions deployments/finalizers
      create,delete,get,list,patch,update,watch apps,extensions replicasets
      get,list,update,watch core pods
      events
    role disruption-controller
      read apps,extensions deployments
      read apps,extensions replicasets
      read core replicationcontrollers
      read policy poddisruptionbudgets
      read apps statefulsets
      update policy poddisruptionbudgets/status
      patch,update core pods/status
      get * */scale
      events
    role endpoint-controller
      read core pods,services
      create,delete,get,list,update core endpoints
      create core endpoints/restricted
      events
    role endpointslice-controller
      read core nodes,pods,services
      update core services/finalizers
      create,delete,get,list,update discovery.k8s.io endpointslices
      events
    role endpointslicemirroring-controller
      read core endpoints,services
      update core services/finalizers
      update core endpoints/finalizers
      create,delete,get,list,update discovery.k8s.io endpointslices
      events
    role ephemeral-volume-controller
      read core pods
      update core pods/finalizers
      create,get,list,watch core persistentvolumeclaims
      events
    role expand-controller
      get,list,patch,update,watch core persistentvolumes
      patch,update core persistentvolumeclaims/status
      read core persistentvolumeclaims
      get core endpoints,services
      get core secrets
      events
    role generic-garbage-collector
      delete,get,list,patch,update,watch * *
      events
    role horizontal-pod-autoscaler
      read autoscaling horizontalpodautoscalers
      update autoscaling horizontalpodautoscalers/status
      get,update * */scale
      list core pods
      list metrics.k8s.io pods
      get,list custom.metrics.k8s.io *
      get,list external.metrics.k8s.io *
      events
    role job-controller
      get,list,patch,update,watch batch jobs
      update batch jobs/status
      update batch jobs/finalizers
      create,delete,list,patch,watch core pods
      events
    role legacy-service-account-token-cleaner
      get core configmaps kube-apiserver-legacy-service-account-token-tracking
      delete,patch core secrets
    role namespace-controller
      delete,get,list,watch core namespaces
      update core namespaces/finalize,namespaces/status
      delete,deletecollection,get,list * *
    role node-controller
      delete,get,list,patch,update core nodes
      patch,update core nodes/status
      patch,update core pods/status
      delete,get,list core pods
      events
    role persistent-volume-binder
      create,delete,get,list,update,watch core persistentvolumes
      update core persistentvolumes/status
      get,list,update,watch core persistentvolumeclaims
      update core persistentvolumeclaims/status
      create,delete,get,list,watch core pods
      read storage.k8s.io storageclasses
      create,delete,get,update core endpoints
      create,delete,get core services
      get core secrets
      get,list core nodes
      watch core events
      events
    role pod-garbage-collector
      delete,list,watch core pods
      get,list core nodes
      patch core pods/status
    role pv-protection-controller
      get,list,update,watch core persistentvolumes
      events
    role pvc-protection-controller
      get,list,update,watch core persistentvolumeclaims
      read core pods
      events
    role replicaset-controller
      get,list,update,watch apps,extensions replicasets
      update apps,extensions replicasets/status
      update apps,extensions replicasets/finalizers
      create,delete,list,patch,watch core pods
      read apps deployments
      events
    role replication-controller
      get,list,update,watch core replicationcontrollers
      update core replicationcontrollers/status
      update core replicationcontrollers/finalizers
      create,delete,list,patch,watch core pods
      events
    role resourcequota-controller
      list,watch * *
      update core resourcequotas/status
      events
    role root-ca-cert-publisher
      create,update core configmaps
      events
    role route-controller
      list,watch core nodes
      patch core nodes/status
      events
    role service-account-controller
      create core serviceaccounts
      events
    role service-cidrs-controller
      get,list,patch,update,watch networking.k8s.io servicecidrs
      patch,update networking.k8s.io servicecidrs/finalizers
      patch,update networking.k8s.io servicecidrs/status
      read networking.k8s.io ipaddresses
      events
    role service-controller
      read core services
      patch,update core services/status
      list,watch core nodes
      events
    role statefulset-controller
      list,watch core pods
      read apps statefulsets
      update apps statefulsets/status
      update apps statefulsets/finalizers
      create,delete,get,patch,update core pods
      create,delete,get,list,patch,update,watch apps controllerrevisions
      create,get core persistentvolumeclaims
      delete,update core persistentvolumeclaims
      events
    role ttl-after-finished-controller
      delete,get,list,watch batch jobs
      events
    role ttl-controller
      list,patch,update,watch core nodes
      events
    role validatingadmissionpolicy-status-controller
      read admissionregistration.k8s.io validatingadmissionpolicies
      get,patch,update admissionregistration.k8s.io validatingadmissionpolicies/status
      events
    """

  static let namespaced = """
    role extension-apiserver-authentication-reader in=kube-system
      read core configmaps extension-apiserver-authentication
    role system::leader-locking-kube-controller-manager in=kube-system
      watch core configmaps
      get,update core configmaps kube-controller-manager
      create,get,list,update,watch coordination.k8s.io leases
      create,get,list,update,watch coordination.k8s.io leasecandidates
    role system::leader-locking-kube-scheduler in=kube-system
      watch core configmaps
      get,update core configmaps kube-scheduler
      create,get,list,update,watch coordination.k8s.io leases
      create,get,list,update,watch coordination.k8s.io leasecandidates
    role system:controller:bootstrap-signer in=kube-system
      read core secrets
    role system:controller:cloud-provider in=kube-system
      create,get,list,watch core configmaps
    role system:controller:token-cleaner in=kube-system
      delete,get,list,watch core secrets
      note core,events.k8s.io events
    role system:controller:bootstrap-signer in=kube-public
      read core configmaps
      update core configmaps cluster-info
      note core,events.k8s.io events
    role system:weft:cluster-info in=kube-public
      get core configmaps cluster-info
    bind system:weft:cluster-info in=kube-public user:system:anonymous
    bind system::extension-apiserver-authentication-reader in=kube-system \
    extension-apiserver-authentication-reader user:system:kube-controller-manager user:system:kube-scheduler
    bind system::leader-locking-kube-controller-manager in=kube-system \
    user:system:kube-controller-manager sa:kube-system/kube-controller-manager \
    sa:kube-system/leader-election-controller
    bind system::leader-locking-kube-scheduler in=kube-system user:system:kube-scheduler \
    sa:kube-system/kube-scheduler
    bind system:controller:bootstrap-signer in=kube-system sa:kube-system/bootstrap-signer
    bind system:controller:cloud-provider in=kube-system sa:kube-system/cloud-provider
    bind system:controller:token-cleaner in=kube-system sa:kube-system/token-cleaner
    bind system:controller:bootstrap-signer in=kube-public sa:kube-system/bootstrap-signer
    """
}
