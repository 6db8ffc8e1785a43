// The configuration of the agent's own containerd, as text. Pure.

/// Where a containerd lives and what it may do. All paths are absolute.
public struct ContainerdSettings: Sendable, Hashable {
  /// Images and snapshots; survives a reboot.
  public var rootDirectory: String
  /// Sockets of shims, mounts, namespaces; does not.
  public var stateDirectory: String
  public var socketPath: String
  /// Configurations of networks (`*.conflist`), followed by containerd.
  public var cniConfDirectory: String
  /// CNI plugins; `loopback` must be among them.
  public var cniBinDirectory: String
  public var pauseImage: String
  public var containerdPath: String
  public var runcPath: String
  /// The namespace containerd and its pods' node live in; nil for the agent's own.
  public var netnsPath: String?

  public init(dataDirectory: String, runDirectory: String) {
    rootDirectory = dataDirectory + "/containerd"
    stateDirectory = runDirectory + "/containerd"
    socketPath = runDirectory + "/containerd.sock"
    cniConfDirectory = "/etc/cni/net.d"
    cniBinDirectory = "/opt/cni/bin"
    pauseImage = DemoImage.pauseReference
    containerdPath = "/usr/bin/containerd"
    runcPath = "/usr/sbin/runc"
  }

  public var configPath: String { stateDirectory + "/config.toml" }
  public var pidPath: String { stateDirectory + "/containerd.pid" }
  public var logPath: String { stateDirectory + "/containerd.log" }
}

/// containerd 1.6's `config.toml`.
///
/// `restrict_oom_score_adj`: without CAP_SYS_RESOURCE the sandbox's wish for -998 makes runc fail. AppArmor's loader is
/// missing on many machines. Pods' namespaces stay where people look for them, `/run/netns/cni-…`.
public func planContainerdConfig(_ settings: ContainerdSettings) -> String {
  let cri = "plugins.\"io.containerd.grpc.v1.cri\""
  return """
    version = 2
    root = \(toml(settings.rootDirectory))
    state = \(toml(settings.stateDirectory))
    disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", \
    "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
    [debug]
      level = "warn"
    [grpc]
      address = \(toml(settings.socketPath))
    [plugins."io.containerd.internal.v1.opt"]
      path = \(toml(settings.rootDirectory + "/opt"))
    [\(cri)]
      sandbox_image = \(toml(settings.pauseImage))
      stream_server_address = "127.0.0.1"
      stream_server_port = "0"
      enable_unprivileged_ports = true
      enable_unprivileged_icmp = true
      disable_apparmor = true
      restrict_oom_score_adj = true
      [\(cri).cni]
        bin_dir = \(toml(settings.cniBinDirectory))
        conf_dir = \(toml(settings.cniConfDirectory))
      [\(cri).containerd]
        snapshotter = "overlayfs"
        default_runtime_name = "runc"
        [\(cri).containerd.runtimes.runc]
          runtime_type = "io.containerd.runc.v2"
          [\(cri).containerd.runtimes.runc.options]
            SystemdCgroup = false
            BinaryName = \(toml(settings.runcPath))

    """
}

/// A TOML basic string.
private func toml(_ text: String) -> String {
  "\"" + text.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"") + "\""
}
