// swift-tools-version: 6.2
// The house in one table: every target, its folder and what it stands on. Arrows point down; the tidy test holds them.
// `WEFT_ONLY=DNS,Proxy swift build` keeps just those targets, what they stand on and their tests: a leaf builds in seconds.
// `WEFT_FUZZ=1 WEFT_ONLY=DNSFuzz` adds the programs of Tests/Fuzz (see scripts/fuzz.sh).
import PackageDescription

struct Module {
  enum Kind { case library, executable, cShim, cSystem(pkgConfig: String?, apt: [String]) }
  var name: String
  var path: String
  var kind: Kind = .library
  var on: [String] = []
  var packages: [String] = []
  var tests = true
  /// What the tests stand on besides the module and all that it stands on.
  var testsOn: [String] = []
  /// Files of the folder that are no sources, besides README.md.
  var exclude: [String] = []
  /// Files that travel in the binary, as `PackageResources.NAME_EXTENSION`.
  var embeds: [String] = []
  /// Libraries of the system that a C shim stands on.
  var links: [String] = []
}

/// Products of packages that are not ours, by the name used in the table below.
let products: [String: (package: String, url: String, from: Version)] = [
  "ArgumentParser": ("swift-argument-parser", "https://github.com/apple/swift-argument-parser", "1.8.2"),
  "Logging": ("swift-log", "https://github.com/apple/swift-log", "1.16.2"),
  "NIOCore": ("swift-nio", "https://github.com/apple/swift-nio", "2.101.2"),
  "NIOPosix": ("swift-nio", "https://github.com/apple/swift-nio", "2.101.2"),
  "NIOHTTP1": ("swift-nio", "https://github.com/apple/swift-nio", "2.101.2"),
  "NIOEmbedded": ("swift-nio", "https://github.com/apple/swift-nio", "2.101.2"),
  "NIOWebSocket": ("swift-nio", "https://github.com/apple/swift-nio", "2.101.2"),
  "NIOConcurrencyHelpers": ("swift-nio", "https://github.com/apple/swift-nio", "2.101.2"),
  "NIOHPACK": ("swift-nio-http2", "https://github.com/apple/swift-nio-http2", "1.46.0"),
  "NIOHTTP2": ("swift-nio-http2", "https://github.com/apple/swift-nio-http2", "1.46.0"),
  "NIOSSL": ("swift-nio-ssl", "https://github.com/apple/swift-nio-ssl", "2.37.6"),
  "X509": ("swift-certificates", "https://github.com/apple/swift-certificates", "1.21.1"),
  "Crypto": ("swift-crypto", "https://github.com/apple/swift-crypto", "4.5.2"),
  "CryptoExtras": ("swift-crypto", "https://github.com/apple/swift-crypto", "4.5.2"),
  "Collections": ("swift-collections", "https://github.com/apple/swift-collections", "1.6.0"),
  "Yams": ("Yams", "https://github.com/jpsim/Yams", "6.2.2"),
  "GRPCCore": ("grpc-swift-2", "https://github.com/grpc/grpc-swift-2", "2.4.3"),
  "GRPCNIOTransportHTTP2Posix": (
    "grpc-swift-nio-transport", "https://github.com/grpc/grpc-swift-nio-transport", "2.9.2"
  ),
  "GRPCProtobuf": ("grpc-swift-protobuf", "https://github.com/grpc/grpc-swift-protobuf", "2.4.1"),
  "SwiftProtobuf": ("swift-protobuf", "https://github.com/apple/swift-protobuf", "1.39.0"),
]

