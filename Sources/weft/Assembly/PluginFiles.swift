import Diagnostics
import Glibc
enum PluginFiles {
  static func install(_ settings: LocalClusterSettings) throws(WeftError) {
    system("cp /usr/lib/cni/* \(settings.cniBinaryFolder)/")
    let text = "{\"cniVersion\":\"1.0.0\",\"name\":\"weft\",\"plugins\":[{\"type\":\"bridge\",\"bridge\":\"cni0\",\"isGateway\":true,\"hairpinMode\":true,\"ipam\":{\"type\":\"host-local\",\"dataDir\":\"\(settings.cniStateFolder)\",\"ranges\":[[{\"subnet\":\"\(settings.podBlock)\"}]],\"routes\":[{\"dst\":\"0.0.0.0/0\"}]}}]}"
    let f = open("\(settings.cniConfigFolder)/10-weft.conflist", O_WRONLY|O_CREAT|O_TRUNC, 0o644); _ = write(f, text, text.utf8.count); close(f)
  }
}
