// The images a cluster needs before it knows any registry: the sandbox's pause image, and the demo's, both made on the
// spot from this machine's static busybox.

import Diagnostics

/// Images made here. `serve PORT` answers each request with who answered and who asked; `sleep` waits for an exec;
/// anything else is run.
public enum DemoImage {
  public static let demoReference = "weft.local/demo:1"
  public static let pauseReference = "weft.local/pause:1"

  /// Archives of both images, by reference. Reads `busybox` (about 2 MB) and asks it for its applets.
  static func archives(busyboxPath: String) async throws -> [(reference: String, bytes: [UInt8])] {
    guard let busybox = Files.read(busyboxPath, bytesMax: 16 << 20) else {
      throw WeftError(
        "NOD0005", object: busyboxPath, cause: "the program is missing, and the demo's image is made of it",
        next: "apt-get install busybox-static")
    }
    let listing = try await Subprocess.run([busyboxPath, "--list"], seconds: 10)
    let applets = listing.output.split(separator: "\n").map(String.init).filter { $0 != "busybox" }
    return [
      (pauseReference, pause(busybox).archive()), (demoReference, demo(busybox, applets: applets).archive()),
    ]
  }

  /// Holds a pod's namespaces. Its shell reaps what a shared process namespace orphans.
  static func pause(_ busybox: [UInt8]) -> OCIImage {
    var tar = TarWriter()
    tar.directory("bin")
    tar.file("bin/busybox", busybox, mode: 0o755)
    for applet in ["sh", "sleep"] { tar.link("bin/" + applet, to: "busybox") }
    let script = "trap 'exit 0' TERM INT; while :; do sleep 86400 & wait $!; done"
    return OCIImage(
      reference: pauseReference, entrypoint: ["/bin/sh", "-c", script], layer: tar.finish())
  }

  static func demo(_ busybox: [UInt8], applets: [String]) -> OCIImage {
    var tar = TarWriter()
    for path in ["bin", "dev", "etc", "proc", "root", "sys", "var", "var/run", "www", "www/cgi-bin"] {
      tar.directory(path)
    }
    tar.directory("tmp", mode: 0o1777)
    tar.file("bin/busybox", busybox, mode: 0o755)
    for applet in applets { tar.link("bin/" + applet, to: "busybox") }
    tar.file("bin/demo", entry, mode: 0o755)
    tar.file("www/cgi-bin/index.cgi", echo, mode: 0o755)
    tar.file(
      "etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")
    tar.file("etc/group", "root:x:0:\nnogroup:x:65534:\n")
    return OCIImage(
      reference: demoReference, entrypoint: ["/bin/demo"], command: ["sleep"], layer: tar.finish())
  }

  /// A first process ignores signals it has no handler for, so the shell holds one. Serving goes on for a moment after
  /// SIGTERM, while endpoints are withdrawn elsewhere: no request is lost.
  private static let entry = """
    #!/bin/sh
    stop() { [ "$serving" ] && sleep "${DRAIN_SECONDS:-1}"; exit 0; }
    trap stop TERM INT
    case "$1" in
    serve) serving=1; httpd -f -h /www -p "${2:-8080}" & ;;
    sleep) sleep 2147483647 & ;;
    *) exec "$@" ;;
    esac
    wait $!
    exit $?

    """

  /// busybox httpd runs this for every path that ends in a slash.
  private static let echo = """
    #!/bin/sh
    client=${REMOTE_ADDR#\\[}; client=${client#::ffff:}; client=${client%]}
    printf 'Status: 200 OK\\r\\nContent-Type: text/plain\\r\\n\\r\\n'
    printf 'pod: %s\\naddress: %s\\nclient: %s\\nhost: %s\\nrequest: %s %s\\n' "$(hostname)" "$(hostname -i)" \
    "$client" "$HTTP_HOST" "$REQUEST_METHOD" "$REQUEST_URI"

    """
}