let house: [Module] = [
  // C, each header family once. glibc headers before kernel headers (see Sources/CLinux/README.md).
  Module(name: "CLinux", path: "Sources/CLinux", kind: .cShim, tests: false),
  Module(
    name: "CNetfilter", path: "Sources/CNetfilter",
    kind: .cSystem(pkgConfig: "libnftnl libmnl", apt: ["libnftnl-dev", "libmnl-dev"]), tests: false),
  Module(
    name: "CSQLite", path: "Sources/CSQLite",
    kind: .cSystem(pkgConfig: "sqlite3", apt: ["libsqlite3-dev"]), tests: false),
  Module(
    name: "CZlib", path: "Sources/CZlib", kind: .cSystem(pkgConfig: nil, apt: ["zlib1g-dev"]), tests: false),

  Module(name: "CPacket", path: "Sources/CPacket", kind: .cShim, tests: false),

  // libssl-dev. Linked as a shared library: the system's updates reach it.
  Module(
    name: "COpenSSL", path: "Sources/COpenSSL", kind: .cShim, tests: false, links: ["ssl", "crypto", "crypt"]),

  // Values and voices that everything may use.
  Module(name: "Addresses", path: "Sources/Addresses", testsOn: ["FuzzLab"]),
  Module(
    name: "Diagnostics", path: "Sources/Diagnostics", packages: ["Logging"], testsOn: ["FuzzLab"]),
  Module(name: "Patterns", path: "Sources/Patterns", testsOn: ["FuzzLab"]),

  // Linux, knowing no Kubernetes.
  Module(name: "KernelNetlink", path: "Sources/Kernel/Netlink", on: ["Addresses", "CLinux"]),
  Module(
    name: "KernelSockets", path: "Sources/Kernel/Sockets", on: ["Addresses", "CPacket"],
    testsOn: ["NamespaceLab"]),
  Module(name: "Ruleset", path: "Sources/Kernel/Ruleset", on: ["Addresses"]),
  Module(
    name: "KernelNftables", path: "Sources/Kernel/Nftables",
    on: ["Addresses", "Ruleset", "KernelNetlink", "KernelSockets", "Diagnostics", "CNetfilter", "CLinux"],
    testsOn: ["NamespaceLab", "SoakLab", "FuzzLab"]),
  Module(
    name: "Reactor", path: "Sources/Reactor", on: ["Addresses", "CLinux", "Diagnostics"],
    packages: ["Logging"]),

  // The control plane.
  Module(name: "ClusterObjects", path: "Sources/ClusterCore/Objects", testsOn: ["FuzzLab"]),
  Module(
    name: "ClusterStore", path: "Sources/ClusterCore/Store", on: ["Diagnostics", "CSQLite", "CLinux"],
    packages: ["Logging"], testsOn: ["ClusterStoreEtcd", "StoreLab", "StoreFaults"]),
  Module(name: "GRPCWindowProbe", path: "Sources/ClusterCore/GRPC", packages: ["NIOCore"], tests: false),
  // One suite tests both engines: Tests/ClusterStoreTests.
  Module(
    name: "ClusterStoreEtcd", path: "Sources/ClusterCore/Etcd",
    on: ["ClusterStore", "GRPCWindowProbe", "Diagnostics"],
    packages: [
      "Logging", "GRPCCore", "GRPCNIOTransportHTTP2Posix", "GRPCProtobuf", "SwiftProtobuf", "NIOCore",
      "NIOSSL",
    ], tests: false, exclude: ["RPC/etcd.proto", "RPC/generate.sh"]),
  Module(
    name: "ClusterClient", path: "Sources/ClusterCore/Client",
    on: ["ClusterObjects", "Diagnostics"],
    packages: [
      "Logging", "NIOCore", "NIOPosix", "NIOHTTP1", "NIOSSL", "NIOConcurrencyHelpers", "Collections", "Yams",
    ], testsOn: ["FuzzLab", "SoakLab"]),
  Module(
    name: "ClusterStreams", path: "Sources/ClusterCore/Streams",
    on: ["ClusterObjects", "Diagnostics", "CZlib"],
    packages: ["Logging", "NIOCore", "NIOPosix", "NIOHTTP1", "NIOSSL", "NIOEmbedded", "Crypto"],
    testsOn: ["FuzzLab"]),
  // By itself: thousands of bytes as literals take the compiler seconds.
  Module(name: "WebPage", path: "Sources/WebPage", tests: false, embeds: ["page.html"]),
  Module(
    name: "ClusterServer", path: "Sources/ClusterCore/Server",
    on: [
      "WebPage", "ClusterObjects", "ClusterStore", "ClusterClient", "ClusterStreams", "Diagnostics",
      "Addresses",
      "CZlib",
    ],
    packages: [
      "Logging", "NIOCore", "NIOPosix", "NIOHTTP1", "NIOHTTP2", "NIOSSL", "NIOConcurrencyHelpers", "X509",
      "Crypto", "CryptoExtras",
      "Collections",
    ], testsOn: ["StoreLab", "SoakLab", "FuzzLab", "ClusterControllers"],
    exclude: ["Access/README.md"]),
  Module(
    name: "ClusterView", path: "Sources/ClusterCore/View", on: ["ClusterObjects", "Addresses"],
    testsOn: ["FuzzLab"]),
  Module(
    name: "ClusterControllers", path: "Sources/ClusterCore/Controllers",
    on: ["ClusterObjects", "ClusterClient", "ClusterView", "Diagnostics", "Addresses"], packages: ["Logging"],
    testsOn: ["FuzzLab", "SoakLab"]),
  Module(
    name: "ClusterScheduler", path: "Sources/ClusterCore/Scheduler",
    on: ["ClusterObjects", "ClusterClient", "Diagnostics"], packages: ["Logging"]),
  Module(
    name: "ClusterNode", path: "Sources/ClusterCore/Node",
    on: [
      "ClusterObjects", "ClusterClient", "ClusterStreams", "GRPCWindowProbe", "KernelSockets", "Diagnostics",
      "Addresses", "CLinux", "CZlib",
    ],
    packages: [
      "Logging", "GRPCCore", "GRPCNIOTransportHTTP2Posix", "GRPCProtobuf", "SwiftProtobuf", "Crypto", "X509",
      "NIOCore",
      "NIOPosix", "NIOHTTP1", "NIOHPACK", "NIOSSL", "NIOEmbedded",
    ], testsOn: ["FuzzLab", "SoakLab"], exclude: ["CRI/cri.proto", "CRI/events.proto", "CRI/generate.sh"]),

  // For tests alone.
  Module(
    name: "StoreFaults", path: "Tests/StoreFaults", kind: .executable, on: ["ClusterStore", "Diagnostics"],
    tests: false),
  Module(name: "FuzzLab", path: "Tests/FuzzLab", tests: false),
  Module(name: "SoakLab", path: "Tests/SoakLab", tests: false),
  Module(name: "NameServerLab", path: "Tests/NameServerLab", tests: false),
  Module(name: "NamespaceLab", path: "Tests/NamespaceLab", on: ["CLinux"], tests: false),
  Module(
    name: "ProxyFaults", path: "Tests/ProxyFaults", kind: .executable,
    on: ["Proxy", "Policy", "ClusterView", "ClusterObjects", "KernelNftables", "Ruleset", "Addresses"],
    tests: false),
  Module(
    name: "StoreLab", path: "Tests/StoreLab",
    on: ["SoakLab", "ClusterStore", "ClusterStoreEtcd", "Diagnostics", "CLinux"],
    tests: false),

  // The network: each a plan (pure) and a thin edge; none knows another.
  Module(
    name: "Proxy", path: "Sources/Proxy",
    on: [
      "ClusterView", "ClusterObjects", "Ruleset", "KernelNftables", "KernelNetlink", "Reactor", "Addresses",
      "CLinux", "Diagnostics",
    ],
    packages: ["Logging"], testsOn: ["NamespaceLab", "SoakLab", "FuzzLab", "ProxyFaults"]),
  Module(
    name: "Policy", path: "Sources/Policy", on: ["ClusterView", "Ruleset", "Addresses", "Diagnostics"],
    packages: ["Logging"],
    testsOn: ["KernelNftables", "KernelNetlink", "KernelSockets", "CNI", "CLinux", "NamespaceLab", "SoakLab"]),
  Module(
    name: "CNI", path: "Sources/CNI", on: ["KernelNetlink", "Addresses", "CLinux"],
    testsOn: ["StoreLab", "SoakLab"]),
  Module(
    name: "DNS", path: "Sources/DNS",
    on: [
      "ClusterObjects", "ClusterView", "Reactor", "Addresses", "Diagnostics", "Patterns", "CLinux", "CZlib",
    ],
    packages: ["Logging", "NIOCore", "NIOPosix", "NIOHTTP1", "NIOHTTP2", "NIOSSL"],
    testsOn: ["FuzzLab", "SoakLab", "NameServerLab"]),
  Module(
    name: "Ingress", path: "Sources/Ingress",
    on: [
      "ClusterObjects", "ClusterView", "Reactor", "Addresses", "Diagnostics", "Patterns", "CLinux",
      "COpenSSL",
    ],
    packages: ["Logging"], testsOn: ["FuzzLab", "SoakLab"]),
  Module(
    name: "DataPlane", path: "Sources/DataPlane",
    on: [
      "ClusterObjects", "ClusterClient", "ClusterView", "Proxy", "Policy", "Observe", "Ruleset",
      "KernelNftables",
      "KernelNetlink",
      "Addresses", "Diagnostics",
    ], packages: ["Logging"], testsOn: ["KernelSockets", "NamespaceLab", "SoakLab", "DNS", "Reactor"]),
  Module(
    name: "Observe", path: "Sources/Observe",
    on: [
      "ClusterObjects", "ClusterView", "Ruleset", "KernelNftables", "KernelNetlink", "KernelSockets",
      "Policy", "Ingress", "GatewayAPI", "Patterns",
      "Addresses", "Diagnostics", "CLinux",
    ], testsOn: ["FuzzLab", "NamespaceLab", "ClusterClient"]),

  // The control side of Gateway API, for the data plane of Ingress.
  Module(
    name: "GatewayAPI", path: "Sources/GatewayAPI",
    on: [
      "ClusterObjects", "ClusterClient", "ClusterView", "Ingress", "Patterns", "Addresses", "Diagnostics",
    ],
    packages: ["Logging"],
    testsOn: ["ClusterServer", "DataPlane", "FuzzLab", "SoakLab", "NamespaceLab", "Reactor", "CLinux"]),

  Module(name: "Manual", path: "Sources/Manual", on: ["ClusterObjects"]),

  // Assembly.
  Module(
    name: "weft", path: "Sources/weft", kind: .executable,
    on: [
      "ClusterObjects", "ClusterStore", "ClusterStoreEtcd", "ClusterClient", "ClusterServer", "ClusterView",
      "ClusterControllers", "ClusterScheduler", "ClusterNode", "KernelNetlink", "Ruleset", "KernelNftables",
      "KernelSockets", "Reactor", "Proxy",
      "Policy",
      "DNS", "Ingress", "GatewayAPI", "DataPlane", "Observe", "Manual", "Addresses", "Diagnostics", "CNI",
      "CLinux",
    ],
    packages: ["ArgumentParser", "Logging", "Yams", "NIOCore", "NIOPosix", "NIOHTTP1"], tests: false,
    embeds: ["Resources/demo.yaml"]),
  Module(
    name: "DNSBenchmark", path: "Benchmarks/DNS", kind: .executable,
    on: ["DNS", "ClusterView", "ClusterObjects", "Addresses", "CLinux"], tests: false,
    exclude: ["run.sh", "flood.sh", "names.py", "first.py", "feed.py", "table.py"]),
  Module(
    name: "ProxyBenchmark", path: "Benchmarks/Proxy", kind: .executable,
    on: ["Proxy", "ClusterView", "ClusterObjects", "KernelNftables", "Ruleset", "Addresses"], tests: false,
    exclude: ["run.sh", "written.sh", "Written"]),
  Module(
    name: "PolicyBenchmark", path: "Benchmarks/Policy", kind: .executable,
    on: [
      "Policy", "Observe", "ClusterView", "ClusterObjects", "KernelNftables", "Ruleset", "Addresses",
      "CLinux",
    ], tests: false,
    exclude: ["run.sh"]),
  Module(
    name: "CaptureBenchmark", path: "Benchmarks/Capture", kind: .executable,
    on: [
      "Observe", "ClusterView", "ClusterObjects", "KernelSockets", "KernelNftables", "Policy", "Addresses",
      "Diagnostics",
    ],
    tests: false, exclude: ["run.sh"]),
  Module(
    name: "ProxyWriteBenchmark", path: "Benchmarks/Proxy/Written", kind: .executable,
    on: ["Addresses", "Proxy", "ClusterClient", "ClusterObjects", "KernelNftables", "Ruleset"], tests: false),
  Module(
    name: "StoreBenchmark", path: "Benchmarks/Store", kind: .executable,
    on: ["ClusterStore", "ClusterStoreEtcd", "Diagnostics"], tests: false, exclude: ["run.sh"]),
  Module(
    name: "DiskBenchmark", path: "Benchmarks/Disk", kind: .executable, on: ["ClusterStore", "Diagnostics"],
    tests: false, exclude: ["run.sh"]),
  Module(
    name: "ObjectsBenchmark", path: "Benchmarks/Objects", kind: .executable, on: ["ClusterObjects"],
    tests: false,
    exclude: ["run.sh"]),
  Module(
    name: "SchedulerBenchmark", path: "Benchmarks/Scheduler", kind: .executable,
    on: ["ClusterObjects", "ClusterClient", "ClusterScheduler", "Diagnostics"], tests: false,
    exclude: ["run.sh"]),
  Module(
    name: "WatchBenchmark", path: "Benchmarks/Watches", kind: .executable,
    packages: ["NIOCore", "NIOPosix", "NIOSSL"], tests: false, exclude: ["run.sh"]),
  Module(
    name: "IngressBenchmark", path: "Benchmarks/Ingress/Server", kind: .executable,
    on: ["Ingress", "Reactor", "Addresses", "Diagnostics"], tests: false),
  Module(
    name: "IngressRoutesBenchmark", path: "Benchmarks/Ingress/Routes", kind: .executable,
    on: ["Ingress", "Addresses", "ClusterObjects", "ClusterView", "GatewayAPI"], tests: false),
  Module(
    name: "weft-cni", path: "Sources/weft-cni", kind: .executable, on: ["CNI", "KernelNetlink"], tests: false,
    exclude: ["functions.txt"]),
]

