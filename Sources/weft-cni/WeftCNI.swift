// The CNI executable: one call, one answer, nothing asynchronous.
//
// A C entry point and neither `main.swift` nor `@main`: those start on the main actor, and with it come the concurrency library
// and libdispatch, whose start costs more than the call's own work.
import CNI
import Glibc
import KernelNetlink

/// What the package manager makes the program's `main`: the module's name and `_main`.
@_cdecl("weft_cni_main")
func start(_ count: Int32, _ words: UnsafePointer<UnsafePointer<CChar>?>) -> Int32 {
  NamespaceEntry.movesCaller = true
  LateClosing.isWanted = true
  let answer = Plugin.main(program: words[0].map { String(cString: $0) } ?? "weft-cni")
  var output = answer.output
  output.withUTF8 { bytes in
    var written = 0
    while written < bytes.count {
      let count = write(1, bytes.baseAddress! + written, bytes.count - written)
      if count <= 0 { break }
      written += count
    }
  }
  LateClosing.leave()
  // Not by returning: there is nothing to flush, and the libraries' own endings take their time.
  _exit(answer.exitCode)
}
