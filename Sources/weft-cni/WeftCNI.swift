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
  for note in answer.notes { put("weft-cni: \(note)\n", 2) }
  put(answer.output, 1)
  LateClosing.leave()
  // Not by returning: there is nothing to flush, and the libraries' own endings take their time.
  _exit(answer.exitCode)
}

private func put(_ text: String, _ descriptor: Int32) {
  var text = text
  text.withUTF8 { bytes in
    var written = 0
    while written < bytes.count {
      let count = write(descriptor, bytes.baseAddress! + written, bytes.count - written)
      if count <= 0 { break }
      written += count
    }
  }
}

// What Swift's runtime looks for before any program of its own runs, found at once. Defined here, the library's own are not linked:
// they read all of /proc/self/maps to find the arguments, and ask for eight files on the way to a program that prints backtraces.

/// The arguments for `CommandLine`, which nobody here asks for.
@_cdecl("_swift_stdlib_getUnsafeArgvArgc")
func noWords(_ count: UnsafeMutablePointer<Int32>) -> UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>? {
  count.pointee = 0
  return nil
}

@_cdecl("_swift_stdlib_overrideUnsafeArgvArgc")
func otherWords(_ words: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?, _ count: Int32) {}

/// The path of `swift-backtrace`, which is not installed beside a plugin.
@_cdecl("swift_copyAuxiliaryExecutablePath")
func noProgram(_ name: UnsafePointer<CChar>?) -> UnsafeMutablePointer<CChar>? { nil }

/// Where libraries would be that are loaded at run time: a static program loads none, and need not ask where it is itself. An
/// address that says so instead of a text.
@_cdecl("_dl_get_origin")
func noOrigin() -> UnsafeRawPointer? { UnsafeRawPointer(bitPattern: -1) }