/// Programs of libFuzzer: branches that an input takes are seen, and inputs that take new ones are kept.
let fuzzers: [Module] = [
  Module(name: "FuzzDriver", path: "Tests/Fuzz/Driver", tests: false),
  Module(
    name: "DNSFuzz", path: "Tests/Fuzz/DNS", kind: .executable,
    on: ["FuzzDriver", "DNS", "ClusterView", "ClusterObjects", "Addresses"], tests: false),
  Module(
    name: "IngressFuzz", path: "Tests/Fuzz/Ingress", kind: .executable,
    on: ["FuzzDriver", "Ingress", "Reactor", "Addresses", "Diagnostics"], tests: false),
]
let isFuzzing = Context.environment["WEFT_FUZZ"] != nil
let modules = house + (isFuzzing ? fuzzers : [])

// MARK: - From the table to the package

let wanted: Set<String>? = Context.environment["WEFT_ONLY"].map {
  Set($0.split(separator: ",").map(String.init))
}

func closure(of names: Set<String>) -> Set<String> {
  var kept = names
  var queue = Array(names)
  while let name = queue.popLast() {
    for below in modules.first(where: { $0.name == name })?.on ?? [] where kept.insert(below).inserted {
      queue.append(below)
    }
  }
  return kept
}

let kept =
  wanted.map { names in
    closure(of: names.union(modules.filter { names.contains($0.name) }.flatMap(\.testsOn)))
  }
  ?? Set(modules.map(\.name))
