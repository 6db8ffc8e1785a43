// The CNI executable: one call, one answer, nothing asynchronous.
import CNI
import Glibc

let answer = Plugin.main(program: CommandLine.arguments.first ?? "weft-cni")
let bytes = Array(answer.output.utf8)
var written = 0
while written < bytes.count {
  let count = bytes.withUnsafeBytes { write(1, $0.baseAddress! + written, $0.count - written) }
  if count <= 0 { break }
  written += count
}
exit(answer.exitCode)
