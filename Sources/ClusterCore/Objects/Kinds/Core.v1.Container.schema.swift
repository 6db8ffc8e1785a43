// Containers, their probes and their environment.
// Names, types and numbers are facts of the public API; the grammar is told in Schema/SchemaText.swift.

extension SchemaText {
  static let coreContainerV1 = #"""
    group core - v1 io.k8s.api.core.v1
    type Container
      name string! #1
      image string #2
      command []string #3 atomic
      args []string #4 atomic
      workingDir string #5
      ports []ContainerPort #6 merge(containerPort) map(containerPort,protocol)
      envFrom []EnvFromSource #19 atomic
      env []EnvVar #7 merge(name) map(name)
      resources ResourceRequirements+ #8
      resizePolicy []ContainerResizePolicy #23 atomic
      restartPolicy string? #24
      restartPolicyRules []ContainerRestartRule #25 atomic
      volumeMounts []VolumeMount #9 merge(mountPath) map(mountPath)
      volumeDevices []VolumeDevice #21 merge(devicePath) map(devicePath)
      livenessProbe Probe? #10
      readinessProbe Probe? #11
      startupProbe Probe? #22
      lifecycle Lifecycle? #12
      terminationMessagePath string #13 = /dev/termination-log
      terminationMessagePolicy string #20 = File enum(File|FallbackToLogsOnError)
      imagePullPolicy string #14 enum(Always|Never|IfNotPresent)
      securityContext SecurityContext? #15
      stdin bool #16
      stdinOnce bool #17
      tty bool #18
    type ContainerPort
      name string #1
      hostPort int32 #2
      containerPort int32! #3
      protocol string #4 = TCP enum(TCP|UDP|SCTP)
      hostIP string #5
    type EnvFromSource
      prefix string #1
      configMapRef ConfigMapEnvSource? #2
      secretRef SecretEnvSource? #3
    type ConfigMapEnvSource
      ~ LocalObjectReference #1
      optional bool? #2
    type SecretEnvSource
      ~ LocalObjectReference #1
      optional bool? #2
    type EnvVar
      name string! #1
      value string #2
      valueFrom EnvVarSource? #3
    type EnvVarSource
      fieldRef ObjectFieldSelector? #1
      resourceFieldRef ResourceFieldSelector? #2
      configMapKeyRef ConfigMapKeySelector? #3
      secretKeyRef SecretKeySelector? #4
      fileKeyRef FileKeySelector? #5
    type ConfigMapKeySelector
      ~ LocalObjectReference #1
      key string! #2
      optional bool? #3
    type SecretKeySelector
      ~ LocalObjectReference #1
      key string! #2
      optional bool? #3
    type FileKeySelector
      volumeName string! #1
      path string! #2
      key string! #3
      optional bool? #4 = false
    type ResourceRequirements
      limits map[quantity] #1
      requests map[quantity] #2
      claims []ResourceClaim #3 map(name)
    type ResourceClaim
      name string! #1
      request string #2
    type ContainerResizePolicy
      resourceName string! #1
      restartPolicy string! #2
    type ContainerRestartRule
      action string! #1
      exitCodes ContainerRestartRuleOnExitCodes? #2
    type ContainerRestartRuleOnExitCodes
      operator string! #1
      values []int32 #2 set
    type VolumeMount
      name string! #1
      readOnly bool #2
      recursiveReadOnly string? #7
      mountPath string! #3
      subPath string #4
      mountPropagation string? #5 enum(None|HostToContainer|Bidirectional)
      subPathExpr string #6
      bindMountOptions []string #8 set
    type VolumeDevice
      name string! #1
      devicePath string! #2
    type Probe
      ~ ProbeHandler #1
      initialDelaySeconds int32 #2
      timeoutSeconds int32 #3 = 1
      periodSeconds int32 #4 = 10
      successThreshold int32 #5 = 1
      failureThreshold int32 #6 = 3
      terminationGracePeriodSeconds int64? #7
    type ProbeHandler
      exec ExecAction? #1
      httpGet HTTPGetAction? #2
      tcpSocket TCPSocketAction? #3
      grpc GRPCAction? #4
    type ExecAction
      command []string #1 atomic
    type HTTPGetAction
      path string #1 = /
      port intstr! #2
      host string #3
      scheme string #4 = HTTP enum(HTTP|HTTPS)
      httpHeaders []HTTPHeader #5 atomic
      protocol string? #6 enum(HTTP1|HTTP2)
    type HTTPHeader
      name string! #1
      value string! #2
    type TCPSocketAction
      port intstr! #1
      host string #2
    type GRPCAction
      port int32! #1
      service string? #2 = ""
      mode string? #3 enum(Plaintext|TLS)
    type Lifecycle
      postStart LifecycleHandler? #1
      preStop LifecycleHandler? #2
      stopSignal string? #3
    type LifecycleHandler
      exec ExecAction? #1
      httpGet HTTPGetAction? #2
      tcpSocket TCPSocketAction? #3
      sleep SleepAction? #4
    type SleepAction
      seconds int64! #1
    type SecurityContext
      capabilities Capabilities? #1
      privileged bool? #2
      seLinuxOptions SELinuxOptions? #3
      windowsOptions WindowsSecurityContextOptions? #10
      runAsUser int64? #4
      runAsGroup int64? #8
      runAsNonRoot bool? #5
      readOnlyRootFilesystem bool? #6
      allowPrivilegeEscalation bool? #7
      procMount string? #9 enum(Default|Unmasked)
      seccompProfile SeccompProfile? #11
      appArmorProfile AppArmorProfile? #12
    type Capabilities
      add []string #1 atomic
      drop []string #2 atomic
    type SELinuxOptions
      user string #1
      role string #2
      type string #3
      level string #4
    type WindowsSecurityContextOptions
      gmsaCredentialSpecName string? #1
      gmsaCredentialSpec string? #2
      runAsUserName string? #3
      hostProcess bool? #4
    type SeccompProfile
      type string! #1 enum(Unconfined|RuntimeDefault|Localhost)
      localhostProfile string? #2
    type AppArmorProfile
      type string! #1 enum(Unconfined|RuntimeDefault|Localhost)
      localhostProfile string? #2
    type EphemeralContainer
      ~ EphemeralContainerCommon #1
      targetContainerName string #2
    type EphemeralContainerCommon
      name string! #1
      image string #2
      command []string #3 atomic
      args []string #4 atomic
      workingDir string #5
      ports []ContainerPort #6 merge(containerPort) map(containerPort,protocol)
      envFrom []EnvFromSource #19 atomic
      env []EnvVar #7 merge(name) map(name)
      resources ResourceRequirements+ #8
      resizePolicy []ContainerResizePolicy #23 atomic
      restartPolicy string? #24
      restartPolicyRules []ContainerRestartRule #25 atomic
      volumeMounts []VolumeMount #9 merge(mountPath) map(mountPath)
      volumeDevices []VolumeDevice #21 merge(devicePath) map(devicePath)
      livenessProbe Probe? #10
      readinessProbe Probe? #11
      startupProbe Probe? #22
      lifecycle Lifecycle? #12
      terminationMessagePath string #13 = /dev/termination-log
      terminationMessagePolicy string #20 = File enum(File|FallbackToLogsOnError)
      imagePullPolicy string #14 enum(Always|Never|IfNotPresent)
      securityContext SecurityContext? #15
      stdin bool #16
      stdinOnce bool #17
      tty bool #18
    """#
}