let swiftSettings: [SwiftSetting] = [
  .treatAllWarnings(as: .error),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
  .enableExperimentalFeature("Lifetimes"),
]

let fuzzSettings: [SwiftSetting] =
  isFuzzing ? [.unsafeFlags(["-sanitize=fuzzer", "-enable-testing", "-parse-as-library"])] : []

/// What `weft-cni` consists of. It lives for three milliseconds, so what Swift does at run time to be flexible counts: types are
/// asked for by function and not by name (each name costs 10 µs: demangled, and every conformance in the program searched), generic
/// code is specialized across modules.
let inPlugin = closure(of: ["weft-cni"])
let pluginSettings: [SwiftSetting] = [
  .unsafeFlags(["-cross-module-optimization"], .when(configuration: .release)),
  .unsafeFlags(["-Xfrontend", "-disable-concrete-type-metadata-mangled-name-accessors"]),
  .unsafeFlags(["-Xfrontend", "-function-sections"]),
  .unsafeFlags(["-Xfrontend", "-disable-generic-metadata-prespecialization"]),
]

/// Static, so that it starts in a third of the time; and what a call runs through lies together in the file, in the order of
/// `functions.txt`: the kernel maps 64 KiB around each page that is touched, and the standard library is spread over 5 MiB.
let pluginLink = [
  "-static-executable", "-use-ld=lld", "-Xlinker", "--no-rosegment", "-Xlinker", "--no-warn-symbol-ordering",
  "-Xlinker",
  "--symbol-ordering-file=\(Context.packageDirectory)/Sources/weft-cni/functions.txt",
]

