// Containers, their probes and their environment.
// Names, types and numbers are facts of the public API; the grammar is told in Schema/SchemaText.swift.

extension SchemaText {
  static let coreContainerV1 = #"""
    group core - v1 io.k8s.api.core.v1
    type Container "A program that a pod runs.
      name string! #1 "Its name in the pod.
      image string #2 "What it runs.
      command []string #3 atomic "What is started instead of the image's entrypoint.
      args []string #4 atomic "Arguments of the command.
      workingDir string #5 "The folder that it starts in.
      ports []ContainerPort #6 merge(containerPort) map(containerPort,protocol) "Ports it listens on; for \#
    people and for names.
      envFrom []EnvFromSource #19 atomic "Where further environment variables come from.
      env []EnvVar #7 merge(name) map(name) "Environment variables.
      resources ResourceRequirements+ #8 "What it needs and may use.
      resizePolicy []ContainerResizePolicy #23 atomic "Whether a change of resources starts it again.
      restartPolicy string? #24 "Always makes an init container run beside the others.
      restartPolicyRules []ContainerRestartRule #25 atomic "Exit codes after which it is started again.
      volumeMounts []VolumeMount #9 merge(mountPath) map(mountPath) "Volumes that it sees as folders.
      volumeDevices []VolumeDevice #21 merge(devicePath) map(devicePath) "Volumes that it sees as devices.
      livenessProbe Probe? #10 "Started again when this fails.
      readinessProbe Probe? #11 "Without traffic while this fails.
      startupProbe Probe? #22 "Not probed otherwise until this succeeds.
      lifecycle Lifecycle? #12 "What is done after it starts and before it stops.
      terminationMessagePath string #13 = /dev/termination-log "The file in which it may say why it ended.
      terminationMessagePolicy string #20 = File enum(File|FallbackToLogsOnError) "Whether the end of its \#
    log counts too.
      imagePullPolicy string #14 enum(Always|Never|IfNotPresent) "When the image is pulled.
      securityContext SecurityContext? #15 "Its user and rights; wins over the pod's.
      stdin bool #16 "Whether its standard input is open.
      stdinOnce bool #17 "Whether its standard input ends with the first who attaches.
      tty bool #18 "Whether it has a terminal.
    type ContainerPort "A port that a container listens on.
      name string #1 "Its name, which Services may use.
      hostPort int32 #2 "The same port on the node.
      containerPort int32! #3 "The port.
      protocol string #4 = TCP enum(TCP|UDP|SCTP) "TCP, UDP or SCTP.
      hostIP string #5 "The node's address that hostPort is open on.
    type EnvFromSource "Where environment variables come from.
      prefix string #1 "Stands before each name.
      configMapRef ConfigMapEnvSource? #2 "The ConfigMap.
      secretRef SecretEnvSource? #3 "The Secret.
    type ConfigMapEnvSource "A ConfigMap whose entries become variables.
      ~ LocalObjectReference #1
      optional bool? #2 "Whether the pod may start without it.
    type SecretEnvSource "A Secret whose entries become variables.
      ~ LocalObjectReference #1
      optional bool? #2 "Whether the pod may start without it.
    type EnvVar "An environment variable.
      name string! #1 "Its name.
      value string #2 "Its value; $(NAME) stands for another variable.
      valueFrom EnvVarSource? #3 "Where the value comes from.
    type EnvVarSource "Where a variable's value comes from.
      fieldRef ObjectFieldSelector? #1 "A field of the pod.
      resourceFieldRef ResourceFieldSelector? #2 "A resource of a container.
      configMapKeyRef ConfigMapKeySelector? #3 "An entry of a ConfigMap.
      secretKeyRef SecretKeySelector? #4 "An entry of a Secret.
      fileKeyRef FileKeySelector? #5 "A line of a file in a volume.
    type ConfigMapKeySelector atomic "An entry of a ConfigMap.
      ~ LocalObjectReference #1
      key string! #2 "The entry.
      optional bool? #3 "Whether the pod may start without it.
    type SecretKeySelector atomic "An entry of a Secret.
      ~ LocalObjectReference #1
      key string! #2 "The entry.
      optional bool? #3 "Whether the pod may start without it.
    type FileKeySelector atomic "A variable in a file.
      volumeName string! #1 "The volume of the file.
      path string! #2 "The file in the volume.
      key string! #3 "The variable.
      optional bool? #4 = false "Whether the pod may start without it.
    type ResourceRequirements "What is needed and what may be used.
      limits map[quantity] #1 "The most that may be used.
      requests map[quantity] #2 "What is kept for it.
      claims []ResourceClaim #3 map(name) "Claims on devices that it uses.
    type ResourceClaim "A claim of the pod that a container uses.
      name string! #1 "What the pod calls it.
      request string #2 "One request of it; all when empty.
    type ContainerResizePolicy "What a change of a resource does.
      resourceName string! #1 "cpu or memory.
      restartPolicy string! #2 "NotRequired or RestartContainer.
    type ContainerRestartRule "When a container is started again.
      action string! #1 "What is done.
      exitCodes ContainerRestartRuleOnExitCodes? #2 "The exit codes it is about.
    type ContainerRestartRuleOnExitCodes "Exit codes.
      operator string! #1 "In or NotIn.
      values []int32 #2 set "The codes.
    type VolumeMount "A volume that a container sees as a folder.
      name string! #1 "The volume.
      readOnly bool #2 "Whether it may only be read here.
      recursiveReadOnly string? #7 "Whether what is mounted below is read-only too.
      mountPath string! #3 "Where it is seen.
      subPath string #4 "The part of the volume that is seen.
      mountPropagation string? #5 enum(None|HostToContainer|Bidirectional) "Whether later mounts are shared \#
    with the node.
      subPathExpr string #6 "The part of the volume, with $(NAME) for variables.
      bindMountOptions []string #8 set "Further options of the mount.
    type VolumeDevice "A volume that a container sees as a device.
      name string! #1 "The claim's volume.
      devicePath string! #2 "Where it is seen.
    type Probe "Asks a container how it is.
      ~ ProbeHandler #1
      initialDelaySeconds int32 #2 "How long after the start it begins.
      timeoutSeconds int32 #3 = 1 "How long an answer may take.
      periodSeconds int32 #4 = 10 "How often it asks.
      successThreshold int32 #5 = 1 "How often it must succeed to count.
      failureThreshold int32 #6 = 3 "How often it must fail to count.
      terminationGracePeriodSeconds int64? #7 "How long the container may take to stop when this fails.
    type ProbeHandler "How it is asked; one of them.
      exec ExecAction? #1 "By running a command.
      httpGet HTTPGetAction? #2 "By HTTP.
      tcpSocket TCPSocketAction? #3 "By opening a connection.
      grpc GRPCAction? #4 "By gRPC's health service.
    type ExecAction "Runs a command in the container.
      command []string #1 atomic "The command and its arguments; no shell.
    type HTTPGetAction "Asks by HTTP.
      path string #1 = / "The path.
      port intstr! #2 "The port, by number or by name.
      host string #3 "The host; the pod's address when empty.
      scheme string #4 = HTTP enum(HTTP|HTTPS) "HTTP or HTTPS.
      httpHeaders []HTTPHeader #5 atomic "Headers to send.
      protocol string? #6 enum(HTTP1|HTTP2) "The version of HTTP.
    type HTTPHeader "A header.
      name string! #1 "Its name.
      value string! #2 "Its value.
    type TCPSocketAction "Opens a connection.
      port intstr! #1 "The port, by number or by name.
      host string #2 "The host; the pod's address when empty.
    type GRPCAction "Asks gRPC's health service.
      port int32! #1 "The port.
      service string? #2 = "" "The service that is asked about.
      mode string? #3 enum(Plaintext|TLS) "Plaintext or TLS.
    type Lifecycle "What is done around a container's life.
      postStart LifecycleHandler? #1 "Done right after it starts.
      preStop LifecycleHandler? #2 "Done before it is told to stop.
      stopSignal string? #3 "The signal that tells it to stop.
    type LifecycleHandler "What is done; one of them.
      exec ExecAction? #1 "A command.
      httpGet HTTPGetAction? #2 "A request by HTTP.
      tcpSocket TCPSocketAction? #3 "No longer used.
      sleep SleepAction? #4 "A pause.
    type SleepAction "A pause.
      seconds int64! #1 "How long.
    type SecurityContext "A container's user and rights.
      capabilities Capabilities? #1 "Capabilities given and taken.
      privileged bool? #2 "Whether it may do what root on the node may.
      seLinuxOptions SELinuxOptions? #3 "SELinux labels of the container.
      windowsOptions WindowsSecurityContextOptions? #10 "Settings that only Windows knows.
      runAsUser int64? #4 "The user id that processes start with.
      runAsGroup int64? #8 "The group id that processes start with.
      runAsNonRoot bool? #5 "Whether user 0 is refused.
      readOnlyRootFilesystem bool? #6 "Whether its own files are read-only.
      allowPrivilegeEscalation bool? #7 "Whether processes may gain rights by setuid and the like.
      procMount string? #9 enum(Default|Unmasked) "How /proc looks.
      seccompProfile SeccompProfile? #11 "Which system calls are allowed.
      appArmorProfile AppArmorProfile? #12 "Which AppArmor profile confines it.
    type Capabilities "Capabilities of Linux.
      add []string #1 atomic "Given beside the usual ones.
      drop []string #2 atomic "Taken; ALL for every one.
    type SELinuxOptions "SELinux labels.
      user string #1 "The user.
      role string #2 "The role.
      type string #3 "The type.
      level string #4 "The level.
    type WindowsSecurityContextOptions "Settings that only Windows knows.
      gmsaCredentialSpecName string? #1 "Which GMSA credential, by name.
      gmsaCredentialSpec string? #2 "The GMSA credential itself.
      runAsUserName string? #3 "The user that processes start as.
      hostProcess bool? #4 "Whether it runs on the node itself.
    type SeccompProfile "Which system calls are allowed.
      type string! #1 enum(Unconfined|RuntimeDefault|Localhost) "Whose profile.
      localhostProfile string? #2 "The node's profile, for type Localhost.
    type AppArmorProfile "Which AppArmor profile confines.
      type string! #1 enum(Unconfined|RuntimeDefault|Localhost) "Whose profile.
      localhostProfile string? #2 "The node's profile, for type Localhost.
    type EphemeralContainer "A container for debugging in a running pod.
      ~ EphemeralContainerCommon #1
      targetContainerName string #2 "The container whose processes it sees.
    type EphemeralContainerCommon "A container for debugging, as other containers are.
      name string! #1 "Its name in the pod.
      image string #2 "What it runs.
      command []string #3 atomic "What is started instead of the image's entrypoint.
      args []string #4 atomic "Arguments of the command.
      workingDir string #5 "The folder that it starts in.
      ports []ContainerPort #6 merge(containerPort) map(containerPort,protocol) "Ports it listens on; for \#
    people and for names.
      envFrom []EnvFromSource #19 atomic "Where further environment variables come from.
      env []EnvVar #7 merge(name) map(name) "Environment variables.
      resources ResourceRequirements+ #8 "What it needs and may use.
      resizePolicy []ContainerResizePolicy #23 atomic "Whether a change of resources starts it again.
      restartPolicy string? #24 "Always makes an init container run beside the others.
      restartPolicyRules []ContainerRestartRule #25 atomic "Exit codes after which it is started again.
      volumeMounts []VolumeMount #9 merge(mountPath) map(mountPath) "Volumes that it sees as folders.
      volumeDevices []VolumeDevice #21 merge(devicePath) map(devicePath) "Volumes that it sees as devices.
      livenessProbe Probe? #10 "Started again when this fails.
      readinessProbe Probe? #11 "Without traffic while this fails.
      startupProbe Probe? #22 "Not probed otherwise until this succeeds.
      lifecycle Lifecycle? #12 "What is done after it starts and before it stops.
      terminationMessagePath string #13 = /dev/termination-log "The file in which it may say why it ended.
      terminationMessagePolicy string #20 = File enum(File|FallbackToLogsOnError) "Whether the end of its \#
    log counts too.
      imagePullPolicy string #14 enum(Always|Never|IfNotPresent) "When the image is pulled.
      securityContext SecurityContext? #15 "Its user and rights; wins over the pod's.
      stdin bool #16 "Whether its standard input is open.
      stdinOnce bool #17 "Whether its standard input ends with the first who attaches.
      tty bool #18 "Whether it has a terminal.
    """#
}