var targets: [Target] = []
var usedPackages: Set<String> = []
for module in modules where kept.contains(module.name) {
  let dependencies: [Target.Dependency] =
    module.on.map { .target(name: $0) }
    + module.packages.map { product in .product(name: product, package: products[product]!.package) }
  usedPackages.formUnion(module.packages)
  switch module.kind {
  case .library:
    targets.append(
      .target(
        name: module.name, dependencies: dependencies, path: module.path,
        exclude: ["README.md"] + module.exclude,
        resources: module.embeds.map { .embedInCode($0) },
        swiftSettings: swiftSettings + fuzzSettings
          + (inPlugin.contains(module.name) ? pluginSettings : [])))
  case .executable:
    let isPlugin = module.name == "weft-cni"
    let isFuzzer = fuzzers.contains { $0.name == module.name }
    targets.append(
      .executableTarget(
        name: module.name, dependencies: dependencies, path: module.path,
        exclude: (isFuzzer ? [] : ["README.md"]) + module.exclude,
        resources: module.embeds.map { .embedInCode($0) },
        swiftSettings: swiftSettings + (isFuzzer ? fuzzSettings : [])
          + (isPlugin ? pluginSettings + [.unsafeFlags(["-static-executable", "-parse-as-library"])] : []),
        linkerSettings: isPlugin
          ? [.unsafeFlags(pluginLink)]
          : isFuzzer ? [.unsafeFlags(["-sanitize=fuzzer", "-use-ld=lld"])] : []))
  case .cShim:
    targets.append(
      .target(
        name: module.name, path: module.path, exclude: ["README.md"],
        linkerSettings: module.links.map { .linkedLibrary($0) }))
  case .cSystem(let pkgConfig, let apt):
    targets.append(
      .systemLibrary(name: module.name, path: module.path, pkgConfig: pkgConfig, providers: [.apt(apt)]))
  }
  if module.tests, wanted == nil || wanted!.contains(module.name) {
    targets.append(
      .testTarget(
        name: module.name + "Tests",
        dependencies: [.target(name: module.name)] + dependencies + module.testsOn.map { .target(name: $0) },
        path: "Tests/\(module.name)Tests", swiftSettings: swiftSettings))
  }
}
if wanted == nil {
  // House rules, and the program as its users meet it: real clients, real kernel, real containerd.
  targets.append(
    .testTarget(name: "TidyTests", path: "Tests/TidyTests", swiftSettings: swiftSettings))
}
if wanted == nil || wanted!.contains("EndToEnd") {
  targets.append(
    .testTarget(
      name: "EndToEnd",
      dependencies: [
        "ClusterObjects", "ClusterClient", "ClusterStore", "ClusterStoreEtcd", "Diagnostics", "SoakLab",
        "StoreLab", "NameServerLab",
        "KernelSockets", "Addresses", "KernelNetlink", "CLinux",
      ],
      path: "Tests/EndToEnd", exclude: ["Clients", "Kubectl", "Page", "Rows"],
      swiftSettings: swiftSettings))
}

let packages = Dictionary(
  usedPackages.map { (products[$0]!.package, products[$0]!) }, uniquingKeysWith: { first, _ in first })

let package = Package(
  name: "weft",
  dependencies: packages.values.sorted { $0.package < $1.package }.map {
    .package(url: $0.url, from: $0.from)
  },
  targets: targets
)
